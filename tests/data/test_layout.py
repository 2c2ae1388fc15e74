"""Which folders are splits and which are classes."""

import pytest
from PIL import Image

from tlhelpers.data.audit import printable
from tlhelpers.data.folders import load_folder
from tlhelpers.data.layout import find_files, split_of


@pytest.mark.parametrize(
    ("names", "split"),
    [
        (
            "train Training TRAIN train2017 train_set trainset training-set seg_train 01_train train(1)",
            "train",
        ),
        ("my_training_data train_images images_train Trainset2", "train"),
        (
            "val valid Validation valid_set val2014 dev eval seg-val evaluation validation_images",
            "validation",
        ),
        ("test Testing TEST test1 seg_test test_set testset holdout test.images the_test", "test"),
        ("cat trains testament contest invalid value evaluate training_shoes retrain data seg", ""),
    ],
)
def test_split_of(names, split):
    assert {split_of(name) for name in names.split()} == {split}


def make(root, *paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"x")
    return root


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (["test/a/1", "test/b/1", "val/a/1", "val/b/1"], "no folder of training pictures"),
        (["test/a/1", "test/b/1"], "no folder of training pictures"),
        (["a/1", "b/1", "test/1"], "no folder of training pictures"),
        (["a/1", "b/1", "test/a/1", "test/b/1"], "no folder of training pictures"),
        (["valid/1", "invalid/1"], "no folder of training pictures"),
        (["train/1", "test/1"], "must hold one folder per class"),
        (["train/1", "test/1", "a/1"], "must hold one folder per class"),
        (["bus/1", "car/1", "train/2019/1"], "lie beside others, which may be classes"),
    ],
)
def test_what_could_be_either_is_refused(tmp_path, paths, message):
    with pytest.raises(
        ValueError, match=rf"{message}.*Received in .*: .*folders inside\).*classes="
    ):
        find_files(make(tmp_path, *paths))


@pytest.mark.parametrize(
    ("paths", "classes"),
    [
        (["valid/1", "invalid/1"], ["valid", "invalid"]),
        (["train/1", "test/1"], ["train", "test"]),
        (["bus/1", "car/1", "train/2019/1"], ["bus", "car", "train"]),
        (["a/train/1", "a/test/1", "b/train/1"], ["a", "b"]),
        (["Cat/1", "cat/1"], ["Cat", "cat"]),
    ],
)
def test_classes_decide(tmp_path, paths, classes):
    found = find_files(make(tmp_path, *paths), classes)
    assert set(found.classes) == set(classes)
    assert set(found.splits) == {""}
    assert found.skipped == []


@pytest.mark.parametrize(
    "paths",
    [
        ["train/a/1", "train/b/1", "test/a/1", "test/b/1"],
        ["Training_Set/a/1", "Training_Set/b/1", "Test_Set/a/1", "Test_Set/b/1"],
        [
            "training_set/training_set/a/1",
            "training_set/training_set/b/1",
            "test/test/a/1",
            "test/test/b/1",
        ],
        ["seg_train/seg_train/a/1", "seg_train/seg_train/b/1", "seg_test/a/1", "seg_test/b/1"],
    ],
)
def test_splits_of_archives(tmp_path, paths):
    found = find_files(make(tmp_path, *paths))
    assert list(zip(found.splits, found.classes, strict=True)) == [
        *zip(found.splits, ["a", "b"] * 2, strict=True)
    ]
    assert sorted(found.splits) == ["test", "test", "train", "train"]


def test_levels_the_wrong_way_round(tmp_path):
    make(tmp_path, "a/train/1", "a/test/1", "b/train/1", "b/test/1")
    with pytest.raises(ValueError, match=r"must lie above those of classes.*inside.*: test, train"):
        find_files(tmp_path)


def test_names_that_differ_in_case(tmp_path):
    with pytest.raises(ValueError, match=r"differ in more than case.*Cat and cat"):
        find_files(make(tmp_path, "Cat/1", "cat/1", "dog/1"))


def test_thousands_of_classes_and_of_levels(tmp_path):
    make(tmp_path, *[f"c{n}/1" for n in range(3000)])
    deep = tmp_path / "c0" / "/".join("d" * 600)
    deep.mkdir(parents=True)
    (deep / "2").write_bytes(b"x")
    found = find_files(tmp_path)
    assert len(set(found.classes)) == 3000
    assert found.classes.count("c0") == 2


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("猫", "猫"),
        ("قطة", "قطة"),
        ("می‌خواهم", "می‌خواهم"),
        ("a\nb\t", "a\\nb\\t"),
        ("caf\udce9", "caf\\udce9"),
    ],
)
def test_printable(name, shown):
    assert printable(name) == shown
    shown.encode()


def test_an_empty_class_folder_is_named_with_what_to_do(tmp_path):
    for name in ("cat", "dog", "empty one"):
        (tmp_path / name).mkdir()
    for name in ("cat", "dog"):
        Image.new("RGB", (32, 32)).save(tmp_path / name / "1.png")
    with pytest.raises(ValueError, match=r"empty: empty one\. Put images in, or remove them"):
        load_folder(tmp_path)
