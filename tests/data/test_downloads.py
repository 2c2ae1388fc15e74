"""Fetching: from the publisher, from mirrors, and what happens when it goes wrong."""

import functools
import hashlib
import http.server
import importlib.util
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tlhelpers.data import downloads
from tlhelpers.data.downloads import (
    FILES,
    DownloadError,
    RemoteFile,
    digest_of,
    fetch,
    fetch_all,
    has_digest,
    mirror,
    mirror_names,
)

CONTENT = bytes(range(256)) * 40
NAME = "mnist.npz"


def sha256(content):
    return hashlib.sha256(content).hexdigest()


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serve a folder quietly and count what is asked for."""

    asked: list[str]

    def do_GET(self):
        self.asked.append(self.path)
        if self.path.startswith("/cut/"):
            # Promise more than is sent, then hang up, as a failing connection does.
            self.send_response(200)
            self.send_header("Content-Length", "100000")
            self.end_headers()
            self.wfile.write(b"half")
            return
        super().do_GET()

    def log_message(self, *args):
        """Keep the test's output clean."""


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TLH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("TLH_MIRROR", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    downloads._text_at.cache_clear()
    return tmp_path / "cache"


@pytest.fixture
def served(tmp_path):
    """A folder served on this machine: (folder, address, list of requests)."""
    folder = tmp_path / "served"
    folder.mkdir()
    asked: list[str] = []
    handler = functools.partial(type("_Handler", (Handler,), {"asked": asked}), directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()
        thread.join()


def make_mirror(folder, content=CONTENT, name=NAME):
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(content)
    (folder / "SHA256SUMS").write_text(f"{sha256(content)}  {name}\n{'0' * 64} *other.bin\n")
    return folder


def publish(monkeypatch, url, digest=None, name="data.bin"):
    monkeypatch.setitem(FILES, name, RemoteFile(name, url, digest, 0.01, "MIT", "test data"))
    return name


def leftovers(folder):
    """Everything but whole files and locks."""
    return [p for p in folder.rglob("*") if p.name.startswith(".") and p.suffix != ".lock"]


class TestPublished:
    @pytest.mark.parametrize("algorithm", ["sha256", "md5"])
    def test_fetched_once_and_checked_ever_after(self, cache, served, monkeypatch, algorithm):
        folder, url, asked = served
        (folder / "data.bin").write_bytes(CONTENT)
        digest = f"{algorithm}:{hashlib.new(algorithm, CONTENT).hexdigest()}"
        name = publish(monkeypatch, f"{url}/data.bin", digest)
        path = fetch(name)
        assert path.read_bytes() == CONTENT
        assert path.is_relative_to(cache)
        assert fetch(name) == path
        assert len(asked) == 1
        path.write_bytes(b"damaged")
        assert fetch(name).read_bytes() == CONTENT
        assert len(asked) == 2
        assert not leftovers(cache)

    def test_wrong_digest_is_refused(self, cache, served, monkeypatch):
        folder, url, _ = served
        (folder / "data.bin").write_bytes(b"something else")
        name = publish(monkeypatch, f"{url}/data.bin", f"sha256:{sha256(CONTENT)}")
        with pytest.raises(DownloadError, match="not the expected digest"):
            fetch(name)
        assert not [path for path in cache.rglob("data.bin") if path.is_file()]
        assert not leftovers(cache)

    def test_without_published_digest_the_first_is_kept(self, cache, served, monkeypatch, capsys):
        folder, url, asked = served
        (folder / "data.bin").write_bytes(CONTENT)
        name = publish(monkeypatch, f"{url}/data.bin")
        path = fetch(name)
        assert f"held to sha256:{sha256(CONTENT)}" in capsys.readouterr().out
        assert fetch(name) == path
        assert len(asked) == 1
        # The cached copy is damaged and the publisher's file has changed since.
        path.write_bytes(b"damaged")
        (folder / "data.bin").write_bytes(b"changed")
        with pytest.raises(DownloadError, match="not the expected digest"):
            fetch(name)

    def test_broken_connection_leaves_nothing(self, cache, served, monkeypatch):
        name = publish(monkeypatch, f"{served[1]}/cut/data.bin")
        with pytest.raises(DownloadError, match="was to be fetched from"):
            fetch(name)
        assert not [path for path in cache.rglob("*data.bin*") if path.suffix != ".lock"]
        assert not leftovers(cache)

    def test_offline_names_the_ways_out(self, cache, monkeypatch):
        # Nothing listens on port 9 of this machine.
        name = publish(monkeypatch, "http://127.0.0.1:9/data.bin")
        with pytest.raises(DownloadError) as caught:
            fetch(name)
        text = str(caught.value)
        for part in ("http://127.0.0.1:9/data.bin", "TLH_MIRROR", "TLH_TIER=embedded"):
            assert part in text
        assert caught.value.__suppress_context__
        assert text.count(". ") <= 1, "two sentences at most"

    def test_missing_at_the_publisher(self, cache, served, monkeypatch):
        name = publish(monkeypatch, f"{served[1]}/none.bin")
        with pytest.raises(DownloadError, match="the server answered 404"):
            fetch(name)

    def test_file_that_only_mirrors_have(self, cache):
        with pytest.raises(DownloadError, match=r"only a mirror holds it.*TLH_MIRROR"):
            fetch("vgg16_edges_hed_bsds500_notop.h5")

    def test_unknown_name(self, cache):
        with pytest.raises(ValueError, match=r"'nothing\.zip'.*cats_and_dogs_filtered\.zip"):
            fetch("nothing.zip")

    def test_two_processes_fetch_once_each_at_most(self, cache, served):
        folder, url, _ = served
        (folder / "data.bin").write_bytes(CONTENT)
        code = (
            "from tlhelpers.data.downloads import FILES, RemoteFile, fetch\n"
            f"FILES['data.bin'] = RemoteFile('data.bin', '{url}/data.bin', "
            f"'sha256:{sha256(CONTENT)}', 0.01, 'MIT', 'test data')\n"
            "print(fetch('data.bin').stat().st_size)"
        )
        workers = [
            subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
            for _ in range(2)
        ]
        for worker in workers:
            out, _ = worker.communicate(timeout=60)
            assert worker.returncode == 0
            assert out.splitlines()[-1] == str(len(CONTENT))
        assert not leftovers(cache)


class TestFolderMirror:
    def test_used_in_place(self, cache, tmp_path, monkeypatch):
        place = make_mirror(tmp_path / "mirror")
        monkeypatch.setenv("TLH_MIRROR", str(place))
        assert mirror() == str(place)
        assert fetch(NAME) == place / NAME
        assert mirror_names() == {NAME, "other.bin"}
        assert not list(cache.rglob(NAME))

    def test_damaged(self, cache, tmp_path, monkeypatch):
        place = make_mirror(tmp_path / "mirror")
        monkeypatch.setenv("TLH_MIRROR", str(place))
        fetch(NAME)
        damaged = bytearray(CONTENT)
        damaged[5] ^= 1
        (place / NAME).write_bytes(damaged)
        with pytest.raises(DownloadError, match="digest is not the one in SHA256SUMS"):
            fetch(NAME)
        with pytest.raises(DownloadError, match="missing or damaged"):
            fetch("other.bin")

    def test_nothing_else_is_contacted(self, cache, served, tmp_path, monkeypatch):
        folder, url, asked = served
        (folder / "data.bin").write_bytes(CONTENT)
        name = publish(monkeypatch, f"{url}/data.bin")
        monkeypatch.setenv("TLH_MIRROR", str(make_mirror(tmp_path / "mirror")))
        with pytest.raises(DownloadError, match=r"which has only: mnist\.npz, other\.bin"):
            fetch(name)
        assert asked == []

    @pytest.mark.parametrize("make", [False, True])
    def test_no_mirror_there(self, cache, tmp_path, monkeypatch, make):
        place = tmp_path / "nothing"
        if make:
            place.mkdir()
        monkeypatch.setenv("TLH_MIRROR", str(place))
        with pytest.raises(DownloadError, match=r"folder that holds SHA256SUMS.*tlhelpers fetch"):
            fetch(NAME)

    def test_empty_variable_means_none(self, cache, monkeypatch):
        monkeypatch.setenv("TLH_MIRROR", "")
        assert mirror() is None
        assert mirror_names() is None


class TestUrlMirror:
    def test_fetched_into_the_cache(self, cache, served, monkeypatch):
        folder, url, asked = served
        make_mirror(folder)
        monkeypatch.setenv("TLH_MIRROR", url + "/")
        path = fetch(NAME)
        assert path.read_bytes() == CONTENT
        assert path.is_relative_to(cache)
        assert fetch(NAME) == path
        assert asked == ["/SHA256SUMS", f"/{NAME}"]
        with pytest.raises(DownloadError, match="has only"):
            fetch("cifar10.zip")

    def test_versions_do_not_replace_each_other(self, cache, served, monkeypatch):
        folder, url, _ = served
        make_mirror(folder)
        monkeypatch.setenv("TLH_MIRROR", url)
        first = fetch(NAME)
        make_mirror(folder, b"another version")
        downloads._text_at.cache_clear()
        second = fetch(NAME)
        assert first.read_bytes() == CONTENT
        assert second.read_bytes() == b"another version"

    def test_damaged_or_down(self, cache, served, monkeypatch):
        folder, url, _ = served
        make_mirror(folder)
        (folder / NAME).write_bytes(b"damaged")
        monkeypatch.setenv("TLH_MIRROR", url)
        with pytest.raises(DownloadError, match="digest"):
            fetch(NAME)
        monkeypatch.setenv("TLH_MIRROR", "http://127.0.0.1:9")
        with pytest.raises(DownloadError, match="no connection"):
            fetch(NAME)


class TestFetchAll:
    @pytest.fixture
    def published(self, cache, served, monkeypatch):
        folder, url, asked = served
        names = []
        for number in range(3):
            content = CONTENT + bytes([number])
            (folder / f"{number}.bin").write_bytes(content)
            digest = None if number == 2 else f"md5:{hashlib.md5(content).hexdigest()}"
            names.append(publish(monkeypatch, f"{url}/{number}.bin", digest, f"{number}.bin"))
        return names, asked

    def test_makes_a_mirror_that_works(self, published, tmp_path, monkeypatch):
        names, asked = published
        room = tmp_path / "class room"
        report = fetch_all(room, names)
        assert [(r.name, r.status, r.bytes) for r in report] == [
            (name, "fetched", len(CONTENT) + 1) for name in names
        ]
        assert sorted(p.name for p in room.iterdir()) == [*names, "SHA256SUMS"]
        assert [r.status for r in fetch_all(room, names)] == ["already there"] * 3
        assert len(asked) == 3
        monkeypatch.setenv("TLH_MIRROR", str(room))
        assert fetch(names[2]) == room / names[2]

    def test_completes_and_repairs(self, published, tmp_path):
        names, _ = published
        room = make_mirror(tmp_path / "room")
        fetch_all(room, names[:1])
        (room / names[0]).write_bytes(b"damaged")
        assert [r.status for r in fetch_all(room, names[:2])] == ["fetched", "fetched"]
        assert has_digest(room / names[0], f"sha256:{sha256(CONTENT + bytes([0]))}")
        sums = (room / "SHA256SUMS").read_text()
        assert f"{sha256(CONTENT)}  {NAME}\n" in sums, "what was listed stays listed"

    def test_from_the_cache_without_asking_again(self, published, tmp_path):
        names, asked = published
        for name in names:
            fetch(name)
        fetch_all(tmp_path / "room", names)
        assert len(asked) == 3

    def test_a_failure_does_not_stop_the_others(self, published, tmp_path, monkeypatch, capsys):
        names, _ = published
        broken = publish(monkeypatch, "http://127.0.0.1:9/x", name="broken.bin")
        report = fetch_all(tmp_path / "room", [broken, names[0]])
        assert (report[0].status, report[0].bytes) == ("failed", 0)
        assert report[0].reason.startswith("broken.bin")
        assert "TLH_MIRROR" in capsys.readouterr().out
        assert report[1].status == "fetched"

    def test_from_another_mirror(self, cache, tmp_path, monkeypatch):
        monkeypatch.setenv("TLH_MIRROR", str(make_mirror(tmp_path / "mirror")))
        (report,) = fetch_all(tmp_path / "room", [NAME])
        assert report.status == "fetched"
        assert (tmp_path / "room" / NAME).read_bytes() == CONTENT
        (itself,) = fetch_all(tmp_path / "mirror", [NAME])
        assert itself.status == "already there"

    def test_unknown_name(self, cache, tmp_path):
        with pytest.raises(ValueError, match="Unknown file"):
            fetch_all(tmp_path / "room", ["nothing.zip"])
        assert not (tmp_path / "room").exists()


def test_digest_is_taken_again_when_a_file_changes(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"one")
    assert digest_of(path) == f"sha256:{sha256(b'one')}"
    path.write_bytes(b"two")
    os.utime(path, ns=(1, 1))
    assert digest_of(path) == f"sha256:{sha256(b'two')}"


def test_table_agrees_with_keras():
    """Addresses and digests are those that the installed Keras would download itself."""
    # The package is not imported: only its text is wanted.
    folder = Path(importlib.util.find_spec("keras").origin).parent / "src"
    text = "".join(path.read_text() for path in (folder / "applications").glob("*.py"))
    text += (folder / "datasets" / "mnist.py").read_text()
    for file in FILES.values():
        assert file.name == Path(file.url or file.name).name
        if file.digest:
            assert re.fullmatch(r"sha256:[0-9a-f]{64}|md5:[0-9a-f]{32}", file.digest)
            assert f'"{file.digest.split(":")[1]}"' in text
        assert file.url is None or file.url.startswith("https://")


@pytest.mark.mirror
def test_real_mirror_is_whole(cache, monkeypatch):
    monkeypatch.setenv("TLH_MIRROR", _MIRROR)
    names = mirror_names()
    assert "cats_and_dogs_filtered.zip" in names
    for name in names & set(FILES):
        assert fetch(name).stat().st_size > 1e6


# Read before the fixtures above clear it.
_MIRROR = os.environ.get("TLH_MIRROR", "")
