"""Progress of long work: a bar where somebody watches, a line now and then where nobody does."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from tqdm import tqdm

SECONDS = 10.0
"""Between lines, and before the first one."""
LINE = "{desc}: {n_fmt} of {total_fmt}{unit}, {elapsed}, {remaining} to go"

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class _Lines:
    """A stream in which what would overwrite a bar becomes a line of its own."""

    def write(self, text: str) -> None:
        """Write a line, unless there is nothing in it."""
        if line := text.strip("\r\n "):
            print(line, file=sys.stderr, flush=True)

    def flush(self) -> None:
        """Hand on what was written."""
        sys.stderr.flush()


def progress_bar(total: int, what: str, unit: str, **options: Any) -> "tqdm":
    """Count what is done of long work, on the error stream.

    In a terminal or a notebook it is a bar, elsewhere (a pipe, a log) a line every ten seconds.
    Short work shows nothing, and ``TQDM_DISABLE=1`` turns it off.

    Args:
        total: How much there is to do.
        what: What is done, such as ``"features"``.
        unit: What is counted, such as ``" images"``.
        **options: More of ``tqdm``'s, such as ``unit_scale=True``.

    Returns:
        A ``tqdm`` bar; call its ``update(n)`` as work is done, and close it, or use it in ``with``.

    Example:
        >>> with progress_bar(100, "features", " images") as bar:
        ...     bar.update(100)
    """
    from tqdm import tqdm

    if sys.stderr.isatty() or "ipykernel" in sys.modules:
        how: dict[str, Any] = {"delay": 2, "mininterval": 0.5}
    else:
        how = {
            **{"delay": SECONDS, "mininterval": SECONDS, "miniters": 1},
            **{"bar_format": LINE, "file": _Lines()},
        }
    how["disable"] = bool(os.environ.get("TQDM_DISABLE"))
    return tqdm(total=total, desc=what, unit=unit, **{**how, **options})


def counted(work: Iterable[_Item], total: int, what: str, unit: str) -> Iterator[_Item]:
    """Hand on what an iterable gives, with :func:`progress_bar`.

    Example:
        >>> sum(counted([1, 2, 3], 3, "adding", " numbers"))
        6
    """
    with progress_bar(total, what, unit) as bar:
        for item in work:
            yield item
            bar.update()


def mapped(
    pool: ThreadPoolExecutor, function: Callable[[_Item], _Result], items: Sequence[_Item]
) -> Iterator[_Result]:
    """Apply a function in a pool, a thousand items at a time: a job that waits takes two KiB.

    Example:
        >>> with ThreadPoolExecutor(2) as pool:
        ...     list(mapped(pool, len, ["a", "bc"]))
        [1, 2]
    """
    for start in range(0, len(items), 1024):
        yield from pool.map(function, items[start : start + 1024])
