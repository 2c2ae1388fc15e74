"""The controlled study: what it runs, in which order, and that it resumes."""

import json
from dataclasses import replace

import numpy as np
import pytest
from toys import small_backbone, striped_data

from tlhelpers.data.augmentation import Augmentation
from tlhelpers.experiments import study
from tlhelpers.experiments.baseline import baseline_recipe
from tlhelpers.experiments.study import Target
from tlhelpers.transfer import methods, recipes
from tlhelpers.transfer.recipes import Training
from tlhelpers.transfer.runs import Run

TOYS = {"lines": Target("a", "embedded", 32), "signs": Target("b", "real", 32)}


class Laboratory:
    """Stands in for training, and notes what was asked for."""

    def __init__(self):
        self.calls = []

    def run(self, method, data, seed, recipe=None, augmentation=None, start=None):
        self.calls.append((method, len(data.train), seed, recipe, augmentation, start))

        def predict(split):
            # The middle rate is the best baseline; seeds differ by one image.
            wrong = seed % 10 + (0 if recipe is None or recipe.learning_rate == 1e-3 else 3)
            labels = split.labels.copy()
            labels[:wrong] = 1 - labels[:wrong]
            return np.eye(2)[labels]

        return Run(method, predict, data, {}, 1.0, {"seed": seed}, None, 1, predict)


@pytest.fixture
def laboratory(monkeypatch):
    laboratory = Laboratory()
    monkeypatch.setattr(study, "TARGETS", TOYS)
    monkeypatch.setattr(study, "TUNING_LABELS", 4)
    # Drawn targets are others for each seed, published ones are not.
    monkeypatch.setattr(
        study,
        "load_target",
        lambda target, seed: striped_data(24, 8, seed=seed if target.tier == "embedded" else 0),
    )
    monkeypatch.setattr(
        "tlhelpers.models.backbones.load_backbone", lambda *_, **__: small_backbone()
    )
    monkeypatch.setattr("tlhelpers.transfer.runs.predict_images", lambda model, split: model(split))
    monkeypatch.setattr(
        methods,
        "feature_transfer",
        lambda base, data, *, seed: laboratory.run("frozen", data, seed),
    )
    monkeypatch.setattr(
        methods,
        "model_transfer",
        lambda base, data, *, seed, start, recipe, augmentation: laboratory.run(
            "tuned", data, seed, recipe, augmentation, start
        ),
    )
    monkeypatch.setattr(
        methods,
        "from_scratch",
        lambda base, data, *, seed, recipe, augmentation: laboratory.run(
            "scratch", data, seed, recipe, augmentation
        ),
    )
    return laboratory


def read(folder, name):
    return json.loads((folder / f"{name}.json").read_text("utf-8"))


def test_every_method_runs_for_every_target_seed_and_number_of_labels(laboratory, tmp_path):
    rows = list(study.run_study(tmp_path, labels=(4, 6), seeds=2))
    assert len(rows) == 2 * 2 * 2 * 3
    assert {(row["target"], row["method"]) for row in rows} == {
        (target, method) for target in TOYS for method in study.METHODS
    }
    # All targets have one seed before any has two.
    assert [row["seed"] for row in rows] == [0] * 12 + [1] * 12
    assert list(study.run_study(tmp_path, labels=(4, 6), seeds=2)) == []


def test_the_baselines_recipe_is_chosen_once_on_a_seed_no_result_uses(laboratory, tmp_path):
    list(study.run_study(tmp_path, targets=["lines"], labels=(4, 6), seeds=2))
    scratch = [call for call in laboratory.calls if call[0] == "scratch"]
    tuning = [call[3] for call in scratch if call[2] == study.TUNING_SEED]
    assert [recipe.learning_rate for recipe in tuning] == [*study.RATES, 1e-3, 1e-3, 1e-3]
    assert tuning[3].epochs == tuning[2].epochs / 2
    assert tuning[5].epochs == tuning[2].epochs * 2
    assert [recipe.views for recipe in tuning] == [None, None, None, None, 0, None]
    results = [call[3] for call in scratch if call[2] != study.TUNING_SEED]
    assert {recipe.learning_rate for recipe in results} == {1e-3}
    tried = read(tmp_path, "lines")["baseline"]
    assert len(tried) == 6
    assert tried[1]["validation"] > tried[0]["validation"]


