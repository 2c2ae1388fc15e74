"""What published files hold, and how it is decoded once."""

import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from tlhelpers.data import published
from tlhelpers.data.published import CIFAR10_CLASSES, SIZES, load_cifar10


@pytest.mark.parametrize(
    ("name", "train", "test"),
    [("cats_dogs", 2000, 1000), ("cifar10", 50_000, 10_000), ("mnist", 60_000, 10_000)],
)
def test_sizes_are_those_published(name, train, test):
    counts = SIZES[name]
    assert sum(n for part, n in counts.items() if part.startswith("train/")) == train
    assert sum(n for part, n in counts.items() if not part.startswith("train/")) == test


def write_cifar10(path, form="PNG", each=3):
    """Write an archive of few images; the red value tells an image's place among its split's."""
    ending = form.lower().replace("jpeg", "jpg")
    with zipfile.ZipFile(path, "w") as zipped:
        for split in ("test", "train"):
            for label, name in enumerate(CIFAR10_CLASSES):
                for number in range(each):
                    image = io.BytesIO()
                    Image.new("RGB", (32, 32), (each * label + number, 0, 0)).save(image, form)
                    zipped.writestr(
                        f"cifar10/{split}/{name}/{number:04}.{ending}", image.getvalue()
                    )
    return path


@pytest.fixture
def few(own_cache, monkeypatch):
    monkeypatch.setitem(SIZES, "cifar10", dict.fromkeys(SIZES["cifar10"], 3))


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_cifar10_is_decoded_once(few, tmp_path, monkeypatch, capsys, form):
    archive = write_cifar10(tmp_path / "cifar10.zip", form)
    arrays, is_jpeg = load_cifar10(archive)
    assert "Decoding cifar10.zip (0 MB)" in capsys.readouterr().out
    assert is_jpeg == (form == "JPEG")
    for split in ("train", "test"):
        images, labels = arrays[f"{split}_images"], arrays[f"{split}_labels"]
        assert (images.dtype, images.shape) == ("uint8", (30, 32, 32, 3))
        red = images[:, 16, 16, 0].astype(int)
        assert np.abs(red - np.arange(30)).max() <= (0 if form == "PNG" else 3)
        np.testing.assert_array_equal(labels, np.repeat(np.arange(10), 3))
    monkeypatch.setattr(published, "_decode", None)
    again, same = load_cifar10(archive)
    assert same == is_jpeg
    np.testing.assert_array_equal(again["test_images"], arrays["test_images"])
    assert capsys.readouterr().out == ""


def test_what_is_mapped_survives_a_repair(few, tmp_path, own_cache):
    archive = write_cifar10(tmp_path / "cifar10.zip")
    arrays, _ = load_cifar10(archive)
    kept = np.array(arrays["train_images"])
    (file,) = own_cache.rglob("train_images.npy")
    (file.parent / "test_labels.npy").unlink()
    again, _ = load_cifar10(archive)
    np.testing.assert_array_equal(arrays["train_images"], kept)
    np.testing.assert_array_equal(again["train_images"], kept)
