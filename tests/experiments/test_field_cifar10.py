"""The record on CIFAR-10: cheap results first, resumed, and a baseline that is trained in earnest."""

import numpy as np
import pytest
from toys import striped_data

from tlhelpers.experiments.field import choose, cifar10
from tlhelpers.experiments.field.cifar10 import plan, scratch_epochs, train_small_resnet


def test_the_plan_names_cheap_results_first_and_seeds_are_capped(monkeypatch):
    network = {"backbone": "vgg16"}
    parts = ((network, "frozen", (4, 6), 1), (network, "tuned", (4,), 2))
    monkeypatch.setattr(cifar10, "PARTS", parts)
    named = [(one["method"], one["labels"], one["seed"]) for one in plan()]
    assert named == [("frozen", 4, 0), ("frozen", 6, 0), ("tuned", 4, 0), ("tuned", 4, 1)]
    assert [one["seed"] for one in plan(1)] == [0, 0, 0]
    assert list(plan(9)) == list(plan())


def test_the_real_plan():
    planned = choose("cifar10")
    counts = {(one["backbone"], one["method"]): set() for one in planned}
    for one in planned:
        counts[one["backbone"], one["method"]].add(one["labels"])
    for way in (("vgg16", "frozen"), ("mobilenet_v2", "frozen"), ("small_resnet", "scratch")):
        assert counts[way] == {5, 20, 100, 500, 5000}
    # All labels take up to an hour a run: every method gets one seed before any gets more.
    of_all = [(one["method"], one["seed"]) for one in planned if one["labels"] == cifar10.ALL]
    first_repeat = next(place for place, (_, seed) in enumerate(of_all) if seed)
    assert {method for method, _ in of_all[:first_repeat]} == {"frozen", "scratch", "tuned"}


def test_epochs_fall_with_the_square_root_of_the_images():
    assert scratch_epochs(45_000) == 20
    assert scratch_epochs(45_000 // 4) == 40
    assert scratch_epochs(45) == 300
    with pytest.raises(ValueError, match="at least one image"):
        scratch_epochs(0)


@pytest.mark.slow
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
