"""The drawn worlds: same bytes everywhere, knobs that do what they say, clear errors."""

import functools
import hashlib
import importlib

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from tlhelpers import worlds
from tlhelpers.worlds.canvas import Canvas, Frame, cosine, sine
from tlhelpers.worlds.draws import Draws, balanced_labels
from tlhelpers.worlds.formulas import HEADS
from tlhelpers.worlds.shapes import box, capsule, circle, star, turns_of, wedge
from tlhelpers.worlds.shifts import SHIFTS

WORLDS = {
    "pets": (worlds.pets, 2, 64),
    "objects": (worlds.objects, 10, 32),
    "formulas": (worlds.formulas, 148, 64),
}
DIGESTS = {
    "pets": "c7d5b87a01fb6528243159c69e755cd0cb0612e402b0e8e91177eeb76368858d",
    "objects": "f58884fc3081145a2c0ca760a7abeb6b40f7274bddf51a0d79102853d9c6041f",
    "formulas": "1b14eb326e7ff364112edc2bb255b1f941d614a5af912cf24c81d61b2ca65f4a",
}


def pixel_accuracy(draw, train: int, test: int, **knobs) -> float:
    """Accuracy of logistic regression on pixels, its penalty the best of two on the test."""
    first, second = draw(n=train, seed=0, **knobs), draw(n=test, seed=1, **knobs)
    x = first.images.reshape(train, -1).astype(np.float64) / 255
    y = second.images.reshape(test, -1).astype(np.float64) / 255
    middle = x.mean(axis=0)
    # In the span of the training images, where the solution lies, fits are quick.
    values, vectors = np.linalg.eigh((x - middle) @ (x - middle).T)
    kept = values > 1e-6
    basis = (x - middle).T @ (vectors[:, kept] / np.sqrt(values[kept]))
    fits = (LogisticRegression(C=c, max_iter=200) for c in (1e-4, 1e-3))
    z = (x - middle) @ basis
    return max(fit.fit(z, first.labels).score((y - middle) @ basis, second.labels) for fit in fits)


@pytest.mark.parametrize("name", WORLDS)
def test_bytes_are_the_recorded_ones(name):
    draw, _, size = WORLDS[name]
    images = draw(n=4, seed=0, image_size=size).images
    assert hashlib.sha256(images.tobytes()).hexdigest() == DIGESTS[name]


@pytest.mark.parametrize("name", WORLDS)
def test_shapes_dtypes_and_ranges(name):
    draw, classes, size = WORLDS[name]
    world = draw(n=2 * classes)
    assert world.images.shape == (2 * classes, size, size, 3)
    assert world.images.dtype == np.uint8
    assert world.labels.dtype == np.int64
    assert len(world) == 2 * classes
    assert len(world.class_names) == classes
    assert f"{2 * classes} images" in repr(world)
    np.testing.assert_array_equal(np.bincount(world.labels), [2] * classes)
    assert all(len(values) == len(world) for values in world.conditions.values())
    # Pictures, not flat fields: every image has contrast.
    assert world.images.reshape(len(world), -1).std(axis=1).min() > 5


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("name", WORLDS)
def test_an_image_does_not_depend_on_how_many_are_drawn(name, seed):
    draw, _, size = WORLDS[name]
    few, many = draw(n=5, seed=seed, image_size=size), draw(n=70, seed=seed, image_size=size)
    np.testing.assert_array_equal(few.images, many.images[:5])
    np.testing.assert_array_equal(few.labels, many.labels[:5])
    for key, values in few.conditions.items():
        np.testing.assert_array_equal(values, many.conditions[key][:5])


@pytest.mark.parametrize("name", WORLDS)
def test_an_image_does_not_depend_on_the_chunks_they_are_drawn_in(name, monkeypatch):
    draw, _, size = WORLDS[name]
    whole = draw(n=60, seed=1, image_size=size).images
    monkeypatch.setattr("tlhelpers.worlds.world.CHUNK_PIXELS", 7 * size**2)
    np.testing.assert_array_equal(draw(n=60, seed=1, image_size=size).images, whole)


def test_seeds_give_other_images():
    assert (worlds.pets(n=4, seed=0).images != worlds.pets(n=4, seed=1).images).mean() > 0.5


def test_sizes_show_the_same_scene():
    small = worlds.objects(n=20, image_size=32, difficulty=0.0).images.astype(float)
    large = worlds.objects(n=20, image_size=64, difficulty=0.0).images.astype(float)
    shrunk = large.reshape(20, 32, 2, 32, 2, 3).mean(axis=(2, 4))
    assert np.abs(small - shrunk).mean() < 12


