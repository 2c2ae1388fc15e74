"""Splits, data sets, and the drawing of rows."""

import hashlib

import numpy as np
import pytest
from PIL import Image

from tlhelpers.data.images import read_image, resize_image
from tlhelpers.data.splits import Dataset, Source, Split, balanced_rows, carve_rows, in_threads

NAMES = ("cat", "dog")


def make_images(n=12, size=16, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, size, size, 3), dtype=np.uint8)


@pytest.fixture
def held():
    return Split.from_arrays(make_images(), np.arange(12) % 2, NAMES)


@pytest.fixture
def filed(tmp_path):
    paths = []
    for number, image in enumerate(make_images(12, 24)):
        paths.append(tmp_path / f"{number}.png")
        Image.fromarray(image).save(paths[-1])
    return Split.from_paths(paths, np.arange(12) % 2, NAMES, image_size=16)


def make_dataset(train=(30, 60), validation=(8, 16), test=(5, 5)):
    splits = {}
    for name, counts in {"train": train, "validation": validation, "test": test}.items():
        labels = np.repeat([0, 1], counts)
        splits[name] = Split.from_arrays(make_images(len(labels), 8), labels, NAMES, name=name)
    return Dataset("toy", **splits, source=Source("toy", "here", "sha256:0", "MIT"))


