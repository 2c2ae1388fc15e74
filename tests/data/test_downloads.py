"""Fetching: from the publisher, from mirrors, and what happens when it goes wrong."""

import hashlib
import importlib.util
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from servers import CONTENT, NAME, leftovers, publish, sha256, small_mirror

from tlhelpers.data import downloads
from tlhelpers.data.downloads import (
    FILES,
    DownloadError,
    digest_of,
    fetch,
    mirror,
    mirror_names,
)


class TestPublished:
    @pytest.mark.parametrize("algorithm", ["sha256", "md5"])
    def test_fetched_once_and_checked_ever_after(self, own_cache, server, monkeypatch, algorithm):
        folder, url, asked = server.folder, server.url, server.asked
        (folder / "data.bin").write_bytes(CONTENT)
        digest = f"{algorithm}:{hashlib.new(algorithm, CONTENT).hexdigest()}"
        name = publish(monkeypatch, f"{url}/data.bin", digest)
        path = fetch(name)
        assert path.read_bytes() == CONTENT
        assert path.is_relative_to(own_cache)
        assert fetch(name) == path
        assert len(asked) == 1
        path.write_bytes(b"damaged")
        assert fetch(name).read_bytes() == CONTENT
        assert len(asked) == 2
        assert not leftovers(own_cache)

    def test_wrong_digest_is_refused(self, own_cache, server, monkeypatch):
        folder, url = server.folder, server.url
        (folder / "data.bin").write_bytes(b"something else")
        name = publish(monkeypatch, f"{url}/data.bin", f"sha256:{sha256(CONTENT)}")
        with pytest.raises(DownloadError, match="not the expected digest"):
            fetch(name)
        assert not [path for path in own_cache.rglob("data.bin") if path.is_file()]
        assert not leftovers(own_cache)

    def test_without_published_digest_the_first_is_kept(
        self, own_cache, server, monkeypatch, capsys
    ):
        folder, url, asked = server.folder, server.url, server.asked
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

    def test_offline_names_the_ways_out(self, own_cache, monkeypatch):
        # Nothing listens on port 9 of this machine.
        name = publish(monkeypatch, "http://127.0.0.1:9/data.bin")
        with pytest.raises(DownloadError) as caught:
            fetch(name)
        text = str(caught.value)
        for part in ("http://127.0.0.1:9/data.bin", "TLH_MIRROR", "TLH_TIER=embedded"):
            assert part in text
        assert caught.value.__suppress_context__
        assert text.count(". ") <= 1, "two sentences at most"

    def test_missing_at_the_publisher(self, own_cache, server, monkeypatch):
        name = publish(monkeypatch, f"{server.url}/none.bin")
        with pytest.raises(DownloadError, match="the server answered 404"):
            fetch(name)

    def test_file_that_only_mirrors_have(self, own_cache):
        with pytest.raises(DownloadError, match=r"only a mirror holds it.*TLH_MIRROR"):
            fetch("vgg16_edges_hed_bsds500_notop.h5")

    def test_unknown_name(self, own_cache):
        with pytest.raises(ValueError, match=r"'nothing\.zip'.*cats_and_dogs_filtered\.zip"):
            fetch("nothing.zip")

    @pytest.mark.slow
    def test_two_processes_fetch_once_each_at_most(self, own_cache, server):
        folder, url = server.folder, server.url
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
        assert not leftovers(own_cache)


