"""How long the package takes to import, and that TensorFlow is not imported with it."""

import subprocess
import sys
import time
from collections.abc import Iterator
from statistics import median
from typing import Any

IMPORT = "import tlhelpers, sys; raise SystemExit('tensorflow' in sys.modules)"


def rows(share: float, repeats: int) -> Iterator[dict[str, Any]]:
    """Measure the import over Python's own start, in new processes."""
    found = []
    for _ in range(max(5, repeats)):
        seconds = []
        for source in ("pass", IMPORT):
            started = time.perf_counter()
            subprocess.run([sys.executable, "-c", source], check=True)
            seconds.append(time.perf_counter() - started)
        found.append(seconds[1] - seconds[0])
    yield {
        "name": "import tlhelpers, seconds over starting Python",
        "ratio": median(found),
        "low": min(found),
        "high": max(found),
        "repeats": len(found),
        "wanted": 0.3,
        "notes": {"imports TensorFlow": False},
    }
