"""Let pages name chapters, and the minutes they take, by number: {{ chapter.c05 }}, {{ minutes.c05 }}."""

import json
from pathlib import Path
from typing import Any


def names_and_minutes(book: Path) -> dict[str, dict[str, Any]]:
    """Give, by the key c and a page's number or letter, a link to it and its minutes to read."""
    costs = book / "_data" / "chapters.json"
    measured = json.loads(costs.read_text(encoding="utf-8")) if costs.is_file() else {}
    pages = {f"c{path.stem.split('_')[0]}": path for path in sorted(book.glob("*_*.ipynb"))}
    return {
        "chapter": {key: f"[]({path.name})" for key, path in pages.items()},
        "minutes": {
            key: measured[path.stem]["minutes_to_read"]
            for key, path in pages.items()
            if path.stem in measured
        },
    }


def add(app: Any, config: Any) -> None:
    """Put them where MyST looks for what stands between double braces."""
    config.myst_substitutions = {**config.myst_substitutions, **names_and_minutes(Path(app.srcdir))}


def setup(app: Any) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("config-inited", add)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
