"""Figures are well-formed SVG, and put values where they belong."""

import re
import xml.etree.ElementTree as ET

import pytest

from tlhelpers.workflow.drawing import HEIGHT, LEFT, MARGIN, WIDTH, bars, chart


def test_a_line_goes_through_its_points():
    made = chart(
        [("a <b>", [(0.0, 0.5), (1.0, 1.0)]), ("c", [(0.5, 0.75)])],
        title='say "so"',
        across="x",
        up="y",
        limits=(0, 1, 0.5, 1),
        marks=[(0.5, "here")],
        diagonal=True,
    )
    svg = ET.fromstring(made)
    assert svg.attrib["aria-label"] == 'say "so"'
    (x0, y0), (x1, y1) = (
        map(float, pair.split(",")) for pair in svg.findall("polyline")[0].attrib["points"].split()
    )
    assert (x0, x1) == (LEFT, WIDTH - MARGIN)
    assert y1 == MARGIN
    assert y0 > HEIGHT / 2
    texts = [text.text for text in svg.findall("text")]
    assert {"a <b>", "here", "x", "y", "50%", "100%"} <= set(texts)


def test_values_that_are_all_the_same_are_drawn():
    made = chart([("", [(1.0, 1.0)])], title="t", across="x", up="y", limits=(1, 1, 1, 1))
    assert "nan" not in made
    ET.fromstring(made)


def test_bars_show_value_and_interval():
    svg = ET.fromstring(bars([("model", 0.5, 0.25, 0.75)], title="t"))
    line = next(one for one in svg.findall("line") if one.attrib["class"] == "range")
    circle = svg.find("circle")
    middle = (float(line.attrib["x1"]) + float(line.attrib["x2"])) / 2
    assert float(circle.attrib["cx"]) == pytest.approx(middle)
    assert re.search(r"50\.0%", ET.tostring(svg, encoding="unicode"))
