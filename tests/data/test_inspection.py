"""Looking at files: once each, remembered, and with progress."""

import io
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tlhelpers import progress
from tlhelpers.data import inspection
from tlhelpers.data.inspection import inspect_image, inspect_images


@pytest.fixture
def photos(tmp_path, monkeypatch):
    monkeypatch.setenv("TLH_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(6):
        pixels = np.random.default_rng(number).integers(0, 256, (40, 60, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    (folder / "7.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    return sorted(folder.iterdir())


def look(photos):
    """Return reasons, facts and all thumbnails."""
    with inspect_images(photos, photos[0].parent) as (reasons, facts, thumbs):
        return reasons, facts, thumbs[np.arange(len(photos))]


def decodings(monkeypatch):
    """Count what is decoded."""
    real, seen = inspection.decoded, []
    monkeypatch.setattr(
        inspection, "decoded", lambda content, enough: seen.append(content) or real(content, enough)
    )
    return seen


def test_the_same_pixels_have_the_same_content(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    image = Image.fromarray(pixels)
    exif = Image.Exif()
    exif[0x010E] = "a note"
    image.save(tmp_path / "a.png")
    image.save(tmp_path / "b.bmp")
    image.save(tmp_path / "c.tif", compression="tiff_lzw")
    image.convert("RGBA").save(tmp_path / "d.webp", lossless=True)
    image.save(tmp_path / "e.png", exif=exif, compress_level=1)
    turned = Image.Exif()
    turned[0x0112] = 6
    image.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "f.png", exif=turned)
    found = [inspect_image(path)[1] for path in sorted(tmp_path.iterdir())]
    assert len({one["content"].tobytes() for one in found}) == 1
    assert len({one["file"].tobytes() for one in found}) == 6
    assert {(int(one["width"]), int(one["height"])) for one in found} == {(60, 40)}
    other = Image.fromarray(pixels ^ (np.arange(7200).reshape(40, 60, 3) == 0).astype(np.uint8))
    other.save(tmp_path / "g.png")
    assert (
        inspect_image(tmp_path / "g.png")[1]["content"].tobytes() != found[0]["content"].tobytes()
    )


def test_each_file_is_decoded_once(photos, monkeypatch):
    seen = decodings(monkeypatch)
    first = look(photos)
    assert len(seen) == 7
    second = look(photos)
    assert len(seen) == 8  # the broken one, which another version may read
    assert first[0] == second[0]
    assert [bool(reason) for reason in first[0]] == [False] * 6 + [True]
    np.testing.assert_array_equal(first[1], second[1])
    np.testing.assert_array_equal(first[2], second[2])
    assert not first[2][6].any()
    expected = Image.open(photos[1]).resize((32, 32), Image.Resampling.BOX)
    np.testing.assert_array_equal(first[2][1], np.asarray(expected))
    photos[2].write_bytes(photos[3].read_bytes())
    _, changed, thumbs = look(photos)
    assert len(seen) == 9
    assert changed[2] == changed[3] == first[1][3]
    np.testing.assert_array_equal(thumbs[2], first[2][3])


@pytest.mark.parametrize("damage", ["truncate", "flip", "empty", "foreign"])
def test_damaged_memory_counts_as_none(photos, monkeypatch, tmp_path, damage):
    first = look(photos)
    (kept,) = (tmp_path / "cache" / "pictures").iterdir()
    content = bytearray(kept.read_bytes())
    content[len(content) // 2] ^= 1
    damaged = {"truncate": content[:-7], "flip": content, "empty": b"", "foreign": b"x" * 5000}
    kept.write_bytes(damaged[damage])
    seen = decodings(monkeypatch)
    again = look(photos)
    names = [name for name in first[1].dtype.names if name != "place"]
    np.testing.assert_array_equal(again[1][names], first[1][names])
    np.testing.assert_array_equal(again[2], first[2])
    # What is whole is known, and the broken one is always tried.
    count = {"flip": 2, "truncate": 3}.get(damage, 7)
    assert len(seen) == count
    look(photos)
    assert len(seen) == count + 1


def test_an_interrupted_look_is_kept(photos, monkeypatch):
    real = inspection.inspect_image

    def interrupted(path, known):
        if path == photos[4]:
            raise KeyboardInterrupt
        return real(path, known)

    monkeypatch.setattr(inspection, "inspect_image", interrupted)
    with pytest.raises(KeyboardInterrupt):
        look(photos)
    monkeypatch.setattr(inspection, "inspect_image", real)
    seen = decodings(monkeypatch)
    look(photos)
    assert len(seen) == 3


def test_what_was_known_survives_an_interruption(photos, monkeypatch):
    look(photos)
    Image.new("RGB", (50, 50)).save(photos[0])
    real = inspection.counted

    def stops(*work):
        for number, one in enumerate(real(*work)):
            if number == 2:
                raise KeyboardInterrupt
            yield one

    monkeypatch.setattr(inspection, "counted", stops)
    with pytest.raises(KeyboardInterrupt):
        look(photos)
    monkeypatch.setattr(inspection, "counted", real)
    seen = decodings(monkeypatch)
    look(photos)
    assert len(seen) == 1


def test_no_place_to_remember_in(photos, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TLH_CACHE", str(tmp_path / "file" / "cache"))
    assert look(photos)[0][:6] == [""] * 6
    monkeypatch.setenv("TLH_CACHE", str(tmp_path / "cache"))

    def full(*_):
        raise OSError(28, "No space left on device")

    expected = look(photos)[2]
    monkeypatch.setenv("TLH_CACHE", str(tmp_path / "another"))
    for name in ("locked", "replacing"):
        monkeypatch.setattr(inspection, name, full)
    monkeypatch.setattr(inspection, "_AT_ONCE", 4)
    reasons, _, thumbs = look(photos)
    assert reasons[:6] == [""] * 6
    np.testing.assert_array_equal(thumbs, expected)


def test_lines_where_nobody_watches_a_bar(photos, monkeypatch, capsys):
    look(photos)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(progress, "SECONDS", 0)
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    look(photos)
    assert "looking at photos: 3 of 7 files, " in capsys.readouterr().err
    monkeypatch.setenv("TQDM_DISABLE", "1")
    look(photos)
    assert capsys.readouterr().err == ""


def test_a_bar_in_a_terminal(photos, monkeypatch):
    stream = io.StringIO()
    stream.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", stream)
    assert len(look(photos)[0]) == 7


def test_two_looks_at_once(photos, monkeypatch):
    seen = decodings(monkeypatch)
    with inspect_images(photos[:4], photos[0].parent) as (_, _, some):
        every = look(photos)[2]
        assert len(seen) == 4 + 3
        np.testing.assert_array_equal(some[np.arange(4)], every[:4])
    look(photos)
    assert len(seen) == 4 + 3 + 1


def test_what_is_no_longer_there_is_forgotten(photos, tmp_path):
    expected = look(photos)[2]
    (kept,) = (tmp_path / "cache" / "pictures").iterdir()
    size = kept.stat().st_size
    look(photos[:4])
    assert kept.stat().st_size == size
    with inspect_images(photos[:2], photos[0].parent) as (_, _, thumbs):
        np.testing.assert_array_equal(thumbs[np.arange(2)], expected[:2])
    assert kept.stat().st_size == size / 3
    np.testing.assert_array_equal(look(photos)[2], expected)


def test_what_another_user_keeps_is_read(photos, monkeypatch):
    expected = look(photos)[2]
    usual = Path.open

    def open_to_read(path, mode="r", *args):
        if mode == "a+b":
            raise PermissionError(13, "Permission denied")
        return usual(path, mode, *args)

    monkeypatch.setattr(Path, "open", open_to_read)
    seen = decodings(monkeypatch)
    np.testing.assert_array_equal(look(photos)[2], expected)
    assert len(seen) == 1  # the damaged one


def test_a_file_that_others_change_meanwhile_is_noticed(photos, tmp_path):
    look(photos)
    (kept,) = (tmp_path / "cache" / "pictures").iterdir()
    with inspect_images(photos, photos[0].parent) as (_, _, thumbs):
        content, size = kept.read_bytes(), kept.stat().st_size // 6
        kept.write_bytes(content[size:] + content[:size])
        with pytest.raises(OSError, match="was changed while it was in use"):
            thumbs[np.arange(6)]


def test_thumbnails_stay_on_disk(photos, monkeypatch):
    """Of 4,000 files, in memory they would take 12 MB, and jobs that wait take 2."""
    facts = np.zeros((), inspection.FACTS)
    thumb = np.ones((32, 32, 3), np.uint8)
    monkeypatch.setattr(inspection, "inspect_image", lambda *_: ("", facts, thumb))
    look(photos)
    tracemalloc.start()
    with inspect_images([photos[0]] * 4_000, photos[0].parent) as (reasons, _, thumbs):
        assert reasons == [""] * 4_000
        assert thumbs[np.array([3, 3_999])].all()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4e6
