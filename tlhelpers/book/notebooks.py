"""Find and execute the book's chapters.

:func:`execute` is behind ``make book``, ``make outputs`` and ``tlhelpers run``, so a
chapter behaves the same however it is started.

Example:
    >>> import tlhelpers.book.notebooks as chapters
    >>> [path.stem for path in chapters.find_chapters("book")]  # doctest: +SKIP
    ['05_cats_dogs_vgg16']
"""

import argparse
import contextlib
import hashlib
import json
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from tlhelpers.files import writable_folder, write_atomically
from tlhelpers.progress import SECONDS
from tlhelpers.runtime import accept_any_character, high_water_mark

if TYPE_CHECKING:
    import nbformat

KERNEL_ENVIRONMENT = {
    "TF_CPP_MIN_LOG_LEVEL": "3",  # read when TensorFlow's library loads: too late inside a cell
    "PYTHONHASHSEED": "0",
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",  # else the debugger writes a notice to stderr
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",  # figures become outputs
    "TLH_LIVE": "0",  # nobody watches: figures to explore are a page
}

TIMEOUT = 1800
"""Seconds allowed for one cell."""

MARKER = ".executed-copy"
"""A file in every folder that :func:`execute_book` made, with the folder's path: a folder whose
path is another, such as somebody's copy, is never replaced."""


class ChapterError(RuntimeError):
    """A chapter did not run to its end; the message names the chapter and the cell."""


@dataclass(frozen=True)
class ExecutedChapter:
    """What executing one chapter produced.

    Attributes:
        name: File name without its suffix, for example ``"05_cats_dogs_vgg16"``.
        path: The executed notebook.
        seconds: Wall-clock seconds, the kernel's start included.
        peak_memory_mb: Largest resident memory of the kernel, in MiB (on Linux the true peak;
            elsewhere the largest value seen between cells).
        slowest_cell: Position in the notebook (from 0) of the cell that took longest.
        slowest_cell_seconds: Wall-clock seconds of that cell.
    """

    name: str
    path: Path
    seconds: float
    peak_memory_mb: float
    slowest_cell: int
    slowest_cell_seconds: float


