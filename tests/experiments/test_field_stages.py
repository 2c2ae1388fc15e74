"""The record by stages: cells that copy, shuffle and freeze what they say, at one budget."""

import json

import numpy as np
import pytest

from tlhelpers.data.splits import Dataset, Source, Split
from tlhelpers.experiments import field
from tlhelpers.experiments.field import stages
from tlhelpers.experiments.field.stages import Cell

KEPT = (stages._mnist, stages._five, stages._source, stages._trials, stages._network, stages._fresh)


def stripes():
    """Ten kinds of grey stripes, easy enough for a few steps."""

    def split(name, n, seed):
        rng = np.random.default_rng(seed)
        labels = np.arange(n) % 10
        images = rng.integers(0, 60, (n, 28, 28), dtype=np.uint8)
        for image, label in zip(images, labels, strict=True):
            image[:, 2 * label : 2 * label + 5] = 250
        rgb = np.repeat(images[..., None], 3, axis=-1)
        return Split.from_arrays(rgb, labels, [str(i) for i in range(10)], name=name)

    source = Source("stripes", "drawn", "sha256:0", "MIT")
    return Dataset(
        "digits", split("train", 400, 0), split("validation", 60, 1), split("test", 50, 2), source
    )


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr("tlhelpers.data.datasets.load_dataset", lambda *_, **__: stripes())
    for name, value in {
        "UPDATES": 25,
        "WATCHED": (25,),
        "SOURCE_UPDATES": 25,
        "RATES": (1e-3, 3e-3),
        "CHOOSING_SEEDS": (1000,),
        "MAPPED": 5,
        "OTHERS": (8,),
        "KEY": (Cell(0, 0),),
        "CELLS": (Cell(0, 0), Cell(2, 1), Cell(2, 2, True)),
    }.items():
        monkeypatch.setattr(stages, name, value)
    for cached in KEPT:
        cached.cache_clear()
    yield
    for cached in KEPT:
        cached.cache_clear()


def by_stage(weights):
    return [weights[2 * k : 2 * k + 2] for k in range(5)]


@pytest.mark.parametrize("shuffled", [False, True])
def test_copied_stages_are_the_sources_and_shuffled_ones_keep_their_values(shuffled):
    source = by_stage(stages._source(0)[0])
    begun = by_stage(stages._start(Cell(2, 1, shuffled), 0).get_weights())
    for place, (old, new) in enumerate(zip(source, begun, strict=True)):
        assert np.array_equal(old[0], new[0]) == (place < 2 and not shuffled)
        assert np.allclose(np.sort(old[0], None), np.sort(new[0], None)) == (place < 2)


def test_frozen_stages_stay_and_all_others_move():
    model = stages._start(Cell(2, 1), 0)
    before = by_stage(model.get_weights())
    stages._train(model, stages._five(5).train, 1e-2, 0, updates=25)
    for place, (old, new) in enumerate(zip(before, by_stage(model.get_weights()), strict=True)):
        assert np.array_equal(old[0], new[0]) == (place < 1)


def test_a_training_leaves_nothing_behind_for_the_next():
    results = []
    for _ in range(2):
        model = stages._start(Cell(0, 0), 3)
        stages._train(model, stages._five(5).train, 1e-2, 3, updates=25)
        results.append(model.get_weights())
    assert all(np.array_equal(a, b) for a, b in zip(*results, strict=True))


def test_every_pair_is_a_cell_and_controls_are_shuffled_copies(monkeypatch):
    monkeypatch.undo()
    plain = {cell[:2] for cell in stages.CELLS if not cell.shuffled}
    assert plain == {(copied, frozen) for copied in range(5) for frozen in range(5)}
    assert all(cell.frozen in (0, cell.copied) for cell in stages.CELLS if cell.shuffled)
    assert len({cell.name for cell in stages.CELLS}) == len(stages.CELLS)
    assert set(stages.KEY) < set(stages.CELLS)


@pytest.mark.slow
def test_it_is_recorded_with_its_trials_and_each_digits_answer(tmp_path):
    rows = list(field.run_experiment("stages", tmp_path, seeds=2))
    record = json.loads((tmp_path / "stages.json").read_text("utf-8"))
    assert record["results"] == rows
    assert len(rows) == (3 + 1) * 2
    for row in rows:
        assert set(row["config"]["tried"]) == {"0.001", "0.003"}
        assert row["n_test"] == 25
        assert stages.right(row).mean() == pytest.approx(row["test"])
    assert {row["config"]["shuffled"] for row in rows} == {False, True}
    assert not list(field.run_experiment("stages", tmp_path, seeds=2))
