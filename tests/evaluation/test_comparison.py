"""Comparisons: gains are paired, tables say what was measured, and unlike is not compared."""

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure
from toys import striped_data

from tlhelpers import compare
from tlhelpers.evaluation.comparison import spread
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


def test_gains_are_paired():
    runs = [made_up("scratch", 12), made_up("frozen", 4), made_up("tuned", 16)]
    found = compare(runs)
    assert [gain.accuracy for gain in found.gains] == pytest.approx([0, 0.2, -0.1])
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
    assert small.gains[1].accuracy == pytest.approx(0.05)
    other = striped_data(test=30).resized(48)
    with pytest.raises(ValueError, match="same test images"):
        compare([made_up("scratch", 1), made_up("frozen", 1, other)])


def test_spread():
    assert spread([0.7]) == "70.0 % (1 seed)"
    assert spread(np.array([0.9, 0.5, 0.61, 0.6])) == "50.0 ← 60.5 → 90.0 % (4 seeds)"
    with pytest.raises(ValueError, match="at least one accuracy"):
        spread([])
