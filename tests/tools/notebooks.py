"""Re-execute the book's chapters in place and normalise what is stored.

    python tests/tools/notebooks.py            execute all chapters, store their outputs
    python tests/tools/notebooks.py 05         only chapters that start with 05
    python tests/tools/notebooks.py --check    execute nothing; exit 1 where a stored file is not normal
    python tests/tools/notebooks.py --tidy     execute nothing; normalise the stored files

A second run leaves every text output as it was: where fresh text differs from the stored only
in what tests/tools/sanitize.cfg sets aside (measured seconds, memory, paths), the stored text stays.
"""

import argparse
import base64
import configparser
import hashlib
import io
import os
import re
import sys
import tempfile
from pathlib import Path

import addresses
import costs
import nbformat
from PIL import Image

from tlhelpers.book.notebooks import ChapterError, execute, find_chapters

BOOK = Path(__file__).resolve().parents[2] / "book"
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
LANGUAGE = {"name": "python", "pygments_lexer": "ipython3"}
# Drawn images and shipped weights: what tries to download in the embedded tier fails.
NO_NETWORK = {
    "http_proxy": "http://127.0.0.1:9",
    "https_proxy": "http://127.0.0.1:9",
    "no_proxy": "127.0.0.1,localhost",
}
KEPT_METADATA = {"accelerator", "colab", "kernelspec", "language_info", "mystnb", "tlhelpers"}


