"""Grade a folder of returned notebooks: each in a process of its own, and a row for each.

A notebook's outputs are never believed and its chapter's cells not needed: of its code only the
answers run, on the book's own copy of what they depend on. The values they give come back and are
judged here, by the checks and by what the solutions give.
"""

import contextlib
import csv
import functools
import hashlib
import io
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tlhelpers.book.checks import agrees, check
from tlhelpers.book.kit.chapter import Chapter, is_solution, read_chapter, source
from tlhelpers.book.kit.points import Points, points_of, read_points
from tlhelpers.book.kit.sandbox import command, environment
from tlhelpers.book.notebooks import find_chapters
from tlhelpers.files import write_atomically

START = 90.0  # seconds in which a process must have started and read its notebook
GRACE = 3.0  # seconds from the polite end of an answer's time to the hard one
MOST_TOLD = 5_000_000  # bytes that a process may hand back
MOST_TRIES = 3  # ways in which an answer is run, until one is right
UNCOMPARED = "by its check alone: the solution did not run here in the time or memory given"
COLUMNS = ("file", "chapter", "points", "of", "by_hand", "seconds", "reason", "exercises")


@dataclass(frozen=True)
class Limits:
    """What one notebook may use.

    Attributes:
        seconds: Time for each exercise, with what it needs of the chapter.
        memory_gb: Memory in GB; TensorFlow alone takes two to three of address space.
    """

    seconds: float = 120.0
    memory_gb: float = 8.0

    def __post_init__(self) -> None:
        """Refuse limits under which nothing runs."""
        if not (0 < self.seconds < float("inf") and 0 < self.memory_gb < float("inf")):
            raise ValueError(
                "Seconds and memory for a notebook must be above 0. Received: "
                f"{self.seconds:g} s and {self.memory_gb:g} GB."
            )


@dataclass
class Row:
    """What is said of one returned file; ``exercises`` has a few words for each."""

    file: str
    chapter: str = ""
    points: int = 0
    of: int = 0
    by_hand: int = 0
    seconds: float = 0.0
    reason: str = "graded"
    exercises: dict[str, str] = field(default_factory=dict)


