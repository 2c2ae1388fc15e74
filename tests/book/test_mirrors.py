"""Making a mirror for a room without internet."""

import hashlib

import pytest
from servers import CONTENT, NAME, publish, sha256, small_mirror

from tlhelpers.book.mirrors import fetch_all
from tlhelpers.data.downloads import fetch, has_digest


class TestFetchAll:
    @pytest.fixture
    def published(self, own_cache, server, monkeypatch):
        folder, url, asked = server.folder, server.url, server.asked
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
        assert sorted(p.name for p in room.iterdir() if p.suffix != ".lock") == [
            *names,
            "SHA256SUMS",
        ]
        assert [r.status for r in fetch_all(room, names)] == ["already there"] * 3
        assert len(asked) == 3
        monkeypatch.setenv("TLH_MIRROR", str(room))
        assert fetch(names[2]) == room / names[2]

    def test_completes_and_repairs(self, published, tmp_path):
        names, _ = published
        room = small_mirror(tmp_path / "room")
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

    def test_from_another_mirror(self, own_cache, tmp_path, monkeypatch):
        monkeypatch.setenv("TLH_MIRROR", str(small_mirror(tmp_path / "mirror")))
        (report,) = fetch_all(tmp_path / "room", [NAME])
        assert report.status == "fetched"
        assert (tmp_path / "room" / NAME).read_bytes() == CONTENT
        (itself,) = fetch_all(tmp_path / "mirror", [NAME])
        assert itself.status == "already there"

    def test_unknown_name(self, own_cache, tmp_path):
        with pytest.raises(ValueError, match="Unknown file"):
            fetch_all(tmp_path / "room", ["nothing.zip"])
        assert not (tmp_path / "room").exists()