class TestSplit:
    def test_arrays(self, held):
        assert len(held) == 12
        assert held.labels.dtype == np.int64
        assert held.paths is None
        np.testing.assert_array_equal(held.images, make_images())
        np.testing.assert_array_equal(held.load([3, -1, 3]), make_images()[[3, 11, 3]])
        np.testing.assert_array_equal(held.load(slice(2, 5)), make_images()[2:5])
        np.testing.assert_array_equal(held.load(held.labels == 1), make_images()[1::2])
        assert held.load([]).shape == (0, 16, 16, 3)
        assert "12 images of 16 px, 2 classes" in repr(held)

    def test_files_decode_in_order_and_only_on_demand(self, filed):
        assert filed._images is None
        rows = [7, 0, 11]
        expected = np.stack([read_image(filed.paths[row], 20) for row in rows])
        np.testing.assert_array_equal(filed.load(rows, image_size=20), expected)
        assert filed._images is None
        assert filed.images is filed.images
        assert filed.to_numpy()[0].shape == (12, 16, 16, 3)

    def test_resized_is_made_from_the_originals(self, held):
        twice = held.resized(4).resized(32)
        expected = np.stack([resize_image(image, 32) for image in make_images()])
        np.testing.assert_array_equal(twice.images, expected)
        np.testing.assert_array_equal(held.load(image_size=32), expected)
        assert held.image_size == 16

    def test_take_keeps_everything_in_step(self, held, filed):
        for split in (held, filed):
            whole = split.images
            digests = split.digests()
            part = split.take([5, 2]).take([1, 0]).take([0])
            assert part.labels.tolist() == [split.labels[2]]
            np.testing.assert_array_equal(part.images, whole[[2]])
            assert part.digests() == [digests[2]]
        assert held.take([1], name="test").name == "test"

    def test_digests(self, held, filed):
        assert held.digests()[3] == hashlib.sha256(make_images()[3].tobytes()).digest()
        assert filed.digests()[3] == hashlib.sha256(filed.paths[3].read_bytes()).digest()
        different = {
            held.digest,
            held.take(np.arange(12)[::-1]).digest,
            held.take(range(11)).digest,
            held.resized(8).digest,
            Split.from_arrays(make_images(), 1 - held.labels, NAMES).digest,
            Split.from_arrays(make_images(seed=1), held.labels, NAMES).digest,
        }
        assert len(different) == 6
        assert Split.from_arrays(make_images(), held.labels, NAMES).digest == held.digest

    def test_a_changed_file_is_digested_again(self, filed):
        before = filed.digests()
        Image.new("RGB", (24, 24), "red").save(filed.paths[4])
        for split in (filed, filed.take([4]), filed.resized(8)):
            with pytest.raises(
                ValueError, match=r"other content in .*4.png. Load the data set again"
            ):
                split.load()
        assert filed.load([3, 5]).shape == (2, 16, 16, 3)
        after = filed.digests()
        assert [old == new for old, new in zip(before, after, strict=True)] == [
            row != 4 for row in range(12)
        ]
        assert filed.load([4])[0, 0, 0].tolist() == [255, 0, 0]

    def test_a_file_whose_digest_was_given_must_not_change(self, filed):
        given = [hashlib.sha256(path.read_bytes()).digest() for path in filed.paths]
        fixed = Split.from_paths(
            filed.paths, filed.labels, NAMES, image_size=16, file_digests=given
        )
        assert fixed.digests() == given
        content = filed.paths[4].read_bytes()
        Image.new("RGB", (24, 24), "red").save(filed.paths[4])
        for split in (fixed, fixed.take([4]), fixed.resized(8)):
            for read in (split.load, split.digests):
                with pytest.raises(ValueError, match=r"4.png. Load the data set again"):
                    read()
        assert fixed.last_digests() == given
        filed.paths[4].write_bytes(content)
        assert fixed.digests() == given
        assert fixed.load().shape == (12, 16, 16, 3)

    def test_a_file_changed_between_two_readings_is_refused(self, filed):
        filed.load([4])
        Image.new("RGB", (24, 24), "red").save(filed.paths[4])
        with pytest.raises(ValueError, match=r"4.png. Load the data set again"):
            filed.load([4])

    def test_a_file_that_is_gone(self, filed):
        filed.digests()
        filed.paths[4].unlink()
        for read in (filed.load, filed.digests):
            with pytest.raises(FileNotFoundError, match=r"no image file .*4.png"):
                read()

    def test_digests_tell_how_files_are_read(self, filed):
        def read(**how):
            return Split.from_paths(filed.paths, filed.labels, NAMES, image_size=16, **how)

        ways = [
            {},
            {"fit": "pad"},
            {"fit": "stretch"},
            {"grey_range": (0, 4095)},
            {"grey_range": (0, 255)},
        ]
        digests = {read(**how).digests()[0] for how in ways}
        assert len(digests) == 5
        assert filed.digests()[0] in digests
        for split in (
            read(fit="pad").take([1, 2]).resized(8),
            read(fit="pad").resized(8).take([1, 2]),
        ):
            assert split.fit == "pad"
            assert split.digests() == read(fit="pad").digests()[1:3]
        with pytest.raises(ValueError, match="fit must be one of"):
            read(fit="zoom")

    def test_files_are_digested_once(self, filed, monkeypatch):
        monkeypatch.setattr("tlhelpers.data.splits.SETTLED_NANOSECONDS", -(10**12))
        filed.digests()
        monkeypatch.setattr("tlhelpers.data.splits.digest_image", lambda _: pytest.fail("again"))
        filed.take([1, 2]).digests()
        filed.digests()

    def test_images_cannot_be_changed(self, held):
        for array in (held.images, held.labels):
            with pytest.raises(ValueError, match="read-only"):
                array[0] = 0

    def test_tf_data(self, held, filed):
        for split in (held, filed):
            batches = [(x.numpy(), y.numpy()) for x, y in split.to_tf_data(batch_size=5)]
            assert [len(x) for x, _ in batches] == [5, 5, 2]
            assert batches[0][0].dtype == np.float32
            assert batches[0][1].dtype == np.int64
            np.testing.assert_array_equal(np.concatenate([x for x, _ in batches]), split.images)
            np.testing.assert_array_equal(np.concatenate([y for _, y in batches]), split.labels)
        assert held.to_tf_data(5).element_spec[0].shape.as_list() == [None, 16, 16, 3]
        assert len(held.to_tf_data(5)) == 3

    def test_tf_data_shuffles_by_seed_anew_each_epoch(self, held):
        def two_epochs(seed):
            data = held.to_tf_data(4, shuffle=True, seed=seed)
            return [np.concatenate([x.numpy() for x, _ in data]) for _ in range(2)]

        first, second = two_epochs(0)
        again = two_epochs(0)
        np.testing.assert_array_equal(first, again[0])
        np.testing.assert_array_equal(second, again[1])
        assert not np.array_equal(first, second)
        assert not np.array_equal(first, two_epochs(1)[0])
        assert sorted(first.sum((1, 2, 3))) == sorted(held.images.sum((1, 2, 3), dtype=np.float32))

    @pytest.mark.parametrize(
        ("images", "labels", "error", "message"),
        [
            (make_images(2) / 255, [0, 1], TypeError, "uint8"),
            (make_images(2)[..., 0], [0, 1], ValueError, r"\[n, s, s, 3\]"),
            (make_images(2)[:, :8], [0, 1], ValueError, "square"),
            (make_images(2), [0, 1, 1], ValueError, "one label for each image"),
            (make_images(2), [0, 2], ValueError, "between 0 and 1"),
            (make_images(2), [0, -1], ValueError, "between 0 and 1"),
            (make_images(2), [0.0, 1.0], TypeError, "integers"),
        ],
    )
    def test_errors(self, images, labels, error, message):
        with pytest.raises(error, match=message):
            Split.from_arrays(images, np.array(labels), NAMES)

    def test_more_errors(self, held):
        with pytest.raises(IndexError, match="between 0 and 11"):
            held.load([12])
        with pytest.raises(TypeError, match="image_size must be an integer"):
            held.resized(8.5)
        with pytest.raises(ValueError, match="at least 1"):
            held.load(image_size=0)

    def test_empty(self, held):
        none = held.take([])
        assert len(none) == 0
        assert none.images.shape == (0, 16, 16, 3)
        assert none.digests() == []


