"""The exercises' answers, usual mistakes and hints: one module a chapter."""

import pkgutil
from importlib import import_module

from tlhelpers.book.exercises.judging import Exercise

EXERCISES: dict[str, Exercise] = {
    exercise: judged
    for module in sorted(found.name for found in pkgutil.iter_modules(__path__))
    if module.startswith("chapter_")
    for exercise, judged in import_module(f"{__name__}.{module}").EXERCISES.items()
}
