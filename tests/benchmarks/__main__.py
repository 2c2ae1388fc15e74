"""Measure everything, print a table, and write JSON that the book shows.

make bench                       what readers would pick instead: a quarter of an hour on two cores
make bench ONLY=growth           from 1,000 to 200,000 images: ten minutes. Run by name only, like
                                 training, onednn, allocator, waiting and linear_algebra, which
                                 settle the package's settings
make bench SHARE=0.05            a twentieth of the images, to try it out; nothing is written
"""

import argparse
import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import tlhelpers as tl
from tlhelpers.data.downloads import DownloadError
from tlhelpers.experiments.records import environment

PARTS = ("start", "extraction", "whole_job", "cluster", "fine_tuning", "precision", "gpu")
BY_NAME = ("growth", "training", "onednn", "allocator", "waiting", "linear_algebra")
RECORD = Path(__file__).resolve().parents[2] / "book" / "_data" / "benchmarks.json"


def main() -> int:
    """Run the parts, each recorded as soon as it is done."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "parts", nargs="*", help=f"by default {', '.join(PARTS)}; or {', '.join(BY_NAME)}"
    )
    parser.add_argument("--share", type=float, default=1.0, help="of the images (default: 1)")
    parser.add_argument("--repeats", type=int, default=5, help="of the quick pairs (default: 5)")
    options = parser.parse_args()
    unknown = sorted(set(options.parts) - {*PARTS, *BY_NAME})
    if unknown:
        print(f"A part is one of {', '.join(PARTS + BY_NAME)}. Received: {', '.join(unknown)}.")
        return 2
    tl.setup(seed=0, tier="real")
    here = environment()
    for name in options.parts or PARTS:
        found = []
        try:
            for row in import_module(f"benchmarks.{name}").rows(options.share, options.repeats):
                found.append(row)
                print(describe(row), flush=True)
        except (DownloadError, FileNotFoundError, subprocess.SubprocessError) as error:
            print(f"{name}: not measured. {error}", file=sys.stderr)
            continue
        if options.share == 1.0:
            write(name, found, here)
    return 0


def describe(row: dict[str, Any]) -> str:
    """Return one row of the table."""
    if row["ratio"] is None:
        return f"{row['name']:<88} not measured: {row['notes']['not measured']}"
    spread = f"({row['low']:.2f} to {row['high']:.2f})" if "low" in row else ""
    wanted = "" if row["wanted"] is None else f"wanted {row['wanted']:g}"
    return f"{row['name']:<88} {row['ratio']:8.2f} {spread:<18} {wanted}"


def write(name: str, found: list[dict[str, Any]], here: dict[str, Any]) -> None:
    """Put one part into the record, and keep the others, and what another processor gave."""
    record = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {}
    before = record.get(name, {"environment": here})
    if (processor := before["environment"]["processor"]) != here["processor"]:
        record[f"{name}, {processor}"] = before
    record[name] = {"environment": here, "rows": found}
    RECORD.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