class Grader:
    """The book's chapters, table of points and solutions, for grading a class.

    Attributes:
        chapters: The chapters by number.
        table: The table of points.
        limits: What one notebook may use.
    """

    def __init__(self, book: str | Path, limits: Limits | None = None) -> None:
        """Read the book.

        Args:
            book: The book's folder.
            limits: What one notebook may use. Defaults to two minutes for an exercise.
        """
        read = [read_chapter(path) for path in find_chapters(book)]
        self.chapters: dict[str, Chapter] = {c.name[:2]: c for c in read if c.exercises}
        self.table: dict[str, Points] = read_points(book)
        self.limits = limits or Limits()
        self._solutions = functools.cache(self._solve)
        self._solving = threading.Lock()

    def grade(self, path: Path, hidden: Sequence[Path] = ()) -> Row:
        """Grade one file.

        Args:
            path: The file.
            hidden: Folders that the notebook's code must not see.

        Returns:
            Its row; whatever is wrong with the file is the row's reason.

        Example:
            >>> grader.grade(Path("returned/ada.ipynb")).reason  # doctest: +SKIP
            'graded'
        """
        row, started = Row(path.name), time.monotonic()
        if path.is_symlink() or not path.is_file():
            row.reason = "not graded: it is no file of its own"
        elif path.suffix != ".ipynb":
            row.reason = "not graded: it is no notebook"
        else:
            try:
                self._fill(row, self._told(path, hidden))
            except Exception as error:  # one file must not stop the others
                row.reason = f"not graded: {type(error).__name__}: {str(error)[:120]}"
        row.file, row.reason = visible(row.file), visible(row.reason)
        row.seconds = round(time.monotonic() - started, 1)
        return row

    def _fill(self, row: Row, told: list[dict[str, Any]]) -> None:
        """Judge what a notebook's process told, into its row."""
        reasons = [f"not graded: {said['failed']}" for said in told if "failed" in said]
        number = next((said["chapter"] for said in told if "chapter" in said), "")
        if number not in self.chapters:
            row.reason = "; ".join(reasons) or "not graded: its process ended before it began"
            return
        chapter = self.chapters[number]
        row.chapter = chapter.name
        called = [one.name for one in self.chapters.values() if one.name in row.file]
        if called and chapter.name not in called:
            reasons.append(f"it is called {called[0]}, and holds another chapter")
        reasons += next((said["notes"] for said in told if "notes" in said), [])
        there: list[str] = next((said["found"] for said in told if "found" in said), [])
        for exercise in chapter.exercises:
            row.by_hand += exercise.open_points
            if not exercise.solution:
                continue
            worth = points_of(self.table, exercise.id)
            tries = [said for said in told if said.get("exercise") == exercise.id]
            if not tries:
                tries = [{"error": "its process ended before it"} if exercise.id in there else {}]
            judged = [(*self._judge(exercise.id, worth, said), said) for said in tries]
            points, word, said = max(
                judged[-MOST_TRIES:], key=lambda one: one[0]
            )  # the first of these
            row.points, row.of = row.points + points, row.of + worth.most
            row.exercises[exercise.id] = f"{points}/{worth.most} {word}"
            reasons += [f"{exercise.id}: {why}" for why in self._reasons(exercise.id, word, said)]
        given = {said.partition(" ")[2] for said in row.exercises.values()}
        row.reason = "; ".join(reasons) or (
            "nothing is answered" if given == {"no answer"} else "graded"
        )

    def _reasons(self, exercise: str, word: str, said: dict[str, Any]) -> Iterator[str]:
        """Yield what an instructor should know of an answer."""
        if word.endswith(UNCOMPARED):
            yield UNCOMPARED
        if said.get("claims") and not ("answer" in said and check(exercise, said["answer"]).right):
            yield "its stored output says it is right, its code not"
        if not said:
            yield "no cell of code answers it"
        if word == "no answer" and said.get("written"):
            yield "its code gives no answer"
        yield from (said[key] for key in ("error", "note") if key in said)

    def _judge(self, exercise: str, worth: Points, said: dict[str, Any]) -> tuple[int, str]:
        """Return the points of an answer, and a word on it."""
        if not said:
            return 0, "no cell"
        if "error" in said:
            return 0, "error"
        found = check(exercise, said["answer"])
        if not found.readable:
            return 0, "no answer" if said["answer"] is None else "not of the form asked for"
        if not found.right:
            return worth.form, "wrong"
        with self._solving:  # once for all, though several notebooks wait for it
            expected = self._solutions(exercise[:2]).get(exercise)
        if expected is None:
            return worth.most, f"right {UNCOMPARED}"
        if not agrees(exercise, said["answer"], expected, worth.within):
            return worth.form, "passes its check, but is not what the solution gives"
        return worth.most, "right"

    def _solve(self, number: str) -> dict[str, Any]:
        """Return what each solution of a chapter gives."""
        chapter = self.chapters[number]
        wanted = [(one.id, one.solution) for one in chapter.exercises if one.solution]
        told = self._told(None, (), number=number, solutions=wanted)
        return {said["exercise"]: said["answer"] for said in told if "answer" in said}

    def _told(self, path: Path | None, hidden: Sequence[Path], **more: Any) -> list[dict[str, Any]]:
        """Run a notebook's answers, again without one that had to be killed; return all it told."""
        told: list[dict[str, Any]] = []
        skip: list[str] = []
        broken: list[str] = []
        rounds = 1 + max(len(chapter.exercises) for chapter in self.chapters.values())
        end = time.monotonic() + START + rounds * (self.limits.seconds + GRACE)
        for _ in range(rounds):  # code may claim what it likes, but not go on for ever
            new = _process(
                path, self._job(hidden, skip, {"broken": broken, **more}), self.limits.seconds, end
            )
            told += new
            done = [said["exercise"] for said in told if "exercise" in said]
            begun = [said["begun"] for said in new if "begun" in said]
            if begun and begun[-1] not in done:
                why = next((said["killed"] for said in new if "killed" in said), "")
                told.append({"exercise": begun[-1], "error": why or "its process ended"})
            if not begun or "ended" in new[-1]:
                return told
            skip, broken = [*done, begun[-1]], [*broken, begun[-1]]
        return [*told, {"failed": "its process ended too often"}]

    def _job(self, hidden: Sequence[Path], skip: list[str], more: dict[str, Any]) -> dict[str, Any]:
        """Return what a notebook's process is told to do."""
        return {
            "chapters": {
                number: {
                    "code": chapter.code,
                    "solutions": [source(cell) for cell in chapter.cells if is_solution(cell)],
                    "exercises": [one.id for one in chapter.exercises],
                }
                for number, chapter in self.chapters.items()
            },
            "seconds": self.limits.seconds,
            "memory_gb": self.limits.memory_gb,
            "cpu_seconds": 4 * self.limits.seconds * 6,
            "hidden": [str(folder) for folder in hidden],
            "skip": skip,
            **more,
        }


