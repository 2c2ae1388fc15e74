"""Reading image files of every kind."""

import hashlib
import io
import os
import re
import struct
import threading
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image

from tlhelpers.data import images
from tlhelpers.data.images import read_and_digest, read_image, resize_image
from tlhelpers.data.inspection import inspect_image

ORANGE = (240, 120, 20)


def encode(image, form="PNG", **settings):
    file = io.BytesIO()
    image.save(file, form, **settings)
    return file.getvalue()


def quadrants(size=32):
    """An image whose four quarters are red, green, blue and white, from the top left."""
    pixels = np.zeros((size, size, 3), np.uint8)
    half = size // 2
    pixels[:half, :half] = (255, 0, 0)
    pixels[:half, half:] = (0, 255, 0)
    pixels[half:, :half] = (0, 0, 255)
    pixels[half:, half:] = (255, 255, 255)
    return Image.fromarray(pixels)


@pytest.mark.parametrize(
    ("image", "colour"),
    [
        (Image.new("RGB", (20, 20), ORANGE), ORANGE),
        (Image.new("L", (20, 20), 77), (77, 77, 77)),
        (Image.new("1", (20, 20), 1), (255, 255, 255)),
        (Image.new("LA", (20, 20), (10, 0)), (255, 255, 255)),
        (Image.new("LA", (20, 20), (10, 255)), (10, 10, 10)),
        (Image.new("RGBA", (20, 20), (*ORANGE, 255)), ORANGE),
        (Image.new("RGBA", (20, 20), (*ORANGE, 0)), (255, 255, 255)),
        (Image.new("RGBA", (20, 20), (0, 0, 0, 51)), (204, 204, 204)),
        (Image.new("RGB", (20, 20), ORANGE).convert("P"), ORANGE),
        (Image.fromarray(np.full((20, 20), 257 * 77, np.uint16)), (77, 77, 77)),
    ],
    ids=["RGB", "L", "1", "LA clear", "LA", "RGBA", "RGBA clear", "RGBA part", "P", "I;16"],
)
def test_png_modes(image, colour):
    found = read_image(encode(image), 8)
    assert found.shape == (8, 8, 3)
    assert found.dtype == np.uint8
    # A palette may round a colour to its nearest entry.
    assert np.abs(found.astype(int) - colour).max() <= (25 if image.mode == "P" else 0)


def test_palette_transparency_is_white():
    image = Image.new("P", (12, 12), 0)
    image.putpalette([0, 0, 0, 200, 0, 0])
    image.paste(1, (6, 0, 12, 12))
    found = read_image(encode(image, transparency=0), 12)
    assert found[0, 0].tolist() == [255, 255, 255]
    assert found[0, 11].tolist() == [200, 0, 0]


def test_cmyk_jpeg():
    image = Image.new("CMYK", (40, 40), (0, 255, 255, 0))
    found = read_image(encode(image, "JPEG", quality=95), 8).astype(int)
    assert np.abs(found - [255, 0, 0]).max() < 12


@pytest.mark.parametrize("form", ["GIF", "BMP", "TIFF", "WEBP", "PPM"])
def test_other_formats(form):
    found = read_image(encode(Image.new("RGB", (20, 20), (0, 0, 255)), form), 4).astype(int)
    assert np.abs(found - [0, 0, 255]).max() < 8


@pytest.mark.parametrize(
    ("orientation", "turned"),
    [
        (2, Image.Transpose.FLIP_LEFT_RIGHT),
        (3, Image.Transpose.ROTATE_180),
        (4, Image.Transpose.FLIP_TOP_BOTTOM),
        (5, Image.Transpose.TRANSPOSE),
        (6, Image.Transpose.ROTATE_90),
        (7, Image.Transpose.TRANSVERSE),
        (8, Image.Transpose.ROTATE_270),
    ],
)
@pytest.mark.parametrize("form", ["PNG", "TIFF", "JPEG", "WEBP", "AVIF", "MPO"])
def test_exif_orientation_is_undone_once(form, orientation, turned):
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = quadrants()
    lossless = {"lossless": True} if form == "WEBP" else {}
    file = encode(upright.transpose(turned), form, exif=exif, **lossless)
    found = read_image(file, 32)
    if form in ("PNG", "TIFF", "WEBP"):
        np.testing.assert_array_equal(found, np.asarray(upright))
    else:
        corners = (slice(4, 28, 23),) * 2
        assert np.abs(found[corners].astype(int) - np.asarray(upright)[corners]).max() < 60


def test_compressed_tiff_is_turned_once():
    exif = Image.Exif()
    exif[0x0112] = 6
    file = encode(
        quadrants().transpose(Image.Transpose.ROTATE_90), "TIFF", exif=exif, compression="tiff_lzw"
    )
    np.testing.assert_array_equal(read_image(file, 32), np.asarray(quadrants()))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF:UserWarning")
