"""The book's data sets in both tiers."""

import hashlib
import io
import os
import tarfile
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from toys import random_images

from tlhelpers import Split
from tlhelpers.book.mirrors import fetch_all
from tlhelpers.data import datasets, published
from tlhelpers.data.datasets import load_dataset
from tlhelpers.data.downloads import FILES, DownloadError, digest_of
from tlhelpers.data.images import resize_image

BINARY = "cifar-10-binary.tar.gz"
# Read before the fixtures below clear it.
MIRROR = os.environ.get("TLH_MIRROR", "")


@pytest.fixture
def plain(tmp_path, monkeypatch):
    """No mirror, the default tier, and an empty cache."""
    for name in ("TLH_MIRROR", "TLH_TIER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TLH_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def real(real_cache, monkeypatch):
    monkeypatch.setenv("TLH_MIRROR", MIRROR)
    monkeypatch.setenv("TLH_CACHE", str(real_cache))


def sizes(data):
    return len(data.train), len(data.validation), len(data.test)


def make_mirror(folder, monkeypatch, **contents):
    """Write files and their list, and name the folder as the mirror."""
    folder.mkdir()
    lines = []
    for name, content in contents.items():
        path = folder / name.replace("__", ".")
        path.write_bytes(content)
        lines.append(f"{digest_of(path).removeprefix('sha256:')}  {path.name}\n")
    (folder / "SHA256SUMS").write_text("".join(lines))
    monkeypatch.setenv("TLH_MIRROR", str(folder))
    return folder


def zip_of_images(names, form="PNG", size=32):
    """Zip one image for each name; its red value tells its place in the list."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as zipped:
        for number, name in enumerate(names):
            image = io.BytesIO()
            Image.new("RGB", (size, size), (number % 256, 0, 0)).save(image, form)
            zipped.writestr(name, image.getvalue())
    return file.getvalue()


def packed_records(images, labels, counts, cut=0):
    """Pack images as CIFAR-10's publisher does: files of records, each a label and three planes."""
    file, start = io.BytesIO(), 0
    names = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
    with tarfile.open(fileobj=file, mode="w:gz") as packed:
        for name, count in zip(names, counts, strict=False):
            rows = slice(start, start + count)
            planes = images[rows].transpose(0, 3, 1, 2).reshape(count, -1)
            content = np.concatenate([labels[rows, None], planes], axis=1).tobytes()[cut:]
            entry = tarfile.TarInfo(f"cifar-10-batches-bin/{name}.bin")
            entry.size, start = len(content), start + count
            packed.addfile(entry, io.BytesIO(content))
    return file.getvalue()


class TestEmbedded:
    @pytest.mark.parametrize(("name", "size"), [("pets", 64), ("objects", 32)])
    def test_drawn(self, plain, name, size):
        data = load_dataset(name, n_train=40, n_test=20)
        assert sizes(data) == (40, 10, 20)
        assert data.image_size == size
        assert data.train.images.shape == (40, size, size, 3)
        assert data.source.licence == "MIT"
        assert data.source.digest.startswith("sha256:")
        assert load_dataset(name, n_train=40, n_test=20, image_size=24).train.images.shape[1] == 24

    def test_class_names(self, plain):
        assert load_dataset("pets", n_train=4, n_test=2).class_names == ("cat", "dog")
        assert load_dataset("objects", n_train=20, n_test=10).num_classes == 10

    def test_seed_changes_all_but_the_test_split(self, plain):
        first, other = (load_dataset("pets", n_train=16, n_test=8, seed=seed) for seed in (0, 1))
        assert first.test.digest == other.test.digest
        assert not set(first.train.digests()) & set(other.train.digests())
        digests = [set(s.digests()) for s in (first.train, first.validation, first.test)]
        assert len(set.union(*digests)) == 16 + 4 + 8
        datasets._draw.cache_clear()
        assert load_dataset("pets", n_train=16, n_test=8).source == first.source

    def test_label_noise_spares_the_test_split(self, plain):
        drawn = {"n_train": 200, "n_test": 50, "image_size": 16}
        data, clean = load_dataset("pets", label_noise=0.5, **drawn), load_dataset("pets", **drawn)
        wrong = {
            name: np.mean(getattr(data, name).labels != getattr(clean, name).labels)
            for name in ("train", "validation", "test")
        }
        assert 0.3 < wrong["train"] < 0.7
        assert wrong["validation"] > 0.2
        assert wrong["test"] == 0
        assert "label_noise=0.5" in data.source.note

    def test_knobs_reach_the_world(self, plain):
        base = load_dataset("pets", n_train=8, n_test=4, image_size=16)
        for knob in ({"relatedness": 0.0}, {"shift": "blur"}, {"difficulty": 1.0}):
            changed = load_dataset("pets", n_train=8, n_test=4, image_size=16, **knob)
            assert changed.train.digest != base.train.digest
            assert changed.test.digest != base.test.digest

    def test_digits(self, plain):
        from sklearn.datasets import load_digits

        data = load_dataset("digits")
        assert sizes(data) == (1150, 287, 360)
        assert (data.image_size, data.class_names) == (32, tuple("0123456789"))
        original = load_digits()
        # Every image is one of scikit-learn's, with its label, and none occurs twice.
        scaled = np.rint(original.images * 255 / 16).astype(np.uint8)
        label_of = {
            image.tobytes(): label for image, label in zip(scaled, original.target, strict=True)
        }
        found = []
        for split in (data.train, data.validation, data.test):
            small = split.load(image_size=8)
            assert (small == small[..., :1]).all()
            keys = [image.tobytes() for image in small[..., 0]]
            assert [label_of[key] for key in keys] == split.labels.tolist()
            found += keys
        assert len(set(found)) == 1797
        assert data.test.images.max() == 255
        np.testing.assert_array_equal(
            data.test.images[0], resize_image(data.test.load([0], 8)[0], 32)
        )
        assert data.test.digest == load_dataset("digits", seed=5).test.digest
        assert data.train.digest != load_dataset("digits", seed=5).train.digest

    def test_digits_cut(self, plain):
        data = load_dataset("digits", n_train=100, n_test=50)
        assert sizes(data) == (100, 25, 50)
        assert np.bincount(data.train.labels).min() >= 8
        with pytest.raises(ValueError, match=r"train images must lie between 1 and 1,150"):
            load_dataset("digits", n_train=5000)

    def test_validation_is_not_asked_for_more_than_there_is(self, plain, monkeypatch):
        entry = datasets._PUBLISHED["digits"]
        few = replace(entry, embedded=(entry.embedded[0], 100))
        monkeypatch.setitem(datasets._PUBLISHED, "digits", few)
        assert sizes(load_dataset("digits", n_train=1200)) == (1200, 100, 360)
        assert sizes(load_dataset("digits", n_train=200)) == (200, 50, 360)

    @pytest.mark.parametrize("name", ["pets", "digits"])
    @pytest.mark.parametrize("knob", ["n_train", "n_test"])
    def test_no_images(self, plain, name, knob):
        with pytest.raises(ValueError, match=rf"^{knob} must be at least 1\. Received: 0\."):
            load_dataset(name, **{knob: 0})


class TestErrors:
    def test_unknown_name(self, plain):
        with pytest.raises(
            ValueError,
            match=r"cats_dogs, cifar10, digits, objects, pets\. Received: 'cats'.*load_folder",
        ):
            load_dataset("cats")

    def test_unknown_tier(self, plain):
        with pytest.raises(ValueError, match="embedded"):
            load_dataset("digits", tier="imaginary")

    def test_unknown_knobs(self, plain):
        with pytest.raises(
            TypeError, match=r"knobs: n_train, n_test, relatedness.*Received: colour"
        ):
            load_dataset("pets", colour=1)
        with pytest.raises(TypeError, match=r"Received: relatedness\..*called 'pets'"):
            load_dataset("cats_dogs", relatedness=0.5)

    def test_tier_of_the_environment(self, plain, tmp_path, monkeypatch):
        make_mirror(tmp_path / "mirror", monkeypatch)
        monkeypatch.setenv("TLH_TIER", "real")
        with pytest.raises(DownloadError, match=r"cats_and_dogs_filtered\.zip"):
            load_dataset("cats_dogs")


def small(monkeypatch, name, train, test):
    """Let a data set be whole with so many images a class."""
    sizes = {part: train if part.startswith("train") else test for part in published.SIZES[name]}
    monkeypatch.setitem(published.SIZES, name, sizes)


class TestSmallMirrors:
    """The real tier's code on files made here."""

    def test_cats_dogs(self, plain, tmp_path, monkeypatch):
        top = "cats_and_dogs_filtered"
        names = [
            f"{top}/{part}/{kind}s/{kind}.{number}.jpg"
            for part, count in (("train", 250), ("validation", 3))
            for kind in ("cat", "dog")
            for number in range(count)
        ]
        archive = zip_of_images([*names, f"{top}/vectorize.py"], "PNG", 4)
        small(monkeypatch, "cats_dogs", 250, 3)
        make_mirror(tmp_path / "mirror", monkeypatch, cats_and_dogs_filtered__zip=archive)
        data = load_dataset("cats_dogs", tier="real", image_size=8)
        assert sizes(data) == (100, 400, 6)
        assert data.class_names == ("cat", "dog")
        for split in (data.train, data.validation, data.test):
            kinds = [path.parent.name for path in split.paths]
            assert kinds == [("cats", "dogs")[label] for label in split.labels]
        assert {path.parents[1].name for path in data.validation.paths} == {"train"}
        assert {path.parents[1].name for path in data.test.paths} == {"validation"}
        assert sizes(load_dataset("cats_dogs", tier="real", n_train=20, n_test=4)) == (20, 5, 4)

    def test_mnist(self, plain, tmp_path, monkeypatch):
        rng = np.random.default_rng(0)
        file = io.BytesIO()
        images = rng.integers(0, 256, (5100, 28, 28), dtype=np.uint8)
        labels = (np.arange(5100) % 10).astype(np.uint8)
        np.savez(file, x_train=images, y_train=labels, x_test=images[:30], y_test=labels[:30])
        make_mirror(tmp_path / "mirror", monkeypatch, mnist__npz=file.getvalue())
        small(monkeypatch, "mnist", 510, 3)
        data = load_dataset("digits", tier="real")
        assert sizes(data) == (100, 5000, 30)
        assert data.train.load([0]).shape == (1, 32, 32, 3)
        np.testing.assert_array_equal(data.test.load(image_size=28)[..., 1], images[:30])
        np.testing.assert_array_equal(data.test.labels, labels[:30])

    def test_cifar10_as_published_and_through_a_mirror_of_it(
        self, plain, tmp_path, monkeypatch, server
    ):
        images, labels = random_images(5140), (np.arange(5140) % 10).astype(np.uint8)
        archive = packed_records(images, labels, [1020] * 5 + [40])
        (server.folder / BINARY).write_bytes(archive)
        small(monkeypatch, "cifar10", 510, 4)
        digest = f"md5:{hashlib.md5(archive).hexdigest()}"
        published = replace(FILES[BINARY], url=f"{server.url}/{BINARY}", digest=digest)
        monkeypatch.setitem(FILES, BINARY, published)
        data = load_dataset("cifar10", tier="real")
        assert sizes(data) == (100, 5000, 40)
        np.testing.assert_array_equal(data.test.images, images[5100:])
        np.testing.assert_array_equal(data.test.labels, labels[5100:])
        assert set(data.train.digests()) <= set(
            Split.from_arrays(images, labels, list("0123456789")).digests()
        )

        (report,) = fetch_all(tmp_path / "room", [BINARY])
        assert report.status == "fetched"
        monkeypatch.setenv("TLH_MIRROR", str(tmp_path / "room"))
        mirrored = load_dataset("cifar10", tier="real")
        for split in ("train", "validation", "test"):
            assert getattr(mirrored, split).digest == getattr(data, split).digest

    @pytest.mark.parametrize(
        "what", ["no archive", "a file too few", "half a record", "a label of 12"]
    )
    def test_records_that_are_not_cifar10(self, plain, tmp_path, monkeypatch, what):
        small(monkeypatch, "cifar10", 5, 1)
        images, labels = random_images(60), (np.arange(60) % 10).astype(np.uint8)
        labels[0] = 12 if "label" in what else 0
        content = packed_records(images, labels, [10] * 5 + ([] if "few" in what else [10]))
        if what == "half a record":
            content = packed_records(images, labels, [10] * 5 + [10], cut=7)
        path = tmp_path / BINARY
        path.write_bytes(b"no tar" if what == "no archive" else content)
        with pytest.raises(ValueError, match=r"cifar-10-binary\.tar\.gz must hold.*Received: "):
            published.load_cifar10_records(path)


@pytest.mark.mirror
class TestRealMirror:
    def test_cats_dogs(self, real):
        data = load_dataset("cats_dogs", tier="real")
        assert sizes(data) == (1600, 400, 1000)
        assert (data.image_size, data.class_names) == (224, ("cat", "dog"))
        for split, each in ((data.train, 800), (data.validation, 200), (data.test, 500)):
            assert np.bincount(split.labels).tolist() == [each, each]
        assert data.test.load([0, 999]).shape == (2, 224, 224, 3)
        digests = [set(s.digests()) for s in (data.train, data.validation, data.test)]
        assert len(set.union(*digests)) == 3000
        few = data.few(20)
        assert sizes(few) == (32, 8, 1000)

    def test_digits(self, real):
        data = load_dataset("digits", tier="real")
        assert sizes(data) == (55000, 5000, 10000)
        # MNIST's test set begins 7, 2, 1, 0, 4.
        assert data.test.labels[:5].tolist() == [7, 2, 1, 0, 4]

    @pytest.mark.slow
    def test_cifar10(self, real):
        data = load_dataset("cifar10", tier="real")
        assert sizes(data) == (45000, 5000, 10000)
        assert np.bincount(data.validation.labels).tolist() == [500] * 10
        assert data.train.load([0, 44999]).std() > 20
        assert "JPEG" in data.source.note
