"""Augmented views: what they may change, and that the same seed draws the same view."""

import re
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from toys import random_images, random_split, small_backbone

from tlhelpers.data import images as images_module
from tlhelpers.data.augmentation import (
    CHANGES,
    Augmentation,
    AugmentedViews,
    what_may_change_labels,
)
from tlhelpers.data.splits import Split
from tlhelpers.transfer.features import extract_features

NOTHING = Augmentation(flip=False, rotate=0, zoom=0, shift=0, brightness=0)
MIRROR = Augmentation(flip=True, rotate=0, zoom=0, shift=0, brightness=0)


def draws(augmentation, image, n=20):
    return [augmentation.apply(image, np.random.default_rng(seed)) for seed in range(n)]


def disc(size=64, across=40, down=24, radius=6):
    """A white disc on black."""
    y, x = np.mgrid[:size, :size]
    inside = (x - across) ** 2 + (y - down) ** 2 <= radius**2
    return np.repeat(np.uint8(255 * inside)[..., None], 3, axis=2)


def centre_of(image):
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    weight = image[..., 0].astype(float)
    return (x * weight).sum() / weight.sum(), (y * weight).sum() / weight.sum()


@pytest.mark.parametrize("size", [32, 33])
def test_no_change_is_the_identity(size):
    for image in random_images(3, size):
        for view in draws(NOTHING, image, 3):
            np.testing.assert_array_equal(view, image)


@pytest.mark.parametrize("size", [32, 33])
def test_half_of_the_views_are_mirrored(size):
    image = random_images(1, size)[0]
    views = draws(MIRROR, image, 60)
    mirrored = [np.array_equal(view, image[:, ::-1]) for view in views]
    assert all(m or np.array_equal(view, image) for m, view in zip(mirrored, views, strict=True))
    assert 15 < sum(mirrored) < 45


@pytest.mark.parametrize("flip", [True, False])
def test_no_view_is_mirrored_without_flip(flip):
    sides = [centre_of(view)[0] < 31.5 for view in draws(Augmentation(flip=flip), disc(across=48))]
    assert any(sides) == flip
    assert not all(sides)


def test_a_rotation_turns_about_the_middle():
    image = disc()
    across, down = (c - 31.5 for c in centre_of(image))
    angles = []
    for view in draws(Augmentation(False, 30, 0, 0, 0), image):
        x, y = (c - 31.5 for c in centre_of(view))
        assert np.hypot(x, y) == pytest.approx(np.hypot(across, down), abs=0.3)
        angles.append(np.rad2deg(np.arctan2(y, x) - np.arctan2(down, across)))
    assert max(np.abs(angles)) <= 30.5
    assert min(angles) < -10 < 10 < max(angles)


def test_a_mirrored_rotation_is_still_rigid():
    image = disc()
    reach = np.hypot(*(c - 31.5 for c in centre_of(image)))
    for view in draws(Augmentation(True, 30, 0, 0, 0), image):
        assert np.hypot(*(c - 31.5 for c in centre_of(view))) == pytest.approx(reach, abs=0.3)
        assert view.mean() == pytest.approx(image.mean(), rel=0.05)


def test_zoom_and_shift_stay_within_their_limits():
    image = disc(across=32, down=32)
    areas = [view.sum() / image.sum() for view in draws(Augmentation(False, 0, 0.2, 0, 0), image)]
    assert 0.8**2 - 0.05 < min(areas) < 0.9
    assert 1.1 < max(areas) < 1.2**2 + 0.05
    places = [centre_of(view) for view in draws(Augmentation(False, 0, 0, 0.1, 0), image)]
    moved = np.abs(np.array(places) - 32)
    assert 3 < moved.max() <= 0.1 * 64 + 0.1


def test_brightness_keeps_the_shape():
    image = np.full((16, 16, 3), 100, np.uint8)
    levels = [view.mean() for view in draws(Augmentation(False, 0, 0, 0, 0.2), image)]
    assert 79 <= min(levels) < 90
    assert 110 < max(levels) <= 121


def test_edges_are_repeated_not_black():
    image = np.full((32, 32, 3), 200, np.uint8)
    for view in draws(Augmentation(True, 45, 0.3, 0.3, 0), image):
        assert view.min() == 200


def test_views_are_drawn_from_the_seed():
    split = random_split(5)
    first, again, other = (AugmentedViews(split, 3, seed=seed) for seed in (0, 0, 1))
    rows = range(15)
    np.testing.assert_array_equal(first.load(rows, 32), again.load(rows, 32))
    assert not np.array_equal(first.load(rows, 32), other.load(rows, 32))
    assert len({view.tobytes() for view in first.load(rows, 32)}) == 15


def test_a_view_is_the_same_in_any_subset():
    split = random_split(6)
    whole, part = AugmentedViews(split, 2), AugmentedViews(split.take([4, 1]), 2)
    np.testing.assert_array_equal(part.load([0, 3], 32), whole.load([4, 7], 32))
    assert [part.digests()[row] for row in (0, 3)] == [whole.digests()[row] for row in (4, 7)]


