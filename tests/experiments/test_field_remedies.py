"""Remedies on photographs: what a recipe trains, that it is chosen without the test split."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from toys import striped_data

from tlhelpers.experiments.field import remedies, run_experiment
from tlhelpers.experiments.field.remedies import CHANGES, SINGLE, Recipe

SIZE = 32


def tiny_backbone():
    """Three stages behind a trunk, as the names of MobileNetV2's."""
    import keras

    from tlhelpers.models.backbones import Backbone, Preprocessing

    keras.utils.set_random_seed(0)
    ends = ("block_9", "block_12", "block_15", "block_16", "out_relu")
    layers = [keras.Input((SIZE, SIZE, 3))]
    for number, end in enumerate(ends):
        layers.append(keras.layers.Conv2D(4, 3, strides=2 if number < 2 else 1, padding="same"))
        layers.append(keras.layers.ReLU(name=end))
    model = keras.Sequential(layers, name="tiny")
    return Backbone.from_model(
        model, Preprocessing(scale=1 / 127.5, offset=-1), dict(zip(ends, ends, strict=True))
    )


@pytest.fixture(scope="module")
def data():
    """Few images, and one tiny network for all tests, which each training begins anew."""
    remedies._network.cache_clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tlhelpers.models.backbones.load_backbone", lambda *_: tiny_backbone())
        patch.setattr(remedies, "BATCH", 4)
        patch.setattr(remedies, "LENGTHS", {5: (4,), 20: (4,)})
        patch.setattr(remedies, "RATES", (1e-3,))
        yield striped_data(train=40, validation=10, test=12)
    remedies._network.cache_clear()


def weights_after(recipe, data):
    """Train, and return the change of each variable with the stage it belongs to."""
    remedies.train(recipe, data, 5, 0)
    network = remedies._network(recipe.image_size)
    now = [variable.numpy() for variable in network.variables]
    return network, now


@pytest.mark.parametrize("trained", [0, 1, 3])
def test_only_the_last_stages_and_the_head_are_trained(data, trained):
    network, now = weights_after(Recipe(rate=1e-2, steps=4, trained=trained), data)
    for stage, before, after in zip(network.stage_of, network.start, now, strict=True):
        if stage:
            assert np.array_equal(before, after) == (stage > trained), stage


def test_without_training_it_is_the_linear_head_on_frozen_features(data):
    from tlhelpers.transfer.heads import fit_linear_head

    given = remedies.train(Recipe(rate=1e-3, steps=4, trained=0), data, 5, 0)["test"]
    network = remedies._network(96)
    rows = remedies.draw(data.train.labels, 5, 0)
    few = data.train.take(rows)
    x, none = network.features(network.maps(few)), np.empty(0, int)
    head = fit_linear_head(x, few.labels, x[:0], none, num_classes=2)
    wanted = head.probabilities(network.features(network.maps(data.test)))
    np.testing.assert_allclose(given, wanted, atol=1e-4)


@pytest.mark.parametrize(("towards", "left"), [("zero", 0.5), ("start", 1.0)])
def test_decay_alone_shrinks_by_its_share(data, towards, left):
    recipe = Recipe(rate=1e-7, steps=40, shrink=0.5, towards=towards)
    network, now = weights_after(recipe, data)
    kernel = next(i for i, stage in enumerate(network.stage_of) if stage == 1)
    ratio = (now[kernel] * network.start[kernel]).sum() / (network.start[kernel] ** 2).sum()
    assert ratio == pytest.approx(left, abs=0.02)


def test_rates_fall_from_stage_to_stage(data):
    network, now = weights_after(Recipe(rate=1e-2, steps=4, rate_decay=0.1), data)
    moved = {}
    for stage, before, after in zip(network.stage_of, network.start, now, strict=True):
        if stage and before.ndim == 4:
            moved[stage] = np.abs(after - before).max()
    assert moved[1] > 4 * moved[2] > 16 * moved[3] > 0


@pytest.mark.slow
def test_changes_change_something_and_nothing_does_nothing(data):
    base = remedies.train(Recipe(rate=1e-2, steps=8), data, 5, 0)["test"]
    again = remedies.train(Recipe(rate=1e-2, steps=8), data, 5, 0)["test"]
    assert np.array_equal(base, again)
    for how in (
        {"dropout": 0.5},
        {"smoothing": 0.2},
        {"mixup": 0.4},
        {"views": "strong"},
        {"constant": True},
        {"mirrored": True},
        {"members": 2},
        {"more_labels": 2},
    ):
        other = remedies.train(Recipe(rate=1e-2, steps=8, **how), data, 5, 0)["test"]
        assert not np.array_equal(base, other), how
        np.testing.assert_allclose(other.sum(axis=1), 1, atol=1e-5)


