"""Small figures as SVG, in colours that the page sets, so that they work on light and dark."""

from collections.abc import Sequence
from html import escape

Points = Sequence[tuple[float, float]]

WIDTH, HEIGHT, LEFT, BELOW, MARGIN = 520, 320, 84, 52, 28


def chart(
    lines: Sequence[tuple[str, Points]],
    *,
    title: str,
    across: str,
    up: str,
    limits: tuple[float, float, float, float],
    marks: Sequence[tuple[float, str]] = (),
    diagonal: bool = False,
    percent_across: bool = True,
) -> str:
    """Draw lines with dots over two axes; the first line is drawn in the main colour.

    Args:
        lines: Name and points of each.
        title: What the figure shows, for who can't see it.
        across: Label of the horizontal axis.
        up: Label of the vertical axis, in percent.
        limits: Least and largest value across, then up.
        marks: Vertical lines: where, and their names. Defaults to none.
        diagonal: Whether to draw the line on which both are equal. Defaults to False.
        percent_across: Whether the horizontal values are shares. Defaults to True.

    Returns:
        An ``<svg>`` element.
    """
    least, most, low, high = limits
    wide, tall = WIDTH - LEFT - MARGIN, HEIGHT - BELOW - MARGIN

    def x(value: float) -> float:
        """Place a value across."""
        return LEFT + wide * (value - least) / ((most - least) or 1)

    def y(value: float) -> float:
        """Place a value up."""
        return MARGIN + tall * (1 - (value - low) / ((high - low) or 1))

    parts = []
    for step in range(5):
        value = low + (high - low) * step / 4
        digits = 0 if high - low > 0.15 else 1
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - MARGIN}" y1="{y(value):.1f}" '
            f'y2="{y(value):.1f}"/><text x="{LEFT - 8}" y="{y(value) + 4:.1f}" '
            f'text-anchor="end">{value:.{digits}%}</text>'
        )
        at = least + (most - least) * step / 4
        label = f"{at:.0%}" if percent_across else f"{at:,.0f}"
        parts.append(
            f'<text x="{x(at):.1f}" y="{HEIGHT - BELOW + 18}" text-anchor="middle">{label}</text>'
        )
    if diagonal:
        a, b = max(least, low), min(most, high)
        parts.append(
            f'<line class="even" x1="{x(a):.1f}" y1="{y(a):.1f}" x2="{x(b):.1f}" y2="{y(b):.1f}"/>'
        )
    for at, name in marks:
        side = "end" if x(at) > WIDTH * 0.7 else "start"
        shift = -6 if side == "end" else 6
        parts.append(
            f'<line class="mark" x1="{x(at):.1f}" x2="{x(at):.1f}" y1="{MARGIN}" '
            f'y2="{HEIGHT - BELOW}"/><text x="{x(at) + shift:.1f}" y="{HEIGHT - BELOW - 8}" '
            f'text-anchor="{side}">{escape(name)}</text>'
        )
    for number, (name, points) in enumerate(lines):
        path = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in points)
        parts.append(f'<polyline class="line{number}" points="{path}"/>')
        if len(points) <= 20:
            parts += [
                f'<circle class="dot{number}" cx="{x(a):.1f}" cy="{y(b):.1f}" r="4"/>'
                for a, b in points
            ]
        if len(lines) > 1:
            top = HEIGHT - BELOW - 12 - 18 * (len(lines) - number)
            parts.append(
                f'<circle class="dot{number}" cx="{WIDTH - 186}" cy="{top - 4}" r="4"/>'
                f'<text x="{WIDTH - 174}" y="{top}">{escape(name)}</text>'
            )
    parts.append(
        f'<text x="{LEFT + wide / 2}" y="{HEIGHT - 6}" text-anchor="middle">{escape(across)}</text>'
        f'<text transform="translate(16 {MARGIN + tall / 2}) rotate(-90)" '
        f'text-anchor="middle">{escape(up)}</text>'
    )
    return _svg(title, WIDTH, HEIGHT, parts)


def bars(rows: Sequence[tuple[str, float, float, float]], *, title: str) -> str:
    """Draw a dot with its interval for each row, on one scale from 0 to 100 %.

    Args:
        rows: Name, value, lower and upper end, 0 to 1.
        title: What the figure shows, for who can't see it.

    Returns:
        An ``<svg>`` element.
    """
    left, line = 176, 34
    height = line * len(rows) + 34
    wide = WIDTH - left - 76

    def x(value: float) -> float:
        """Place a value."""
        return left + wide * value

    parts = []
    for step in range(5):
        at = x(step / 4)
        parts.append(
            f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="4" y2="{height - 24}"/>'
            f'<text x="{at:.1f}" y="{height - 6}" text-anchor="middle">{step / 4:.0%}</text>'
        )
    for number, (name, value, low, high) in enumerate(rows):
        y = line * number + 20
        parts.append(
            f'<text x="{left - 10}" y="{y + 4}" text-anchor="end">{escape(name)}</text>'
            f'<line class="range" x1="{x(low):.1f}" x2="{x(high):.1f}" y1="{y}" y2="{y}"/>'
            f'<circle class="dot0" cx="{x(value):.1f}" cy="{y}" r="5"/>'
            f'<text x="{x(1) + 12:.1f}" y="{y + 4}">{value:.1%}</text>'
        )
    return _svg(title, WIDTH, height, parts)


def _svg(title: str, width: int, height: int, parts: Sequence[str]) -> str:
    """Wrap the parts of a figure."""
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}">'
        f"{''.join(parts)}</svg>"
    )
