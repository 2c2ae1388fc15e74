"""Comparisons: gains are paired, tables say what was measured, and unlike is not compared."""

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure
from toys import striped_data

from tlhelpers import compare, load_dataset
from tlhelpers.evaluation.scores import paired_difference
from tlhelpers.transfer.runs import Run

DATA = striped_data(test=40, validation=8)


def made_up(name, wrong, data=DATA, parameters=1234567, seconds=61.4):
    """A run that is right about all images but some."""

    def predict(split):
        labels = split.labels.copy()
        labels[:wrong] = 1 - labels[:wrong]
        return np.eye(2)[labels]

    config = {"trained_parameters": parameters}
    return Run(name, None, data, {}, seconds, config, None, 1, predict)


def test_table():
    found = compare([made_up("scratch", 12), made_up("frozen", 4, parameters=258)])
    table = found.table
    assert list(table.index) == ["scratch", "frozen"]
    assert table["test accuracy"].tolist() == ["70.0%", "90.0%"]
    assert table["95 % interval"].tolist() == ["54.6% to 81.9%", "76.9% to 96.0%"]
    assert table["trained parameters"].tolist() == ["1,234,567", "258"]
    assert table["seconds"].tolist() == ["61", "61"]
    first, gain = table["gain over scratch"]
    assert first == ""
    assert gain.startswith("+20.0 points (+")
    assert "scratch" in str(found)
    assert "<table" in found._repr_html_()


def test_only_splits_to_judge_on_are_compared():
    for split in ("train", "val"):
        with pytest.raises(ValueError, match=f"'test' or 'validation'. Received: '{split}'"):
            compare([made_up("scratch", 12), made_up("frozen", 4)], split=split)


def test_gains_are_paired():
    runs = [made_up("scratch", 12), made_up("frozen", 4), made_up("tuned", 16)]
    found = compare(runs)
    assert [gain.difference for gain in found.gains] == pytest.approx([0, 0.2, -0.1])
    for gain, run in zip(found.gains, runs, strict=True):
        assert gain == paired_difference(runs[0].right(), run.right())
    assert found.gains[1].low > 0


def test_figure():
    found = compare([made_up("scratch", 12), made_up("frozen", 4)])
    assert isinstance(found.figure, Figure)
    (axis,) = found.figure.axes
    assert [label.get_text() for label in axis.get_yticklabels()] == ["scratch", "frozen"]
    assert "40 images" in axis.get_xlabel()


def test_while_choosing():
    found = compare([made_up("a", 4), made_up("b", 0)], split="validation")
    assert found.table["validation accuracy"].tolist() == ["50.0%", "100.0%"]


def test_one_run_is_no_comparison():
    with pytest.raises(ValueError, match=r"at least two runs. Received: 1"):
        compare([made_up("scratch", 1)])


@pytest.mark.parametrize("other", [None, 0.9, "frozen"])
def test_what_is_no_run(other):
    with pytest.raises(TypeError, match=f"takes runs.*Received: {type(other).__name__}"):
        compare([made_up("scratch", 1), other])
    with pytest.raises(TypeError, match="takes runs"):
        compare([other, other])


@pytest.mark.parametrize(
    "other",
    [
        striped_data(test=40, seed=7),
        striped_data(test=30),
        replace(DATA, test=DATA.test.take(range(39, -1, -1))),
    ],
    ids=["other images", "fewer", "another order"],
)
def test_other_test_images(other):
    with pytest.raises(ValueError, match=r"only be compared on the same test images"):
        compare([made_up("scratch", 1), made_up("frozen", 1, other)])


def test_the_same_images_in_another_size():
    small = compare([made_up("scratch", 4), made_up("frozen", 2, DATA.resized(48))])
    assert small.gains[1].difference == pytest.approx(0.05)
    drawn = [load_dataset("pets", n_train=8, n_test=8, image_size=s) for s in (32, 80)]
    assert drawn[0].test.digests() != drawn[1].test.digests()
    compare([made_up("scratch", 1, drawn[0]), made_up("frozen", 0, drawn[1])])


@pytest.mark.parametrize("size", [32, 48])
def test_other_images_with_the_same_labels(size):
    other = replace(DATA, test=striped_data(test=40, seed=7).test).resized(size)
    np.testing.assert_array_equal(other.test.labels, DATA.test.labels)
    with pytest.raises(ValueError, match=r"same test images. Received: 'scratch' on stripes"):
        compare([made_up("scratch", 1), made_up("frozen", 1, other)])


def uneven(train_rare, test_rare, test=20):
    """Data in which the second class is rare."""
    train, tested = striped_data(train=40).train, striped_data(test=2 * test).test
    rows = [*np.flatnonzero(train.labels == 0), *np.flatnonzero(train.labels == 1)[:train_rare]]
    seen = [*range(0, 2 * (test - test_rare), 2), *range(1, 2 * test_rare, 2)]
    return replace(DATA, train=train.take(rows), test=tested.take(seen))


def constant(name, data):
    """A run that takes everything for the first class."""
    config = {"trained_parameters": 1}

    def predict(split):
        return np.eye(2)[np.zeros(len(split), int)]

    return Run(name, None, data, {}, 1.0, config, None, 1, predict)


def reference_name(found):
    return {"chance", "majority class"} & {text.get_text() for text in found.figure.axes[0].texts}


def test_a_constant_answer_does_not_beat_the_reference_on_uneven_classes():
    data = uneven(train_rare=4, test_rare=2)
    found = compare([constant("always the first", data), made_up("frozen", 0, data)])
    assert found.runs[0].test.accuracy == found.reference == 0.9
    assert reference_name(found) == {"majority class"}
    assert found.table["balanced accuracy"].tolist() == ["50.0%", "100.0%"]


def test_the_reference_is_chance_where_training_labels_are_balanced():
    found = compare([made_up("scratch", 4), made_up("frozen", 2)])
    assert found.reference == 0.5
    assert reference_name(found) == {"chance"}
    assert "balanced accuracy" not in found.table
    # The most frequent class is that of the training labels: the test split chooses nothing.
    even_training = uneven(train_rare=20, test_rare=2)
    assert compare([constant(name, even_training) for name in "ab"]).reference == 0.5
    rare_in_training = uneven(train_rare=4, test_rare=15)
    assert compare([constant(name, rare_in_training) for name in "ab"]).reference == 0.25


def test_runs_trained_on_other_labels_share_the_higher_reference():
    few, all_of_them = uneven(train_rare=20, test_rare=2), uneven(train_rare=4, test_rare=2)
    assert compare([made_up("few", 1, few), made_up("all", 1, all_of_them)]).reference == 0.9