def test_broken_exif_counts_as_upright():
    file = encode(quadrants(), "JPEG", quality=95, exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert read_image(file, 32)[2, 2, 0] > 200


def test_odd_exif_does_not_hinder_turning():
    """A camera's name stored as a number, which Pillow can read and not write."""
    name = struct.pack("<HHII", 0x010F, 12, 1, 38)  # a double, 38 bytes from the start
    turn = struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0)
    exif = struct.pack("<2sHIH", b"II", 42, 8, 2) + name + turn + struct.pack("<Id", 0, 1.5)
    turned = quadrants().transpose(Image.Transpose.ROTATE_90)
    file = encode(turned, "PNG", exif=b"Exif\0\0" + exif)
    np.testing.assert_array_equal(read_image(file, 32), np.asarray(quadrants()))


def test_centre_is_cut_out_unstretched():
    pixels = np.zeros((10, 30, 3), np.uint8)
    pixels[:, 10:20] = ORANGE
    found = read_image(encode(Image.fromarray(pixels)), 10)
    np.testing.assert_array_equal(found, np.full((10, 10, 3), ORANGE))


def test_fits():
    pixels = np.zeros((10, 30, 3), np.uint8)
    pixels[:] = ORANGE
    pixels[:, :3] = (255, 255, 255)
    file = encode(Image.fromarray(pixels))
    padded = read_image(file, 30, fit="pad")
    np.testing.assert_array_equal(padded[10:20], pixels)
    assert padded[:10].max() == padded[20:].max() == 0
    stretched = read_image(file, 30, fit="stretch")
    np.testing.assert_array_equal(stretched[:, 10:], np.full((30, 20, 3), ORANGE))
    assert stretched[:, :2].min() == 255
    assert read_image(file, 1, fit="pad").shape == (1, 1, 3)
    with pytest.raises(ValueError, match=r"one of crop, pad, stretch. Received: 'fill'"):
        read_image(file, 30, fit="fill")


def test_fits_agree_on_a_square():
    file = encode(quadrants(20))
    for fit in images.FITS:
        np.testing.assert_array_equal(read_image(file, 32, fit=fit), read_image(file, 32))


def tiff_of_16_bits(grey, signed):
    """A TIFF as instruments write it; Pillow itself can't write signed ones."""
    data = grey.astype("<i2" if signed else "<u2").tobytes()
    height, width = grey.shape
    tags = [
        (256, width), (257, height), (258, 16), (259, 1), (262, 1),
        (273, 8), (277, 1), (278, height), (279, len(data)), (339, 2 if signed else 1),
    ]  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    head = b"II*\0" + struct.pack("<I", 8 + len(data))
    return head + data + struct.pack("<H", len(tags)) + entries + bytes(4)


@pytest.mark.parametrize("low", [0, -2048])
def test_grey_range(low):
    grey = np.arange(low, low + 4096).reshape(64, 64)
    file = tiff_of_16_bits(grey, signed=low < 0)
    found = read_image(file, 64, grey_range=(low, low + 4095))[..., 0]
    np.testing.assert_array_equal(found, np.round((grey - low) / 4095 * 255))
    assert len(np.unique(read_image(file, 64))) < 18
    assert read_image(file, 64, grey_range=(7, 7)).max() == 0 or low == 0


def test_bytes_are_digested_as_they_are_decoded(tmp_path):
    path = tmp_path / "photo.png"
    path.write_bytes(encode(quadrants()))
    found, digest = read_and_digest(path, 16)
    np.testing.assert_array_equal(found, read_image(path, 16))
    assert digest == hashlib.sha256(path.read_bytes()).digest()


