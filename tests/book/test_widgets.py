"""Figures to explore: sliders where there is a kernel, a page without scripts elsewhere."""

import base64
import io
import re
import sys
from html.parser import HTMLParser
from types import ModuleType

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from tlhelpers.book import widgets
from tlhelpers.book.widgets import explore


def draw(depth, rate=0.1):
    figure, axis = plt.subplots(figsize=(3, 2))
    axis.plot([0, depth], [0, rate])
    axis.set_title(f"{depth} {rate}")
    return figure


CONTROLS = {"depth": (1, 2, 3), "rate": (0.1, 0.001)}


class Elements(HTMLParser):
    """The elements of a page: their names and attributes, and which ones are left open."""

    def __init__(self, page):
        super().__init__()
        self.found, self.open, self.words = [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in ("input", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.found if name == tag]


def page(explorer):
    return Elements(explorer._repr_html_())


def test_every_state_is_drawn_and_told():
    explorer = explore(draw, CONTROLS, start={"depth": 2}, alt="A line")
    shown = page(explorer)
    assert shown.open == []
    alts = [image["alt"] for image in shown.all("img")]
    assert alts == [f"A line (depth {d}, rate {r})" for d in (1, 2, 3) for r in ("0.1", "0.001")]
    pictures = [
        np.asarray(Image.open(io.BytesIO(base64.b64decode(image["src"].split(",")[1]))))
        for image in shown.all("img")
    ]
    assert len({picture.tobytes() for picture in pictures}) == 6
    assert {picture.shape for picture in pictures} == {(220, 330)}
    assert plt.get_fignums() == []


def test_each_control_is_a_named_group_with_one_value_chosen():
    shown = page(explore(draw, CONTROLS, start={"depth": 2}))
    assert len(shown.all("fieldset")) == len(shown.all("legend")) == 2
    assert {"depth", "rate"} <= set(shown.words)
    assert len(shown.all("label")) == len(shown.all("input")) == 5
    groups = {}
    for button in shown.all("input"):
        assert button["type"] == "radio"
        groups.setdefault(button["name"], []).append("checked" in button)
    assert list(groups.values()) == [[False, True, False], [True, False]]
    visible = [state for state in shown.all("div") if "hidden" not in state]
    assert [state["data-values"] for state in visible] == ["depth 2, rate 0.1"]


def test_the_style_hides_all_states_but_the_chosen():
    """The rules, applied by hand: a browser does the same in tests/site/test_site.py."""
    explorer = explore(draw, CONTROLS)
    markup = explorer._repr_html_()
    rules = re.findall(r":has\(input\.([\w-]+):checked\) \.tlx-state:not\(\.([\w-]+)\)", markup)
    assert rules
    assert all(chosen == kept for chosen, kept in rules)
    hides = {chosen for chosen, _ in rules}
    states = [set(state["class"].split()) - {"tlx-state"} for state in page(explorer).all("div")]
    for chosen in states:
        assert chosen <= hides
        assert [state for state in states if chosen <= state] == [chosen]


def test_nothing_is_run_or_loaded():
    markup = explore(draw, CONTROLS)._repr_html_()
    assert "<script" not in markup
    assert not re.search(r"\son\w+=|https?:|url\(", markup)
    assert not [attributes for _, attributes in Elements(markup).found if "id" in attributes]


def test_the_same_figures_give_the_same_page():
    first, second = (explore(draw, CONTROLS)._repr_html_() for _ in range(2))
    assert first == second
    other = explore(lambda depth: draw(depth, 0.5), {"depth": (1, 2)})._repr_html_()
    names = [re.search(r"tlx-\w{10}", markup)[0] for markup in (first, other)]
    assert names[0] != names[1]


def test_pictures_carry_neither_date_nor_version():
    explorer = explore(draw, {"depth": (1,)})
    (picture,) = explorer.states.values()
    assert Image.open(io.BytesIO(picture)).info.keys() <= {"dpi", "transparency"}
    assert b"atplotlib" not in picture


def test_a_subset_of_the_values_can_be_stored():
    explorer = explore(draw, CONTROLS, start={"depth": 3}, static={"depth": [1, 2]})
    assert explorer.controls == {"depth": (1, 2), "rate": (0.1, 0.001)}
    assert explorer.start == {"depth": 1, "rate": 0.1}  # 3 is not stored
    assert len(explorer.states) == 4


@pytest.mark.slow
def test_large_pictures_are_made_smaller():
    noise = np.random.default_rng(0).random((400, 400))

    def speckled(shift):
        figure, axis = plt.subplots(figsize=(4, 4))
        axis.imshow(np.roll(noise, shift), cmap="viridis", interpolation="nearest")
        return figure

    explorer = explore(speckled, {"shift": tuple(range(20))})
    assert sum(map(len, explorer.states.values())) <= widgets.MOST_BYTES
    (size,) = {Image.open(io.BytesIO(one)).size for one in explorer.states.values()}
    assert size < (440, 440)


def test_names_and_values_are_written_for_readers():
    def drawn(**_):
        return draw(1)

    controls = {
        "labels_a_class": (20, 1000, np.int64(5)),
        "augment": (True, False),
        "norm": (None, "<L2>"),
    }
    explorer = explore(drawn, controls)
    assert repr(explorer) == (
        "Figures to explore (labels a class: 20, 1,000, 5; augment: yes, no; norm: none, <L2>)"
    )
    assert "&lt;L2&gt;" in explorer._repr_html_()
    assert "<L2>" not in explorer._repr_html_()
    assert [widgets._show(value) for value in (1e-5, 0.30000000000000004, -2.0, (1, 2))] == [
        "1e−05",
        "0.3",
        "−2",
        "(1, 2)",
    ]


@pytest.mark.parametrize(
    ("controls", "more", "message"),
    [
        ({}, {}, r"one to 3 controls .* Received: {} values"),
        (dict.fromkeys("abcd", (1,)), {}, "one to 3 controls"),
        ({"depth": ()}, {}, "at least one value each. Received: {'depth': 0}"),
        ({"depth": range(26)}, {}, "At most 25 combinations .* Received: 26; name fewer"),
        ({"depth": (1, 2)}, {"start": {"depth": 3}}, r"start .* depth=\[3\]; depth has \[1, 2\]"),
        ({"depth": (1, 2)}, {"start": {"width": 3}}, r"start .* width has \[\]"),
        ({"depth": (1, 2)}, {"static": {"depth": [1, 9]}}, r"static .* depth=\[1, 9\]"),
        ({"depth": (1, 2)}, {"static": {"depth": []}}, r"static .* depth=\[\]"),
    ],
)
def test_what_cannot_be_shown_is_refused(controls, more, message):
    with pytest.raises(ValueError, match=message):
        explore(draw, controls, **more)


def test_draw_must_return_a_figure():
    with pytest.raises(TypeError, match=r"must return a Matplotlib Figure\. Received: NoneType"):
        explore(lambda depth: None, {"depth": (1,)})


class TestLive:
    @pytest.fixture
    def shown(self, monkeypatch):
        shown = []
        monkeypatch.setattr(widgets, "live", lambda: True)
        monkeypatch.setattr("IPython.display.display", shown.append)
        return shown

    def test_sliders_redraw(self, shown):
        box = explore(draw, CONTROLS, start={"rate": 0.001})
        depth, rate, output = box.children
        assert (depth.description, depth.value, rate.value) == ("depth", 1, 0.001)
        assert [label for label, _ in rate.options] == ["0.1", "0.001"]
        assert type(output).__name__ == "Output"
        titles = [figure.axes[0].get_title() for figure in shown if hasattr(figure, "axes")]
        assert titles == ["1 0.001"]
        depth.value = 3
        assert shown[-1].axes[0].get_title() == "3 0.001"
        assert plt.get_fignums() == []

    def test_every_value_can_be_reached(self, shown):
        box = explore(draw, CONTROLS, static={"depth": [1]})
        assert [value for _, value in box.children[0].options] == [1, 2, 3]

    def test_without_ipywidgets_the_page_is_shown(self, shown, monkeypatch):
        monkeypatch.setitem(sys.modules, "ipywidgets", None)
        assert isinstance(explore(draw, CONTROLS), widgets.Explorer)


class ZMQInteractiveShell:
    """What a notebook's kernel is called."""


class TestSomebodyWatches:
    @pytest.fixture(autouse=True)
    def undecided(self, monkeypatch):
        monkeypatch.delenv("TLH_LIVE", raising=False)

    def test_not_in_a_test(self):
        assert widgets.live() is False

    def test_in_a_kernel_unless_told_otherwise(self, monkeypatch):
        monkeypatch.setattr("IPython.get_ipython", ZMQInteractiveShell)
        assert widgets.live() is True
        monkeypatch.setenv("TLH_LIVE", "0")
        assert widgets.live() is False

    def test_not_without_ipython(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "IPython", None)
        assert widgets.live() is False

    def test_not_where_another_module_has_that_name(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "IPython", ModuleType("IPython"))
        assert widgets.live() is False