def test_results_of_two_recipes_are_never_mixed(laboratory, tmp_path):
    list(study.run_study(tmp_path, targets=["lines"], labels=(4,), seeds=1))
    path = tmp_path / "lines.json"
    record = read(tmp_path, "lines")
    record["baseline"] = record["baseline"][:3]  # as if recorded before there were more trials
    path.write_text(json.dumps(record), "utf-8")
    laboratory.calls.clear()
    list(study.run_study(tmp_path, targets=["lines"], labels=(4,), seeds=2))
    assert study.TUNING_SEED not in {call[2] for call in laboratory.calls}
    assert read(tmp_path, "lines")["baseline"] == record["baseline"]


def test_interrupted_trials_resume(laboratory, tmp_path):
    path = tmp_path / "lines.json"
    list(study.run_study(tmp_path, targets=["lines"], labels=(4,), seeds=1))
    record = read(tmp_path, "lines")
    path.write_text(
        json.dumps({**record, "baseline": record["baseline"][:2], "results": []}), "utf-8"
    )
    laboratory.calls.clear()
    list(study.run_study(tmp_path, targets=["lines"], labels=(4,), seeds=1))
    assert sum(call[2] == study.TUNING_SEED for call in laboratory.calls) == 4
    assert read(tmp_path, "lines")["baseline"] == record["baseline"]


def test_an_interrupted_study_resumes(laboratory, tmp_path):
    steps = study.run_study(tmp_path, labels=(4,), seeds=2)
    first = [next(steps) for _ in range(5)]
    steps.close()
    rest = list(study.run_study(tmp_path, labels=(4,), seeds=2))
    assert len(first) + len(rest) == 2 * 2 * 3
    keys = [(row["target"], row["seed"], row["method"]) for row in first + rest]
    assert len(set(keys)) == len(keys)


def test_fine_tuning_starts_from_the_fitted_head_of_the_same_draw(laboratory, tmp_path):
    list(study.run_study(tmp_path, targets=["lines"], labels=(4,), seeds=1))
    (tuned,) = [call for call in laboratory.calls if call[0] == "tuned"]
    assert tuned[5].name == "frozen"
    assert tuned[5].data.train.digest


def test_fine_tuning_can_be_given_the_baselines_epochs_and_views(laboratory, tmp_path):
    list(study.run_study(tmp_path, targets=["lines"], labels=(4,), seeds=1))
    laboratory.calls.clear()
    both = ("tuned", study.MATCHED)
    rows = list(study.run_study(tmp_path, targets=["lines"], labels=(4,), seeds=1, methods=both))
    assert [row["method"] for row in rows] == [study.MATCHED]
    ((_, n_train, _, recipe, _, start),) = [c for c in laboratory.calls if c[0] == "tuned"]
    chosen = baseline_recipe(read(tmp_path, "lines")["baseline"], start.data, small_backbone())
    usual = recipes.fine_tuning(n_train, 2, near_source=False)
    assert recipe == replace(usual, epochs=chosen.epochs, views=chosen.views)
    assert recipe.epochs != usual.epochs
    assert study.MATCHED not in set(study.table(tmp_path)["method"])
    assert len(study.table(tmp_path, methods=both)) == 2


def test_the_baseline_can_be_given_twice_its_epochs(laboratory, tmp_path):
    list(study.run_study(tmp_path, targets=["lines"], labels=(4,), seeds=1))
    usual = next(c for c in laboratory.calls if c[0] == "scratch" and c[2] == 0)
    laboratory.calls.clear()
    both = ("scratch", study.LONGER)
    (row,) = study.run_study(tmp_path, targets=["lines"], labels=(4,), seeds=1, methods=both)
    assert (row["method"], "source_weights" in row) == (study.LONGER, False)
    (longer,) = laboratory.calls  # and no head is fitted for it
    assert longer[3] == replace(usual[3], epochs=2 * usual[3].epochs)
    assert longer[:3] == usual[:3]
    assert study.LONGER not in set(study.table(tmp_path)["method"])
    assert len(study.table(tmp_path, methods=both)) == 2