def png_of_zeros(width, height, colours=2):
    """A PNG that is small on disk."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, colours, 0, 0, 0)
    packer = zlib.compressobj()
    row = bytes(1 + width * {0: 1, 2: 3}[colours])
    data = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    parts = (b"IHDR", header), (b"IDAT", data), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


class TestLimit:
    def test_switch(self, monkeypatch, tmp_path):
        path = tmp_path / "wide.png"
        path.write_bytes(png_of_zeros(2000, 1000, colours=0))
        monkeypatch.setenv("TLH_MEGAPIXELS", "1.5")
        with pytest.raises(
            ValueError, match=r"wide.png can't be read .*2 megapixels, where 2 .*TLH_MEG"
        ):
            read_image(path, 8)
        monkeypatch.setenv("TLH_MEGAPIXELS", "2")
        assert read_image(path, 8).max() == 0
        monkeypatch.setenv("TLH_MEGAPIXELS", "none")
        with pytest.raises(ValueError, match="TLH_MEGAPIXELS must be a positive number"):
            read_image(path, 8)

    @pytest.mark.slow
    def test_beyond_what_pillow_considers_safe(self, monkeypatch):
        file = png_of_zeros(20000, 10000, colours=0)
        with pytest.raises(ValueError, match="200 megapixels, where 100"):
            read_image(file, 8)
        monkeypatch.setenv("TLH_MEGAPIXELS", "200")
        assert read_image(file, 8).shape == (8, 8, 3)

    def test_large_jpeg_counts_as_it_is_decoded(self, monkeypatch):
        monkeypatch.setenv("TLH_MEGAPIXELS", "0.1")
        photo = Image.new("RGB", (1600, 1200), ORANGE)
        assert read_image(encode(photo, "JPEG"), 8).shape == (8, 8, 3)
        with pytest.raises(ValueError, match="megapixels"):
            read_image(encode(photo, "JPEG", progressive=True), 8)

    def test_a_file_longer_than_any_image_is_not_read(self, monkeypatch, tmp_path):
        path = tmp_path / "film.png"
        path.write_bytes(encode(quadrants()) + bytes(10_000))
        monkeypatch.setenv("TLH_MEGAPIXELS", "0.001")
        with pytest.raises(ValueError, match=r"0.0 GB, where"):
            read_image(path, 8)

    def test_threads_share_the_room(self):
        room, most, now = images._Room(), [], []

        def work(amount):
            with room.hold(amount, 10):
                now.append(amount)
                most.append(sum(now))
                now.remove(amount)

        threads = [
            threading.Thread(target=work, args=(size,)) for size in [3, 4, 12, 6, 2, 12, 9] * 20
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=20)
        assert not any(thread.is_alive() for thread in threads)
        assert max(most) == 12
        assert all(sum_ <= 10 or sum_ == 12 for sum_ in most)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs FIFOs")
def test_a_fifo_is_not_waited_for(tmp_path):
    path = tmp_path / "pipe.jpg"
    os.mkfifo(path)
    with pytest.raises(ValueError, match=r"pipe.jpg can't be read .*not a regular file"):
        read_image(path, 8)
    with pytest.raises(ValueError, match="can't be read"):
        read_image(tmp_path, 8)


@pytest.mark.parametrize(
    "head", [b"\0\0\0\x20ftypisom", b"PK\3\4", b"\x1f\x8b\x08\0", b"RIFF....AVI "]
)
def test_a_large_file_of_another_kind_is_not_read(tmp_path, head):
    path = tmp_path / "film.jpg"
    path.write_bytes(head + bytes(2_000_000))
    tracemalloc.start()
    assert inspect_image(path)[0] == "not an image"
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


def test_reducing_averages():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    found = read_image(encode(Image.fromarray(pixels)), 2)
    # Antialiasing: the mean is kept, and nothing of the noise's spread (about 74) is left.
    assert abs(found.mean() - pixels.mean()) < 2
    assert found.std() < 10


def test_large_jpeg_agrees_with_full_decoding():
    ramp = np.linspace(0, 255, 800).astype(np.uint8)
    pixels = np.stack([np.tile(ramp, (800, 1)), np.tile(ramp[:, None], (1, 800))], -1)
    pixels = np.concatenate([pixels, 255 - pixels[..., :1]], -1)
    file = encode(Image.fromarray(pixels), "JPEG", quality=95)
    whole = Image.open(io.BytesIO(file)).convert("RGB").resize((50, 50), Image.Resampling.BOX)
    difference = np.abs(read_image(file, 50).astype(int) - np.asarray(whole).astype(int))
    assert difference.mean() < 2


def test_name_does_not_matter_and_paths_equal_bytes(tmp_path):
    path = tmp_path / "Ünïcode 猫.JPG"
    path.write_bytes(encode(quadrants()))
    np.testing.assert_array_equal(read_image(path, 16), read_image(path.read_bytes(), 16))
    assert not inspect_image(path)[0]


def test_resize_image_matches_read_image():
    image = quadrants(28)
    np.testing.assert_array_equal(
        resize_image(np.asarray(image), 32), read_image(encode(image), 32)
    )


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "WEBP"])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_truncated(tmp_path, form, share):
    noise = np.random.default_rng(0).integers(0, 256, (90, 90, 3), dtype=np.uint8)
    whole = encode(Image.fromarray(noise), form)
    path = tmp_path / "broken.jpg"
    path.write_bytes(whole[: int(len(whole) * share)])
    assert inspect_image(path)[0]
    with pytest.raises(ValueError, match=re.escape(str(path))):
        read_image(path, 8)
    path.write_bytes(whole)
    assert not inspect_image(path)[0]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty file"),
        (b"some notes", "not an image"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "a HEIC photograph; export it as JPEG"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0heic", "a HEIC photograph; export it as JPEG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "not an image"),
    ],
)
def test_reasons(tmp_path, content, reason):
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    assert inspect_image(path)[0] == reason
    with pytest.raises(ValueError, match=re.escape(reason)):
        read_image(path, 8)


def test_floating_point_is_refused(tmp_path):
    path = tmp_path / "depth.tif"
    path.write_bytes(encode(Image.new("F", (8, 8), 0.5), "TIFF"))
    assert "floating-point" in inspect_image(path)[0]


def test_missing_file(tmp_path):
    assert inspect_image(tmp_path / "none.png")[0] == "missing file"
    with pytest.raises(FileNotFoundError, match=r"none\.png"):
        read_image(tmp_path / "none.png", 8)
