"""Figures to explore: sliders in a live notebook, and a page that needs no script elsewhere."""

import base64
import hashlib
import html
import io
import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

MOST_CONTROLS = 3
MOST_STATES = 25
MOST_BYTES = 1_000_000
DPI = 110

# Inline, so that the page works wherever the notebook is opened; it takes its colours from there.
# A picture is hidden by each control whose value is not the picture's. The attribute `hidden`
# and the browsers without :has() are for the places that drop or don't know these rules.
LAYOUT = """
{0} fieldset{{border:0;margin:0 0 .5rem;padding:0;display:flex;flex-wrap:wrap;gap:.35rem .5rem;align-items:center}}
{0} legend{{float:left;width:auto;margin:0 .35rem 0 0;padding:0;font-size:.95em;font-weight:600;line-height:1.5}}
{0} label{{display:inline-flex;align-items:center;gap:.4rem;min-height:1.9rem;margin:0;padding:.1rem .65rem;border:1px solid;border-color:color-mix(in srgb,currentColor 45%,transparent);border-radius:1rem;cursor:pointer;font-size:.95em}}
{0} label:has(:checked){{border-color:currentColor;background:color-mix(in srgb,currentColor 10%,transparent);font-weight:600}}
{0} label:has(:focus-visible){{outline:2px solid currentColor;outline-offset:2px}}
{0} input{{margin:0;accent-color:currentColor}}
{0} .tlx-state{{display:block!important}}
{0} .tlx-state img{{display:block;max-width:100%;height:auto;margin:.5rem auto 0;background:#fff}}
@supports not selector(:has(a)){{{0} .tlx-state::before{{content:attr(data-values)}}}}
"""


@dataclass(frozen=True)
class Explorer:
    """Figures for some values of the controls, shown one at a time.

    Attributes:
        controls: For each control, the values that can be chosen.
        start: The state shown first.
        states: For each state, a picture (the bytes of a PNG file).
        alt: What the pictures show; the values are added for each.
    """

    controls: dict[str, tuple[Any, ...]]
    start: dict[str, Any]
    states: dict[tuple[int, ...], bytes]
    alt: str

    def __repr__(self) -> str:
        """Name the controls, where neither HTML nor pictures can be shown."""
        named = "; ".join(
            f"{_words(name)}: {', '.join(map(_show, values))}"
            for name, values in self.controls.items()
        )
        return f"Figures to explore ({named})"

    def _repr_html_(self) -> str:
        """Return the page: radio buttons, and the picture of each state."""
        digest = hashlib.sha256(repr(self).encode() + b"".join(self.states.values()))
        name = f"tlx-{digest.hexdigest()[:10]}"
        first = tuple(list(values).index(self.start[key]) for key, values in self.controls.items())
        rules = [LAYOUT.format(f".{name}").strip()]
        parts = []
        for place, (control, values) in enumerate(self.controls.items()):
            buttons = []
            for index, value in enumerate(values):
                mark = f"tlx-{place}-{index}"
                checked = " checked" if index == first[place] else ""
                buttons.append(
                    f'<label><input type="radio" class="{mark}" name="{name}-{place}" '
                    f'value="{index}"{checked}>{html.escape(_show(value))}</label>'
                )
                rules.append(
                    f".{name}:has(input.{mark}:checked) .tlx-state:not(.{mark})"
                    "{display:none!important}"
                )
            legend = html.escape(_words(control))
            parts.append(f"<fieldset><legend>{legend}</legend>{''.join(buttons)}</fieldset>")
        for state, picture in self.states.items():
            marks = " ".join(f"tlx-{place}-{index}" for place, index in enumerate(state))
            told = html.escape(self._tell(state))
            hidden = "" if state == first else " hidden"
            source = base64.b64encode(picture).decode()
            parts.append(
                f'<div class="tlx-state {marks}" data-values="{told}"{hidden}>'
                f'<img alt="{html.escape(self.alt)} ({told})" '
                f'src="data:image/png;base64,{source}"></div>'
            )
        # A form keeps its radio buttons apart from those of a second copy; this method sends none.
        return (
            f'<form class="tl-explore {name}" method="dialog"><style>{"".join(rules)}</style>'
            f"{''.join(parts)}</form>"
        )

    def _tell(self, state: tuple[int, ...]) -> str:
        """Name the values of a state."""
        return ", ".join(
            f"{_words(name)} {_show(values[index])}"
            for index, (name, values) in zip(state, self.controls.items(), strict=True)
        )


