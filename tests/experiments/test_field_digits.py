"""The record on MNIST: resumed, chosen on validation, with the history of every epoch."""

import json
from functools import partial

import numpy as np
import pytest

from tlhelpers.data import datasets
from tlhelpers.data.splits import Dataset, Source, Split
from tlhelpers.experiments import field
from tlhelpers.experiments.field import choose, digits, run_experiment
from tlhelpers.experiments.field.digits import Fitted


def some_digits(seed=0, digest="sha256:0"):
    """Ten kinds of grey stripes: easy enough for a few epochs."""
    rng = np.random.default_rng(seed)

    def split(name, n):
        labels = np.arange(n) % 10
        images = rng.integers(0, 60, (n, 28, 28), dtype=np.uint8)
        for image, label in zip(images, labels, strict=True):
            image[:, 2 * label : 2 * label + 5] = 250
        rgb = np.repeat(images[..., None], 3, axis=-1)
        return Split.from_arrays(rgb, labels, [str(i) for i in range(10)], name=name)

    source = Source("stripes", "drawn", digest, "MIT")
    return Dataset(
        "digits", split("train", 160), split("validation", 40), split("test", 30), source
    )


@pytest.fixture
def loaded(monkeypatch):
    asked = []

    def load(name, *, tier, image_size, seed):
        asked.append((name, tier, image_size, seed))
        return some_digits(seed)

    monkeypatch.setattr("tlhelpers.data.datasets.load_dataset", load)
    return asked


@pytest.fixture
def fitted(monkeypatch):
    """Stands in for training: with each seed one more test digit is wrong."""
    fitted = []

    def fit(name, data, seed):
        def predict(split):
            guesses = split.labels.copy()
            guesses[:seed] = (guesses[:seed] + 1) % 10
            return np.eye(10)[guesses]

        fitted.append((name, seed))
        return Fitted(predict, {"loss": [0.5, 0.25]}, {"epoch_kept": 2})

    names = dict.fromkeys(digits.NETWORKS, fit)
    monkeypatch.setattr(digits, "NETWORKS", names)
    return fitted


def run(folder, **chosen):
    return run_experiment("digits", folder, **chosen)


def read(folder):
    return json.loads((folder / "digits.json").read_text("utf-8"))


def test_networks_get_every_seed_and_baselines_one():
    planned = [one["backbone"] for one in choose("digits", seeds=3)]
    counts = {name: planned.count(name) for name in digits.NETWORKS}
    assert counts == {"mlp": 3, "lenet5": 3, "logistic regression": 1, "nearest neighbours": 1}


def test_what_is_recorded(loaded, fitted, tmp_path):
    *_, row = run(tmp_path, backbones=["lenet5"], seeds=2)
    assert {asked[:3] for asked in loaded} == {("digits", "real", 28)}
    assert fitted == [("lenet5", 0), ("lenet5", 1)]
    assert (row["method"], row["labels"], row["image_size"]) == ("scratch", 6000, 28)
    assert row["test"] == pytest.approx(29 / 30)
    assert row["validation"] == pytest.approx(39 / 40)
    assert row["history"] == {"loss": [0.5, 0.25]}
    assert row["epochs_run"] == 2
    record = read(tmp_path)
    assert record["data"]["digest"] == "sha256:0"
    assert record["environments"][row["environment"]]["packages"]["keras"]


def test_the_book_can_summarise_it(loaded, fitted, tmp_path):
    list(run(tmp_path, seeds=3))
    table = field.table("digits", tmp_path).set_index("backbone")
    assert table.loc["mlp", "mean"] == pytest.approx(1 - 1 / 30)
    assert table.loc["nearest neighbours", "seeds"] == 1


def test_a_network_keeps_its_best_epoch():
    data = some_digits()
    fitted = digits.train_network("mlp", data, seed=0, epochs=4)
    accuracies = fitted.history["val_accuracy"]
    assert len(accuracies) == 4
    assert fitted.config["epoch_kept"] == np.argmax(accuracies) + 1
    right = fitted.predict(data.validation).argmax(axis=1) == data.validation.labels
    assert right.mean() == pytest.approx(max(accuracies))
    assert fitted.config["trained_parameters"] == 101_770


@pytest.mark.parametrize("name", digits.BASELINES)
def test_baselines_see_the_pixels(name):
    data = some_digits()
    fitted = digits.NETWORKS[name](name, data, 0)
    probabilities = fitted.predict(data.test)
    assert probabilities.shape == (30, 10)
    assert (probabilities.argmax(axis=1) == data.test.labels).mean() == 1


@pytest.mark.mirror
@pytest.mark.slow
def test_on_mnist(tmp_path, monkeypatch):
    whole = datasets.load_dataset
    monkeypatch.setattr(datasets, "load_dataset", partial(whole, n_train=4000, n_test=1000))
    (row,) = run(tmp_path, backbones=["logistic regression"], seeds=1)
    assert (row["labels"], row["n_validation"], row["n_test"]) == (6000, 1000, 1000)
    assert 0.85 < row["test"] < 0.94
