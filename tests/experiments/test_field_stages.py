"""The record by stages: masks that freeze, copies that are copies, choices on validation digits."""

import json

import numpy as np
import pytest

from tlhelpers.data.splits import Dataset, Source, Split
from tlhelpers.experiments import field
from tlhelpers.experiments.field import stages
from tlhelpers.models import staged
from tlhelpers.models.staged import Digits, five, learn, make_loop

SIZE = 16


def digits(digest="sha256:0"):
    """Ten kinds of grey stripes: easy enough for a few steps."""

    def split(name, n, seed):
        rng = np.random.default_rng(seed)
        labels = np.arange(n) % 10
        images = rng.integers(0, 60, (n, SIZE, SIZE), dtype=np.uint8)
        for image, label in zip(images, labels, strict=True):
            image[:, label : label + 4] = 250
        rgb = np.repeat(images[..., None], 3, axis=-1)
        return Split.from_arrays(rgb, labels, [str(i) for i in range(10)], name=name)

    source = Source("stripes", "drawn", digest, "MIT")
    return Dataset(
        "digits", split("train", 600, 0), split("validation", 150, 1), split("test", 60, 2), source
    )


@pytest.fixture(scope="module")
def loop():
    return make_loop(SIZE)


@pytest.fixture(scope="module")
def data():
    return stages._digits(five(digits().train, 5))


@pytest.fixture
def small(monkeypatch, loop):
    """The experiment with short trainings, on stripes, with one loop for all tests."""
    for kept in (stages._load, stages._loop, stages._stages):
        kept.cache_clear()
    monkeypatch.setattr("tlhelpers.data.datasets.load_dataset", lambda *_, **__: digits())
    monkeypatch.setattr(stages, "make_loop", lambda image_size: loop)
    monkeypatch.setattr(stages, "train_source", lambda loop, source, seed: source_weights(loop))
    monkeypatch.setattr(stages, "STEPS", 8)
    monkeypatch.setattr(stages, "LABELS", (5, 10))
    yield
    for kept in (stages._load, stages._loop, stages._stages):
        kept.cache_clear()


def run(folder, **chosen):
    return field.run_experiment("stages", folder, **chosen)


def source_weights(loop):
    return [np.full(v.shape, 0.01, "float32") for v in loop.model.trainable_variables]


def test_five_digits_are_kept_and_numbered_from_zero():
    part = five(digits().train, 5)
    assert part.class_names == ("5", "6", "7", "8", "9")
    assert len(part) == 300
    assert set(part.labels) == set(range(5))


def test_frozen_stages_stay_as_copied_and_the_others_move(loop, data):
    source = source_weights(loop)
    _, weights = learn(loop, data, data, source, (3, 2, 1e-2), seed=0, steps=8)
    for stage, old, new in zip(loop.stage_of, source, weights, strict=True):
        assert np.array_equal(old, new) == (stage < 2)


def test_what_is_not_copied_is_drawn_from_the_seed(loop, data):
    source = source_weights(loop)
    first, again, other = (
        learn(loop, data, data, source, (1, 5, 1e-2), seed, 8)[1] for seed in (0, 0, 1)
    )
    for stage, old, a, b, c in zip(loop.stage_of, source, first, again, other, strict=True):
        assert np.array_equal(a, b)
        assert np.array_equal(a, old) == (stage < 1)
        if a.ndim > 1 and stage >= 1:
            assert not np.array_equal(a, c)


def test_the_mask_does_what_trainable_false_does(loop, data):
    import keras

    _, ours = learn(loop, data, data, source_weights(loop), (2, 2, 3e-3), seed=4, steps=8)
    order = staged._batches(len(data.labels), 8, seed=4).ravel()
    model = keras.models.clone_model(loop.model)
    fresh = staged._fresh(SIZE, 4)
    model.set_weights([*source_weights(loop)[:4], *fresh[4:]])
    for layer in model.layers:
        layer.trainable = not layer.name.startswith(("stage1", "stage2"))
    model.compile(keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy", jit_compile=False)
    model.fit(data.images[order], data.labels[order], batch_size=32, shuffle=False, verbose=0)
    loop.model.set_weights(ours)
    difference = max(np.abs(a - b).max() for a, b in zip(ours, model.get_weights(), strict=True))
    assert difference <= 1e-5


def test_it_learns_stripes_and_keeps_the_best_weights(loop, data):
    validation = stages._digits(five(digits().validation, 5))
    loss, weights = learn(loop, data, validation, None, (0, 0, 3e-3), seed=0, steps=80)
    assert loss < 0.3
    loop.model.set_weights(weights)
    probabilities = np.asarray(loop.predict(validation.images))
    assert staged._loss(probabilities, validation.labels) == pytest.approx(loss, abs=1e-5)


def test_a_source_is_watched_on_digits_it_is_not_trained_on(monkeypatch, loop, data):
    seen = {}

    def watch(loop, train, watched, *rest):
        seen["train"], seen["watched"] = train, watched
        return 0.0, ["weights"]

    monkeypatch.setattr(staged, "learn", watch)
    assert staged.train_source(loop, data, seed=0) == ["weights"]
    assert len(seen["train"].labels) + len(seen["watched"].labels) == len(data.labels)
    assert isinstance(seen["train"], Digits)
    assert np.array_equal(seen["watched"].images, data.images[-len(seen["watched"].labels) :])


def test_both_ways_get_as_many_trials():
    assert len({len(candidates) for candidates in stages.CANDIDATES.values()}) == 1
    assert all(copied == 0 for copied, _, _ in stages.CANDIDATES["scratch"])


@pytest.mark.slow
def test_it_is_recorded_and_resumed(small, tmp_path):
    begun = run(tmp_path, seeds=2)
    first = [next(begun) for _ in range(3)]
    begun.close()
    rest = list(run(tmp_path, seeds=2))
    record = json.loads((tmp_path / "stages.json").read_text("utf-8"))
    assert record["results"] == [*first, *rest]
    assert len(record["results"]) == 2 * 2 * 2 * 2
    assert record["data"]["digest"] == "sha256:0"
    row = record["results"][0]
    assert row["n_test"] == 30
    assert row["config"]["candidates"] == 4
    table = field.table("stages", tmp_path)
    assert set(table["method"]) == {"scratch", "stages"}
    assert (table["seeds"] == 2).all()


def test_the_source_is_trained_once_for_a_target_and_seed(small, tmp_path, monkeypatch):
    trained = []
    monkeypatch.setattr(
        stages, "train_source", lambda loop, *rest: trained.append(rest) or source_weights(loop)
    )
    list(run(tmp_path, seeds=1))
    assert len(trained) == 2
