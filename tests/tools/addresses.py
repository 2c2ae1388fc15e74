"""Where the book lives: one address, in _config.yml, and what every chapter makes of it.

python tests/tools/addresses.py                           list what differs from _config.yml's address
python tests/tools/addresses.py https://github.com/ME/MY-FORK    move the book there
"""

import argparse
import re
import sys
from pathlib import Path

import nbformat
import yaml

ROOT = Path(__file__).resolve().parents[2]
BADGE = re.compile(r"\[!\[Open in Colab\]\([^)]*\)\]\([^)]*\)")
REPOSITORY = re.compile(r'^REPOSITORY = ".*"$', re.M)
ADDRESS = re.compile(r"https://github\.com/[\w.-]+/[\w.-]+")
CONFIG_LINE = re.compile(r"^(  url: )https://github\.com/\S+$", re.M)


def repository(config: Path = ROOT / "_config.yml") -> dict[str, str]:
    """Read address, branch and the book's folder."""
    return yaml.safe_load(config.read_text(encoding="utf-8"))["repository"]


def colab(name: str, place: dict[str, str]) -> str:
    """Return the address that opens a chapter in Colab."""
    path = place["url"].removeprefix("https://github.com/")
    folder = f"{path}/blob/{place['branch']}/{place['path_to_book']}"
    return f"https://colab.research.google.com/github/{folder}/{name}.ipynb"


def write_address(
    notebook: nbformat.NotebookNode, name: str, place: dict[str, str]
) -> nbformat.NotebookNode:
    """Put the address into a chapter: one badge below its title, and the setup cell's line."""
    badge = f"[![Open in Colab](_static/colab.svg)]({colab(name, place)})"
    first = notebook.cells[0]
    if first.cell_type == "markdown" and first.source.startswith("# "):
        kept = re.sub(rf"\n*{BADGE.pattern}\n*", "\n\n", first.source)
        title, _, text = kept.partition("\n")
        first.source = f"{title}\n\n{badge}\n\n{text.strip()}".rstrip()
    for cell in notebook.cells:
        if cell.metadata.get("tlhelpers", {}).get("setup"):
            cell.source = REPOSITORY.sub(f'REPOSITORY = "{place["url"]}"', cell.source)
    return notebook


def differences(book: Path, place: dict[str, str]) -> list[str]:
    """List the chapters whose badge or setup cell names another address, or that have none."""
    found = []
    for path in sorted(book.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        badges = BADGE.findall(notebook.cells[0].source)
        if len(badges) != 1 or f"]({colab(path.stem, place)})" not in badges[0]:
            found.append(f"{path.name}: the badge below the title")
        setups = [c for c in notebook.cells if c.metadata.get("tlhelpers", {}).get("setup")]
        if len(setups) != 1 or f'REPOSITORY = "{place["url"]}"' not in setups[0].source:
            found.append(f"{path.name}: the setup cell")
    return found


def move(address: str, root: Path = ROOT) -> list[str]:
    """Write an address into _config.yml and every chapter; return the files that changed."""
    from notebooks import normalise, store

    address = address.removesuffix("/").removesuffix(".git")
    if not ADDRESS.fullmatch(address):
        raise ValueError(
            "The address is that of a repository on GitHub, such as "
            f"https://github.com/me/transfer-learning-in-practice. Received: {address}."
        )
    config = root / "_config.yml"
    text = config.read_text(encoding="utf-8")
    fresh = CONFIG_LINE.sub(rf"\g<1>{address}", text)
    changed = []
    if fresh != text:
        config.write_text(fresh, encoding="utf-8")
        changed.append(config.name)
    place = repository(config)
    for path in sorted((root / place["path_to_book"]).glob("*.ipynb")):
        before = nbformat.read(path, as_version=4)
        after = normalise(write_address(nbformat.read(path, as_version=4), path.stem, place))
        if after != before:
            store(after, path)
            changed.append(path.name)
    return changed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("address", nargs="?", help="of the repository on GitHub")
    options = parser.parse_args()
    if options.address:
        try:
            changed = move(options.address)
        except ValueError as error:
            print(error, file=sys.stderr)
            return 1
        print(f"Written into: {', '.join(changed) or 'nothing, all named it already'}")
        return 0
    place = repository()
    found = differences(ROOT / place["path_to_book"], place)
    print("\n".join(found) or f"All chapters name {place['url']}.")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