@pytest.mark.parametrize("name", WORLDS)
def test_label_noise_replaces_its_share(name):
    draw, classes, _ = WORLDS[name]
    world = draw(n=1500, image_size=16, label_noise=0.3)
    wrong = world.labels != world.conditions["true_label"]
    assert abs(wrong.mean() - 0.3) < 0.04
    assert world.labels.min() >= 0
    assert world.labels.max() < classes
    clean = draw(n=1500, image_size=16)
    np.testing.assert_array_equal(clean.images, world.images)
    np.testing.assert_array_equal(clean.labels, world.conditions["true_label"])


@pytest.mark.parametrize("shift", SHIFTS)
def test_shift_changes_pixels_not_labels(shift):
    plain, shifted = worlds.pets(n=24), worlds.pets(n=24, shift=shift)
    np.testing.assert_array_equal(plain.labels, shifted.labels)
    change = np.abs(plain.images.astype(int) - shifted.images.astype(int))
    assert change.reshape(24, -1).mean(axis=1).min() > 1
    assert shifted.images.reshape(24, -1).std(axis=1).min() > 3


def test_shifts_do_what_they_say():
    plain = worlds.pets(n=24).images.astype(float)
    edges = np.abs(np.diff(plain, axis=1)).mean()
    blur = worlds.pets(n=24, shift="blur").images.astype(float)
    assert np.abs(np.diff(blur, axis=1)).mean() < 0.5 * edges
    sketch = worlds.pets(n=24, shift="sketch").images
    np.testing.assert_array_equal(sketch[..., 0], sketch[..., 2])
    contrast = worlds.pets(n=24, shift="contrast").images.astype(float)
    assert contrast.std(axis=(1, 2, 3)).mean() < 0.4 * plain.std(axis=(1, 2, 3)).mean()


def test_relatedness_is_the_share_of_images_with_a_thing():
    for share in (0.0, 0.4, 1.0):
        related = worlds.pets(n=1000, image_size=16, relatedness=share).conditions["related"]
        assert abs(related.mean() - share) < 0.05
    half = worlds.objects(n=60, relatedness=0.5)
    whole = worlds.objects(n=60)
    same = (half.images == whole.images).all(axis=(1, 2, 3))
    np.testing.assert_array_equal(same, half.conditions["related"])


@pytest.mark.slow
def test_difficulty_raises_linear_error():
    easy = pixel_accuracy(worlds.objects, 300, 300, difficulty=0.0)
    hard = pixel_accuracy(worlds.objects, 300, 300, difficulty=1.0)
    assert easy > hard + 0.2


@pytest.mark.slow
def test_pixels_hardly_tell_cats_from_dogs():
    assert pixel_accuracy(worlds.pets, 500, 400) <= 0.75


def test_colour_and_background_do_not_tell_cats_from_dogs():
    world = worlds.pets(n=2000, image_size=16)
    for fact in ("fur", "pattern", "background", "occlusion"):
        for value in np.unique(world.conditions[fact]):
            dogs = world.labels[world.conditions[fact] == value]
            assert abs(dogs.mean() - 0.5) < 4 * 0.5 / np.sqrt(len(dogs))


def test_formulas_have_further_labels_where_they_apply():
    world = worlds.formulas(n=296, image_size=16, relatedness=0.8)
    for head, count in HEADS.items():
        labels = world.conditions[head]
        assert labels.min() == -1
        assert labels.max() < count
        assert (labels[~world.conditions["related"]] == -1).all()
    names = np.array(world.class_names)[world.labels]
    blobs = np.char.startswith(names, "blob") & world.conditions["related"]
    np.testing.assert_array_equal(world.conditions["appendage"] >= 0, blobs)
    for other in (worlds.pets, worlds.objects):
        assert not set(other(n=1, image_size=16).class_names) & set(world.class_names)


@pytest.mark.parametrize(
    ("knobs", "error", "message"),
    [
        ({"n": 0}, ValueError, r"`n` must be from 1 to .* Received: 0\."),
        ({"n": 2.5}, TypeError, r"`n` must be an integer\. Received: 2\.5\."),
        ({"seed": -1}, ValueError, r"`seed` must be from 0"),
        ({"image_size": 8}, ValueError, r"`image_size` must be from 16 to 512"),
        ({"relatedness": 1.5}, ValueError, r"`relatedness` must be from 0 to 1\. Received: 1\.5"),
        ({"label_noise": -0.1}, ValueError, r"`label_noise` must be from 0 to 1"),
        ({"difficulty": float("nan")}, ValueError, r"`difficulty` must be from 0 to 1"),
        ({"difficulty": "hard"}, TypeError, r"`difficulty` must be a number .* 'hard'"),
        ({"shift": "rain"}, ValueError, r"`shift` must be None or one of 'colour', .* 'rain'"),
    ],
)
def test_bad_knobs_say_what_is_allowed(knobs, error, message):
    with pytest.raises(error, match=message):
        worlds.pets(**{"n": 2, **knobs})