def normalise(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Return a copy without what changes from run to run or from machine to machine."""
    notebook = nbformat.from_dict(notebook)
    notebook.metadata = nbformat.from_dict(
        {key: value for key, value in notebook.metadata.items() if key in KEPT_METADATA}
        | {"kernelspec": KERNEL, "language_info": LANGUAGE}
    )
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    seen: dict[str, int] = {}
    count = 0
    for cell in notebook.cells:
        digest = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:10]
        seen[digest] = seen.get(digest, 0) + 1
        cell.id = digest if seen[digest] == 1 else f"{digest}-{seen[digest]}"
        for key in ("execution", "collapsed", "ExecuteTime", "executionInfo", "outputId"):
            cell.metadata.pop(key, None)
        if cell.cell_type == "code":
            count = normalise_outputs(cell, count)
        else:
            cell.pop("outputs", None)
            cell.pop("execution_count", None)
    return notebook


def prepare(notebook: nbformat.NotebookNode, name: str) -> nbformat.NotebookNode:
    """Return a normalised copy that says where it opens in Colab and how long it takes to read."""
    notebook = addresses.write_address(nbformat.from_dict(notebook), name, addresses.repository())
    return normalise(costs.write_minutes(notebook))


def normalise_outputs(cell: nbformat.NotebookNode, count: int) -> int:
    """Number a code cell, merge its streams, drop progress bars; return the cell's number."""
    if cell.execution_count is not None:
        count += 1
        cell.execution_count = count
    kept: list[nbformat.NotebookNode] = []
    for output in cell.outputs:
        if output.output_type == "stream":
            if output.name == "stderr":
                continue
            if kept and kept[-1].output_type == "stream":
                kept[-1].text += output.text
                continue
        if output.output_type == "execute_result":
            output.execution_count = cell.execution_count
        if "data" in output and "application/vnd.jupyter.widget-view+json" in output.data:
            # A widget's model dies with its kernel; its static view is what can be stored.
            output.data.pop("application/vnd.jupyter.widget-view+json")
            if not output.data:
                continue
        if not _shows_nothing(output):
            kept.append(output)
    cell.outputs = kept
    return count


def _shows_nothing(output: nbformat.NotebookNode) -> bool:
    """Tell whether an output is an empty frame, such as Keras's for a summary printed elsewhere."""
    data = output.get("data", {})
    if not data or set(data) - {"text/html", "text/plain"}:
        return False
    shown = "".join(data.values())
    return "<img" not in shown and "<svg" not in shown and not re.sub(r"<[^>]*>", "", shown).strip()


def read_sanitizers(path: Path) -> list[tuple[re.Pattern, str]]:
    """Read nbval's sanitising rules: sections with a regex and its replacement."""
    config = configparser.RawConfigParser()
    config.read_string(path.read_text(encoding="utf-8"))  # `read` passes over a missing file
    return [
        (re.compile(config[name]["regex"]), config[name]["replace"]) for name in config.sections()
    ]


def texts(notebook: nbformat.NotebookNode, rules: list[tuple[re.Pattern, str]]) -> list[str]:
    """Return the source and the sanitised text outputs of a notebook's cells."""
    found = []
    for cell in notebook.cells:
        found.append(cell.source)
        for output in cell.get("outputs", []):
            parts = [output.get("text", "")]
            for mime, value in sorted(output.get("data", {}).items()):
                is_text = mime.split("/")[-1] not in {"png", "jpeg", "pdf"}
                parts += [mime, str(value) if is_text else ""]
            text = "\n".join(parts)
            for pattern, replacement in rules:
                text = pattern.sub(replacement, text)
            found.append(text)
    return found


def keep_stored_text(
    fresh: nbformat.NotebookNode,
    stored: nbformat.NotebookNode,
    rules: list[tuple[re.Pattern, str]],
) -> bool:
    """Put the stored text back where only measured values differ; return whether it did."""
    if texts(fresh, rules) != texts(stored, rules):
        return False
    for new, old in zip(fresh.cells, stored.cells, strict=True):
        for output, before in zip(new.get("outputs", []), old.get("outputs", []), strict=True):
            if "text" in before:
                output.text = before.text
            for mime, value in before.get("data", {}).items():
                if mime.split("/")[-1] not in {"png", "jpeg", "pdf"}:
                    output.data[mime] = value
    return True


def stderr_of(notebook: nbformat.NotebookNode) -> list[tuple[int, str]]:
    """Return position and last line of what the cells wrote to standard error."""
    return [
        (index + 1, output.text.strip().splitlines()[-1][:160])
        for index, cell in enumerate(notebook.cells)
        for output in cell.get("outputs", [])
        if output.get("name") == "stderr" and output.text.strip()
    ]


def compressed(png: str) -> str:
    """Give a picture the 256 colours nearest to its own, a quarter of the bytes, where that is less.

    A picture that has a palette already is left as it is, and so is one with transparent parts.
    """
    content, out = base64.b64decode(png), io.BytesIO()
    with Image.open(io.BytesIO(content)) as image:
        opaque = "A" not in image.mode or image.getchannel("A").getextrema() == (255, 255)
        if image.mode == "P" or not opaque:
            return png
        palette = image.convert("RGB").quantize(256, kmeans=3, dither=Image.Dither.NONE)
    palette.save(out, "PNG", optimize=True)
    return base64.b64encode(min(content, out.getvalue(), key=len)).decode()


def store(notebook: nbformat.NotebookNode, path: Path) -> None:
    """Write a notebook whole or not at all, its pictures compressed."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if png := output.get("data", {}).get("image/png"):
                output.data["image/png"] = compressed(png)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    nbformat.write(notebook, part)
    os.replace(part, path)


def refresh(path: Path, rules: list[tuple[re.Pattern, str]]) -> str:
    """Execute one chapter and store its outputs; return a line that says what changed."""
    stored = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / path.name
        done = execute(path, out, cwd=path.parent, env=NO_NETWORK)
        fresh = nbformat.read(out, as_version=4)
    for cell, line in stderr_of(fresh):
        print(f"{path.name}: cell {cell} wrote to standard error, not stored: {line}")
    fresh = prepare(fresh, path.stem)
    before = prepare(stored, path.stem)
    same = texts(fresh, rules) == texts(before, rules)
    if costs.near(done.seconds, costs.read(path.parent).get(path.stem, {}).get("seconds")):
        keep_stored_text(fresh, before, rules)
    store(fresh, path)
    minutes = costs.minutes_to_read(fresh)
    costs.record(path.parent, path.stem, done.seconds, done.peak_memory_mb, minutes)
    store_pictures(fresh, path.parent)
    cost = f"{done.seconds:.0f} s, {done.peak_memory_mb / 1024:.1f} GiB"
    return f"{path.name}: {cost}, text outputs {'unchanged' if same else 'changed'}"


def pictures(notebook: nbformat.NotebookNode) -> dict[str, bytes]:
    """Return the pictures that other pages show too: file name to PNG, from cells that name one."""
    return {
        cell.metadata["tlhelpers"]["picture"]: base64.b64decode(output.data["image/png"])
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "picture" in cell.metadata.get("tlhelpers", {}) and "image/png" in output.get("data", {})
    }


def store_pictures(notebook: nbformat.NotebookNode, folder: Path) -> None:
    """Write the pictures that other pages show too."""
    for name, content in pictures(notebook).items():
        (folder / "_static").mkdir(exist_ok=True)
        (folder / "_static" / name).write_bytes(content)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="chapters, such as 05 (default: all)")
    parser.add_argument("--book", type=Path, default=BOOK, help="folder (default: book/)")
    parser.add_argument("--check", action="store_true", help="only report files not normalised")
    parser.add_argument("--tidy", action="store_true", help="normalise without executing")
    options = parser.parse_args()
    rules = read_sanitizers(Path(__file__).with_name("sanitize.cfg"))
    status = 0
    for path in find_chapters(options.book, options.names):
        stored = nbformat.read(path, as_version=4)
        if options.check:
            if prepare(stored, path.stem) != stored:
                print(f"{path.name} is not normalised: run make outputs")
                status = 1
        elif options.tidy:
            store(prepare(stored, path.stem), path)
            store_pictures(stored, path.parent)
        else:
            try:
                print(refresh(path, rules), flush=True)
            except ChapterError as error:
                print(f"\n{error}", file=sys.stderr)
                return 1
            except KeyboardInterrupt:
                print(f"\nInterrupted: {path.name} is as it was.", file=sys.stderr)
                return 130
    return status


if __name__ == "__main__":
    sys.exit(main())