class TestDataset:
    def test_few_is_balanced_and_counts_validation(self):
        few = make_dataset().few(15)
        # 15 * 24 / 114 = 3 of the 15 a class are for validation.
        assert np.bincount(few.train.labels).tolist() == [12, 12]
        assert np.bincount(few.validation.labels).tolist() == [3, 3]
        assert len(few.test) == 10
        smallest = make_dataset().few(2)
        assert np.bincount(smallest.train.labels).tolist() == [1, 1]
        assert np.bincount(smallest.validation.labels).tolist() == [1, 1]

    def test_few_is_seeded_and_nested(self):
        data = make_dataset()
        small, large = (set(data.few(n, seed=3).train.digests()) for n in (4, 20))
        assert small < large
        assert set(data.few(4, seed=3).train.digests()) == small
        assert set(data.few(4, seed=4).train.digests()) != small

    def test_few_errors(self):
        with pytest.raises(
            ValueError, match=r"needs 32 images in the train split for n=40.*cat 30"
        ):
            make_dataset().few(40)
        with pytest.raises(ValueError, match="at least 2"):
            make_dataset().few(1)
        with pytest.raises(TypeError, match="integer"):
            make_dataset().few(2.5)
        for seed in (None, "3", 3.0):
            with pytest.raises(TypeError, match="seed must be an integer"):
                make_dataset().few(4, seed=seed)
        with pytest.raises(ValueError, match=r"seed must lie between 0 and .* Received: -1"):
            make_dataset().few(4, seed=-1)

    def test_properties(self):
        data = make_dataset()
        assert (data.class_names, data.num_classes, data.image_size) == (NAMES, 2, 8)
        assert data.skipped == ()
        assert data.resized(20).test.images.shape == (10, 20, 20, 3)
        assert "90 train / 24 validation / 10 test, 8 px, 2 classes: cat, dog" in repr(data)

    def test_splits_must_agree(self):
        data = make_dataset()
        with pytest.raises(ValueError, match="same classes and image size"):
            Dataset("toy", data.train, data.validation.resized(9), data.test, data.source)


class TestSampling:
    @pytest.mark.parametrize("size", [0, 1, 7, 50, 100])
    def test_carve_divides_in_proportion(self, size):
        labels = np.repeat([0, 1, 2], [60, 30, 10])
        kept, carved = carve_rows(labels, size, seed=0)
        assert len(carved) == size
        assert sorted([*kept, *carved]) == list(range(100))
        if size >= 3:
            share = np.bincount(labels[carved], minlength=3)
            assert share.min() >= 1
            assert np.abs(share - size * np.array([0.6, 0.3, 0.1])).max() < 1.01

    def test_carve_is_seeded(self):
        labels = np.arange(100) % 2
        draws = [carve_rows(labels, 20, seed)[1].tolist() for seed in (0, 0, 1)]
        assert draws[0] == draws[1] != draws[2]

    def test_carve_error(self):
        with pytest.raises(ValueError, match="between 0 and 2"):
            carve_rows(np.array([0, 1]), 3, 0)

    def test_balanced_rows_takes_all_of_a_small_class(self):
        rows = balanced_rows(np.array([0, 1, 1, 1, 0]), 3, np.random.default_rng(0))
        assert rows.tolist() == [0, 1, 2, 3, 4]

    def test_in_threads_keeps_order_and_raises(self):
        assert in_threads(lambda x: x * x, range(100)) == [x * x for x in range(100)]
        with pytest.raises(ZeroDivisionError):
            in_threads(lambda x: 1 // x, [1, 0])


class TestShifted:
    def test_labels_and_rows_stay_and_the_look_changes(self):
        images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3)).astype(np.uint8)
        split = Split.from_arrays(images, np.array([0, 1, 0, 1]), ("a", "b"))
        fog = split.shifted("contrast")
        assert fog.labels.tolist() == split.labels.tolist()
        assert fog.images[0].std() < 0.5 * split.images[0].std()
        np.testing.assert_array_equal(split.images, images)
        np.testing.assert_array_equal(fog.take([2]).images[0], fog.images[2])
        np.testing.assert_array_equal(fog.load([3, 1]), fog.images[[3, 1]])

    def test_features_of_another_look_are_filed_apart(self):
        images = np.zeros((2, 32, 32, 3), np.uint8)
        split = Split.from_arrays(images, np.array([0, 1]), ("a", "b"))
        looks = [split, split.shifted("blur"), split.shifted("sketch")]
        assert len({one.digests()[0] for one in looks}) == 3
        assert len({one.digest for one in looks}) == 3
        assert split.shifted("blur").resized(16).take([0]).shift == "blur"

    def test_an_unknown_shift(self):
        split = Split.from_arrays(np.zeros((1, 32, 32, 3), np.uint8), np.array([0]), ("a",))
        with pytest.raises(ValueError, match=r"'sketch'.*Received: 'rain'"):
            split.shifted("rain")
