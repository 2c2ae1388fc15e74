"""Unpacking archives, the friendly and the hostile."""

import io
import multiprocessing
import os
import re
import tarfile
import zipfile

import pytest

from tlhelpers.data import downloads
from tlhelpers.data.downloads import unpack

CONTENT = {"photos/cats/猫.jpg": b"a" * 1000, "photos/dogs/2.jpg": b"", "notes.txt": b"hello"}


def make_zip(path, content=CONTENT):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.mkdir("photos")
        for name, data in content.items():
            file.writestr(name, data)
    return path


def make_tar(path, content=CONTENT, mode="w:gz"):
    with tarfile.open(path, mode) as file:
        for name, data in content.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            file.addfile(entry, io.BytesIO(data))
    return path


def read_tree(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def nothing_but_locks(folder):
    return all(path.name.endswith(".lock") for path in folder.iterdir())


@pytest.mark.parametrize("name", ["data.zip", "data.tar", "data.tar.gz", "data.tar.xz"])
def test_round_trip(tmp_path, name):
    if name.endswith(".zip"):
        archive = make_zip(tmp_path / name)
    else:
        archive = make_tar(tmp_path / name, mode="w:" + name.split("tar")[1].lstrip("."))
    folder = unpack(archive, tmp_path / "out")
    assert read_tree(folder) == CONTENT
    assert re.fullmatch(r"data-[0-9a-f]{12}", folder.name)
    (folder / "mark").touch()
    assert unpack(archive, tmp_path / "out") == folder
    assert (folder / "mark").exists(), "a finished folder is used, not made again"


def test_versions_do_not_mix(tmp_path):
    first = unpack(make_zip(tmp_path / "data.zip"), tmp_path / "out")
    second = unpack(make_zip(tmp_path / "data.zip", {"b.txt": b"new"}), tmp_path / "out")
    assert first != second
    assert read_tree(second) == {"b.txt": b"new"}


def test_half_finished_is_done_again(tmp_path, monkeypatch):
    archive = make_zip(tmp_path / "data.zip")
    whole = downloads.shutil.copyfileobj

    def stop(source, target, length):
        target.write(source.read(3))
        raise KeyboardInterrupt

    monkeypatch.setattr(downloads.shutil, "copyfileobj", stop)
    with pytest.raises(KeyboardInterrupt):
        unpack(archive, tmp_path / "out")
    assert nothing_but_locks(tmp_path / "out")
    monkeypatch.setattr(downloads.shutil, "copyfileobj", whole)
    # What a killed process would have left behind.
    name = unpack(archive, tmp_path / "elsewhere").name
    left = tmp_path / "out" / f".{name}.part"
    left.mkdir()
    (left / "rubbish").touch()
    assert read_tree(unpack(archive, tmp_path / "out")) == CONTENT


def _unpack_many(archive, folder, results):
    results.put(str(unpack(archive, folder)))


def test_two_processes_at_once(tmp_path):
    content = {f"{number}.txt": os.urandom(2000) for number in range(300)}
    archive = make_zip(tmp_path / "data.zip", content)
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    workers = [
        context.Process(target=_unpack_many, args=(archive, tmp_path / "out", results))
        for _ in range(2)
    ]
    for worker in workers:
        worker.start()
    folders = {results.get(timeout=30) for _ in workers}
    for worker in workers:
        worker.join(30)
        assert worker.exitcode == 0
    results.close()
    (folder,) = folders
    assert read_tree(tmp_path / "out" / os.path.basename(folder)) == content


@pytest.mark.parametrize(
    "name", ["../evil.txt", "a/../../evil.txt", "/etc/evil", "..\\evil", "C:evil", "C:/evil"]
)
@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_paths_that_lead_outside(tmp_path, name, make):
    archive = make(tmp_path / "data.zip", {"good.txt": b"good", name: b"evil"})
    with pytest.raises(ValueError, match="refused"):
        unpack(archive, tmp_path / "out")
    assert not list(tmp_path.rglob("*evil*"))
    assert nothing_but_locks(tmp_path / "out")


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE]
)
def test_tar_links_and_devices(tmp_path, kind):
    path = tmp_path / "data.tar"
    with tarfile.open(path, "w") as file:
        entry = tarfile.TarInfo("innocent")
        entry.type, entry.linkname = kind, "/etc/passwd"
        file.addfile(entry)
    with pytest.raises(ValueError, match="'innocent' in it is a link or a device"):
        unpack(path, tmp_path / "out")
    assert nothing_but_locks(tmp_path / "out")


def test_zip_symlink(tmp_path):
    path = tmp_path / "data.zip"
    with zipfile.ZipFile(path, "w") as file:
        entry = zipfile.ZipInfo("link")
        entry.external_attr = 0o120777 << 16
        file.writestr(entry, "/etc/passwd")
    with pytest.raises(ValueError, match="a link"):
        unpack(path, tmp_path / "out")


def test_bomb(tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, "_SMALL_BYTES", 10_000)
    path = make_zip(tmp_path / "data.zip", {"zeros": bytes(5_000_000)})
    with pytest.raises(ValueError, match="larger than"):
        unpack(path, tmp_path / "out")
    assert nothing_but_locks(tmp_path / "out")


def test_not_an_archive_damaged_and_missing(tmp_path):
    path = tmp_path / "data.zip"
    path.write_text("<html>404</html>")
    with pytest.raises(ValueError, match="not a zip or tar archive"):
        unpack(path, tmp_path / "out")
    make_zip(path, {"a": os.urandom(5000)})
    damaged = bytearray(path.read_bytes())
    damaged[2000] ^= 255
    path.write_bytes(damaged)
    with pytest.raises(ValueError, match="damaged"):
        unpack(path, tmp_path / "out")
    with pytest.raises(FileNotFoundError, match="no archive"):
        unpack(tmp_path / "none.zip", tmp_path / "out")
    assert nothing_but_locks(tmp_path / "out")
