"""Near-copies: which are found in photographs, and what is not taken for one."""

import io
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from tlhelpers.data import copies as copies_module
from tlhelpers.data.copies import near_copies
from tlhelpers.data.datasets import load_dataset
from tlhelpers.data.inspection import THUMB


def thumb(image):
    return np.asarray(image.convert("RGB").resize((THUMB, THUMB), Image.Resampling.BOX))


def pairs_of(images):
    widths, heights = np.transpose([image.size for image in images])
    found, some_left = near_copies(np.stack([thumb(image) for image in images]), widths, heights)
    return {tuple(pair) for pair in found.tolist()}, some_left


def encoded(image, quality=90):
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(io.BytesIO(file.getvalue())).convert("RGB")


def cropped(image, rng):
    """Cut three hundredths off width and height, wherever that leaves the picture."""
    width, height = image.size
    away = round(0.03 * width), round(0.03 * height)
    left, top = rng.integers(0, away[0] + 1), rng.integers(0, away[1] + 1)
    return image.crop((left, top, left + width - away[0], top + height - away[1]))


CHANGES = {
    "smaller": lambda image, rng: image.resize((image.width // 2, image.height // 2)),
    "larger": lambda image, rng: image.resize((2 * image.width, 2 * image.height)),
    "quality 60": lambda image, rng: encoded(image, 60),
    **{
        turn.name.lower(): lambda image, rng, turn=turn: encoded(image.transpose(turn))
        for turn in Image.Transpose
    },
    "cropped": lambda image, rng: encoded(cropped(image, rng)),
}


def smooth(rng, size=(160, 120)):
    """A picture with structure from coarse to fine, as photographs have."""
    total = np.zeros((size[1], size[0], 3))
    for cells in (3, 7, 15, 40):
        noise = rng.uniform(-1, 1, (cells, cells, 3))
        layer = [
            Image.fromarray(np.float32(noise[..., c])).resize(size, Image.Resampling.BICUBIC)
            for c in range(3)
        ]
        total += np.stack([np.asarray(one) for one in layer], axis=-1) * 160 / cells**0.5
    return Image.fromarray(np.uint8((total + 128).clip(0, 255)))


@pytest.mark.parametrize("name", CHANGES)
def test_each_change_is_found(name):
    rng = np.random.default_rng(0)
    images = [smooth(rng) for _ in range(12)]
    found, some_left = pairs_of([*images, CHANGES[name](images[3], rng)])
    assert found == {(3, 12)}
    assert not some_left


@pytest.mark.mirror
@pytest.mark.parametrize("all_up_to", [5_000, 0], ids=["each with each", "by hashes"])
def test_recall_on_photographs(all_up_to, monkeypatch):
    """Of 200 altered copies at least 95 % are found, and nothing else but true copies."""
    monkeypatch.setattr(copies_module, "ALL", all_up_to)
    data = load_dataset("cats_dogs", tier="real")
    paths = sorted([*data.train.paths, *data.validation.paths])[:1000]
    rng = np.random.default_rng(0)
    images = [Image.open(path).convert("RGB") for path in paths]
    rows = rng.choice(len(images), 200, replace=False).tolist()
    names = list(CHANGES)
    copies = [CHANGES[names[k % len(names)]](images[row], rng) for k, row in enumerate(rows)]
    found, _ = pairs_of([*images, *copies])
    planted = {(row, len(images) + k) for k, row in enumerate(rows)}
    assert len(found & planted) >= 0.95 * len(planted)
    assert len(found - planted) <= 0.01 * len(found)


def discs(colours, rng, size=64):
    """Discs of two colours in random places, over noise."""
    y, x = np.mgrid[:size, :size]
    images = []
    for colour in colours:
        image = rng.normal(60, 15, (size, size, 3))
        across, down = rng.uniform(12, size - 12, 2)
        image[(x - across) ** 2 + (y - down) ** 2 < 64] = colour
        images.append(Image.fromarray(np.uint8(image.clip(0, 255))))
    return images


def marks(n, rng, size=64):
    """The same mark at the left or at the right, over noise."""
    images = rng.integers(100, 140, (n, size, size, 3)).astype(np.uint8)
    images[::2, :16, :16] = images[1::2, :16, -16:] = 255
    return [Image.fromarray(image) for image in images]


@pytest.mark.parametrize(
    "images",
    [
        [Image.new("RGB", (40, 40), (n, 255 - n, 2 * n)) for n in range(100)],
        discs([(230, 60, 60), (60, 230, 60)] * 40, np.random.default_rng(0)),
        pytest.param(marks(60, np.random.default_rng(0)), marks=pytest.mark.slow),
        [
            Image.fromarray(a)
            for a in np.random.default_rng(0).integers(0, 256, (80, 48, 40, 3), np.uint8)
        ],
    ],
    ids=["plain colours", "discs", "marks left and right", "noise"],
)
def test_look_alikes_are_no_copies(images):
    assert pairs_of(images)[0] == set()


def test_other_shapes_and_tiny_pictures_are_no_copies():
    image = smooth(np.random.default_rng(0))
    assert pairs_of([image, image.resize((160, 80))])[0] == set()
    assert pairs_of([image.resize((30, 30)), image.resize((30, 30))])[0] == set()
    assert pairs_of([image, image])[0] == {(0, 1)}


def test_a_crowd_is_not_compared_in_full():
    image = smooth(np.random.default_rng(0))
    found, some_left = pairs_of([image] * 40)
    assert some_left
    assert len(found) >= 39


def test_blocks_do_not_matter(monkeypatch):
    rng = np.random.default_rng(0)
    images = [smooth(rng) for _ in range(20)]
    images += [images[k] for k in (0, 5, 19)]
    whole = pairs_of(images)
    monkeypatch.setattr("tlhelpers.data.copies._BLOCK", 3)
    monkeypatch.setattr("tlhelpers.data.copies._PAIRS", 1)
    assert pairs_of(images) == whole == ({(0, 20), (5, 21), (19, 22)}, False)


def test_of_many_pictures_only_those_with_a_hash_in_common_are_compared(monkeypatch):
    rng = np.random.default_rng(0)
    images = [smooth(rng) for _ in range(len(CHANGES) + 20)]
    images += [CHANGES[name](images[k], rng) for k, name in enumerate(CHANGES)]
    expected = pairs_of(images)
    assert len(expected[0]) == len(CHANGES)
    monkeypatch.setattr(copies_module, "ALL", len(images) - 1)
    monkeypatch.setattr(copies_module, "_compared", None)  # not to be called
    monkeypatch.setattr(copies_module, "_MANY", 7)
    assert pairs_of(images) == expected


@pytest.mark.slow
def test_memory_for_many_pictures_grows_with_their_number_and_not_its_square():
    def peak(n):
        thumbs = np.random.default_rng(0).integers(0, 256, (n, THUMB, THUMB, 3), np.uint8)
        tracemalloc.start()
        found, some_left = near_copies(thumbs, np.full(n, 64), np.full(n, 64))
        assert not len(found)
        assert not some_left
        return tracemalloc.get_traced_memory()[1], tracemalloc.stop()

    assert peak(12_000)[0] < 1.8 * peak(6_000)[0]


def test_a_crowd_among_many_is_not_compared_in_full(monkeypatch):
    monkeypatch.setattr(copies_module, "ALL", 0)
    image = smooth(np.random.default_rng(0))
    found, some_left = pairs_of([image] * 100)
    assert some_left
    assert len(found) >= 99