def explore(
    draw: Callable[..., Figure],
    controls: Mapping[str, Sequence[Any]],
    *,
    start: Mapping[str, Any] | None = None,
    static: Mapping[str, Sequence[Any]] | None = None,
    alt: str = "A figure to explore",
) -> Any:
    """Show a figure that changes with a few controls; the last expression of a cell.

    In a live notebook the controls are sliders and ``draw`` is called as they move, so let it draw
    from results computed before. Everywhere else the figures are drawn at once and stored in a
    page with radio buttons, which needs no script and no kernel.

    Args:
        draw: Takes one value of each control as keywords and returns a figure, all of one size.
        controls: For each keyword of ``draw``, the values it may have; one to three controls.
        start: Values shown first, by keyword. Defaults to the first value of each control.
        static: Values offered where there is no kernel, by keyword; at most 25 combinations in
            all. Defaults to all of ``controls``.
        alt: What the figure shows, for readers who can't see it; the values are added.
            Defaults to ``"A figure to explore"``.

    Returns:
        An ipywidgets box in a live notebook, an :class:`Explorer` elsewhere.

    Raises:
        ValueError: If there are no or too many controls or combinations, if a control has no
            value, or if ``start`` or ``static`` names a value that its control doesn't have.
        TypeError: If ``draw`` returns something else than a figure.

    Example:
        >>> def draw(exponent):
        ...     figure, axis = plt.subplots(figsize=(2, 1))
        ...     axis.plot([x**exponent for x in range(5)])
        ...     return figure
        >>> explore(draw, {"exponent": (1, 2, 3)}, start={"exponent": 2}, alt="A power of x")
        Figures to explore (exponent: 1, 2, 3)
    """
    offered = {name: tuple(values) for name, values in controls.items()}
    if not 1 <= len(offered) <= MOST_CONTROLS or not all(offered.values()):
        raise ValueError(
            f"An explorer needs one to {MOST_CONTROLS} controls with at least one value each. "
            f"Received: { ({name: len(values) for name, values in offered.items()}) } values."
        )
    kept = offered | _chosen(offered, static or {}, "static")
    first = {
        name: _chosen(offered, {name: [value]}, "start")[name][0]
        for name, value in (start or {}).items()
    }
    count = 1
    for values in kept.values():
        count *= len(values)
    if count > MOST_STATES:
        raise ValueError(
            f"At most {MOST_STATES} combinations of values are stored. Received: {count}; "
            "name fewer values in static, such as static={'name': values[::2]}."
        )
    if live():
        box = _sliders(draw, offered, {name: v[0] for name, v in offered.items()} | first)
        if box is not None:
            return box
    stored = {name: value for name, value in first.items() if value in kept[name]}
    first = {name: values[0] for name, values in kept.items()} | stored
    states = {
        state: dict(zip(kept, (kept[n][i] for n, i in zip(kept, state, strict=True)), strict=True))
        for state in itertools.product(*(range(len(values)) for values in kept.values()))
    }
    figures = {state: _figure(draw, values) for state, values in states.items()}
    for dpi, colours in ((DPI, 128), (DPI, 48), (DPI * 2 // 3, 48)):
        pictures = {state: _png(figure, dpi, colours) for state, figure in figures.items()}
        if sum(map(len, pictures.values())) <= MOST_BYTES:
            break
    return Explorer(kept, first, pictures, alt)


def live() -> bool:
    """Tell whether somebody is watching a notebook: figures to explore then have sliders.

    Returns:
        False outside Jupyter, and where ``TLH_LIVE=0`` (as when a whole chapter is executed).

    Example:
        >>> live()
        False
    """
    if os.environ.get("TLH_LIVE") == "0":
        return False
    try:
        from IPython import get_ipython
    except ImportError:
        return False
    return type(get_ipython()).__name__ in ("ZMQInteractiveShell", "Shell")


def _chosen(
    offered: Mapping[str, tuple[Any, ...]], named: Mapping[str, Sequence[Any]], argument: str
) -> dict[str, tuple[Any, ...]]:
    """Return the named values, if their controls offer them."""
    for name, values in named.items():
        if name not in offered or not len(values) or any(v not in offered[name] for v in values):
            raise ValueError(
                f"{argument} names controls and values that controls has. Received: "
                f"{name}={list(values)}; {name} has {list(offered.get(name, ()))}."
            )
    return {name: tuple(values) for name, values in named.items()}


def _figure(draw: Callable[..., Figure], values: Mapping[str, Any]) -> Figure:
    """Draw one state, and close the figure, so that it is not shown a second time."""
    figure = draw(**values)
    if not isinstance(figure, Figure):
        raise TypeError(f"draw must return a Matplotlib Figure. Received: {type(figure).__name__}.")
    plt.close(figure)
    return figure


def _png(figure: Figure, dpi: int, colours: int) -> bytes:
    """Return a figure as a small PNG file that depends on nothing but the figure."""
    from PIL import Image

    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=dpi, facecolor="white", metadata={"Software": None})
    drawn.seek(0)
    small = io.BytesIO()
    with Image.open(drawn) as image:
        # Dithering would make lines and letters grainy, and the file larger.
        palette = image.convert("RGB").quantize(colours, dither=Image.Dither.NONE)
        palette.save(small, format="png", optimize=True)
    return small.getvalue()


def _sliders(
    draw: Callable[..., Figure],
    controls: Mapping[str, tuple[Any, ...]],
    start: Mapping[str, Any],
) -> Any:
    """Return sliders and the figure they control, or None without ipywidgets."""
    try:
        import ipywidgets
        from IPython.display import display
    except ImportError:
        return None
    sliders = {
        name: ipywidgets.SelectionSlider(
            options=[(_show(value), value) for value in values],
            value=start[name],
            description=_words(name),
            style={"description_width": "initial"},
            layout=ipywidgets.Layout(width="28rem", max_width="100%"),
        )
        for name, values in controls.items()
    }

    def show(**values: Any) -> None:
        """Draw the chosen state in place of the last."""
        display(_figure(draw, values))

    output = ipywidgets.interactive_output(show, sliders)
    return ipywidgets.VBox([*sliders.values(), output])


def _words(name: str) -> str:
    """Return a control's name as words."""
    return name.replace("_", " ")


def _show(value: Any) -> str:
    """Return a value as a reader would write it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    try:
        number = float(value)
    except (TypeError, ValueError):
        return str(value)
    whole = number.is_integer() and abs(number) < 1e9
    return (f"{number:,.0f}" if whole else f"{number:.4g}").replace("-", "−")