class TestFolderMirror:
    def test_used_in_place(self, own_cache, tmp_path, monkeypatch):
        place = small_mirror(tmp_path / "mirror")
        monkeypatch.setenv("TLH_MIRROR", str(place))
        assert mirror() == str(place)
        assert fetch(NAME) == place / NAME
        assert mirror_names() == {NAME, "other.bin"}
        assert not list(own_cache.rglob(NAME))

    def test_damaged(self, own_cache, tmp_path, monkeypatch):
        place = small_mirror(tmp_path / "mirror")
        monkeypatch.setenv("TLH_MIRROR", str(place))
        fetch(NAME)
        damaged = bytearray(CONTENT)
        damaged[5] ^= 1
        (place / NAME).write_bytes(damaged)
        with pytest.raises(DownloadError, match="digest is not the one in SHA256SUMS"):
            fetch(NAME)
        with pytest.raises(DownloadError, match="missing, unreadable or damaged"):
            fetch("other.bin")

    def test_nothing_else_is_contacted(self, own_cache, server, tmp_path, monkeypatch):
        folder, url, asked = server.folder, server.url, server.asked
        (folder / "data.bin").write_bytes(CONTENT)
        name = publish(monkeypatch, f"{url}/data.bin")
        monkeypatch.setenv("TLH_MIRROR", str(small_mirror(tmp_path / "mirror")))
        with pytest.raises(DownloadError, match=r"which has only: mnist\.npz, other\.bin"):
            fetch(name)
        assert asked == []

    @pytest.mark.parametrize("make", [False, True])
    def test_no_mirror_there(self, own_cache, tmp_path, monkeypatch, make):
        place = tmp_path / "nothing"
        if make:
            place.mkdir()
        monkeypatch.setenv("TLH_MIRROR", str(place))
        with pytest.raises(DownloadError, match=r"folder that holds SHA256SUMS.*tlhelpers fetch"):
            fetch(NAME)

    def test_empty_variable_means_none(self, own_cache, monkeypatch):
        monkeypatch.setenv("TLH_MIRROR", "")
        assert mirror() is None
        assert mirror_names() is None


class TestUrlMirror:
    def test_fetched_into_the_cache(self, own_cache, server, monkeypatch):
        folder, url, asked = server.folder, server.url, server.asked
        small_mirror(folder)
        monkeypatch.setenv("TLH_MIRROR", url + "/")
        path = fetch(NAME)
        assert path.read_bytes() == CONTENT
        assert path.is_relative_to(own_cache)
        assert fetch(NAME) == path
        assert asked == ["/SHA256SUMS", f"/{NAME}"]
        with pytest.raises(DownloadError, match="has only"):
            fetch("cifar10.zip")

    def test_versions_do_not_replace_each_other(self, own_cache, server, monkeypatch):
        folder, url = server.folder, server.url
        small_mirror(folder)
        monkeypatch.setenv("TLH_MIRROR", url)
        first = fetch(NAME)
        small_mirror(folder, b"another version")
        downloads._content_at.cache_clear()
        second = fetch(NAME)
        assert first.read_bytes() == CONTENT
        assert second.read_bytes() == b"another version"

    def test_damaged_or_down(self, own_cache, server, monkeypatch):
        folder, url = server.folder, server.url
        small_mirror(folder)
        (folder / NAME).write_bytes(b"damaged")
        monkeypatch.setenv("TLH_MIRROR", url)
        with pytest.raises(DownloadError, match="digest"):
            fetch(NAME)
        monkeypatch.setenv("TLH_MIRROR", "http://127.0.0.1:9")
        with pytest.raises(DownloadError, match="no connection"):
            fetch(NAME)


@pytest.mark.parametrize("settled", [0, downloads.SETTLED_NANOSECONDS])
def test_digest_is_taken_again_when_a_file_changes(tmp_path, monkeypatch, settled):
    """Also where the size and the time of change are the same, as after a careful copy."""
    monkeypatch.setattr(downloads, "SETTLED_NANOSECONDS", settled)
    path = tmp_path / "file"
    path.write_bytes(b"one")
    facts = path.stat()
    assert digest_of(path) == f"sha256:{sha256(b'one')}"
    time.sleep(0 if settled else 0.05)
    path.write_bytes(b"two")
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert digest_of(path) == f"sha256:{sha256(b'two')}"


def test_digest_is_taken_once(tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, "SETTLED_NANOSECONDS", 0)
    path = tmp_path / "file"
    path.write_bytes(b"one")
    time.sleep(0.01)
    before = downloads._digest.cache_info().misses
    assert digest_of(path) == digest_of(path)
    assert downloads._digest.cache_info().misses == before + 1


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
            if "~kriz" not in file.url:  # Keras fetches CIFAR-10 in another form
                assert f'"{file.digest.split(":")[1]}"' in text
        assert file.url is None or file.url.startswith("https://")


@pytest.mark.mirror
def test_real_mirror_is_whole(own_cache, monkeypatch):
    monkeypatch.setenv("TLH_MIRROR", _MIRROR)
    names = mirror_names()
    assert "cats_and_dogs_filtered.zip" in names
    for name in names & set(FILES):
        assert fetch(name).stat().st_size > 1e5


# Read before the fixtures above clear it.
_MIRROR = os.environ.get("TLH_MIRROR", "")
