"""Unpacking archives: the friendly, the damaged afterwards, and by several at once.

What is refused is tried in tests/faults/test_mirrors_and_archives.py.
"""

import multiprocessing
import os
import re
import zipfile

import pytest

from tlhelpers.data import archives
from tlhelpers.data.archives import open_archive, unpack

CONTENT = {"photos/cats/1.jpg": b"a" * 1000, "photos/dogs/2.jpg": b"", "photos/a b.jpg": b"hello"}
HOLDS = r"photos/.*"


def make_zip(path, content=CONTENT, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as file:
        file.mkdir("photos")
        for name, data in content.items():
            file.writestr(name, data)
    return path


def read_tree(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def only_folder(out):
    (folder,) = (path for path in out.iterdir() if path.is_dir())
    return folder


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_round_trip(tmp_path, capsys, method):
    archive = make_zip(tmp_path / "data.zip", method=method)
    files = unpack(archive, tmp_path / "out", HOLDS)
    folder = only_folder(tmp_path / "out")
    assert read_tree(folder) == CONTENT
    assert re.fullmatch(r"data-[0-9a-f]{12}", folder.name)
    assert [path.relative_to(folder).as_posix() for path in files] == sorted(CONTENT)
    assert "Unpacking 3 files" in capsys.readouterr().out
    before = [path.stat().st_mtime_ns for path in files]
    assert unpack(archive, tmp_path / "out", HOLDS) == files
    assert [path.stat().st_mtime_ns for path in files] == before, "used, not made again"
    assert capsys.readouterr().out == ""


def test_versions_do_not_mix(tmp_path):
    first = unpack(make_zip(tmp_path / "data.zip"), tmp_path / "out", HOLDS)
    second = unpack(make_zip(tmp_path / "data.zip", {"photos/b": b"new"}), tmp_path / "out", HOLDS)
    assert [path.read_bytes() for path in second] == [b"new"]
    assert [path.read_bytes() for path in first] == [CONTENT[name] for name in sorted(CONTENT)]


def test_what_systems_leave_is_passed_over(tmp_path):
    clutter = {"__MACOSX/photos/._1.jpg": b"x", "photos/.DS_Store": b"x", "photos/Thumbs.db": b"x"}
    archive = make_zip(tmp_path / "data.zip", {**CONTENT, **clutter})
    unpack(archive, tmp_path / "out", HOLDS)
    assert read_tree(only_folder(tmp_path / "out")) == CONTENT


def test_an_interrupted_run_is_completed(tmp_path, monkeypatch):
    archive = make_zip(tmp_path / "data.zip")
    whole, written = archives.os.replace, []

    def stop(source, target):
        if written:
            raise KeyboardInterrupt
        written.append(target)
        whole(source, target)

    monkeypatch.setattr(archives.os, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        unpack(archive, tmp_path / "out", HOLDS)
    folder = only_folder(tmp_path / "out")
    assert len(read_tree(folder)) == 1
    monkeypatch.setattr(archives.os, "replace", whole)
    (folder / ".part").write_text("what a killed process would have left behind")
    first = written[0].stat().st_mtime_ns
    unpack(archive, tmp_path / "out", HOLDS)
    assert read_tree(folder) == CONTENT
    assert written[0].stat().st_mtime_ns == first, "what was finished is kept"


def _unpack_many(archive, folder, results):
    results.put([str(path) for path in unpack(archive, folder, r".*")])


@pytest.mark.slow
def test_two_processes_at_once(tmp_path):
    content = {f"{number:03}.txt": os.urandom(2000) for number in range(300)}
    archive = make_zip(tmp_path / "data.zip", content)
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    workers = [
        context.Process(target=_unpack_many, args=(archive, tmp_path / "out", results))
        for _ in range(2)
    ]
    for worker in workers:
        worker.start()
    first, second = (results.get(timeout=30) for _ in workers)
    for worker in workers:
        worker.join(30)
        assert worker.exitcode == 0
    results.close()
    assert first == second
    assert read_tree(only_folder(tmp_path / "out")) == content


def test_a_missing_archive(tmp_path):
    with pytest.raises(FileNotFoundError, match="no archive"):
        unpack(tmp_path / "none.zip", tmp_path / "out", HOLDS)


def test_members_in_the_order_of_their_names(tmp_path):
    archive = make_zip(tmp_path / "data.zip", {"photos/b": b"1", "photos/a": b"2"})
    with open_archive(archive, HOLDS) as (zipped, entries):
        assert [zipped.read(entry) for entry in entries] == [b"2", b"1"]