def execute(
    notebook: str | Path,
    out: str | Path,
    *,
    cwd: str | Path | None = None,
    env: Mapping[str, str] | None = None,
) -> ExecutedChapter:
    """Run every cell of a notebook in a fresh kernel and write the result to another file.

    The kernel runs in the Python that calls this function, whatever kernels are installed.
    The result is also written when a cell fails, so that the failure can be looked at.
    ``TLH_CACHE`` and ``TLH_MIRROR`` mean the same places for the cells as for the caller.
    On standard error it says which cell runs and what it last printed, at most every ten seconds;
    in a terminal also with a bar that counts cells.

    Args:
        notebook: The notebook to execute. It is not changed.
        out: Where the executed notebook goes; its folder is made when missing. An earlier result
            is replaced, a notebook with cells of somebody's own is not.
        cwd: Folder the cells run in. Defaults to the notebook's own folder.
        env: Environment variables for the kernel, added to the current ones. Defaults to none.

    Returns:
        Where the result is, and what it cost.

    Raises:
        ChapterError: When a cell raises or runs past :data:`TIMEOUT`, or the kernel dies.
        ValueError: When it is no notebook, or ``out`` is the notebook itself, or another one with
            cells of its own.
        PermissionError: When the folder of ``out`` can't be written to.
        ModuleNotFoundError: When nbclient or ipykernel is not installed.

    Example:
        >>> done = execute("book/05_cats_dogs_vgg16.ipynb", "results/05.ipynb")  # doctest: +SKIP
        >>> done.path.name  # doctest: +SKIP
        '05.ipynb'
    """
    notebook, out = Path(notebook), Path(out)
    jupyter_client, nbclient = _notebook_tools()
    if not notebook.is_file():
        raise FileNotFoundError(f"There is no notebook at {notebook}.")
    if _same(out, notebook):
        raise ValueError(f"out must differ from the notebook it is made from. Received: {out}.")

    document = _read(notebook)
    _check_out(out, document)
    code_cells = [index for index, cell in enumerate(document.cells) if cell.cell_type == "code"]
    manager = jupyter_client.AsyncKernelManager(kernel_name="python3")
    manager.kernel_spec.argv = [sys.executable, "-m", "ipykernel_launcher", "--log-level=CRITICAL"]
    manager.kernel_spec.argv += ["-f", "{connection_file}"]
    bar = tqdm(total=len(code_cells), desc=notebook.stem, unit="cell", disable=None)
    watch = _Watch(notebook.stem, document, code_cells)
    client = nbclient.NotebookClient(
        document,
        km=manager,
        timeout=TIMEOUT,
        record_timing=False,
        resources={"metadata": {"path": str(cwd or notebook.parent)}},
        on_cell_start=watch.start,
        on_cell_executed=lambda **event: watch.finish(manager, bar, **event),
    )
    process = client.process_message

    def listening(msg: Any, cell: Any, cell_index: int) -> Any:
        """Let what the running cell prints be heard."""
        if msg["msg_type"] == "stream":
            watch.hear(msg["content"]["text"])
        return process(msg, cell, cell_index)

    client.process_message = listening
    started = time.perf_counter()
    with bar, watch.speaking():
        try:
            client.execute(
                cleanup_kc=True,
                env={**os.environ, **_places(), **KERNEL_ENVIRONMENT, **(env or {})},
            )
        except (
            nbclient.exceptions.CellExecutionError,
            nbclient.exceptions.CellTimeoutError,
            nbclient.exceptions.DeadKernelError,
        ) as error:
            if _was_interrupted(client):
                raise KeyboardInterrupt from error
            _write(document, out)
            raise ChapterError(
                _failure(notebook.name, document, code_cells, watch.cell, error, out)
            ) from error
        except AssertionError as error:
            if _was_interrupted(client):
                raise KeyboardInterrupt from error
            raise
    _write(document, out)
    slowest = max(watch.seconds, key=lambda cell: watch.seconds[cell], default=0)
    return ExecutedChapter(
        name=notebook.stem,
        path=out,
        seconds=time.perf_counter() - started,
        peak_memory_mb=watch.peak_memory_mb,
        slowest_cell=slowest,
        slowest_cell_seconds=watch.seconds.get(slowest, 0.0),
    )


def _was_interrupted(client: Any) -> bool:
    """Tell whether nbclient stopped the kernel on Ctrl-C; it then stumbles over that, or finds it dead."""
    return getattr(client, "_async_cleanup_kernel_future", None) is not None


