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


def compare(
    name: str,
    ours: Callable[[], Any],
    other: Callable[[], Any],
    *,
    repeats: int,
    wanted: float,
    notes: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Run two actions in turn and describe how many times faster the first is.

    Args:
        name: What is compared.
        ours: The first action; what it returns is kept of the last run.
        other: The second.
        repeats: How often each is run.
        wanted: The ratio aimed at: seconds of the other over ours.
        notes: Further facts for the record.

    Returns:
        A row of the record: ``name``, ``ratio`` (median), ``low``, ``high``, ``repeats``,
        ``wanted``, ``seconds_ours`` and ``seconds_other`` (medians), ``returned`` and ``notes``.
    """
    rounds = [(seconds_of(ours), seconds_of(other)) for _ in range(repeats)]
    return describe(name, rounds, wanted=wanted, notes=notes)


def describe(
    name: str,
    rounds: list[tuple[tuple[float, Any], tuple[float, Any]]],
    *,
    wanted: float,
    notes: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Make a row of what :func:`seconds_of` gave for two actions, in one round or several."""
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
