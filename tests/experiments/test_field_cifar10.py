"""The record on CIFAR-10: cheap results first, resumed, and a baseline that is trained in earnest."""

import json

import numpy as np
import pytest
from toys import striped_data

from tlhelpers.experiments import field
from tlhelpers.experiments.field import cifar10
from tlhelpers.experiments.field.cifar10 import PLAN, Part, run, scratch_epochs, train_small_resnet
from tlhelpers.transfer.runs import Run

TOY = (
    Part("vgg16", "block3_pool", 32, "frozen", (4, 6), 1),
    Part("small_resnet", None, 16, "scratch", (4,), 2),
    Part("vgg16", "block3_pool", 32, "frozen", (4, 6), 2),
)


@pytest.fixture
def laboratory(monkeypatch):
    """Stands in for data and training, and notes what was asked for."""
    asked = []

    def load(name, *, tier, image_size, seed):
        assert (name, tier) == ("cifar10", "real")
        return striped_data(train=24, validation=8).resized(image_size)

    def fit(part, data, seed):
        n = len(data.train) + len(data.validation)
        asked.append((part.backbone, part.method, n // 2, data.image_size, seed))

        def predict(split):
            labels = split.labels.copy()
            labels[: seed + 1] = 1 - labels[: seed + 1]
            return np.eye(2)[labels]

        return Run(part.method, None, data, {}, 1.0, {}, None, 1, predict)

    monkeypatch.setattr("tlhelpers.data.datasets.load_dataset", load)
    monkeypatch.setattr(cifar10, "PLAN", TOY)
    monkeypatch.setattr(cifar10, "_run", fit)
    return asked


def read(folder):
    return json.loads((folder / "cifar10.json").read_text("utf-8"))


def test_the_plan_is_followed_in_its_order_and_nothing_is_run_twice(laboratory, tmp_path):
    rows = list(run(tmp_path))
    assert laboratory == [
        ("vgg16", "frozen", 4, 32, 0),
        ("vgg16", "frozen", 6, 32, 0),
        ("small_resnet", "scratch", 4, 16, 0),
        ("small_resnet", "scratch", 4, 16, 1),
        ("vgg16", "frozen", 4, 32, 1),
        ("vgg16", "frozen", 6, 32, 1),
    ]
    assert read(tmp_path)["results"] == rows
    assert list(run(tmp_path)) == []


def test_it_resumes_where_it_was_interrupted(laboratory, tmp_path):
    begun = run(tmp_path)
    first = [next(begun) for _ in range(3)]
    begun.close()
    rest = list(run(tmp_path))
    assert read(tmp_path)["results"] == [*first, *rest]
    assert len(set(laboratory)) == len(laboratory) == 6


def test_parts(laboratory, tmp_path):
    assert len(list(run(tmp_path, networks=["small_resnet"], seeds=1))) == 1
    assert len(list(run(tmp_path, seeds=1))) == 2
    assert list(run(tmp_path, seeds=0)) == []
    assert list(run(tmp_path, methods=["scratch"], labels=[6])) == []
    (row,) = run(tmp_path, methods=["frozen"], labels=[6])
    assert (row["backbone"], row["labels"], row["seed"]) == ("vgg16", 6, 1)


def test_what_is_recorded_and_summarised(laboratory, tmp_path):
    row, *_ = run(tmp_path)
    assert (row["backbone"], row["cut"], row["image_size"]) == ("vgg16", "block3_pool", 32)
    assert (row["method"], row["labels"], row["seed"], row["test"]) == ("frozen", 4, 0, 0.9)
    assert read(tmp_path)["data"]["digest"] == "sha256:0"
    table = field.table("cifar10", tmp_path).set_index(["method", "labels"])
    assert table.loc[("frozen", 6), "mean"] == pytest.approx(0.85)
    assert table.loc[("scratch", 4), "seeds"] == 2


def test_the_command_line_reaches_it(laboratory, tmp_path):
    rows = field.run_experiment("cifar10", tmp_path, backbones=["small_resnet"], seeds=1)
    assert [row["backbone"] for row in rows] == ["small_resnet"]


def test_other_data_and_unknown_networks(laboratory, tmp_path):
    with pytest.raises(ValueError, match=r"small_resnet, vgg16\. Received: 'vgg19'"):
        list(run(tmp_path, networks=["vgg19"]))
    with pytest.raises(ValueError, match=r"number of labels of cifar10 is one of 4, 6\."):
        list(run(tmp_path, labels=[5]))
    with pytest.raises(ValueError, match="Received: 'tuned'"):
        list(run(tmp_path, methods=["tuned"]))
    next(run(tmp_path))
    path = tmp_path / "cifar10.json"
    record = read(tmp_path)
    record["data"]["digest"] = "sha256:other"
    path.write_text(json.dumps(record), "utf-8")
    with pytest.raises(ValueError, match="must come from the same data"):
        list(run(tmp_path))


def test_the_real_plan():
    described = [(p.backbone, p.method, n) for p in PLAN for n in p.labels]
    for method, backbone in (
        ("frozen", "vgg16"),
        ("frozen", "mobilenet_v2"),
        ("scratch", "small_resnet"),
    ):
        counts = {n for b, m, n in described if (b, m) == (backbone, method)}
        assert counts == set(field.EXPERIMENTS["cifar10"].labels)
    assert PLAN[0] == Part("vgg16", "block3_pool", 32, "frozen", (5, 20, 100), 3)
    # All labels take up to an hour a run: every method gets one seed before any gets more.
    of_all = [p for p in PLAN if cifar10.ALL in p.labels]
    assert all(p.seeds == 1 for p in of_all[: len({(p.backbone, p.method) for p in of_all})])


def test_methods_go_to_their_functions(monkeypatch):
    asked = []

    def note(what):
        return lambda *args, **kwargs: asked.append((what, args, kwargs))

    monkeypatch.setattr(
        "tlhelpers.models.backbones.load_backbone", lambda name, size, *, cut: (name, size, cut)
    )
    monkeypatch.setattr("tlhelpers.transfer.methods.feature_transfer", note("frozen"))
    monkeypatch.setattr("tlhelpers.transfer.methods.model_transfer", note("tuned"))
    monkeypatch.setattr(cifar10, "train_small_resnet", note("scratch"))
    for method in ("frozen", "tuned", "scratch"):
        cifar10._run(Part("vgg16", "block3_pool", 32, method, (5,), 1), "data", 3)
    base = ("vgg16", 32, "block3_pool")
    assert asked == [
        ("frozen", (base, "data"), {"seed": 3}),
        ("tuned", (base, "data"), {"seed": 3}),
        ("scratch", ("data", 3), {}),
    ]


def test_epochs_fall_with_the_square_root_of_the_images():
    assert scratch_epochs(45_000) == 20
    assert scratch_epochs(45_000 // 4) == 40
    assert scratch_epochs(45) == 300
    with pytest.raises(ValueError, match="at least one image"):
        scratch_epochs(0)


def test_the_baseline_learns_and_says_how():
    data = striped_data(train=64, validation=10, test=40, size=16)
    fitted = train_small_resnet(data, seed=1, width=4, epochs=12)
    assert fitted.test.accuracy > 0.9
    assert fitted.history["loss"][-1] < fitted.history["loss"][0]
    assert len(fitted.history["loss"]) == fitted.config["epochs"] == 12
    assert (fitted.config["n_train"], fitted.config["batch_size"]) == (64, 32)
    assert fitted.config["peak_learning_rate"] == pytest.approx(0.05)
    again = train_small_resnet(data, seed=1, width=4, epochs=12)
    assert np.allclose(again.probabilities(), fitted.probabilities(), atol=1e-3)
