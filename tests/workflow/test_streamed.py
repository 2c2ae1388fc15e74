"""A head by streaming over shards: as good as one in memory, on a split that copies can't cross."""

import shutil

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("pyarrow", reason="the extra tlhelpers[cluster] is not installed")

from tlhelpers.workflow import streamed
from tlhelpers.workflow.shards import extract_shards, read_shards
from tlhelpers.workflow.streamed import _as_keras, _places, _sides, fit_streamed

HOW = {"backbone": "vgg16_mini", "image_size": 32, "cut": "block2_pool", "shard": 16}


def draw(path, left, rng):
    """Draw a picture, brighter to the left or to the right."""
    image = rng.integers(0, 90, (32, 32, 3))
    image[:, slice(0, 16) if left else slice(16, 32)] += 60
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.uint8(image)).save(path)


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """Pictures, brighter to the left or to the right, and some twice."""
    folder, rng = tmp_path_factory.mktemp("streamed"), np.random.default_rng(0)
    for place in range(120):
        path = folder / "photos" / ("right", "left")[place % 2] / f"{place}-0.png"
        draw(path, place % 2, rng)
        if place % 10 == 0:
            shutil.copy(path, path.with_name(f"{place}-1.png"))
    extract_shards(folder / "photos", folder / "features", **HOW)
    return folder / "features"


def test_as_good_as_in_memory(shards):
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    found = fit_streamed(shards, test=0.3, epochs=20)
    places = {name: ("train", name) for name in ("left", "right")}
    parts = list(_sides(shards, places, None, 0.3))
    x, y, apart = map(np.concatenate, zip(*parts, strict=True))
    assert len(x) == 132
    whole = make_pipeline(StandardScaler(), LogisticRegression()).fit(x[~apart], y[~apart])
    assert found.test.n == apart.sum()
    assert found.images == (~apart).sum()
    assert found.class_names == ("left", "right")
    assert found.test.accuracy >= whole.score(x[apart], y[apart]) - 0.1
    assert found.majority == max((y[apart] == name).mean() for name in found.class_names)


@pytest.mark.parametrize("classes", [2, 3])
def test_the_model_gives_the_heads_own_probabilities(classes):
    from sklearn.linear_model import SGDClassifier
    from sklearn.preprocessing import StandardScaler

    rng = np.random.default_rng(0)
    x, y = rng.normal(3, 2, (200, 5)).astype(np.float32), rng.integers(classes, size=200)
    scaler = StandardScaler().fit(x)
    head = SGDClassifier(loss="log_loss", average=True, random_state=0).fit(scaler.transform(x), y)
    found = _as_keras(head, scaler, classes).predict_on_batch(x)
    np.testing.assert_allclose(found, head.predict_proba(scaler.transform(x)), atol=1e-5)


def test_which_are_kept_apart_is_decided_by_digests(shards):
    rows = list(read_shards(shards))
    digests = np.concatenate([part["sha256"] for part in rows])
    small = [int.from_bytes(one, "big") < 0.3 * 2**256 for one in digests]
    places = {name: ("train", name) for name in ("left", "right")}
    apart = np.concatenate([kept for _, _, kept in _sides(shards, places, None, 0.3)])
    np.testing.assert_array_equal(apart, small)
    assert len(set(digests)) == 120


@pytest.mark.parametrize("options", [{"test": 0}, {"test": 1}, {"epochs": 0}])
def test_what_is_not_possible(shards, options):
    with pytest.raises(ValueError, match="kept apart"):
        fit_streamed(shards, **options)


def test_the_batches_are_as_small_as_asked_for(shards):
    assert max(len(rows["file"]) for rows in read_shards(shards, batch=7)) == 7