def test_labels_and_images_go_round_together():
    split = random_split(5)
    views = AugmentedViews(split, 3, NOTHING)
    assert len(views) == 15
    assert views.labels.tolist() == [0, 1, 0, 1, 0] * 3
    np.testing.assert_array_equal(views.load([0, 7, 14], 32), split.load([0, 2, 4]))


def test_digests_tell_views_apart():
    split = random_split(3)
    digests = [
        digest
        for views in (
            AugmentedViews(split, 2),
            AugmentedViews(split, 2, seed=1),
            AugmentedViews(split, 2, MIRROR),
            AugmentedViews(random_split(3, seed=9), 2),
        )
        for digest in views.digests()
    ]
    assert len(set(digests)) == 24
    assert not set(digests) & set(split.digests())


@pytest.mark.slow
def test_features_of_views_are_cached(tmp_path, monkeypatch):
    monkeypatch.setenv("TLH_CACHE", str(tmp_path))
    base, split = small_backbone(cut="block1_pool"), random_split(3)
    views = AugmentedViews(split, 2)
    found = extract_features(base, views)
    expected = base.on_raw_images().predict(views.load(range(6), 32), verbose=0).mean(axis=(1, 2))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    monkeypatch.setattr(AugmentedViews, "load", lambda *_: pytest.fail("drawn again"))
    np.testing.assert_array_equal(extract_features(base, AugmentedViews(split, 2)), found)


@pytest.mark.parametrize(
    "amounts", [{"rotate": -1}, {"zoom": 1}, {"shift": -0.1}, {"brightness": float("nan")}]
)
def test_impossible_amounts(amounts):
    with pytest.raises(ValueError, match=r"between 0 and 1. Received"):
        Augmentation(**amounts)


@pytest.mark.parametrize(
    ("classes", "off"),
    [
        (["left hand", "right hand"], "flip=False, shift=0"),
        (["turnLeft", "turnRight", "straight"], "flip=False, shift=0"),
        ([str(digit) for digit in range(10)], "flip=False"),
        (["a", "b"], "flip=False"),
        (["two", "five"], "flip=False"),
        (["red_car", "blue_car"], "brightness=0"),
        (["day", "night"], "brightness=0"),
        (["small dog", "LARGE DOG"], "zoom=0"),
        (["upright", "tilted"], "rotate=0"),
        (["top shelf", "bottom shelf"], "shift=0"),
    ],
)
def test_classes_that_a_change_may_exchange(classes, off):
    sentence = what_may_change_labels(classes)
    assert f"by the names {classes[0]}, {classes[1]}" in sentence
    assert f"pass augmentation=Augmentation({off}); tlhelpers train --no-augment" in sentence
    options = re.search(r"--no-augment ([a-z ]+) leaves them out", sentence)[1].split()
    assert options == [setting.split("=")[0] for setting in off.split(", ")]
    assert what_may_change_labels(classes, eval(f"Augmentation({off})")) == ""


def test_who_follows_the_advice_keeps_what_was_left_out_before():
    sentence = what_may_change_labels(["left", "right"], Augmentation(zoom=0, shift=0))
    assert "Augmentation(flip=False, zoom=0, shift=0)" in sentence
    assert "--no-augment flip zoom shift leaves" in sentence


def test_every_change_has_a_name():
    assert tuple(field.name for field in fields(Augmentation)) == CHANGES


@pytest.mark.parametrize(
    "classes",
    [
        ["cat", "dog"],
        ["orange", "apple", "banana"],
        ["left", "other"],
        ["leftover", "bright idea"],
        [],
    ],
)
def test_names_that_tell_nothing(classes):
    assert what_may_change_labels(classes) == ""


def test_views_warn_of_the_labels_they_may_change():
    images = random_split(4)
    split = type(images).from_arrays(images.images, images.labels, ["left", "right"])
    with pytest.warns(UserWarning, match=r"names left, right.*Augmentation\(flip=False, shift=0\)"):
        AugmentedViews(split, 2)
    AugmentedViews(split, 2, Augmentation(flip=False, shift=0))


def test_views_of_files_look_at_no_file_twice(tmp_path, monkeypatch):
    paths = []
    for number, image in enumerate(random_images(6)):
        paths.append(tmp_path / f"{number}.png")
        Image.fromarray(image).save(paths[-1])
    split = Split.from_paths(paths, np.arange(6) % 2, ["cat", "dog"], image_size=32)
    views = AugmentedViews(split, 2)
    digests = views.digests()
    read = []
    real = images_module.file_content
    monkeypatch.setattr(images_module, "file_content", lambda path: read.append(path) or real(path))
    with monkeypatch.context() as patched:
        patched.setattr(Path, "stat", lambda *_, **__: pytest.fail("looked at all files again"))
        views.load([1, 8], 32)
    assert sorted(read) == [paths[1], paths[2]]
    assert views.digests() == digests


def test_no_views():
    with pytest.raises(ValueError, match=r"views must be at least 1. Received: 0"):
        AugmentedViews(random_split(2), 0)
