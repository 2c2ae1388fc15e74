"""What ties the book's prose to its results: claims that are checked, and glued numbers."""

import math
from typing import Any, SupportsFloat

from tlhelpers.runtime import in_colab, tier


class ClaimError(RuntimeError):
    """A claim of the text does not hold in this run."""


def claim(
    statement: str,
    value: SupportsFloat,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
) -> None:
    """Check that a sentence of the text holds in this run, and print it with its figure.

    The text tells of the embedded tier. In Google Colab's real tier, where somebody reads who can't
    change it, a claim that does not hold is told and stops nothing.

    Args:
        statement: The sentence, as a reader would put it.
        value: The measured figure.
        at_least: Lowest value for which the statement holds. Defaults to no limit.
        at_most: Highest value for which it holds. Defaults to no limit.

    Raises:
        ClaimError: If the value is outside the limits, or not a number, but in Colab's real tier.
        ValueError: If neither limit is given.

    Example:
        >>> claim("transfer wins with 20 labels", 0.31, at_least=0.10)
        ✓ transfer wins with 20 labels: 0.310, at least 0.100
    """
    if at_least is None and at_most is None:
        raise ValueError(
            "A claim needs at_least or at_most, or it could not fail. Received: neither."
        )
    number = float(value)
    limits = []
    if at_least is not None:
        limits.append(f"at least {at_least:.3f}")
    if at_most is not None:
        limits.append(f"at most {at_most:.3f}")
    low, high = at_least, at_most
    holds = (low is None or number >= low) and (high is None or number <= high)
    if not holds or math.isnan(number):
        found = (
            f"The text says: {statement}. Measured: {number:.3f}, where it takes "
            f"{' and '.join(limits)}."
        )
        if not (in_colab() and tier() == "real"):
            raise ClaimError(f"{found} Change the text, or find what changed the result.")
        print(f"✗ {found} The text tells of the embedded tier's data.")
        return
    print(f"✓ {statement}: {number:.3f}, {' and '.join(limits)}")


# The prefix by which MyST-NB tells values to insert elsewhere from outputs to show here.
GLUE_PREFIX = "application/papermill.record/"


def glue(name: str, value: Any) -> None:
    """Store a value under a name, for ``{glue:text}`` in the book's text.

    It writes what ``myst_nb.glue(name, value, display=False)`` does, without needing MyST-NB where a
    chapter is only run. Nothing is shown in the notebook.

    Args:
        name: A name, unique in the chapter, such as ``"05-gain"``.
        value: What the text should show: a string, or anything with a ``repr``.

    Raises:
        ValueError: If the name is empty.

    Example:
        >>> glue("05-gain", "12.3 points")
    """
    if not name:
        raise ValueError("A glued value needs a name. Received: an empty one.")
    try:
        from IPython import get_ipython
        from IPython.display import publish_display_data
    except ImportError:
        return
    if get_ipython() is None:
        return
    text = value if isinstance(value, str) else repr(value)
    publish_display_data(
        {f"{GLUE_PREFIX}text/plain": repr(text)},
        {"scrapbook": {"name": name, "mime_prefix": GLUE_PREFIX}},
    )