def _process(
    path: Path | None, job: dict[str, Any], seconds: float, end: float
) -> list[dict[str, Any]]:
    """Run one process on a notebook, kill it where it takes too long; return what it told."""
    with tempfile.TemporaryDirectory(prefix="tlhelpers-grade-") as work:
        job = {**job, "work": work}
        job_end, job_start = os.pipe()
        told_end, told_start = os.pipe()
        program = [sys.executable, "-m", "tlhelpers.book.kit.worker", str(job_end), str(told_start)]
        with open(path or os.devnull, "rb") as given:
            process = subprocess.Popen(
                command(work, job["hidden"], program),
                stdin=given,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(job_end, told_start),
                env=environment(work),
                cwd=work,
                start_new_session=True,
            )
        os.close(job_end)
        os.close(told_start)
        try:
            with os.fdopen(job_start, "w") as file:
                json.dump(job, file)
            return _listen(told_end, seconds + GRACE, end)
        except BrokenPipeError:
            return [{"failed": "its process did not start"}]
        finally:
            os.close(told_end)
            _end(process)


def _listen(descriptor: int, patience: float, end: float) -> list[dict[str, Any]]:
    """Read what a process tells, until it ends, or a step or all takes too long, or it's too much."""
    told: list[dict[str, Any]] = []
    pending, size = b"", 0
    deadline = min(end, time.monotonic() + START)
    while True:
        ready, _, _ = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            if not told:
                return [{"failed": f"it could not be read in {START:g} s"}]
            return [*told, {"killed": f"stopped after {patience - GRACE:g} s, by force"}]
        part = os.read(descriptor, 65_536)
        size += len(part)
        if not part:
            return told
        if size > MOST_TOLD:
            return [*told, {"killed": "its answers are too long"}]
        *lines, pending = (pending + part).split(b"\n")
        for line in lines:
            try:
                said = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(said, dict) and all(map(_is_sound, said, said.values())):
                told.append(said)
                deadline = min(end, time.monotonic() + patience)
                if "ended" in said:  # what it started may hold the pipe open
                    return told


def _is_sound(key: str, value: Any) -> bool:
    """Tell whether what a process tells has its type: its code may write there what it likes."""
    if key in ("notes", "found"):
        return isinstance(value, list) and all(isinstance(one, str) for one in value)
    return key in ("answer", "claims", "written", "ended") or isinstance(value, str)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process with all that it started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        process.kill()
    process.wait()