class _Watch:
    """Collects, cell by cell, how long it took and the kernel's memory; and says how far it is."""

    def __init__(self, name: str, document: Any, code_cells: list[int]) -> None:
        self.cell = -1
        self.seconds: dict[int, float] = {}
        self.peak_memory_mb = 0.0
        self._name, self._document, self._code_cells = name, document, code_cells
        self._ended = threading.Event()
        self._begun = self._started = self._said = time.perf_counter()
        self._heard = ""

    def start(self, *, cell: Any, cell_index: int) -> None:
        """Note that a cell starts, and say so."""
        if cell_index not in self._code_cells:
            return
        self.cell, self._started = cell_index, time.perf_counter()
        headings = [
            line.lstrip("# ")
            for before in self._document.cells[:cell_index]
            if before.cell_type == "markdown"
            for line in before.source.splitlines()
            if line.startswith("#")
        ]
        self._say(headings[-1] if headings else "")
        self._said = -float("inf")  # what it prints first is passed on at once

    def hear(self, text: str) -> None:
        """Keep what the running cell printed last, of a bar its last state; pass it on now and then."""
        self._heard = " ".join(text.rpartition("\r")[2].split()) or self._heard
        if self._heard and time.perf_counter() - self._said > SECONDS:
            self._say(self._heard)

    @contextlib.contextmanager
    def speaking(self) -> Iterator[None]:
        """While cells run, say every so often how far they are, whether they print or not."""
        thread = threading.Thread(target=self._repeat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            thread.join()

    def _repeat(self) -> None:
        """Say what was heard since, or that the cell still runs; where nothing is new less often."""
        while not self._ended.wait(SECONDS / 10):
            quiet = time.perf_counter() - max(self._said, self._started)
            if self.cell >= 0 and quiet > (SECONDS if self._heard else 3 * SECONDS):
                self._say(self._heard or "still running")

    def _say(self, what: str) -> None:
        """Print a line: chapter, cell, seconds so far, and what there is to say."""
        self._said, self._heard = time.perf_counter(), ""
        place = self._code_cells.index(self.cell) + 1
        tqdm.write(
            f"{self._name}: code cell {place} of {len(self._code_cells)}, "
            f"{self._said - self._begun:.0f} s: {what[:300]}",
            file=sys.stderr,
        )
        sys.stderr.flush()

    def finish(self, manager: Any, bar: tqdm, *, cell_index: int, **_: Any) -> None:
        """Note that a cell has ended."""
        self.seconds[cell_index] = time.perf_counter() - self._started
        self.peak_memory_mb = max(self.peak_memory_mb, _resident_mb(manager.provisioner.pid))
        bar.update()


def _resident_mb(pid: int) -> float:
    """Return the peak resident memory of a process in MiB (the present one where no peak is kept)."""
    if Path("/proc/self/status").exists():
        return 1024 * (high_water_mark(pid) or 0.0)  # a kernel that has ended has none
    import psutil

    return float(psutil.Process(pid).memory_info().rss) / 2**20


def _notebook_tools() -> tuple[Any, Any]:
    """Import what executes notebooks, or say how to install it."""
    try:
        import ipykernel  # noqa: F401  (the kernel itself)
        import jupyter_client
        import nbclient
        import nbformat  # noqa: F401
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"Executing a chapter needs the package {error.name!r}, which is not installed. "
            'Install what the book needs with: pip install "tlhelpers[book]"',
            name=error.name,
        ) from error
    return jupyter_client, nbclient


def _read(path: Path) -> Any:
    """Read a notebook without what its cells gave before, or say that a file is none."""
    import nbformat

    try:
        document = nbformat.reads(
            path.read_text("utf-8"), as_version=4, capture_validation_error={}
        )
        for cell in document.cells:
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
        nbformat.validate(document)
    except Exception as error:  # the reader's and the validator's are of many kinds
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"{path} must be a Jupyter notebook of version 4. Received: something else ({reason[:120]})."
        ) from None
    return document


RESULT = "executed"
"""Key of an executed notebook's metadata: the digest of its cells as they were executed."""


def _write(document: "nbformat.NotebookNode", out: Path) -> None:
    """Write an executed notebook whole or not at all."""
    import nbformat

    document.metadata[RESULT] = _cells_digest(document)
    write_atomically(out, nbformat.writes(document) + "\n")


def _cells_digest(document: "nbformat.NotebookNode") -> str:
    """Return a digest of what the cells say, whatever their outputs are."""
    sources = [(cell.cell_type, cell.source) for cell in document.cells]
    return hashlib.sha256(json.dumps(sources).encode()).hexdigest()


def _check_out(out: Path, document: "nbformat.NotebookNode") -> None:
    """Raise an error, before anything runs, where the result could not be written or would hide work."""
    import nbformat

    writable_folder(out.parent, "The folder for the executed notebook", "Name another folder.")
    if not out.exists():
        return
    try:
        there = nbformat.read(out, as_version=4)
        digest = _cells_digest(there)
    except Exception:  # a folder, or a file that is no notebook
        digest = None
    if digest is None or digest not in (there.metadata.get(RESULT), _cells_digest(document)):
        raise ValueError(
            f"An executed notebook replaces only an earlier one. Received: {out}, which is something "
            "else or was edited since. Rename it, or name another folder."
        )


