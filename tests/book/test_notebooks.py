"""Executing chapters: results, costs and failures."""

import builtins
import json
import os
import re
import signal
import subprocess
import sys
import time

import nbformat
import pytest

from tlhelpers.book import notebooks
from tlhelpers.book.notebooks import ChapterError, execute, execute_book, find_chapters, main

NEW = nbformat.v4


def write(path, *sources):
    """Write a notebook with a heading and one code cell per source."""
    cells = [NEW.new_markdown_cell("# Title"), *map(NEW.new_code_cell, sources)]
    kernel = {"name": "python3", "display_name": "Python 3"}
    path.parent.mkdir(exist_ok=True)
    nbformat.write(NEW.new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)
    return path


def text(path, cell):
    """Return what a cell of a stored notebook printed."""
    return nbformat.read(path, as_version=4).cells[cell].outputs[0].text


def test_execute_runs_in_this_python_with_the_given_environment(tmp_path):
    source = write(
        tmp_path / "01_a.ipynb",
        "import sys; print(sys.executable)",
        "import os; print(os.environ['TLH_TIER'], os.environ['TF_CPP_MIN_LOG_LEVEL'], os.getcwd())",
    )
    before = source.read_bytes()
    done = execute(source, tmp_path / "out" / "01.ipynb", env={"TLH_TIER": "embedded"})
    assert done.name == "01_a"
    assert done.path == tmp_path / "out" / "01.ipynb"
    assert text(done.path, 1).strip() == sys.executable
    assert text(done.path, 2).strip() == f"embedded 3 {tmp_path.resolve()}"
    assert source.read_bytes() == before
    assert 0 < done.slowest_cell_seconds < done.seconds
    assert done.slowest_cell in {1, 2}
    assert 10 < done.peak_memory_mb < 5000


@pytest.mark.slow
def test_cells_find_the_callers_cache_and_mirror(tmp_path, monkeypatch):
    source = write(
        tmp_path / "book" / "01_a.ipynb",
        "import os; print(os.environ['TLH_CACHE'], os.environ['TLH_MIRROR'])",
    )
    monkeypatch.chdir(tmp_path)
    for mirror, seen in (("m", f"{tmp_path / 'm'}"), ("http://a.local/m", "http://a.local/m")):
        monkeypatch.setenv("TLH_CACHE", "c")
        monkeypatch.setenv("TLH_MIRROR", mirror)
        done = execute(source, tmp_path / "out.ipynb")
        assert text(done.path, 1) == f"{tmp_path / 'c'} {seen}\n"


@pytest.mark.slow
def test_progress_without_a_terminal(tmp_path, monkeypatch, capsys):
    """Every cell with its heading, what it prints first, then what it printed last now and then."""
    monkeypatch.setattr(notebooks, "SECONDS", 0.5)
    bar = "import time\nfor n in range(12): print(f'\\rfeatures {n}', end=''); time.sleep(0.1)"
    source = write(
        tmp_path / "01_a.ipynb", "print('100 MB\\nare downloaded now')", bar, "time.sleep(2)"
    )
    execute(source, tmp_path / "out.ipynb")
    lines = re.findall(r"^01_a: code cell (\d) of 3, \d+ s: (.*)$", capsys.readouterr().err, re.M)
    assert lines[:3] == [("1", "Title"), ("1", "100 MB are downloaded now"), ("2", "Title")]
    heard = [what for cell, what in lines if cell == "2" and what.startswith("features ")]
    assert 2 <= len(heard) <= 5
    assert heard[0] in ("features 0", "features 1", "features 2")
    assert ("3", "still running") in lines


def test_a_failing_cell_names_chapter_cell_and_reason_and_keeps_the_evidence(tmp_path):
    source = write(tmp_path / "07_b.ipynb", "kept = 1\nprint('before')", "x = 0\n1 / x", "print(2)")
    out = tmp_path / "out.ipynb"
    with pytest.raises(
        ChapterError, match=r"07_b\.ipynb: cell 3 of 4 \(code cell 2 of 3\)"
    ) as info:
        execute(source, out)
    message = str(info.value)
    assert "ZeroDivisionError: division by zero" in message
    assert "    1 / x" in message
    assert str(out) in message
    assert text(out, 1) == "before\n"
    assert nbformat.read(out, as_version=4).cells[2].outputs[0].ename == "ZeroDivisionError"


@pytest.mark.slow
def test_a_cell_past_its_time_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(notebooks, "TIMEOUT", 1)
    source = write(tmp_path / "02_c.ipynb", "import time; time.sleep(30)")
    with pytest.raises(ChapterError, match="still running after 1 seconds"):
        execute(source, tmp_path / "out.ipynb")


@pytest.mark.slow
def test_a_kernel_that_dies_is_named(tmp_path):
    source = write(tmp_path / "02_d.ipynb", "import os; os._exit(3)")
    with pytest.raises(ChapterError, match=r"cell 2 of 2 .*kernel stopped"):
        execute(source, tmp_path / "out.ipynb")


