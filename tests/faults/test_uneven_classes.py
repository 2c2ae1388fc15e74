"""Twenty pictures of one class for one of the other: the rare one is not given up in silence."""

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
from toys import small_backbone, striped_data

import tlhelpers as tl

RECIPE = tl.recipes.Training(
    epochs=3, batch_size=16, learning_rate=1e-3, backbone_rate=0.1, views=0
)


def uneven(split, each):
    """Keep one in so many of the second class."""
    kept = np.flatnonzero((split.labels == 0) | (np.arange(len(split)) % (2 * each) == 1))
    return split.take(kept)


@pytest.fixture(scope="module")
def data():
    whole = striped_data(train=240, validation=40, test=60)
    return replace(whole, train=uneven(whole.train, 20), validation=uneven(whole.validation, 20))


@pytest.fixture(scope="module")
def base():
    return small_backbone(cut="block1_pool")


def runs(base, data, class_weight):
    recipe = replace(RECIPE, class_weight=class_weight)
    frozen = tl.feature_transfer(base, data, class_weight=class_weight)
    yield frozen
    yield tl.model_transfer(base, data, start=frozen, recipe=recipe)
    yield tl.from_scratch(base, data, recipe=recipe)


def dim_and_bright(counts, seed, name):
    """Plain grey noise, the second class brighter by as much as pictures differ in any case."""
    rng = np.random.default_rng(seed)
    labels = np.repeat([0, 1], counts)
    light = rng.normal(110 + 15 * labels, 15)
    images = light[:, None, None, None] + rng.normal(0, 20, (len(labels), 32, 32, 3))
    images = np.uint8(images.clip(0, 255))
    return tl.Split.from_arrays(images, labels, ["dim", "bright"], name=name)


@pytest.mark.slow
def test_the_rare_class_is_found(base, data):
    """285 : 15, as from a folder of which five pictures each are tested and validated."""
    data = replace(
        data,
        train=dim_and_bright((171, 9), 0, "train"),
        validation=dim_and_bright((57, 3), 1, "validation"),
        test=dim_and_bright((200, 200), 2, "test"),
    )
    found = {}
    for choice in (None, "auto"):
        for run in islice(runs(base, data, choice), 2):
            found[run.name, choice] = run.right()[data.test.labels == 1].mean()
    print(found)
    assert found["frozen", None] < 0.2 < 0.5 < found["frozen", "auto"]
    assert found["tuned", None] + 0.2 < found["tuned", "auto"]


def test_it_is_said_and_noted(base, data, capsys):
    assert np.bincount(data.train.labels).tolist() == [120, 6]
    for run in runs(base, data, "auto"):
        assert run.config["class_weight"] == "balanced"
    said = capsys.readouterr().out
    assert said.count("120 of the largest class, 6 of the smallest") == 3


@pytest.mark.slow
@pytest.mark.parametrize("choice", ["balanced", None])
def test_it_can_be_chosen(base, data, capsys, choice):
    for run in runs(base, data, choice):
        assert run.config["class_weight"] == choice
    assert "uneven" not in capsys.readouterr().out


def test_even_classes_are_left_as_they_are(base, capsys):
    data = striped_data()
    assert tl.feature_transfer(base, data).config["class_weight"] is None
    assert "uneven" not in capsys.readouterr().out


def test_no_such_weights(base, data):
    with pytest.raises(ValueError, match="Received: 'even'"):
        tl.feature_transfer(base, data, class_weight="even")
    with pytest.raises(ValueError, match="Received: 'even'"):
        tl.from_scratch(base, data, recipe=replace(RECIPE, class_weight="even"))
