"""The exercises' answers, usual mistakes and hints: one module a chapter, in the chapter's order.

An exercise's id is its chapter's number and its place, so no answer stands beside an id here.
"""

import pkgutil
from collections.abc import Iterator
from importlib import import_module

from tlhelpers.book.exercises.judging import Exercise


def _numbered() -> Iterator[tuple[str, Exercise]]:
    """Give each exercise with its id."""
    for module in sorted(found.name for found in pkgutil.iter_modules(__path__)):
        chapter, _, number = module.partition("_")
        if chapter == "chapter":
            listed = import_module(f"{__name__}.{module}").EXERCISES
            for place, judged in enumerate(listed, start=1):
                yield f"{number}-{place}", judged


EXERCISES: dict[str, Exercise] = dict(_numbered())