def grade_folder(
    returned: str | Path,
    to: str | Path,
    book: str | Path,
    *,
    limits: Limits | None = None,
    jobs: int = 0,
    keep_out: Sequence[str | Path] = (),
) -> list[Row]:
    """Grade every file of a folder, and write a table of it.

    Rows are kept beside the table until all are there, so a run that was interrupted goes on.

    Args:
        returned: The folder of returned notebooks; it is only read.
        to: The CSV file to write, which must not exist: it may hold marks given by hand.
        book: The book's folder.
        limits: What one notebook may use. Defaults to two minutes for an exercise.
        jobs: Notebooks at a time. Defaults to one for each two processors.
        keep_out: Further folders that no notebook's code may see. Defaults to none.

    Returns:
        A row for each file, sorted by name.

    Raises:
        ValueError: If the folder is none or has no file, or the CSV file is there already.
        OSError: On Windows, whose processes can't be limited in this way.

    Example:
        >>> rows = grade_folder("returned", "grades.csv", "book")  # doctest: +SKIP
    """
    returned, to = Path(returned), Path(to)
    if os.name == "nt":
        raise OSError(
            "Grading needs limits on processes that Windows has not. Run it in WSL, on Linux or on macOS."
        )
    if not returned.is_dir():
        raise ValueError(f"What was returned must be a folder of notebooks. Received: {returned}.")
    if not to.parent.is_dir():
        raise ValueError(
            f"The table of marks must go into a folder that exists. Received: {to}. Make {to.parent} "
            "first, or name another with --csv."
        )
    if to.exists():
        raise ValueError(
            f"The table of marks must be a new file. Received: {to}, which is there and may hold "
            "marks given by hand. Move it, or name another with --csv."
        )
    within = (Path(book), Path(__file__))  # a folder that notebooks can't see
    if any(returned.resolve() in place.resolve().parents for place in within):
        raise ValueError(
            "The folder of returned notebooks must not hold the book or the package. Received: "
            f"{returned}. Put what was returned into a folder of its own."
        )
    files = sorted(
        path
        for path in returned.rglob("*")
        if (not path.is_dir() or path.is_symlink())
        and not any(part.startswith(".") for part in path.relative_to(returned).parts)
    )
    if not files:
        raise ValueError(f"The folder must hold notebooks. Received: {returned}, which is empty.")
    grader = Grader(book, limits)
    hidden = [Path(folder).resolve() for folder in (returned, *keep_out) if Path(folder).is_dir()]

    part, lock = to.with_name(f".{to.name}.part"), threading.Lock()
    kept = _kept(part)

    def one(path: Path) -> Row:
        """Grade one file under its name within the folder, if it was not graded before."""
        name = visible(str(path.relative_to(returned)))
        what = _what(path, name, grader)
        if what in kept:
            return Row(**kept[what])
        row = grader.grade(path, hidden)
        row.file = name
        with lock, open(part, "a", encoding="utf-8") as file:
            file.write(json.dumps([what, asdict(row)]) + "\n")
        return row

    workers = jobs or max(1, (os.cpu_count() or 2) // 2)
    with ThreadPoolExecutor(workers) as pool:
        rows = list(pool.map(one, files))
    write_atomically(to, "\ufeff" + table_of(rows))  # Excel takes UTF-8 for it by this mark alone
    part.unlink(missing_ok=True)
    return rows


def _what(path: Path, name: str, grader: Grader) -> str:
    """Return a digest of a returned file, its name, and all that its marks depend on."""
    book = [(one.code, one.exercises) for one in grader.chapters.values()]
    digest = hashlib.sha256(repr((name, grader.limits, grader.table, book)).encode())
    if path.is_file() and not path.is_symlink():
        with contextlib.suppress(OSError), open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _kept(part: Path) -> dict[str, dict[str, Any]]:
    """Return the rows of a run that was interrupted; the last line may be torn."""
    kept = {}
    for line in part.read_text("utf-8").splitlines() if part.is_file() else ():
        with contextlib.suppress(ValueError):
            what, row = json.loads(line)
            kept[what] = row
    return kept


def table_of(rows: Sequence[Row]) -> str:
    """Return rows as CSV; a cell that a spreadsheet would take for a formula gets a ``'`` before it.

    Args:
        rows: The rows.

    Returns:
        CSV with a header.

    Example:
        >>> table_of([Row("=a.ipynb")]).splitlines()[1].startswith("'=a")
        True
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        each = "; ".join(f"{exercise}: {said}" for exercise, said in row.exercises.items())
        cells = [*(getattr(row, name) for name in COLUMNS[:-1]), each]
        writer.writerow([_safe(str(cell)) for cell in cells])
    return text.getvalue()


def visible(text: str) -> str:
    """Return a text on one line, with escapes for what can't be shown or written.

    Args:
        text: Any, such as a file's name on a disk with another encoding.

    Returns:
        The same with spaces for line breaks, and escapes for control characters and surrogates.

    Example:
        >>> visible("a\\nb \\x1b \\udcff")
        'a b \\\\x1b \\\\udcff'
    """
    shown = (
        one if one.isprintable() else " " if one.isspace() else ascii(one)[1:-1] for one in text
    )
    return "".join(shown)


def _safe(text: str) -> str:
    """Return a cell's text that no spreadsheet computes."""
    text = visible(text)
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text