@pytest.fixture(scope="module")
def divided(tmp_path_factory):
    """Folders train and test, with folders in a class, copies of test in train, and stray files."""
    folder, rng = tmp_path_factory.mktemp("divided"), np.random.default_rng(1)
    photos = folder / "photos"
    for place in range(40):
        name, split = ("right", "left")[place % 2], "test" if place < 12 else "train"
        inside = "tom" if place % 4 else ""
        draw(photos / split / name / inside / f"{place}.png", place % 2, rng)
        draw(photos / "validation" / name / f"{place}.png", place % 2, rng)
    for place in (0, 4):
        copy = photos / "train" / "right" / f"again-{place}.png"
        shutil.copy(photos / "test" / "right" / f"{place}.png", copy)
    extract_shards(photos, folder / "tidy", **HOW)
    draw(photos / "preview.png", True, rng)
    extract_shards(photos, folder / "stray", **HOW)
    return folder


def test_splits_are_no_classes_and_test_is_not_trained_on(divided, monkeypatch):
    from sklearn.linear_model import SGDClassifier

    seen, usual = [], SGDClassifier.partial_fit
    monkeypatch.setattr(
        SGDClassifier,
        "partial_fit",
        lambda self, x, y, **more: seen.append((len(x), set(y))) or usual(self, x, y, **more),
    )
    found = fit_streamed(divided / "tidy", epochs=1)
    assert found.class_names == ("left", "right")
    assert found.test.n == 12
    assert found.images == 28  # without the copies of two test images
    assert sum(rows for rows, _ in seen) == 28
    assert set().union(*(names for _, names in seen)) == {"left", "right"}
    assert found.majority == 0.5


def test_stray_files_are_refused_before_anything_is_fitted(divided, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(streamed, "_sides", lambda *_: pytest.fail("something is fitted"))
        with pytest.raises(ValueError, match=r"in a class folder of a split.*in: \. .*classes="):
            fit_streamed(divided / "stray")
    found = fit_streamed(divided / "stray", classes=["right", "left"], epochs=1)
    assert (found.class_names, found.test.n, found.images) == (("left", "right"), 12, 28)


@pytest.mark.parametrize(
    ("folders", "classes", "expected"),
    [
        ({"cat", "cat/tom", "dog/a/b"}, None, ["train/cat", "train/cat", "train/dog"]),
        ({"cat", "dog", ".", "owl"}, ["dog", "cat"], ["/", "train/cat", "train/dog", "/"]),
        ({"bus", "train"}, None, ["train/bus", "train/train"]),
        ({"bus", "train/steam"}, ["bus", "train"], ["train/bus", "train/train"]),
        ({"training_set/a/b", "val/a"}, None, ["train/a", "validation/a"]),
        ({"train/a", "train/b", "test/a", "c"}, ["a"], ["/", "test/a", "train/a", "/"]),
        ({"cat/train", "cat/test", "dog/train"}, ["cat", "dog"], ["train/cat"] * 2 + ["train/dog"]),
        ({"seg_train/seg_train/a", "seg_test/seg_test/a"}, None, ["test/a", "train/a"]),
        ({"cafe\u0301"}, ["caf\u00e9"], ["train/caf\u00e9"]),
    ],
)
def test_classes_of_folders(folders, classes, expected):
    found = _places(folders, classes)
    assert ["/".join(found[one]) for one in sorted(folders)] == expected


@pytest.mark.parametrize(
    ("folders", "classes", "problem"),
    [
        ({"."}, None, r"in a class folder\. Received others, in: \. "),
        ({"cat", "dog", "."}, None, r"in a class folder\."),
        ({"train", "train/cat", "test/cat"}, None, r"class folder of a split.*in: train "),
        ({"train/steam", "bus"}, None, r"class folder of a split.*in: bus .*classes="),
        ({"test/cat", "val/cat"}, None, r"folder of training pictures.*test, val\. .*classes="),
        ({"train/cat", "train/dog", "test/cat"}, None, r"the same classes.*: dog\. .*classes="),
        ({"cat/train", "cat/test"}, None, r"above those of classes.*: test, train\. .*classes="),
        ({"cat", "dog"}, ["cat", "cow"], r"Received: cow; there are: cat, dog"),
        ({"train/cat", "test/cow"}, ["cow"], r"to train on\. Received: cow"),
    ],
)
def test_folders_that_are_not_clear(folders, classes, problem):
    with pytest.raises(ValueError, match=problem):
        _places(folders, classes)