def _places() -> dict[str, str]:
    """Return the settings that name folders, from the working folder: cells may run in another."""
    named = {name: os.environ.get(name) for name in ("TLH_CACHE", "TLH_MIRROR")}
    return {
        name: str(Path(place).expanduser().resolve())
        for name, place in named.items()
        if place and "://" not in place
    }


def _failure(
    name: str,
    document: "nbformat.NotebookNode",
    code_cells: list[int],
    index: int,
    error: Exception,
    out: Path,
) -> str:
    """Say which chapter and cell failed, and why, in a few lines."""
    if index not in code_cells:
        return f"{name}: the kernel stopped before the first cell ran ({error})."
    reason = type(error).__name__
    if reason == "CellExecutionError":
        reason = f"{getattr(error, 'ename', '')}: {getattr(error, 'evalue', '')}"
    elif reason == "CellTimeoutError":
        reason = f"it was still running after {TIMEOUT} seconds"
    elif reason == "DeadKernelError":
        reason = "the kernel stopped (out of memory, or interrupted)"
    source = document.cells[index].source.strip().splitlines()
    shown = "\n".join(f"    {line}" for line in source[:8])
    more = "\n    ..." if len(source) > 8 else ""
    return (
        f"{name}: cell {index + 1} of {len(document.cells)} "
        f"(code cell {code_cells.index(index) + 1} of {len(code_cells)}) failed: {reason}\n"
        f"{shown}{more}\n  The notebook up to this cell, with the traceback, is {out}"
    )


def find_chapters(book: str | Path, names: Sequence[str] = ()) -> list[Path]:
    """Return the book's notebooks in reading order.

    Args:
        book: Folder that holds the notebooks.
        names: Only chapters whose file name starts with one of these, such as ``"05"``.
            Defaults to all.

    Returns:
        Paths of the notebooks, sorted by name.

    Raises:
        FileNotFoundError: When a name matches no notebook.
    """
    found = sorted(Path(book).glob("*.ipynb"))
    for name in names:
        if not any(path.name.startswith(name) for path in found):
            raise FileNotFoundError(
                f"No chapter in {book} starts with {name!r}. "
                f"Chapters: {', '.join(path.stem for path in found) or 'none'}."
            )
    return [path for path in found if not names or path.name.startswith(tuple(names))]


def execute_book(
    book: str | Path, to: str | Path, names: Sequence[str] = ()
) -> list[ExecutedChapter]:
    """Copy a book's folder and execute the chapters of the copy.

    The book itself is only read. In the copy, ``costs.json`` records seconds and memory of each
    chapter. The copy is written beside its place and moved there when it is whole.

    Args:
        book: Folder that holds the notebooks.
        to: Folder for the copy. It must not exist, be empty, or be an earlier copy, which is
            replaced.
        names: Only these chapters, as in :func:`find_chapters`; the others keep their stored
            outputs. Defaults to all.

    Returns:
        One entry per executed chapter, in reading order.

    Raises:
        ValueError: When ``to`` is no folder that this function may replace.
        ChapterError: When a chapter does not run to its end.
    """
    book = Path(book)
    to = _check_target(book, Path(to))
    chapters = find_chapters(book, names)
    _copy_book(book, to)
    done = []
    for chapter in chapters:
        done.append(execute(chapter, to / chapter.name, cwd=to))
        print(_line(done[-1]), flush=True)
    costs = {
        entry.name: {
            "seconds": round(entry.seconds, 1),
            "peak_memory_mb": round(entry.peak_memory_mb),
        }
        for entry in done
    }
    write_atomically(to / "costs.json", json.dumps(costs, indent=2) + "\n")
    return done