def test_draws_are_uniform_and_independent_of_company():
    draws = Draws("test", 0, np.arange(20_000))
    first, second = draws.unit(), draws.unit()
    assert abs(first.mean() - 0.5) < 0.01
    assert abs(first.var() - 1 / 12) < 0.003
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.03
    assert abs(np.corrcoef(first[:-1], first[1:])[0, 1]) < 0.03
    alone = Draws("test", 0, np.array([17]))
    assert alone.unit()[0] == first[17]
    counts = np.bincount(Draws("test", 1, np.arange(30_000)).integer(3))
    assert counts.min() > 9_700


def test_balanced_labels_hold_every_class_in_each_block():
    labels = balanced_labels("test", 0, np.arange(70), 7).reshape(10, 7)
    np.testing.assert_array_equal(np.sort(labels, axis=1), np.tile(np.arange(7), (10, 1)))
    assert len({tuple(row) for row in labels}) > 5


def test_sine_and_angle_agree_with_numpy():
    turns = np.linspace(-3, 3, 1001, dtype=np.float32)
    np.testing.assert_allclose(sine(turns), np.sin(2 * np.pi * turns), atol=0.0012)
    np.testing.assert_allclose(cosine(turns), np.cos(2 * np.pi * turns), atol=0.0012)
    angle = np.linspace(-3.1, 3.1, 500)
    found = turns_of(np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32))
    np.testing.assert_allclose(found, angle / (2 * np.pi), atol=0.001)


def test_distances_are_signed_and_exact_on_known_points():
    u = np.array([[[0.0, 2.0, 0.0]]], np.float32)
    v = np.array([[[0.0, 0.0, 3.0]]], np.float32)
    np.testing.assert_allclose(circle(1.0)(u, v).ravel(), [-1, 1, 2], atol=1e-6)
    np.testing.assert_allclose(box(1.0, 2.0)(u, v).ravel(), [-1, 1, 1], atol=1e-6)
    np.testing.assert_allclose(
        capsule(-1.0, 0.0, 1.0, 0.0, 0.5)(u, v).ravel(), [-0.5, 0.5, 2.5], atol=1e-6
    )
    assert (wedge(1.0, 2.0)(u, v).ravel()[1:] > 0).all()
    assert star(5.0, 0.5)(u, v).ravel()[0] < 0


def test_painted_area_is_the_shapes_area():
    canvas = Canvas.blank(2, 64)
    frame = Frame.place(2, x=np.array([0.1, -0.2]), y=0.05, scale=np.array([0.5, 0.3]))
    canvas.paint(frame, 1.2, circle(1.0), np.ones((2, 3), np.float32))
    area = canvas.pixels[:, 0].sum(axis=(1, 2)) * canvas.pixel**2
    np.testing.assert_allclose(area, np.pi * np.array([0.25, 0.09]), rtol=0.01)


def test_small_windows_paint_the_same_as_large_ones():
    frame = Frame.place(3, x=np.array([0.9, 0.0, -0.4]), y=0.3, turns=0.1, scale=0.2)
    ink = np.full((3, 3), 0.7, np.float32)
    near, far = Canvas.blank(3, 64), Canvas.blank(3, 64)
    near.paint(frame, 1.3, box(1.0, 0.6), ink, rim=0.3)
    far.paint(frame, 50.0, box(1.0, 0.6), ink, rim=0.3)
    np.testing.assert_array_equal(near.pixels, far.pixels)


def test_masks_show_where_taking_the_animal_away_changes_the_picture():
    """Drawn again without animals; noise and light are the same, so only they can differ."""
    from tlhelpers.worlds.world import draw_world

    module = importlib.import_module("tlhelpers.worlds.pets")  # the name is the function's, too
    about = {"relatedness": 1.0, "label_noise": 0.0, "shift": None, "difficulty": 0.5}
    bare = draw_world(
        "pets",
        module.CLASS_NAMES,
        functools.partial(module._scene, animals=False),
        n=40,
        seed=3,
        image_size=64,
        **about,
    )
    whole, masks = worlds.pets(40, 3).images, worlds.pet_masks(40, 3)
    changed = np.abs(whole.astype(int) - bare.images).max(axis=3)
    assert (changed[masks] > 2).mean() > 0.99  # fur may have the background's colour
    outside = ~masks
    for axis in (1, 2):  # and the mask's blurred rim, one pixel wide
        outside &= ~np.roll(masks, 1, axis) & ~np.roll(masks, -1, axis)
    assert (changed[outside] > 2).mean() < 0.01
    assert 0.05 < masks.mean() < 0.6
    assert np.array_equal(worlds.pet_masks(8, 3), masks[:8])
