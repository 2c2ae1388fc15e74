"""Holes in JPEG files: found wherever decoders go on without a word, and nowhere else."""

import io

import numpy as np
import pytest
from PIL import Image

from tlhelpers.data.datasets import load_dataset
from tlhelpers.data.jpeg import HOLE, has_hole

SETTINGS = [
    {"quality": quality, **more}
    for quality in (30, 75, 95)
    for more in (
        {},
        {"optimize": True},
        {"progressive": True},
        {"subsampling": 0},
        {"restart_marker_rows": 1},
    )
]


def textured(seed=0, size=(320, 240)):
    """Structure from coarse to fine, as photographs have."""
    rng = np.random.default_rng(seed)
    total = np.zeros((size[1], size[0], 3))
    for cells in (3, 7, 15, 40, 150):
        noise = Image.fromarray(rng.integers(0, 256, (cells, cells, 3)).astype(np.uint8))
        total += np.asarray(noise.resize(size, Image.Resampling.BICUBIC), float) - 128
    return Image.fromarray(np.uint8((total * 0.7 + 128).clip(0, 255)))


def encode(image, **settings):
    file = io.BytesIO()
    image.save(file, "JPEG", **settings)
    return file.getvalue()


def with_hole(content, at=0.5, size=1000):
    start = round(at * len(content))
    return content[:start] + bytes(min(size, len(content) - start)) + content[start + size :]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_holes_are_found(settings, mode):
    whole = encode(textured().convert(mode), **settings)
    assert not has_hole(whole)
    if "progressive" not in settings:  # where a hole often can't be told from plain surfaces
        assert all(has_hole(with_hole(whole, at)) for at in (0.4, 0.6, 0.8))


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_plain_surfaces_have_none(settings):
    """Optimised tables may code them as nothing but zeros."""
    plain = Image.new("RGB", (1600, 1200), (240, 240, 240))
    ramp = Image.linear_gradient("L").resize((800, 600)).convert("RGB")
    drawn = plain.copy()
    drawn.paste(textured(), (0, 0))
    drawn.paste((200, 20, 20), (900, 700, 1500, 1100))
    for image in (
        plain,
        ramp,
        drawn,
        plain.convert("L"),
        Image.eval(drawn, lambda v: v // 40 * 40),
    ):
        assert not has_hole(encode(image, **settings))


def test_zeros_elsewhere_are_none():
    """Ahead of the picture, as makers' notes have them, and after it, as films on phones do."""
    note = b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0" + bytes(2000)
    content = encode(textured(), exif=note)
    assert HOLE in content
    assert not has_hole(content)
    assert not has_hole(content + bytes(100_000))
    assert not has_hole(encode(textured())[:300] + bytes(1))
    assert not has_hole(bytes(1000))


@pytest.mark.parametrize("cut", range(2, 700, 7))
def test_any_part_of_a_file_is_looked_at(cut):
    content = encode(textured(size=(64, 48)))
    has_hole(content[:cut] + bytes(100) + content[cut + 100 :])


@pytest.mark.mirror
def test_photographs_have_none():
    data = load_dataset("cats_dogs", tier="real")
    found = [has_hole(path.read_bytes()) for path in data.train.paths]
    assert not any(found)
    damaged = [has_hole(with_hole(path.read_bytes(), 0.5, 512)) for path in data.train.paths]
    assert all(damaged)