def test_draws_are_balanced_and_more_labels_add_to_the_same():
    labels = np.arange(60) % 3
    few, more = remedies.draw(labels, 4, 7), remedies.draw(labels, 8, 7)
    assert np.bincount(labels[few]).tolist() == [4, 4, 4]
    assert set(few) < set(more)
    assert set(few) != set(remedies.draw(labels, 4, 8))


def test_mirror_images_are_mirrored_and_filed_apart(data):
    mirrored = remedies.Mirrored(data.test)
    np.testing.assert_array_equal(
        mirrored.load([0, 3], SIZE), data.test.load([0, 3], SIZE)[:, :, ::-1]
    )
    assert not set(mirrored.digests()) & set(data.test.digests())


@pytest.mark.slow
def test_choosing_looks_at_no_test_photograph_and_resumes(data, monkeypatch):
    blind = SimpleNamespace(
        train=data.train, validation=data.validation, source=data.source, num_classes=2
    )
    real, calls = remedies.train, []

    def train(recipe, *rest):
        calls.append(recipe)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return real(recipe, *rest)

    monkeypatch.setattr(remedies, "train", train)
    strengths = [{"dropout": share, "rate": rate} for share in (0.2, 0.5) for rate in (1, 3)]
    monkeypatch.setattr(remedies, "CHANGES", {"dropout": strengths})
    with pytest.raises(KeyboardInterrupt):
        remedies.choose("dropout", blind, 5)
    tried, recipe = remedies.choose("dropout", blind, 5)
    # Two draws each: the two trials that were finished before the interruption are kept.
    assert len(tried) == 8
    assert len(calls) == 5 + 2 * 6
    assert recipe.dropout in (0.2, 0.5)
    top = max(trial["validation"] for trial in tried)
    assert [t for t in tried if t["validation"] == top and t["dropout"] == recipe.dropout]


def test_a_strength_that_is_added_leaves_finished_trials_as_they_are(data, tmp_path, monkeypatch):
    monkeypatch.setenv("TLH_CACHE", str(tmp_path))
    calls = []

    def train(recipe, *_):
        calls.append(recipe.dropout)
        return {"validation": np.full((len(data.validation), 2), 0.5)}

    monkeypatch.setattr(remedies, "train", train)
    monkeypatch.setattr(remedies, "CHANGES", {"dropout": [{"dropout": 0.5}]})
    before, _ = remedies.choose("dropout", data, 5)
    monkeypatch.setattr(remedies, "CHANGES", {"dropout": [{"dropout": 0.2}, {"dropout": 0.5}]})
    calls.clear()
    after, _ = remedies.choose("dropout", data, 5)
    assert set(calls) == {0.2}
    assert after[2:] == before
    assert [trial["dropout"] for trial in after] == [0.2, 0.2, 0.5, 0.5]


def test_every_change_is_tried_at_the_bases_length_and_twice_it():
    base = Recipe(rate=1e-3, steps=40)
    for change in CHANGES:
        if change == "base":
            continue
        recipes = remedies.candidates(change, 20, base)
        assert {one.steps for one in recipes} == ({40} if change in SINGLE else {40, 80}), change
        assert base not in recipes, change


def test_what_was_right_is_recorded_as_bits(data, tmp_path, monkeypatch):
    monkeypatch.setattr(remedies, "LABELS", (5,))
    monkeypatch.setattr(remedies, "CHANGES", {"base": [], "mirrored at test": [{"mirrored": True}]})
    monkeypatch.setattr("tlhelpers.data.datasets.load_dataset", lambda *_, **__: data)
    rows = list(run_experiment("remedies", tmp_path, seeds=2))
    assert [row["method"] for row in rows] == ["base", "mirrored at test"] * 2
    record = json.loads((tmp_path / "remedies.json").read_text("utf-8"))
    for row in record["results"]:
        bits = np.unpackbits(np.frombuffer(bytes.fromhex(row["right"]), np.uint8))[: row["n_test"]]
        assert bits.mean() == pytest.approx(row["test"])
        assert row["config"]["rate"] == 1e-3
