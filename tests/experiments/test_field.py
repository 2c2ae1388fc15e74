"""Field results: recorded one by one, resumed, and summarised with what made them."""

import json
from dataclasses import replace

import numpy as np
import pytest
from toys import small_backbone, striped_data

import tlhelpers
from tlhelpers.experiments import field, records
from tlhelpers.experiments.field import Arm, Experiment, run_experiment
from tlhelpers.transfer.runs import Run

TOY = Experiment(
    "stripes",
    (Arm("vgg16_mini", "block1_pool", 32, ("frozen",)), Arm("resnet50", None, 48, ("scratch",))),
    labels=(4, 6),
    seeds=2,
)


class Laboratory:
    """Stands in for downloading and training, and notes what was asked for."""

    def __init__(self):
        self.loaded, self.trained = [], []

    def load(self, name, *, tier, image_size, seed):
        self.loaded.append((name, tier, image_size, seed))
        return striped_data(train=24, validation=8).resized(image_size)

    def run(self, arm, method, data, seed):
        self.trained.append((arm.backbone, method, len(data.train) + len(data.validation), seed))
        wrong = seed + 1

        def predict(split):
            labels = split.labels.copy()
            labels[:wrong] = 1 - labels[:wrong]
            return np.eye(2)[labels]

        config = {"epochs": np.int64(3)}
        history = {"loss": [1.0, 0.5]} if method == "scratch" else {}
        return Run(method, None, data, history, 1.26, config, None, 1, predict)


@pytest.fixture
def laboratory(monkeypatch):
    laboratory = Laboratory()
    monkeypatch.setattr(field, "EXPERIMENTS", {"toy": TOY})
    monkeypatch.setattr("tlhelpers.data.datasets.load_dataset", laboratory.load)
    monkeypatch.setattr(field, "_run", laboratory.run)
    return laboratory


def read(folder):
    return json.loads((folder / "toy.json").read_text("utf-8"))


class TestRunExperiment:
    def test_everything_once(self, laboratory, tmp_path):
        rows = list(run_experiment("toy", tmp_path / "new"))
        assert len(rows) == 8
        # Each seed has its own split into training and validation.
        sizes_and_seeds = [(32, 0), (48, 0), (32, 1), (48, 1)]
        assert set(laboratory.loaded) == {("stripes", "real", *one) for one in sizes_and_seeds}
        assert {total for _, _, total, _ in laboratory.trained} == {2 * 4, 2 * 6}
        assert list(run_experiment("toy", tmp_path / "new")) == []
        assert len(laboratory.trained) == 8
        assert [file.name for file in (tmp_path / "new").iterdir()] == ["toy.json"]

    def test_what_is_recorded(self, laboratory, tmp_path):
        row = next(run_experiment("toy", tmp_path))
        record = read(tmp_path)
        assert record["results"] == [row]
        assert record["data"]["digest"] == "sha256:0"
        assert (row["backbone"], row["cut"], row["method"]) == (
            "vgg16_mini",
            "block1_pool",
            "frozen",
        )
        assert (row["labels"], row["seed"], row["image_size"]) == (4, 0, 32)
        assert (row["test"], row["n_test"], row["seconds"]) == (0.9, 10, 1.3)
        assert row["epochs_run"] == 0
        here = record["environments"][row["environment"]]
        assert here["packages"]["keras"]
        assert here["packages"]["tlhelpers"] == tlhelpers.__version__
        assert here["processor"]
        assert here["cores"] >= 1

    def test_it_resumes(self, laboratory, tmp_path):
        begun = run_experiment("toy", tmp_path)
        first = [next(begun) for _ in range(3)]
        begun.close()
        assert read(tmp_path)["results"] == first
        rest = list(run_experiment("toy", tmp_path))
        assert len(rest) == 5
        assert read(tmp_path)["results"] == [*first, *rest]
        assert len(set(laboratory.trained)) == len(laboratory.trained) == 8

    def test_a_failure_keeps_what_is_done(self, laboratory, tmp_path, monkeypatch):
        def fail_later(arm, method, data, seed):
            if seed == 1:
                raise MemoryError("too large")
            return laboratory.run(arm, method, data, seed)

        monkeypatch.setattr(field, "_run", fail_later)
        with pytest.raises(MemoryError):
            list(run_experiment("toy", tmp_path))
        assert len(read(tmp_path)["results"]) == 2

    def test_parts(self, laboratory, tmp_path):
        def part(**chosen):
            return list(run_experiment("toy", tmp_path, **chosen))

        assert len(part(backbones=["resnet50"], seeds=1)) == 2
        assert len(part(methods=["frozen"], labels=[6])) == 2
        assert len(part(seeds=1)) == 1
        assert len(part()) == 3

    def test_other_environments_are_told_apart(self, laboratory, tmp_path, monkeypatch):
        next(run_experiment("toy", tmp_path))
        here = records.environment()
        monkeypatch.setattr(records, "environment", lambda: {**here, "device": "another"})
        rows = list(run_experiment("toy", tmp_path))
        assert {row["environment"] for row in rows} == {1}
        assert [one["device"] for one in read(tmp_path)["environments"]] == [
            here["device"],
            "another",
        ]

    @pytest.mark.parametrize(
        ("name", "chosen", "message"),
        [
            ("cats", {}, "one of toy. Received: 'cats'"),
            ("toy", {"methods": ["melted"]}, "scratch, frozen, tuned. Received: 'melted'"),
            ("toy", {"backbones": ["vgg19"]}, "resnet50, vgg16_mini. Received: 'vgg19'"),
        ],
    )
    def test_unknown_names(self, laboratory, tmp_path, name, chosen, message):
        with pytest.raises(ValueError, match=message):
            list(run_experiment(name, tmp_path, **chosen))
        assert not list(tmp_path.iterdir())


