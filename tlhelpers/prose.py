"""Carry a measured value from a code cell into the prose around it."""

from typing import Any

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
