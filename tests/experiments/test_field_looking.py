"""Maps of photographs: the closed form is the gradient's, cells are covered as named, all is recorded."""

import json

import numpy as np
import pytest

from tlhelpers.data.splits import Dataset, Source, Split
from tlhelpers.experiments import field
from tlhelpers.experiments.field import looking

CACHED = [one for one in vars(looking).values() if callable(getattr(one, "cache_clear", None))]


@pytest.fixture
def drawn():
    return np.random.default_rng(0).integers(0, 256, (6, 28, 28, 3), dtype=np.uint8)


def by_gradients(maps, after, classes):
    """Grad-CAM as the paper has it, but for the cut at 0: weights are mean gradients."""
    import tensorflow as tf

    maps = tf.constant(maps)
    with tf.GradientTape() as tape:
        tape.watch(maps)
        chosen = tf.gather(after(maps), classes, axis=1, batch_dims=1)
    weights = tf.reduce_mean(tape.gradient(chosen, maps), axis=(1, 2), keepdims=True)
    return np.asarray(tf.reduce_sum(weights * maps, axis=-1))


@pytest.mark.parametrize("pooled_first", [False, True])
def test_class_activation_is_grad_cam_times_the_number_of_places(pooled_first):
    import keras

    rng = np.random.default_rng(0)
    maps, kernel = rng.random((5, 4, 4, 6)).astype("float32"), rng.normal(size=(6, 3))
    head = keras.layers.Dense(3)
    pools = [keras.layers.MaxPooling2D()] if pooled_first else []
    model = keras.Sequential(
        [keras.Input((4, 4, 6)), *pools, keras.layers.GlobalAveragePooling2D(), head]
    )
    head.set_weights([kernel, np.zeros(3)])
    classes = np.array([0, 1, 2, 1, 0])
    found = looking.class_activation(maps, kernel, classes)
    # Of each channel a maximum in four places counts, for four times as much: the mean is the same.
    np.testing.assert_allclose(found, 16 * by_gradients(maps, model, classes), atol=1e-4)
    if not pooled_first:
        logits = np.asarray(model(maps))[np.arange(5), classes]
        np.testing.assert_allclose(found.mean(axis=(1, 2)), logits, atol=1e-5)


def test_covered_cells_have_the_mean_colour_and_others_stay(drawn):
    none, every = np.zeros((6, 7, 7), bool), np.ones((6, 7, 7), bool)
    np.testing.assert_array_equal(looking.cover(drawn, none, "mean"), drawn)
    flat = looking.cover(drawn, every, "mean")
    np.testing.assert_array_equal(flat, np.broadcast_to(flat[:, :1, :1], flat.shape))
    np.testing.assert_allclose(flat[:, 0, 0], drawn.mean(axis=(1, 2)), atol=0.5)
    one = none.copy()
    one[:, 2, 5] = True
    changed = (looking.cover(drawn, one, "mean") != drawn).any(axis=-1)
    assert changed[:, 8:12, 20:24].mean() > 0.95
    assert changed.sum() == changed[:, 8:12, 20:24].sum()


def test_a_blurred_cell_is_that_of_the_blurred_photograph(drawn):
    from PIL import Image, ImageFilter

    every = np.ones((6, 7, 7), bool)
    for one, covered in zip(drawn, looking.cover(drawn, every, "blur"), strict=True):
        expected = Image.fromarray(one).filter(ImageFilter.GaussianBlur(4))
        np.testing.assert_array_equal(covered, np.asarray(expected))


def test_top_cells_are_the_highest_and_never_more():
    scores = np.random.default_rng(0).random((20, 7, 7)).round(1)  # with ties
    named = looking.top_cells(scores, 10)
    assert (named.sum(axis=(1, 2)) == 10).all()
    for one, cells in zip(scores, named, strict=True):
        assert one[cells].min() >= one[~cells].max()


def test_edges_are_where_shades_change():
    images = np.full((1, 28, 28, 3), 50, np.uint8)
    images[:, :, 14:] = 200
    scores = looking.edges(images)
    assert scores[0, :, [0, 1, 5, 6]].max() == 0
    assert scores[0, :, 3].min() > 10


def test_rank_correlation_is_scipys():
    from scipy.stats import spearmanr

    first, second = np.random.default_rng(0).random((2, 5, 7, 7)).round(1)
    expected = [spearmanr(a, b, axis=None).statistic for a, b in zip(first, second, strict=True)]
    np.testing.assert_allclose(looking.rank_correlation(first, second), expected)


def photographs():
    """Light squares on the left or on the right of noise."""

    def split(name, n, seed):
        rng = np.random.default_rng(seed)
        labels = np.arange(n) % 2
        images = rng.integers(0, 120, (n, 28, 28, 3), dtype=np.uint8)
        for image, label in zip(images, labels, strict=True):
            image[8:20, 16 * label : 16 * label + 12] = (250, 90 + 100 * label, 30)
        return Split.from_arrays(images, labels, ["left", "right"], name=name)

    source = Source("squares", "drawn", "sha256:0", "MIT")
    return Dataset(
        "cats_dogs",
        *(split(*a) for a in (("train", 40, 0), ("validation", 10, 1), ("test", 12, 2))),
        source,
    )