def test_each_method_is_the_one_it_is_called(monkeypatch):
    asked = []

    def load(name, size, *, cut, weights):
        asked.append((name, size, cut, weights))
        return "a backbone"

    monkeypatch.setattr("tlhelpers.models.backbones.load_backbone", load)
    for name in ("from_scratch", "feature_transfer", "model_transfer"):
        monkeypatch.setattr(
            f"tlhelpers.transfer.methods.{name}",
            lambda base, data, *, seed, name=name: (name, base, data, seed),
        )
    arm = Arm("vgg16", "block3_pool", 150)
    called = [field._run(arm, method, "data", 3) for method in field.METHODS]
    assert [call[0] for call in called] == ["from_scratch", "feature_transfer", "model_transfer"]
    assert {call[1:] for call in called} == {("a backbone", "data", 3)}
    assert [weights for *_, weights in asked] == [None, "pretrained", "pretrained"]
    assert {tuple(rest) for *rest, _ in asked} == {("vgg16", 150, "block3_pool")}


def test_a_network_made_for_small_pictures(monkeypatch):
    asked = []
    monkeypatch.setattr(
        field, "train_small_resnet", lambda data, seed, *, width: asked.append((data, seed, width))
    )
    field._run(Arm("small_resnet", None, 32, ("scratch",), width=16), "scratch", "data", 3)
    field._run(Arm("small_resnet", None, 32, ("scratch",)), "scratch", "data", 4)
    assert asked == [("data", 3, 16), ("data", 4, 24)]


def test_a_drawn_set_is_the_same_for_every_seed(laboratory, tmp_path, monkeypatch):
    drawn = replace(TOY, tier="embedded", arms=TOY.arms[:1], labels=(4,))
    monkeypatch.setattr(field, "EXPERIMENTS", {"toy": drawn})
    rows = list(run_experiment("toy", tmp_path))
    assert [row["seed"] for row in rows] == [0, 1]
    assert laboratory.loaded == [("stripes", "embedded", 32, 0)] * 2
    assert len(set(laboratory.trained)) == 2


def test_a_real_run_can_be_recorded(tmp_path, monkeypatch):
    arm = Arm("vgg16_mini", "block1_pool", 32, ("frozen",))
    monkeypatch.setattr(field, "EXPERIMENTS", {"toy": replace(TOY, arms=(arm,), seeds=1)})
    monkeypatch.setattr(
        "tlhelpers.data.datasets.load_dataset",
        lambda name, **_: striped_data(train=24, validation=8),
    )
    monkeypatch.setattr(
        "tlhelpers.models.backbones.load_backbone", lambda *_, cut, **__: small_backbone(cut)
    )
    (row,) = run_experiment("toy", tmp_path, labels=[6])
    assert row["config"]["method"] == "feature_transfer"
    assert 0 <= row["test"] <= 1
    assert read(tmp_path)["results"] == [row]


class TestTable:
    def test_seeds_are_summarised(self, laboratory, tmp_path):
        list(run_experiment("toy", tmp_path))
        table = field.table("toy", tmp_path)
        assert len(table) == 4
        assert set(table["seeds"]) == {2}
        row = table[(table["labels"] == 4) & (table["method"] == "frozen")].iloc[0]
        # One image of ten wrong with the first seed, two with the second.
        assert row["mean"] == pytest.approx(0.85)
        assert row["sd"] == pytest.approx(np.std([0.9, 0.8], ddof=1))
        assert (row["lowest"], row["highest"]) == (0.8, 0.9)
        assert row["seconds"] == 1.3
        assert (row["backbone"], row["cut"]) == ("vgg16_mini", "block1_pool")
        assert set(table[table["backbone"] == "resnet50"]["cut"]) == {""}

    def test_not_recorded(self, tmp_path, monkeypatch):
        with pytest.raises(FileNotFoundError, match=r"toy\.json.*tlhelpers record toy"):
            field.table("toy", tmp_path)
        monkeypatch.chdir(tmp_path)
        with pytest.raises(FileNotFoundError, match=r"tlhelpers record nothing"):
            field.load("nothing")

    def test_found_from_a_chapter(self, laboratory, tmp_path, monkeypatch):
        list(run_experiment("toy", tmp_path / "book" / "_data" / "field"))
        for folder in (tmp_path, tmp_path / "book"):
            monkeypatch.chdir(folder)
            assert len(field.load("toy")["results"]) == 8


def test_the_books_experiments_can_be_loaded():
    from tlhelpers.models.backbones import ARCHITECTURES

    for experiment in field.EXPERIMENTS.values():
        for arm in experiment.arms:
            if arm.backbone == "small_resnet":
                assert (arm.cut, arm.methods) == (None, ("scratch",))
                continue
            row = ARCHITECTURES[arm.backbone]
            assert arm.cut is None or arm.cut in row.stages
            assert set(arm.methods) <= set(field.METHODS)
        assert experiment.seeds >= 3
