"""Reading image files of every kind."""

import io
import re

import numpy as np
import pytest
from PIL import Image

from tlhelpers.data.images import inspect_image, read_image, resize_image

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
def test_exif_orientation_is_undone(orientation, turned):
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = quadrants()
    file = encode(upright.transpose(turned), exif=exif)
    np.testing.assert_array_equal(read_image(file, 32), np.asarray(upright))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF:UserWarning")
def test_broken_exif_counts_as_upright():
    file = encode(quadrants(), "JPEG", quality=95, exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert read_image(file, 32)[2, 2, 0] > 200


def test_centre_is_cut_out_unstretched():
    pixels = np.zeros((10, 30, 3), np.uint8)
    pixels[:, 10:20] = ORANGE
    found = read_image(encode(Image.fromarray(pixels)), 10)
    np.testing.assert_array_equal(found, np.full((10, 10, 3), ORANGE))


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
    assert inspect_image(path) is None


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
    assert inspect_image(path) is not None
    with pytest.raises(ValueError, match=re.escape(str(path))):
        read_image(path, 8)
    path.write_bytes(whole)
    assert inspect_image(path) is None


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty file"),
        (b"some notes", "not an image"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "a HEIC photograph; export it as JPEG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "not an image"),
    ],
)
def test_reasons(tmp_path, content, reason):
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    assert inspect_image(path) == reason
    with pytest.raises(ValueError, match=re.escape(reason)):
        read_image(path, 8)


def test_floating_point_is_refused(tmp_path):
    path = tmp_path / "depth.tif"
    path.write_bytes(encode(Image.new("F", (8, 8), 0.5), "TIFF"))
    assert "floating-point" in inspect_image(path)


def test_missing_file(tmp_path):
    assert inspect_image(tmp_path / "none.png") == "missing file"
    with pytest.raises(FileNotFoundError, match=r"none\.png"):
        read_image(tmp_path / "none.png", 8)
