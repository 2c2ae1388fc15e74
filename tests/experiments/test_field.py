"""Field results: recorded one by one, resumed, and summarised with what made them."""

import json

import numpy as np
import pytest
from toys import small_backbone, striped_data

import tlhelpers
from tlhelpers.experiments import field, records
from tlhelpers.experiments.field import choose, plans, run_experiment
from tlhelpers.experiments.field.plans import Experiment, grid
from tlhelpers.transfer.methods import feature_transfer
from tlhelpers.transfer.runs import Run

NETWORKS = [
    {"backbone": "vgg16_mini", "cut": "block1_pool", "image_size": 32, "method": "frozen"},
    {"backbone": "resnet50", "cut": None, "image_size": 48, "method": "scratch"},
]
PLAN = grid(NETWORKS, (4, 6), seeds=2)


class Laboratory:
    """Stands in for downloading and training, and notes what was asked for."""

    def __init__(self):
        self.loaded, self.trained = [], []

    def load(self, settings):
        self.loaded.append((settings["image_size"], settings["seed"]))
        return striped_data(train=24, validation=8).resized(settings["image_size"])

    def run(self, settings, data):
        assert len(data.train) == 24  # the whole data set: the few are drawn in here
        self.trained.append(records.identity(settings))
        wrong, scratch = settings["seed"] + 1, settings["method"] == "scratch"

        def predict(split):
            labels = split.labels.copy()
            labels[:wrong] = 1 - labels[:wrong]
            return np.eye(2)[labels]

        config = {"epochs": np.int64(3)}
        history = {"loss": [1.0, 0.5]} if scratch else {}
        return Run(settings["method"], None, data, history, 1.26, config, None, 1, predict)


@pytest.fixture
def laboratory(monkeypatch):
    laboratory = Laboratory()
    toy = Experiment(PLAN, laboratory.load, laboratory.run)
    monkeypatch.setattr(field, "EXPERIMENTS", {"toy": toy})
    return laboratory


def read(folder):
    return json.loads((folder / "toy.json").read_text("utf-8"))


def files(folder):
    """Names of what lies in a folder, but for the lock of the record."""
    return sorted(file.name for file in folder.iterdir() if file.name != ".toy.json.lock")


class TestRunExperiment:
    def test_everything_once(self, laboratory, tmp_path):
        rows = list(run_experiment("toy", tmp_path / "new"))
        assert len(rows) == 8
        # Each seed has its own split into training and validation.
        assert set(laboratory.loaded) == {(32, 0), (48, 0), (32, 1), (48, 1)}
        assert list(run_experiment("toy", tmp_path / "new")) == []
        assert len(laboratory.trained) == 8
        assert files(tmp_path / "new") == ["toy.json"]

    def test_what_is_recorded(self, laboratory, tmp_path):
        row = next(run_experiment("toy", tmp_path))
        record = read(tmp_path)
        assert record["results"] == [row]
        assert record["data"]["digest"] == "sha256:0"
        assert row.items() >= {**NETWORKS[0], "labels": 4, "seed": 0}.items()
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
        def fail_later(settings, data):
            if settings["seed"] == 1:
                raise MemoryError("too large")
            return laboratory.run(settings, data)

        toy = Experiment(PLAN, laboratory.load, fail_later)
        monkeypatch.setattr(field, "EXPERIMENTS", {"toy": toy})
        with pytest.raises(MemoryError):
            list(run_experiment("toy", tmp_path))
        assert len(read(tmp_path)["results"]) == 2
        assert files(tmp_path) == ["toy.json"]

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
            ("toy", {"methods": ["melted"]}, "frozen, scratch. Received: 'melted'"),
            ("toy", {"backbones": ["vgg19"]}, "vgg16_mini, resnet50. Received: 'vgg19'"),
            ("toy", {"labels": [5]}, "one of 4, 6. Received: 5"),
            ("toy", {"seeds": 0}, "at least 1. Received: 0"),
            ("toy", {"seeds": -1}, "at least 1. Received: -1"),
            ("toy", {"backbones": ["resnet50"], "methods": ["frozen"]}, "resnet50 scratch"),
            ("toy", {"backbones": ["resnet50", "vgg16_mini"], "methods": ["frozen"]}, "resnet50"),
        ],
    )
    def test_what_does_not_exist(self, laboratory, tmp_path, name, chosen, message):
        with pytest.raises(ValueError, match=message):
            run_experiment(name, tmp_path, **chosen)
        assert not list(tmp_path.iterdir())


def test_a_drawn_set_is_the_same_for_every_seed(tmp_path, monkeypatch):
    asked = []

    def load(name, **settings):
        asked.append((name, settings))
        return striped_data(train=24, validation=8)

    def train(few, seed, *, width):
        asked.append((len(few.train) + len(few.validation), seed, width))
        return Laboratory().run({"seed": seed, "method": "scratch"}, striped_data(24, 8))

    monkeypatch.setattr("tlhelpers.data.datasets.load_dataset", load)
    monkeypatch.setattr(field.small_resnet, "train_small_resnet", train)
    list(run_experiment("objects", tmp_path, labels=[5], seeds=2))
    assert asked[0] == asked[2]
    assert (asked[0][0], asked[0][1]["seed"]) == ("objects", 0)
    assert [asked[1], asked[3]] == [(10, 0, 16), (10, 1, 16)]


def test_a_real_run_can_be_recorded(tmp_path, monkeypatch):
    def run(settings, data):
        few = data.few(settings["labels"], seed=settings["seed"])
        return feature_transfer(small_backbone(settings["cut"]), few)

    monkeypatch.setattr(
        "tlhelpers.data.datasets.load_dataset",
        lambda name, **_: striped_data(train=24, validation=8),
    )
    toy = Experiment(grid(NETWORKS[:1], (6,), 1), plans.load_real("stripes"), run)
    monkeypatch.setattr(field, "EXPERIMENTS", {"toy": toy})
    (row,) = run_experiment("toy", tmp_path)
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

    for name in ("photographs", "cifar10_alike"):
        for settings in choose(name):
            if settings["backbone"] == "small_resnet":
                assert (settings["cut"], settings["method"]) == (None, "scratch")
                continue
            row = ARCHITECTURES[settings["backbone"]]
            assert settings["cut"] is None or settings["cut"] in row.stages
            assert settings["method"] in ("scratch", "frozen", "tuned")


@pytest.mark.parametrize("name", field.EXPERIMENTS)
def test_the_books_records_are_of_what_is_planned(name, root):
    path = root / "book" / "_data" / "field" / f"{name}.json"
    plan = choose(name)
    assert records.settings_recorded(path, plan) == len(records.open_record(path)["results"])
    assert len({settings["seed"] for settings in plan}) >= 3
