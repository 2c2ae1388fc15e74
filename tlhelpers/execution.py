"""Execute one notebook, with progress, in the Python that runs this code."""

import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from tlhelpers.environment import high_water_mark

if TYPE_CHECKING:
    import nbformat

KERNEL_ENVIRONMENT = {
    "TF_CPP_MIN_LOG_LEVEL": "3",  # read when TensorFlow's library loads: too late inside a cell
    "PYTHONHASHSEED": "0",
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",  # else the debugger writes a notice to stderr
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",  # figures become outputs
    "TLH_LIVE": "0",  # nobody watches: curves once, and figures to explore as a page
}


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
    timeout: int = 1800,
    progress: bool = True,
) -> ExecutedChapter:
    """Run every cell of a notebook in a fresh kernel and write the result to another file.

    The kernel runs in the Python that calls this function, whatever kernels are installed.
    The result is also written when a cell fails, so that the failure can be looked at.

    Args:
        notebook: The notebook to execute. It is not changed.
        out: Where the executed notebook goes; its folder is made when missing.
        cwd: Folder the cells run in. Defaults to the notebook's own folder.
        env: Environment variables for the kernel, added to the current ones. Defaults to none.
        timeout: Seconds allowed for one cell. Defaults to 1800.
        progress: Show a bar that counts cells, when standard error is a terminal.
            Defaults to True.

    Returns:
        Where the result is, and what it cost.

    Raises:
        ChapterError: When a cell raises or runs past ``timeout``, or the kernel dies.
        ValueError: When ``out`` is the notebook itself.
        ModuleNotFoundError: When nbclient or ipykernel is not installed.

    Example:
        >>> done = execute("book/05_cats_dogs_vgg16.ipynb", "results/05.ipynb")  # doctest: +SKIP
        >>> done.path.name  # doctest: +SKIP
        '05.ipynb'
    """
    notebook, out = Path(notebook), Path(out)
    jupyter_client, nbclient, nbformat = _notebook_tools()
    if not notebook.is_file():
        raise FileNotFoundError(f"There is no notebook at {notebook}.")
    if out.resolve() == notebook.resolve():
        raise ValueError(f"out must differ from the notebook it is made from. Received: {out}.")

    document = nbformat.read(notebook, as_version=4)
    for cell in document.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    code_cells = [index for index, cell in enumerate(document.cells) if cell.cell_type == "code"]
    watch = _Watch()
    manager = jupyter_client.AsyncKernelManager(kernel_name="python3")
    manager.kernel_spec.argv = [sys.executable, "-m", "ipykernel_launcher", "--log-level=CRITICAL"]
    manager.kernel_spec.argv += ["-f", "{connection_file}"]
    bar = tqdm(
        total=len(code_cells), desc=notebook.stem, unit="cell", disable=None if progress else True
    )
    client = nbclient.NotebookClient(
        document,
        km=manager,
        timeout=timeout,
        record_timing=False,
        resources={"metadata": {"path": str(cwd or notebook.parent)}},
        on_cell_start=watch.start,
        on_cell_executed=lambda **event: watch.finish(manager, bar, **event),
    )
    started = time.perf_counter()
    with bar:
        try:
            client.execute(
                cleanup_kc=True,
                env={**os.environ, **KERNEL_ENVIRONMENT, **(env or {})},
            )
        except (
            nbclient.exceptions.CellExecutionError,
            nbclient.exceptions.CellTimeoutError,
            nbclient.exceptions.DeadKernelError,
        ) as error:
            _write(document, out)
            raise ChapterError(
                _failure(notebook.name, document, code_cells, watch.cell, error, timeout, out)
            ) from error
        except AssertionError as error:
            if client.km is None:  # nbclient stops the kernel on Ctrl-C, then stumbles over that
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


class _Watch:
    """Collects, cell by cell, which cell runs, how long it took and the kernel's memory."""

    def __init__(self) -> None:
        self.cell = -1
        self.seconds: dict[int, float] = {}
        self.peak_memory_mb = 0.0
        self._started = 0.0

    def start(self, *, cell: Any, cell_index: int) -> None:
        """Note that a cell starts."""
        self.cell, self._started = cell_index, time.perf_counter()

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


def _notebook_tools() -> tuple[Any, Any, Any]:
    """Import what executes notebooks, or say how to install it."""
    try:
        import ipykernel  # noqa: F401  (the kernel itself)
        import jupyter_client
        import nbclient
        import nbformat
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"Executing a chapter needs the package {error.name!r}, which is not installed. "
            'Install what the book needs with: pip install "tlhelpers[book]"',
            name=error.name,
        ) from error
    return jupyter_client, nbclient, nbformat


def _write(document: "nbformat.NotebookNode", out: Path) -> None:
    """Write a notebook whole or not at all."""
    import nbformat

    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(f".{out.name}.{os.getpid()}")
    nbformat.write(document, part)
    os.replace(part, out)


def _failure(
    name: str,
    document: "nbformat.NotebookNode",
    code_cells: list[int],
    index: int,
    error: Exception,
    timeout: int,
    out: Path,
) -> str:
    """Say which chapter and cell failed, and why, in a few lines."""
    if index not in code_cells:
        return f"{name}: the kernel stopped before the first cell ran ({error})."
    reason = type(error).__name__
    if reason == "CellExecutionError":
        reason = f"{getattr(error, 'ename', '')}: {getattr(error, 'evalue', '')}"
    elif reason == "CellTimeoutError":
        reason = f"it was still running after {timeout} seconds"
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
