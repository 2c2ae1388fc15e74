"""Print the book, built as one page, into a PDF file: `make pdf`.

python tests/tools/printing.py _build/singlehtml/index.html _build/html/book.pdf
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from building import find_chromium


def print_page(chromium: str, page: Path, to: Path) -> None:
    """Print a page with the browser's own command; the page's style sheet says how."""
    with tempfile.TemporaryDirectory() as profile:
        command = [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"]
        command += ["--no-first-run", "--disable-background-networking", "--disable-sync"]
        command += ["--disable-component-update", f"--user-data-dir={profile}"]
        command += ["--host-resolver-rules=MAP * ~NOTFOUND"]
        # Time for the formulas to be typeset, counted by the page's clock and not the wall's.
        command += ["--virtual-time-budget=120000", "--generate-pdf-document-outline"]
        command += ["--no-pdf-header-footer", f"--print-to-pdf={to}", page.resolve().as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    if done.returncode or not to.is_file():
        raise RuntimeError(f"The browser printed nothing: {done.stderr[-1000:]}")


def main() -> int:
    page, to = map(Path, sys.argv[1:])
    chromium = find_chromium()
    if chromium is None:
        print("A PDF file needs Chromium or Chrome, which is not installed.", file=sys.stderr)
        return 1
    print_page(chromium, page, to)
    print(f"The book as one file: {to} ({to.stat().st_size / 1e6:.1f} MB)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
