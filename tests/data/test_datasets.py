"""The book's data sets in both tiers."""

import io
import os
import zipfile

import numpy as np
import pytest
from PIL import Image

from tlhelpers.data import datasets, published
from tlhelpers.data.datasets import load_dataset
from tlhelpers.data.downloads import DownloadError, digest_of
from tlhelpers.data.images import resize_image
from tlhelpers.data.mirrors import fetch_all

# Read before the fixtures below clear it.
MIRROR = os.environ.get("TLH_MIRROR", "")


@pytest.fixture
def plain(tmp_path, monkeypatch):
    """No mirror, the default tier, and an empty cache."""
    for name in ("TLH_MIRROR", "TLH_TIER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TLH_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def real_cache(tmp_path_factory):
    """A cache that the tests of real data share, since unpacking takes a while."""
    return tmp_path_factory.mktemp("cache")


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


class TestEmbedded:
    @pytest.mark.parametrize(("name", "size"), [("pets", 64), ("objects", 32)])
    def test_drawn(self, plain, name, size):
        data = load_dataset(name, n=40, test=20)
        assert sizes(data) == (40, 10, 20)
        assert data.image_size == size
        assert data.train.images.shape == (40, size, size, 3)
        assert data.source.licence == "MIT"
        assert data.source.digest.startswith("sha256:")
        assert len(data.train.conditions["true_label"]) == 40
        assert load_dataset(name, n=40, test=20, image_size=24).train.images.shape[1] == 24

    def test_class_names(self, plain):
        assert load_dataset("pets", n=4, test=2).class_names == ("cat", "dog")
        assert load_dataset("objects", n=20, test=10).num_classes == 10

    def test_seed_changes_all_but_the_test_split(self, plain):
        first, other = (load_dataset("pets", n=16, test=8, seed=seed) for seed in (0, 1))
        assert first.test.digest == other.test.digest
        assert not set(first.train.digests()) & set(other.train.digests())
        digests = [set(s.digests()) for s in (first.train, first.validation, first.test)]
        assert len(set.union(*digests)) == 16 + 4 + 8
        datasets._draw.cache_clear()
        assert load_dataset("pets", n=16, test=8).source == first.source

    def test_label_noise_spares_the_test_split(self, plain):
        data = load_dataset("pets", n=200, test=50, label_noise=0.5, image_size=16)
        wrong = {
            split.name: np.mean(split.labels != split.conditions["true_label"])
            for split in (data.train, data.validation, data.test)
        }
        assert 0.3 < wrong["train"] < 0.7
        assert wrong["validation"] > 0.2
        assert wrong["test"] == 0
        assert "label_noise=0.5" in data.source.note

    def test_knobs_reach_the_world(self, plain):
        base = load_dataset("pets", n=8, test=4, image_size=16)
        for knob in ({"relatedness": 0.0}, {"shift": "blur"}, {"difficulty": 1.0}):
            changed = load_dataset("pets", n=8, test=4, image_size=16, **knob)
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
        data = load_dataset("digits", n=100, test=50)
        assert sizes(data) == (100, 25, 50)
        assert np.bincount(data.train.labels).min() >= 8
        with pytest.raises(ValueError, match=r"train images must lie between 1 and 1,150"):
            load_dataset("digits", n=5000)


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
        with pytest.raises(TypeError, match=r"knobs: n, test, relatedness.*Received: colour"):
            load_dataset("pets", colour=1)
        with pytest.raises(TypeError, match=r"Received: relatedness\..*called 'pets'"):
            load_dataset("cats_dogs", relatedness=0.5)

    def test_tier_of_the_environment(self, plain, tmp_path, monkeypatch):
        make_mirror(tmp_path / "mirror", monkeypatch)
        monkeypatch.setenv("TLH_TIER", "real")
        with pytest.raises(DownloadError, match=r"cats_and_dogs_filtered\.zip"):
            load_dataset("cats_dogs")

    def test_cifar10_unplugged(self, plain, monkeypatch):
        import keras

        def unplugged():
            raise Exception("URL fetch failure\nand a long story")

        monkeypatch.setattr(keras.datasets.cifar10, "load_data", unplugged)
        with pytest.raises(DownloadError) as caught:
            load_dataset("cifar10", tier="real")
        for part in (published.CIFAR10_ADDRESS, "TLH_MIRROR", "TLH_TIER=embedded"):
            assert part in str(caught.value)
        assert "long story" not in str(caught.value)


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
        assert sizes(load_dataset("cats_dogs", tier="real", n=20, test=4)) == (20, 5, 4)

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

    def test_cifar10_by_keras_and_through_a_mirror_made_of_it(self, plain, tmp_path, monkeypatch):
        import keras

        rng = np.random.default_rng(0)

        def stand_in():
            def part(n):
                labels = (np.arange(n) % 10).astype(np.uint8)
                return rng.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8), labels[:, None]

            return part(5100), part(40)

        small(monkeypatch, "cifar10", 510, 4)
        loaded = stand_in()
        monkeypatch.setattr(keras.datasets.cifar10, "load_data", lambda: loaded)
        data = load_dataset("cifar10", tier="real")
        assert sizes(data) == (100, 5000, 40)
        np.testing.assert_array_equal(data.test.images, loaded[1][0])

        (report,) = fetch_all(tmp_path / "room", ["cifar10.zip"])
        assert report.status == "made"
        monkeypatch.setenv("TLH_MIRROR", str(tmp_path / "room"))
        mirrored = load_dataset("cifar10", tier="real")
        assert mirrored.source.note == ""
        # The same images with the same labels, sorted by class.
        for split in ("train", "validation", "test"):
            assert len(getattr(mirrored, split)) == len(getattr(data, split))
        order = np.argsort(data.test.labels, kind="stable")
        np.testing.assert_array_equal(mirrored.test.images, data.test.images[order])
        np.testing.assert_array_equal(mirrored.test.labels, data.test.labels[order])


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