def _check_target(book: Path, to: Path) -> Path:
    """Return the folder for the copy, links resolved, if nothing but an earlier copy is lost there."""
    if not book.is_dir():
        raise ValueError(f"The book must be a folder with notebooks. Received: {book}.")
    target = to.resolve()
    inside = any(_same(book, place) for place in (target, *target.parents))
    if inside or any(_same(target, place) for place in book.resolve().parents):
        raise ValueError(
            f"The copy must lie outside the book's folder, and not hold it. Received: {to} for the "
            f"book in {book}. Name another folder, such as _build/book."
        )
    if target.exists() and not target.is_dir():
        raise ValueError(f"The copy's place must be a folder. Received: {to}, which is a file.")
    if target.is_dir() and any(target.iterdir()) and not _is_copy(target):
        raise ValueError(
            f"Only an earlier copy of a book is replaced. Received: {to}, which holds other files "
            "or was moved here; nothing was changed. Name a folder that does not exist yet, such as "
            "_build/book."
        )
    if mounts := _mounts_in(target):
        raise ValueError(
            f"Where a copy is replaced, nothing may be mounted: it would be emptied. Received: {to}, "
            f"with {mounts[0]}. Unmount that, or name another folder."
        )
    return target


def _same(one: Path, other: Path) -> bool:
    """Tell whether two paths lead to one place, by other letters or another mount included."""
    return one.exists() and other.exists() and one.samefile(other)


def _mounts_in(folder: Path) -> list[Path]:
    """Return what is mounted at a folder or below it; bind mounts only Linux tells."""
    table = Path("/proc/self/mountinfo")
    lines = table.read_text("utf-8", "replace").splitlines() if table.is_file() else []
    mounted = [Path(line.split()[4].replace("\\040", " ")) for line in lines]
    found = [place for place in mounted if place.is_relative_to(folder)]
    return found or ([folder] if os.path.ismount(folder) else [])


def _is_copy(folder: Path) -> bool:
    """Tell whether :func:`execute_book` made a folder at this very place."""
    marker = folder / MARKER
    return marker.is_file() and str(folder) in marker.read_text("utf-8", "replace").splitlines()


def _copy_book(book: Path, to: Path) -> None:
    """Put a copy of the book in place of an earlier one, once it is whole."""
    to.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=to.parent, prefix=f".{to.name}-") as beside:
        whole, earlier = Path(beside) / "new", Path(beside) / "earlier"
        ignored = shutil.ignore_patterns(".ipynb_checkpoints", "_build", MARKER)
        shutil.copytree(book, whole, ignore=ignored)
        made = f"Made by tlhelpers from a book's folder, at\n{to}\nand replaced when made anew.\n"
        (whole / MARKER).write_text(made, "utf-8")
        if to.exists():
            to.rename(earlier)
        whole.rename(to)


def _line(done: ExecutedChapter) -> str:
    """Describe an executed chapter in one line."""
    return (
        f"{done.name}: {done.seconds:.0f} s, {done.peak_memory_mb / 1024:.1f} GiB "
        f"(slowest: cell {done.slowest_cell + 1}, {done.slowest_cell_seconds:.0f} s)"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Execute a copy of a book from the command line; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tlhelpers.book.notebooks",
        description="Copy a book and execute its chapters.",
    )
    parser.add_argument("book", type=Path, help="folder with the chapters")
    parser.add_argument("names", nargs="*", help="only these chapters, such as 05 (default: all)")
    parser.add_argument("--to", type=Path, required=True, help="folder for the executed copy")
    options = parser.parse_args(arguments)
    accept_any_character()
    try:
        done = execute_book(options.book, options.to, options.names)
    except (ChapterError, OSError, ValueError) as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted: the book in its folder is as it was.", file=sys.stderr)
        return 130
    total = len(find_chapters(options.book))
    seconds = sum(entry.seconds for entry in done)
    print(f"Executed {len(done)} of {total} chapters in {seconds:.0f} s.", end=" ")
    if len(done) < total:
        print("The others show their stored outputs.")
    else:
        slowest = sorted(done, key=lambda entry: -entry.seconds)[:5]
        print("Slowest:", ", ".join(f"{entry.name} {entry.seconds:.0f} s" for entry in slowest))
    return 0


if __name__ == "__main__":
    sys.exit(main())
