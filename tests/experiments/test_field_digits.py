"""The record on MNIST: resumed, chosen on validation, with the history of every epoch."""

import json

import numpy as np
import pytest

from tlhelpers.data.splits import Dataset, Source, Split
from tlhelpers.experiments import field
from tlhelpers.experiments.field import digits
from tlhelpers.experiments.field.digits import Fitted, run


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


def read(folder):
    return json.loads((folder / "digits.json").read_text("utf-8"))


def test_networks_get_every_seed_and_baselines_one(loaded, fitted, tmp_path):
    rows = list(run(tmp_path, seeds=3))
    assert {asked[:3] for asked in loaded} == {("digits", "real", 28)}
    counts = {name: sum(row["backbone"] == name for row in rows) for name in digits.NETWORKS}
    assert counts == {"mlp": 3, "lenet5": 3, "logistic regression": 1, "nearest neighbours": 1}
    assert len(set(fitted)) == len(fitted) == 8
    assert read(tmp_path)["results"] == rows
    assert list(run(tmp_path, seeds=3)) == []


def test_it_resumes_where_it_was_interrupted(loaded, fitted, tmp_path):
    begun = run(tmp_path, seeds=2)
    first = [next(begun) for _ in range(2)]
    begun.close()
    rest = list(run(tmp_path, seeds=2))
    assert read(tmp_path)["results"] == [*first, *rest]
    assert len(set(fitted)) == len(fitted) == 6


def test_what_is_recorded(loaded, fitted, tmp_path):
    *_, row = run(tmp_path, networks=["lenet5"], seeds=2)
    assert (row["method"], row["labels"], row["image_size"]) == ("scratch", 20, 28)
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


def test_the_command_line_reaches_it(loaded, fitted, tmp_path):
    rows = list(field.run_experiment("digits", tmp_path, backbones=["mlp"], seeds=1))
    assert [row["backbone"] for row in rows] == ["mlp"]


def test_other_data_and_unknown_networks(loaded, fitted, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"nearest neighbours\. Received: 'vgg16'"):
        list(run(tmp_path, networks=["vgg16"]))
    next(run(tmp_path, seeds=1))
    monkeypatch.setattr(
        "tlhelpers.data.datasets.load_dataset", lambda *_, **__: some_digits(digest="sha256:other")
    )
    with pytest.raises(ValueError, match="must come from the same data"):
        list(run(tmp_path, seeds=1))


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
def test_on_mnist(tmp_path):
    (row,) = run(tmp_path, networks=["logistic regression"], seeds=1)
    assert (row["labels"], row["n_validation"], row["n_test"]) == (6000, 5000, 10_000)
    assert 0.91 < row["test"] < 0.94


def test_what_cannot_be_chosen_is_not_ignored(tmp_path):
    with pytest.raises(ValueError, match="Received also: labels"):
        list(field.run_experiment("digits", tmp_path, labels=[20]))