def test_execute_refuses_to_overwrite_its_source_and_to_guess(tmp_path):
    source = write(tmp_path / "01_a.ipynb", "1")
    with pytest.raises(ValueError, match="out must differ"):
        execute(source, source)
    with pytest.raises(FileNotFoundError, match="no notebook"):
        execute(tmp_path / "missing.ipynb", tmp_path / "out.ipynb")


def test_without_nbclient_the_message_says_what_to_install(tmp_path, monkeypatch):
    real_import = builtins.__import__

    def without_nbclient(name, *args, **kwargs):
        if name == "nbclient":
            raise ModuleNotFoundError("No module named 'nbclient'", name="nbclient")
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_nbclient)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "tlhelpers\[book\]"'):
        execute(tmp_path / "a.ipynb", tmp_path / "b.ipynb")


def test_find_chapters_sorts_selects_and_refuses_unknown_names(tmp_path):
    for name in ("10_z", "02_b", "01_a"):
        write(tmp_path / f"{name}.ipynb")
    assert [path.stem for path in find_chapters(tmp_path)] == ["01_a", "02_b", "10_z"]
    assert [path.stem for path in find_chapters(tmp_path, ["10", "01"])] == ["01_a", "10_z"]
    with pytest.raises(FileNotFoundError, match=r"starts with '33'.*01_a, 02_b, 10_z"):
        find_chapters(tmp_path, ["33"])


def test_execute_book_works_on_a_copy_and_records_costs(tmp_path, capsys):
    book = tmp_path / "book"
    book.mkdir()
    (book / "_toc.yml").write_text("format: jb-book\nroot: index\n")
    source = write(book / "01_a.ipynb", "open('made.txt', 'w').write('x'); print('ran')")
    before = {path.name: path.read_bytes() for path in book.iterdir()}
    to = tmp_path / "_build" / "book"
    assert main([str(book), "--to", str(to)]) == 0
    assert {path.name: path.read_bytes() for path in book.iterdir()} == before
    assert text(to / source.name, 1) == "ran\n"
    assert (to / "made.txt").exists()
    assert (to / "_toc.yml").exists()
    costs = json.loads((to / "costs.json").read_text())
    assert costs["01_a"]["seconds"] > 0
    assert costs["01_a"]["peak_memory_mb"] > 10
    assert "Executed 1 of 1 chapters" in capsys.readouterr().out


@pytest.mark.slow
def test_execute_book_replaces_an_earlier_copy_and_reports_failure(tmp_path, capsys):
    book, to = tmp_path / "book", tmp_path / "copy"
    book.mkdir()
    write(book / "01_a.ipynb", "raise RuntimeError('as planned')")
    assert main([str(book), "--to", str(to)]) == 1
    (to / "stale.txt").write_text("old")
    assert main([str(book), "--to", str(to)]) == 1
    assert not (to / "stale.txt").exists()
    assert "RuntimeError: as planned" in capsys.readouterr().err
    with pytest.raises(ChapterError):
        execute_book(book, to)


@pytest.mark.parametrize(
    "place", ["book", "book/inside", ".", "..", "mine", "mine/note.txt", "link"]
)
def test_execute_book_never_touches_what_it_did_not_make(tmp_path, place, capsys):
    project = tmp_path / "project"
    book, mine = project / "book", project / "mine"
    for folder in (book, mine):
        folder.mkdir(parents=True)
    write(book / "01_a.ipynb", "1")
    (mine / "note.txt").write_text("of the user")
    (tmp_path / "beside.txt").write_text("beside the project")
    (project / "link").symlink_to(mine, target_is_directory=True)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert main([str(book), "--to", str(project / place)]) == 1
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    message = capsys.readouterr().err
    assert "Received: " in message
    assert "Traceback" not in message


def test_a_kernel_found_dead_after_ctrl_c_is_no_failure_of_the_chapter(tmp_path, monkeypatch):
    """On a busy machine nbclient may find the kernel dead that it was stopping itself."""
    import nbclient

    def execute_then_ctrl_c(client, **_):
        client._async_cleanup_kernel_future = object()
        raise nbclient.exceptions.DeadKernelError("Kernel died")

    monkeypatch.setattr(nbclient.NotebookClient, "execute", execute_then_ctrl_c)
    with pytest.raises(KeyboardInterrupt):
        execute(write(tmp_path / "01_a.ipynb", "1"), tmp_path / "out.ipynb")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX systems")
def test_ctrl_c_stops_the_kernel_and_says_so(tmp_path):
    book, started = tmp_path / "book", tmp_path / "started"
    book.mkdir()
    source = f"import os, time; open({str(started)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    write(book / "01_a.ipynb", source)
    command = [sys.executable, "-m", "tlhelpers.book.notebooks", book, "--to", tmp_path / "copy"]
    running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 30
    while not (started.exists() and started.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    _, errors = running.communicate(timeout=30)
    assert running.returncode == 130, errors
    assert "Interrupted" in errors
    assert "Traceback" not in errors
    with pytest.raises(ProcessLookupError):
        os.kill(int(started.read_text()), 0)
