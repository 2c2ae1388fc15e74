"""MNIST to scikit-learn's digits: every method runs, and sees no label it should not."""

import numpy as np
import pytest

from tlhelpers.data.splits import Dataset, Source, Split
from tlhelpers.experiments.field import adaptation

pytestmark = [
    pytest.mark.usefixtures("eagerly"),
    pytest.mark.filterwarnings("ignore:Even though the .tf.config"),
]


def blobs(n, size, seed):
    """Digits in name only: a square whose place is its class, a margin of four pixels around it."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 10
    images = np.zeros((n, size, size, 3), np.uint8)
    inner = size - 8 if size > 8 else size
    for image, label in zip(images, labels, strict=True):
        across, down = label % 4, label // 4
        cell, start = inner // 4, 4 if size > 8 else 0
        top, left = start + down * cell, start + across * cell
        image[top : top + cell, left : left + cell] = rng.integers(150, 255)
    return Split.from_arrays(images, labels, "0123456789", image_size=28)


@pytest.fixture
def pair(monkeypatch):
    monkeypatch.setattr(adaptation, "LABELS", 6)
    monkeypatch.setattr(adaptation, "EPOCHS", 2)
    train, rest, test = blobs(80, 28, 0), blobs(40, 8, 1), blobs(30, 8, 2)
    return Dataset("pair", train, rest, test, Source("blobs", "here", "sha256:0", "MIT"))


QUICK = ("source only", "re-estimated", "means", "CORAL 1", "MMD 1")


@pytest.mark.parametrize(
    "method",
    [x if x in QUICK else pytest.param(x, marks=pytest.mark.slow) for x in adaptation.METHODS[:-1]],
)
def test_methods_give_probabilities_and_use_no_label_of_the_target(pair, method):
    settings = {"method": f"{method}, cropped", "seed": 0}
    first = adaptation.run(settings, pair).probabilities("test")
    np.testing.assert_allclose(first.sum(axis=1), 1, rtol=1e-5)
    other = (pair.validation.labels + 1) % 10
    shuffled = Split.from_arrays(pair.validation.load(None, 8), other, "0123456789", image_size=28)
    changed = Dataset("pair", pair.train, shuffled, pair.test, pair.source)
    again = adaptation.run(settings, changed).probabilities("test")
    np.testing.assert_allclose(again, first, atol=1e-4)


def test_cropping_takes_the_margin_off(pair):
    whole, inner = (adaptation.digits(pair.train, cropped) for cropped in (False, True))
    assert whole.shape == inner.shape == (80, 8, 8, 1)
    assert inner.mean() > 1.5 * whole.mean()
    assert inner[0, 0, 0, 0] > 0.5  # the first class lies in the corner, once the margin is gone


def test_statistics_are_those_of_the_images_and_the_model_stays():
    import keras

    images = keras.Input((8, 8, 1))
    model = keras.Model(images, keras.Sequential(adaptation.body())(images))
    x = np.random.default_rng(0).random((30, 8, 8, 1)).astype("float32")
    before = model.get_weights()
    copy = adaptation.re_estimated(model, x)
    convolution, norm = copy.layers[1].layers[:2]
    np.testing.assert_allclose(
        norm.moving_mean, np.asarray(convolution(x)).mean(axis=(0, 1, 2)), atol=1e-5
    )
    for weight, kept in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, kept)


def test_mmd_is_nil_for_equal_domains_and_that_of_three_means_else():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(6, 2)), 1 + rng.normal(size=(4, 2))
    h = np.concatenate([a, b])
    squares = ((h[:, None] - h) ** 2).sum(-1)
    kernel = np.exp(-squares / squares.mean())
    expected = kernel[:6, :6].mean() + kernel[6:, 6:].mean() - 2 * kernel[:6, 6:].mean()
    domain = np.repeat([[0.0], [1.0]], [6, 4], axis=0)
    found = adaptation.mmd(domain.astype("float32"), h.astype("float32"))
    assert np.asarray(found).mean() == pytest.approx(expected, abs=1e-5)
    even = np.repeat([[0.0], [1.0]], 6, axis=0).astype("float32")
    twice = np.concatenate([a, a]).astype("float32")
    assert np.asarray(adaptation.mmd(even, twice)).mean() == pytest.approx(0, abs=1e-6)


def test_the_plan_has_both_inputs_and_every_method():
    plan = adaptation.plan(2)
    assert len(plan) == 2 * 2 * len(adaptation.METHODS)
    assert {one["method"].rsplit(", ", 1)[1] for one in plan} == set(adaptation.INPUTS)


def test_coral_gives_the_source_the_mean_and_covariance_of_the_target():
    rng = np.random.default_rng(0)
    source = rng.normal(size=(300, 5)) @ rng.normal(size=(5, 5)) + 3
    target = rng.normal(size=(200, 5)) @ rng.normal(size=(5, 5)) - 1
    moved = adaptation.coral(source, target, 1e-9)
    np.testing.assert_allclose(moved.mean(axis=0), target.mean(axis=0), atol=1e-8)
    np.testing.assert_allclose(np.cov(moved.T), np.cov(target.T), atol=1e-5)


def test_means_are_moved_and_the_control_moves_nothing():
    rng = np.random.default_rng(0)
    source, target = rng.normal(size=(30, 5)) + 3, rng.normal(size=(20, 5))
    np.testing.assert_array_equal(adaptation.MOVES["new head"](source, target), source)
    moved = adaptation.MOVES["means"](source, target)
    np.testing.assert_allclose(moved.mean(axis=0), target.mean(axis=0))
    np.testing.assert_allclose(np.cov(moved.T), np.cov(source.T))


def test_a_new_head_leaves_the_network_and_is_the_fitted_one(pair):
    x, y, unlabelled = adaptation._arrays(pair, 0, True)
    model = adaptation.train(x, y, 0)
    before = model.predict(x, verbose=0)
    other = adaptation.aligned(model, x, y, unlabelled, adaptation.MOVES["CORAL 1"])
    np.testing.assert_array_equal(model.predict(x, verbose=0), before)
    assert [one.shape for one in other.weights] == [one.shape for one in model.weights]
    np.testing.assert_array_equal(other.get_weights()[0], model.get_weights()[0])
    assert np.abs(other.predict(x, verbose=0) - before).max() > 0.01
