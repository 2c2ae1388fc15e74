"""The table of points: what an answer of the right form is worth, and what the right one is."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

TABLE = Path("_data/points.yml")


@dataclass(frozen=True)
class Points:
    """What an exercise is worth.

    Attributes:
        form: Points for an answer of the kind that was asked for, right or wrong.
        right: Further points for the right one.
        within: How far, relatively, a right number may be from the solution's own.
    """

    form: int
    right: int
    within: float

    @property
    def most(self) -> int:
        """What the right answer gets."""
        return self.form + self.right


def read_points(book: str | Path) -> dict[str, Points]:
    """Read the table of points of a book.

    Args:
        book: The book's folder, with ``_data/points.yml``.

    Returns:
        By exercise; under ``"default"`` what holds for those that are not named.

    Raises:
        ValueError: Where an entry is not as it should be.

    Example:
        >>> read_points("book")["default"].most  # doctest: +SKIP
        3
    """
    import yaml

    path = Path(book) / TABLE
    table: dict[str, dict[str, Any]] = yaml.safe_load(path.read_text("utf-8"))
    read = {}
    for exercise, entry in table.items():
        try:
            read[exercise] = Points(**{**table["default"], **entry})
        except (KeyError, TypeError):
            raise ValueError(
                f"An entry of {path} has form, right and within, and one is called default. "
                f"Received: {exercise}: {entry}."
            ) from None
    return read


def points_of(table: dict[str, Points], exercise: str) -> Points:
    """Return what an exercise is worth.

    Args:
        table: The table, as :func:`read_points` gives it.
        exercise: The exercise's id.

    Returns:
        Its own entry, or the default.

    Example:
        >>> points_of({"default": Points(1, 2, 0.01)}, "05-1").most
        3
    """
    return table.get(exercise, table["default"])
