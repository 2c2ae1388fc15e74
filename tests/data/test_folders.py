"""A reader's own folder, with everything that readers' folders hold."""

import unicodedata

import numpy as np
import pytest
from PIL import Image

from tlhelpers.data.folders import load_folder


def save(path, number=0, size=(24, 20), mode="RGB", form="PNG", **settings):
    """Write an image that no other number gives."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(number)
    pixels = rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path, form, **settings)
    return path


def fill(folder, counts, start=0):
    """Write some images for each class."""
    number = start
    for name, count in counts.items():
        for index in range(count):
            save(folder / name / f"{index}.png", number)
            number += 1
    return folder


def snapshot(folder):
    return {
        str(path): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else None)
        for path in folder.rglob("*")
    }


def test_splits_are_carved_in_proportion(tmp_path, capsys):
    root = fill(tmp_path / "photos", {"cats": 20, "dogs": 10})
    before = snapshot(root)
    data = load_folder(root, image_size=16)
    assert (data.name, data.class_names, data.image_size) == ("photos", ("cats", "dogs"), 16)
    counts = [np.bincount(s.labels).tolist() for s in (data.train, data.validation, data.test)]
    assert counts == [[12, 6], [4, 2], [4, 2]]
    every = [*data.train.paths, *data.validation.paths, *data.test.paths]
    assert len(set(every)) == 30
    for split in (data.train, data.validation, data.test):
        assert [path.parent.name for path in split.paths] == [
            data.class_names[label] for label in split.labels
        ]
    assert [s.name for s in (data.train, data.validation, data.test)] == [
        "train",
        "validation",
        "test",
    ]
    assert data.skipped == ()
    assert capsys.readouterr().out == ""
    assert data.source.origin == str(root)
    assert data.train.images.shape == (18, 16, 16, 3)
    assert snapshot(root) == before


def test_seed_and_shares(tmp_path):
    root = fill(tmp_path / "photos", {"a": 20, "b": 20})
    first, again, other = (load_folder(root, seed=seed).test.paths for seed in (0, 0, 1))
    assert first == again != other
    data = load_folder(root, validation=0.25, test=0.5)
    assert (len(data.train), len(data.validation), len(data.test)) == (10, 10, 20)


@pytest.mark.parametrize("names", [("train", "validation", "test"), ("Training", "val", "TEST")])
def test_split_folders_are_used(tmp_path, names):
    for number, (name, count) in enumerate(zip(names, (6, 3, 4), strict=True)):
        fill(tmp_path / name, {"a": count, "b": count}, start=100 * number)
    data = load_folder(tmp_path)
    assert (len(data.train), len(data.validation), len(data.test)) == (12, 6, 8)
    assert {path.parents[1].name for path in data.validation.paths} == {names[1]}


def test_missing_split_is_carved_from_train(tmp_path):
    fill(tmp_path / "train", {"a": 10, "b": 10})
    fill(tmp_path / "test", {"a": 5, "b": 5}, start=50)
    data = load_folder(tmp_path)
    assert (len(data.train), len(data.validation), len(data.test)) == (16, 4, 10)
    assert {path.parents[1].name for path in data.validation.paths} == {"train"}


def test_train_may_be_a_class(tmp_path):
    data = load_folder(fill(tmp_path / "vehicles", {"bus": 5, "car": 5, "train": 5}))
    assert data.class_names == ("bus", "car", "train")


def test_every_kind_of_image_is_fine(tmp_path, capsys):
    root = fill(tmp_path / "photos", {"odd": 1, "plain": 8})
    odd = root / "odd"
    exif = Image.Exif()
    exif[0x0112] = 6
    save(odd / "grey.png", 101, mode="L")
    save(odd / "CMYK.JPG", 102, mode="CMYK", form="JPEG")
    save(odd / "alpha.png", 103, mode="RGBA")
    save(odd / "palette.gif", 104, mode="P", form="GIF")
    save(odd / "rotated.jpeg", 105, form="JPEG", exif=exif)
    save(odd / "really a png.jpg", 106)
    save(odd / "猫のしゃしん ñ.png", 107)
    save(odd / "deep" / "er" / "UPPER.PNG", 108)
    save(odd / "no extension", 109)
    (root / ".DS_Store").write_bytes(b"\0")
    (odd / ".hidden.png").write_bytes(b"\0")
    (odd / "Thumbs.db").write_bytes(b"\0")
    (root / "__MACOSX" / "odd").mkdir(parents=True)
    (root / "__MACOSX" / "odd" / "._grey.png").write_bytes(b"\0")
    (root / ".ipynb_checkpoints").mkdir()
    data = load_folder(root, image_size=8)
    assert data.class_names == ("odd", "plain")
    assert data.skipped == ()
    assert capsys.readouterr().out == ""
    assert sum(map(len, (data.train, data.validation, data.test))) == 18
    for split in (data.train, data.validation, data.test):
        assert split.images.dtype == np.uint8


def test_unusable_files_are_skipped_and_reported(tmp_path, capsys):
    root = fill(tmp_path / "photos", {"cats": 6, "dogs": 6})
    whole = save(root / "cats" / "cut.jpg", 50, size=(60, 60), form="JPEG").read_bytes()
    (root / "cats" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (root / "dogs" / "empty.png").touch()
    (root / "dogs" / "notes.txt").write_text("shot in May")
    save(root / "stray.png", 60)
    data = load_folder(root)
    reasons = {path.relative_to(root).as_posix(): reason for path, reason in data.skipped}
    assert reasons == {
        "stray.png": "lies outside the class folders",
        "cats/cut.jpg": "truncated",
        "dogs/empty.png": "empty file",
        "dogs/notes.txt": "not an image",
    }
    printed = capsys.readouterr().out
    assert "photos: 4 files skipped" in printed
    assert "cut.jpg (truncated)" in printed
    assert sum(map(len, (data.train, data.validation, data.test))) == 12
    assert "4 files skipped" in repr(data)
    assert whole[: len(whole) // 2] == (root / "cats" / "cut.jpg").read_bytes()


def test_many_skipped_files_are_counted_not_all_named(tmp_path, capsys):
    root = fill(tmp_path / "photos", {"cats": 6, "dogs": 6})
    for number in range(30):
        (root / "cats" / f"note{number:02}.txt").write_text("x")
    assert len(load_folder(root).skipped) == 30
    assert "30 files skipped" in (printed := capsys.readouterr().out)
    assert "22 more" in printed
    assert printed.count("note") == 8


def test_copies_stay_in_one_split(tmp_path):
    root = fill(tmp_path / "photos", {"a": 12, "b": 12})
    for number in range(12):
        original = root / "a" / f"{number}.png"
        (root / "a" / f"copy of {number}.png").write_bytes(original.read_bytes())
    for seed in range(5):
        data = load_folder(root, seed=seed)
        digests = [set(s.digests()) for s in (data.train, data.validation, data.test)]
        assert sum(map(len, digests)) == len(set.union(*digests)) == 24
        assert sum(map(len, (data.train, data.validation, data.test))) == 36


def test_copies_across_given_splits_and_classes_are_reported(tmp_path, capsys):
    fill(tmp_path / "train", {"a": 6, "b": 6})
    fill(tmp_path / "test", {"a": 3, "b": 3}, start=40)
    shown = (tmp_path / "train" / "a" / "0.png").read_bytes()
    (tmp_path / "test" / "a" / "again.png").write_bytes(shown)
    torn = (tmp_path / "train" / "b" / "1.png").read_bytes()
    (tmp_path / "train" / "a" / "also.png").write_bytes(torn)
    data = load_folder(tmp_path)
    printed = capsys.readouterr().out
    assert "1 image lies in more than one split" in printed
    assert "again.png" in printed
    assert "1 image lies in more than one class" in printed
    assert "more than one split" in data.source.note


def test_both_spellings_of_an_accent_are_one_class(tmp_path):
    for number, form in enumerate(("NFC", "NFD")):
        folder = tmp_path / ("train", "test")[number]
        fill(folder, {unicodedata.normalize(form, "café"): 5, "thé": 5}, start=50 * number)
    assert load_folder(tmp_path).class_names == ("café", "thé")


class TestErrors:
    def test_missing_and_file(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere"):
            load_folder(tmp_path / "nowhere")
        with pytest.raises(NotADirectoryError, match="Received the file"):
            load_folder(save(tmp_path / "one.png"))

    def test_no_classes(self, tmp_path):
        with pytest.raises(ValueError, match=r"one folder per class.*0 files"):
            load_folder(tmp_path)
        save(tmp_path / "1.png")
        with pytest.raises(ValueError, match=r"one folder per class.*1 file "):
            load_folder(tmp_path)

    def test_one_class(self, tmp_path):
        fill(tmp_path, {"cats": 5})
        with pytest.raises(ValueError, match=r"at least two class folders.*cats"):
            load_folder(tmp_path)

    def test_empty_class(self, tmp_path):
        fill(tmp_path, {"cats": 5, "dogs": 5})
        (tmp_path / "birds").mkdir()
        with pytest.raises(ValueError, match="empty: birds"):
            load_folder(tmp_path)

    def test_class_that_is_empty_after_skipping(self, tmp_path):
        fill(tmp_path, {"cats": 5, "dogs": 5})
        (tmp_path / "birds").mkdir()
        (tmp_path / "birds" / "robin.jpg").write_text("no image")
        with pytest.raises(ValueError, match="folder birds has none"):
            load_folder(tmp_path)

    def test_classes_differ_between_splits(self, tmp_path):
        fill(tmp_path / "train", {"cats": 5, "dogs": 5})
        fill(tmp_path / "test", {"cats": 5, "dog": 5}, start=50)
        with pytest.raises(ValueError, match=r"The test folder .* lacks: dogs; it has: cats, dog"):
            load_folder(tmp_path)

    def test_unlabelled_test_folder(self, tmp_path):
        fill(tmp_path / "train", {"cats": 5, "dogs": 5})
        save(tmp_path / "test" / "1.png")
        with pytest.raises(ValueError, match=r"test must hold one folder per class"):
            load_folder(tmp_path)

    def test_too_few_images(self, tmp_path):
        root = fill(tmp_path, {"cats": 9, "dogs": 2})
        with pytest.raises(ValueError, match="split of: dogs"):
            load_folder(root)
        save(root / "dogs" / "third.png", 99)
        data = load_folder(root)
        assert [np.bincount(s.labels)[1] for s in (data.train, data.validation, data.test)] == [
            1,
            1,
            1,
        ]

    def test_copies_do_not_make_a_class_large_enough(self, tmp_path):
        root = fill(tmp_path, {"cats": 9, "dogs": 1})
        for number in range(5):
            content = (root / "dogs" / "0.png").read_bytes()
            (root / "dogs" / f"copy{number}.png").write_bytes(content)
        with pytest.raises(ValueError, match="Add different images"):
            load_folder(root)

    @pytest.mark.parametrize("shares", [(0, 0.2), (0.2, 1), (0.5, 0.5), (-0.1, 0.2)])
    def test_shares(self, tmp_path, shares):
        fill(tmp_path, {"cats": 5, "dogs": 5})
        with pytest.raises(ValueError, match="Received"):
            load_folder(tmp_path, validation=shares[0], test=shares[1])
