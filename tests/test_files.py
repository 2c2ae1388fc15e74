"""The cache folder, locks, and files that are written whole or not at all."""

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tlhelpers import files


class TestCacheFolder:
    def test_is_made(self, monkeypatch, tmp_path):
        monkeypatch.setenv("TLH_CACHE", str(tmp_path / "a" / "b"))
        assert files.cache_folder() == tmp_path / "a" / "b"
        assert list((tmp_path / "a" / "b").iterdir()) == []

    def test_home_is_expanded(self, monkeypatch, tmp_path):
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("USERPROFILE", str(tmp_path))
        monkeypatch.setenv("TLH_CACHE", "  ")
        assert files.cache_place().is_absolute()
        monkeypatch.setenv("TLH_CACHE", "~/kept")
        assert files.cache_folder() == tmp_path / "kept"

    def test_the_platforms_own(self, monkeypatch, tmp_path):
        monkeypatch.delenv("TLH_CACHE")
        monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(tmp_path / name))
        assert files.cache_folder() == tmp_path / "tlhelpers"

    @pytest.mark.parametrize("found", [None, "~/.cache/tlhelpers"])
    def test_a_user_without_a_home_is_told_what_to_set(self, monkeypatch, tmp_path, found):
        """Some releases of platformdirs raise, others give a folder called ~ in the current one."""

        def user_cache_dir(name):
            if found is None:
                raise RuntimeError("could not determine the home directory")
            return found

        def no_home(path):
            raise RuntimeError("Could not determine home directory.")

        monkeypatch.delenv("TLH_CACHE")
        monkeypatch.setattr("platformdirs.user_cache_dir", user_cache_dir)
        monkeypatch.setattr(Path, "expanduser", no_home)
        with pytest.raises(PermissionError, match=r"this user has none.*Set TLH_CACHE"):
            files.cache_folder()

    def test_not_writable(self, monkeypatch, tmp_path):
        (tmp_path / "file").touch()
        monkeypatch.setenv("TLH_CACHE", str(tmp_path / "file" / "cache"))
        with pytest.raises(PermissionError, match=r"file.*Set TLH_CACHE"):
            files.cache_folder()


class TestWriting:
    def test_a_new_file_and_its_folder(self, tmp_path):
        files.write_atomically(tmp_path / "new" / "a.txt", "ä")
        assert (tmp_path / "new" / "a.txt").read_bytes() == "ä".encode()
        assert [file.name for file in (tmp_path / "new").iterdir()] == ["a.txt"]

    @pytest.mark.parametrize("call", ["fsync", "replace"])
    def test_on_a_full_disk_the_old_file_stays_and_nothing_else(self, call, monkeypatch, tmp_path):
        def fail(*_):
            raise OSError(errno.ENOSPC, "No space left on device")

        path = tmp_path / "a.txt"
        path.write_text("old")
        monkeypatch.setattr(os, call, fail)
        with pytest.raises(OSError, match="No space left"):
            files.write_atomically(path, b"new")
        assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {"a.txt": "old"}

    def test_what_another_library_writes(self, tmp_path):
        def save():
            with files.replacing(tmp_path / "model.keras") as part:
                assert part.suffix == ".keras"
                part.write_text("half")
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            save()
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
    def test_a_link_stays_a_link(self, tmp_path):
        (tmp_path / "real").mkdir()
        (tmp_path / "link.txt").symlink_to(tmp_path / "real" / "a.txt")
        files.write_atomically(tmp_path / "link.txt", "new")
        assert (tmp_path / "link.txt").is_symlink()
        assert (tmp_path / "real" / "a.txt").read_text() == "new"

    def test_a_long_name(self, tmp_path):
        files.write_atomically(tmp_path / ("n" * 250 + ".txt"), "kept")
        assert [len(file.name) for file in tmp_path.iterdir()] == [254]

    def test_what_others_may_read(self, tmp_path):
        (tmp_path / "plain").touch()
        files.write_atomically(tmp_path / "ours", "kept")
        assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode

    @pytest.mark.parametrize("place", ["cache", "elsewhere"])
    def test_a_full_disk(self, tmp_path, monkeypatch, place):
        monkeypatch.setenv("TLH_CACHE", str(tmp_path / "cache"))
        folder = tmp_path / place
        folder.mkdir()

        def full(number):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(
            OSError, match=r"^big\.bin \(3\.0 MB\) could not be written to"
        ) as caught:
            files.write_atomically(folder / "big.bin", bytes(3_000_000))
        said = str(caught.value)
        assert str(folder) in said
        assert "MB free there" in said
        assert ("TLH_CACHE" in said) == (place == "cache")
        assert list(folder.iterdir()) == []

    def test_too_little_room_is_said_before(self, tmp_path):
        with pytest.raises(OSError, match=r"features \(3,200,000,000.0 MB\) could not be written"):
            files.check_room("features", tmp_path, 32 * 10**17 // 1000)
        files.check_room("features", tmp_path, 1)

    def test_no_permission(self, tmp_path, monkeypatch):
        monkeypatch.setenv("TLH_CACHE", str(tmp_path))
        path = tmp_path / "lock"

        def forbidden(*args, **kwargs):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

        monkeypatch.setattr("filelock.FileLock.acquire", forbidden)
        with (
            pytest.raises(PermissionError, match=r"lock could not be written.*denied\. TLH_CACHE"),
            files.locked(path),
        ):
            pass

    def test_other_errors_are_left_as_they_are(self, tmp_path):
        (tmp_path / "ours").mkdir()
        elsewhere = PermissionError(errno.EACCES, "denied", str(tmp_path / "theirs"))
        for error in (elsewhere, FileNotFoundError(errno.ENOENT, "none"), ValueError("else")):
            with (
                pytest.raises(type(error)) as caught,
                files.plain_disk_errors("a", tmp_path / "ours"),
            ):
                raise error
            assert caught.value is error

    @pytest.mark.slow
    def test_one_process_waits_for_another_and_says_so(self, tmp_path, capsys):
        code = (
            "from pathlib import Path; from tlhelpers.files import locked\n"
            f"with locked(Path({str(tmp_path / 'lock')!r})): print('mine', flush=True); input()"
        )
        with subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as other:
            assert other.stdout.readline() == "mine\n"
            threading.Timer(2.3, other.stdin.close).start()
            with files.locked(tmp_path / "lock"):
                assert other.wait(10) is not None
        assert "Waiting for another process" in capsys.readouterr().out
