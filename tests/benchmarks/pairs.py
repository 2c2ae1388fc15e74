"""Time two ways of doing the same thing in turn, and report the ratio: a machine's drift cancels."""

import time
from collections.abc import Callable
from statistics import median
from typing import Any


def seconds_of(action: Callable[[], Any]) -> tuple[float, Any]:
    """Return how long an action took, and what it returned."""
    started = time.perf_counter()
    result = action()
    return time.perf_counter() - started, result


def in_turn(
    ways: dict[str, Callable[[], Any]], repeats: int, first: bool = True
) -> dict[str, list[tuple[float, Any]]]:
    """Run all ways in turn, at first unmeasured: seconds and results of each, by its name.

    What belongs to one round ran within it, so the ratio of two ways is taken round by round.
    """
    for action in ways.values() if first else ():
        action()
    times: dict[str, list[tuple[float, Any]]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, action in ways.items():
            times[name].append(seconds_of(action))
    return times


def describe(
    name: str,
    rounds: list[tuple[tuple[float, Any], tuple[float, Any]]],
    *,
    wanted: float | None,
    notes: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Make a row of what :func:`seconds_of` gave for two actions, in one round or several.

    Args:
        name: What is compared.
        rounds: Seconds and result of ours, then of the other, for each round.
        wanted: The ratio aimed at: seconds of the other over ours; None where none was.
        notes: Further facts for the record.

    Returns:
        A row of the record: ``name``, ``ratio`` (median), ``low``, ``high``, ``repeats``,
        ``wanted``, ``seconds_ours`` and ``seconds_other`` (medians), ``returned`` and ``notes``.
    """
    pairs = [(ours[0], other[0]) for ours, other in rounds]
    returned = [result for _, result in rounds[-1]]
    ratios = sorted(b / a for a, b in pairs)
    return {
        "name": name,
        "ratio": median(ratios),
        "low": ratios[0],
        "high": ratios[-1],
        "repeats": len(rounds),
        "wanted": wanted,
        "seconds_ours": median(a for a, _ in pairs),
        "seconds_other": median(b for _, b in pairs),
        "returned": [value for value in returned if isinstance(value, int | float)],
        "notes": notes or {},
    }