def tiny():
    """A network with BatchNormalization whose last map has 7 by 7 places."""
    import keras

    from tlhelpers.models.backbones import Backbone, Preprocessing

    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((28, 28, 3)),
            keras.layers.Conv2D(8, 4, 4, use_bias=False),
            keras.layers.BatchNormalization(),
            keras.layers.ReLU(),
        ]
    )
    return Backbone.from_model(model, Preprocessing(scale=1 / 255))


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """One for all tests: photographs and network are seeded, so covered ones are found there."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def small(monkeypatch, cache):
    monkeypatch.setenv("TLH_CACHE", str(cache))
    monkeypatch.setattr("tlhelpers.data.datasets.load_dataset", lambda *_, **__: photographs())
    monkeypatch.setattr("tlhelpers.models.backbones.load_backbone", lambda *_, **__: tiny())
    monkeypatch.setattr(looking, "SIZE", 28)
    monkeypatch.setattr(looking, "LABELS", 10)
    for one in CACHED:
        one.cache_clear()
    yield looking
    for one in CACHED:
        one.cache_clear()


def test_falls_are_those_of_photographs_covered_by_hand(small):
    settings = {"method": "centre, mean", "seed": 1}
    row = small.run(settings, photographs())
    head, answers, before = small._whole(1)
    images = photographs().test.load(None, 28).astype(float)
    covered = images.copy()
    cells = small.top_cells(small.score_cells("centre", 1), 10)
    for one, y, x in np.argwhere(cells):
        colour = images[one].mean(axis=(0, 1)).round()
        covered[one, 4 * y : 4 * y + 4, 4 * x : 4 * x + 4] = colour
    network = tiny().on_raw_images()
    after = head.probabilities(np.asarray(network(covered.astype("float32"))).mean(axis=(1, 2)))
    rows = np.arange(len(answers))
    expected = before[rows, answers] - after[rows, answers]
    found = small.falls({"config": row.config})
    np.testing.assert_allclose(found, expected, atol=0.0006)
    np.testing.assert_allclose(row.probabilities("test"), after, atol=1e-4)
    assert np.abs(expected).max() > 0.01


@pytest.mark.slow
def test_occlusion_is_the_fall_when_one_cell_is_covered(small):
    head, answers, before = small._whole(0)
    one = np.zeros((len(answers), 7, 7), bool)
    one[:, 4, 2] = True
    features = small._pooled(small._network(), small.cover(small._images(), one, "mean"))
    rows = np.arange(len(answers))
    fall = (before - head.probabilities(features))[rows, answers]
    np.testing.assert_allclose(small.score_cells("occlusion", 0)[:, 4, 2], fall, atol=2e-3)


@pytest.mark.slow
def test_occluded_features_begun_by_another_process_are_gone_on_with(small):
    whole = small._occluded()
    (path,) = (small.cache_folder() / "recording").glob("looking-*.npz")
    begun = list(np.load(path)["features"])
    assert len(begun) == 49
    small._keep(path, begun[:14])
    small._occluded.cache_clear()
    np.testing.assert_array_equal(small._occluded(), whole)


@pytest.mark.slow
def test_random_networks_and_heads_score_otherwise_and_the_own_map_as_itself(small):
    mine = small.score_cells("class activation", 0)
    like = {
        way: small.rank_correlation(small.score_cells(way, 0), mine).mean()
        for way in small.WAYS[1:]
    }
    assert like["class activation"] == pytest.approx(1)
    assert max(abs(like[way]) for way in ("random cells", "random head")) < 0.9
    assert not np.allclose(
        small.score_cells("random weights", 0), small.score_cells("random weights", 1)
    )


@pytest.mark.slow
def test_it_is_recorded_once_with_every_way(small, tmp_path):
    rows = list(field.run_experiment("looking", tmp_path, seeds=2))
    assert len(rows) == len(small.plan(2)) == 2 * (2 * len(small.WAYS) - 1)
    assert json.loads((tmp_path / "looking.json").read_text("utf-8"))["results"] == rows
    for row in rows:
        assert len(small.falls(row)) == row["n_test"] == 12
        if row["method"] == "nothing, mean":
            assert not small.falls(row).any()
    assert not list(field.run_experiment("looking", tmp_path, seeds=2))
    for way in set(small.ALONE) - {"nothing"}:  # they depend on no draw
        np.testing.assert_array_equal(small.score_cells(way, 0), small.score_cells(way, 1))
    assert (small.score_cells("random head", 0) != small.score_cells("random head", 1)).any()