def test_other_sources_get_a_head_on_larger_pictures_and_no_baseline(laboratory, tmp_path):
    other = tuple(study.SOURCES)
    rows = list(study.run_study(tmp_path, targets=["signs"], labels=(4,), seeds=1, methods=other))
    assert [row["method"] for row in rows] == list(other)
    assert all("source_weights" in row for row in rows)
    assert [call[0] for call in laboratory.calls] == ["frozen", "frozen"]
    assert "baseline" not in read(tmp_path, "signs")
    assert study.table(tmp_path).empty
    assert len(study.table(tmp_path, methods=other)) == 2


def test_the_sweep_compares_at_each_relatedness_with_one_recipe(laboratory, tmp_path):
    rows = list(study.run_sweep(tmp_path, labels=(4,), seeds=1))
    assert [row["relatedness"] for row in rows[::3]] == [0.75, 0.5, 0.25, 0.0]
    assert [row["method"] for row in rows[:3]] == ["scratch", "frozen", "tuned"]
    assert len(read(tmp_path, "relatedness")["baseline"]) == 6
    assert list(study.run_sweep(tmp_path, labels=(4,), seeds=1)) == []


def test_the_sweep_takes_the_recipe_chosen_for_the_studys_pets(laboratory, tmp_path, monkeypatch):
    monkeypatch.setattr(study, "TARGETS", {"pets": study.PETS})
    list(study.run_study(tmp_path, labels=(4,), seeds=1))
    laboratory.calls.clear()
    list(study.run_sweep(tmp_path, labels=(4,), seeds=1))
    assert study.TUNING_SEED not in {call[2] for call in laboratory.calls}
    assert read(tmp_path, "relatedness")["baseline"] == read(tmp_path, "pets")["baseline"]
    # Relatedness 1 is the study's own.
    table = study.table(tmp_path).set_index("target")["relatedness"]
    assert sorted(table["pets"].unique()) == [0, 0.25, 0.5, 0.75, 1]


def test_the_table_names_target_and_relatedness(laboratory, tmp_path):
    list(study.run_study(tmp_path, labels=(4,), seeds=1))
    list(study.run_sweep(tmp_path, labels=(4,), seeds=1))
    table = study.table(tmp_path).set_index("target")["relatedness"]
    assert set(table.index) == {*TOYS, "pets"}
    assert (table["lines"] == 1).all()
    assert table["signs"].isna().all()


def test_unknown_targets_and_missing_records(tmp_path):
    with pytest.raises(ValueError, match="one of pets, objects"):
        next(study.run_study(tmp_path, targets=["cats"]))
    for run in (study.run_study, study.run_sweep):
        with pytest.raises(ValueError, match="one of scratch, frozen, tuned, matched, longer"):
            next(run(tmp_path, methods=["best"]))
        with pytest.raises(ValueError, match="at least one seed"):
            run(tmp_path, seeds=0)
        with pytest.raises(ValueError, match="at least two labels"):
            run(tmp_path, labels=[5, 1])
    with pytest.raises(FileNotFoundError, match="make study"):
        study.table(tmp_path)


def test_digits_are_never_mirrored():
    assert study.TARGETS["mnist"].augmentation == Augmentation(flip=False)
    assert all(isinstance(target.augmentation, Augmentation) for target in study.TARGETS.values())


@pytest.mark.slow
def test_one_target_for_real(tmp_path, monkeypatch):
    monkeypatch.setattr(study, "TARGETS", {"lines": Target("a", "embedded", 32)})
    monkeypatch.setattr(study, "RATES", (1e-3,))
    monkeypatch.setattr(study, "TUNING_LABELS", 4)
    monkeypatch.setattr(study, "load_target", lambda target, seed: striped_data(24, 8))
    monkeypatch.setattr(
        "tlhelpers.models.backbones.load_backbone", lambda *_, **__: small_backbone("block1_pool")
    )
    short = Training(1, 8, 1e-3, views=1)
    monkeypatch.setattr("tlhelpers.transfer.recipes.from_scratch", lambda *_: short)
    monkeypatch.setattr("tlhelpers.transfer.methods.recipes.fine_tuning", lambda *_, **__: short)
    rows = list(study.run_study(tmp_path, labels=(4,), seeds=1))
    assert [row["method"] for row in rows] == ["scratch", "frozen", "tuned"]
    assert all(0 <= row["test"] <= 1 for row in rows)
