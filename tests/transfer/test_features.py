"""Extracting features: right, once, and never stale, however rudely it is interrupted."""

import multiprocessing
import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image
from toys import random_images, random_split, small_backbone

from tlhelpers.data.splits import Split
from tlhelpers.models.backbones import MINUS_ONE_TO_ONE, Backbone, load_backbone
from tlhelpers.transfer import features
from tlhelpers.transfer.features import extract_features, pooled_features
from tlhelpers.transfer.store import RECORD


class Watched:
    """A split that notes which of its rows are read."""

    def __init__(self, split):
        self.split = split
        self.read = []

    def __len__(self):
        return len(self.split)

    def load(self, rows, image_size):
        self.read += [int(row) for row in rows]
        return self.split.load(rows, image_size)

    def digests(self):
        return self.split.digests()


@pytest.fixture(scope="module")
def base():
    return small_backbone(cut="block2_pool")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TLH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "features"


@pytest.fixture
def short_batches(monkeypatch):
    monkeypatch.setattr(features, "inference_batch_size", lambda size: 4)


def entries(cache):
    return sorted(path for path in cache.iterdir() if path.is_dir())


def changed(base, layer, by):
    copy = base.copy()
    weights = copy.model.get_layer(layer).get_weights()
    weights[1] = weights[1] + by
    copy.model.get_layer(layer).set_weights(weights)
    return copy


def block_means(feature_map, grid):
    """Average overlapping or touching cells of equal size, one cell at a time."""
    size = feature_map.shape[1]
    stride = size // grid
    cell = size - (grid - 1) * stride
    return np.concatenate(
        [
            feature_map[:, i : i + cell, j : j + cell].mean(axis=(1, 2))
            for i in range(0, grid * stride, stride)
            for j in range(0, grid * stride, stride)
        ],
        axis=1,
    )


class TestRight:
    def test_the_same_as_predict(self, base, cache):
        split = random_split(6)
        whole_map = base.on_raw_images().predict(split.images, verbose=0)
        assert whole_map.shape == (6, 8, 8, 32)
        expected = {"map": whole_map, **{grid: block_means(whole_map, grid) for grid in (1, 2, 3)}}
        for grid, wanted in expected.items():
            found = extract_features(base, split, grid=grid)
            assert found.dtype == np.float32
            np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)

    def test_half_precision_is_stored_rounded(self, base, cache):
        split = random_split(4)
        half = extract_features(base, split, dtype="float16")
        assert half.dtype == np.float16
        np.testing.assert_allclose(half, extract_features(base, split), rtol=2e-3)

    def test_images_are_read_in_the_backbones_size(self, base, cache):
        large = random_split(3, size=48)
        expected = pooled_features(base).predict(large.load(None, 32), verbose=0)
        np.testing.assert_allclose(extract_features(base, large), expected, rtol=1e-5, atol=1e-5)

    def test_the_backbone_and_the_answer_stay_as_they_are(self, base, cache):
        before = base.weights_digest()
        found = extract_features(base, random_split(3))
        assert base.weights_digest() == before
        with pytest.raises(ValueError, match="read-only"):
            found[0] = 0

    def test_no_images(self, base, cache):
        assert extract_features(base, random_split(4).take([])).shape == (0, 32)


class TestOnce:
    def test_a_second_call_runs_nothing(self, base, cache, monkeypatch):
        first = extract_features(base, random_split(8))
        rows = next(cache.glob("*/rows.bin"))
        size = rows.stat().st_size
        assert size == 8 * 32 * 4

        def refuse(*_):
            pytest.fail("the network ran again")

        monkeypatch.setattr(keras.Model, "predict_on_batch", refuse)
        again = Watched(random_split(8))
        np.testing.assert_array_equal(extract_features(base, again), first)
        assert again.read == []
        assert rows.stat().st_size == size

    def test_subsets_in_any_order_need_nothing_new(self, base, cache):
        split = random_split(10)
        everything = np.array(extract_features(base, split))
        for rows in ([7, 2, 9, 0], list(range(9, -1, -1)), [4], [3, 4, 5]):
            part = Watched(split.take(rows))
            np.testing.assert_array_equal(extract_features(base, part), everything[rows])
            assert part.read == []

    def test_a_superset_computes_what_is_new(self, base, cache):
        split = random_split(9)
        part = extract_features(base, split.take([6, 1]))
        watched = Watched(split)
        whole = extract_features(base, watched)
        assert watched.read == [0, 2, 3, 4, 5, 7, 8]
        np.testing.assert_array_equal(whole[[6, 1]], part)
        expected = pooled_features(base).predict(split.images, verbose=0)
        np.testing.assert_allclose(whole, expected, rtol=1e-5, atol=1e-5)

    def test_an_image_that_occurs_twice_is_computed_once(self, base, cache):
        images = random_images(3)[[0, 1, 0, 2, 1, 0]]
        watched = Watched(Split.from_arrays(images, np.zeros(6, int), ["cat"]))
        found = extract_features(base, watched)
        assert watched.read == [0, 1, 3]
        np.testing.assert_array_equal(found[[0, 1]], found[[2, 4]])
        assert not np.array_equal(found[0], found[1])

    @pytest.mark.parametrize(("engine", "lengths"), [("keras", [4, 4]), ("openvino", [4, 2])])
    def test_the_last_batch_is_filled_up_for_keras(
        self, base, cache, short_batches, monkeypatch, engine, lengths
    ):
        asked = []

        def forward(images):
            asked.append(len(images))
            return [np.zeros((len(images), 128), np.float32)]

        monkeypatch.setattr(features, "choose_engine", lambda *_: engine)
        monkeypatch.setattr(features, "forward_pass", lambda *_, **__: forward)
        extract_features(base.copy(), random_split(6))
        assert asked == lengths

    def test_the_company_makes_no_difference(self, base, cache, tmp_path, monkeypatch):
        split = random_split(12)
        together = np.array(extract_features(base, split))
        monkeypatch.setenv("TLH_CACHE", str(tmp_path / "another"))
        for row in (11, 3, 7):
            alone = extract_features(base, split.take([row]))
            np.testing.assert_array_equal(alone[0], together[row])


class TestNeverStale:
    @pytest.mark.parametrize("same_split", [True, False])
    def test_a_rewritten_file(self, base, cache, tmp_path, same_split):
        pictures, path = random_images(2), tmp_path / "a.bmp"
        for name, pixels in (("a", pictures[0]), ("b", pictures[1])):
            Image.fromarray(pixels).save(tmp_path / f"{name}.bmp")

        def read():
            paths = [path, tmp_path / "b.bmp"]
            return Split.from_paths(paths, np.array([0, 1]), ["cat", "dog"], image_size=32)

        split = read()
        before = np.array(extract_features(base, split))
        times, size = path.stat(), path.stat().st_size
        # One pixel, in a file of the same size and, as after `cp -p`, the same time of change.
        pictures[0, 5, 5] = 255 - pictures[0, 5, 5]
        Image.fromarray(pictures[0]).save(path)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        assert path.stat().st_size == size
        after = extract_features(base, split if same_split else read())
        expected = pooled_features(base).predict(pictures, verbose=0)
        assert not np.array_equal(after[0], before[0])
        np.testing.assert_allclose(after, expected, rtol=1e-5, atol=1e-5)

    def test_a_file_rewritten_within_a_tick_of_the_clock(self, base, cache, tmp_path, monkeypatch):
        path, pictures = tmp_path / "a.bmp", random_images(2)
        Image.fromarray(pictures[0]).save(path)
        split = Split.from_paths([path], np.array([0]), ["cat"], image_size=32)
        before = np.array(extract_features(base, split))
        facts, stat = path.stat(), Path.stat
        Image.fromarray(pictures[1]).save(path)
        # The file system's clock has not moved on: size and times are the same.
        monkeypatch.setattr(
            Path, "stat", lambda self, **how: facts if self == path else stat(self, **how)
        )
        assert not np.array_equal(extract_features(base, split), before)

    def test_a_changed_weight(self, base, cache):
        split = random_split(4)
        before = np.array(extract_features(base, split))
        other = changed(base, "block1_conv2", 1e-3)
        after = extract_features(other, split)
        assert len(entries(cache)) == 2
        assert np.abs(after - before).max() > 1e-5
        expected = pooled_features(other).predict(split.images, verbose=0)
        np.testing.assert_allclose(after, expected, rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(extract_features(base, split), before)

    def test_a_weight_changed_in_place(self, base, cache):
        split, own = random_split(4), base.copy()
        before = np.array(extract_features(own, split))
        kernel = own.model.get_layer("block1_conv1").kernel
        kernel.assign(2 * kernel)
        assert not np.allclose(extract_features(own, split), before)

    def test_folded_normalisation_gives_the_same_features_and_follows_the_weights(self, cache):
        split, rng = random_split(4), np.random.default_rng(0)
        own = load_backbone("mobilenet_v2", 32, cut="block_2", weights=None)
        for factor in (1.0, 1.5):
            for layer in own.model.layers:
                if isinstance(layer, keras.layers.BatchNormalization):
                    layer.set_weights(
                        [rng.uniform(0.5, factor, w.shape) for w in layer.get_weights()]
                    )
            expected = pooled_features(own).predict(split.images, verbose=0)
            assert np.ptp(expected) > 0.1
            np.testing.assert_allclose(extract_features(own, split), expected, rtol=1e-4, atol=1e-4)
        assert len({weights for weights, *_ in own._extractors}) == 1

    def test_whatever_decides_features_decides_the_entry(self, base, cache):
        split = random_split(2)
        for other, options in (
            (base, {}),
            (base, {"grid": 2}),
            (base, {"grid": "map"}),
            (base, {"dtype": "float16"}),
            (replace(base, preprocessing=MINUS_ONE_TO_ONE), {}),
            (base.cut("block1_pool"), {}),
            (small_backbone(cut="block2_pool", size=48), {}),
        ):
            extract_features(other, split, **options)
        assert len(entries(cache)) == 7
        assert all((entry / "about.json").is_file() for entry in entries(cache))


class TestErrors:
    def test_half_precision_overflows(self, base, cache):
        loud = changed(base, "block2_conv2", 1e6)
        with pytest.raises(ValueError, match="pass dtype='float32'"):
            extract_features(loud, random_split(2), dtype="float16")
        assert np.isfinite(extract_features(loud, random_split(2))).all()

    def test_infinite_features(self, base, cache):
        with pytest.raises(ValueError, match="finite float32"):
            extract_features(changed(base, "block2_conv2", np.inf), random_split(2))

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"dtype": "int8"}, "'float32' or 'float16'. Received: 'int8'"),
            ({"grid": 0}, "1 to 8 cells a side.*Received: 0"),
            ({"grid": 9}, "1 to 8 cells a side.*Received: 9"),
            ({"grid": None}, "'map' for the map itself. Received: None"),
        ],
    )
    def test_impossible_options(self, base, cache, options, message):
        with pytest.raises(ValueError, match=message):
            extract_features(base, random_split(2), **options)

    def test_a_cache_that_cannot_be_written(self, base, tmp_path, monkeypatch):
        (tmp_path / "file").touch()
        monkeypatch.setenv("TLH_CACHE", str(tmp_path / "file" / "cache"))
        with pytest.raises(PermissionError, match="Set TLH_CACHE"):
            extract_features(base, random_split(2))


class TestInterrupted:
    def test_what_was_finished_before_an_error_is_kept(self, base, cache, short_batches):
        split = random_split(11)
        broken = Watched(split)

        def load(rows, image_size):
            if 9 in rows:
                raise OSError("photo 9 cannot be read")
            return split.load(rows, image_size)

        broken.load = load
        with pytest.raises(OSError, match="photo 9"):
            extract_features(base, broken)
        again = Watched(split)
        extract_features(base, again)
        # The third batch was being read while the second was computed, and is all that is lost.
        assert again.read[0] in (4, 8)
        assert again.read[-1] == 10

    @pytest.mark.parametrize("tail", ["rows", "digest", "rows missing"])
    def test_a_torn_end_is_repaired(self, base, cache, tmp_path, monkeypatch, short_batches, tail):
        split = random_split(10)
        monkeypatch.setenv("TLH_CACHE", str(tmp_path / "reference"))
        expected = np.array(extract_features(base, split))
        monkeypatch.setenv("TLH_CACHE", str(cache.parent))
        extract_features(base, split.take(range(6)))
        rows, index = next(cache.glob("*/rows.bin")), next(cache.glob("*/index.bin"))
        if tail == "rows":
            rows.write_bytes(rows.read_bytes() + b"half a batch of features")
        elif tail == "digest":
            rows.write_bytes(rows.read_bytes() + bytes(128))
            index.write_bytes(index.read_bytes() + b"half a digest")
        else:
            rows.write_bytes(rows.read_bytes()[: 4 * 128 + 7])
        np.testing.assert_array_equal(extract_features(base, split), expected)
        # Nothing is ever cut off or written over: what was torn is passed over.
        assert 10 * 128 <= rows.stat().st_size <= 16 * 128
        assert index.stat().st_size % RECORD.itemsize == 0


N_IMAGES = 600


def tiny_backbone():
    """A network of one layer, the same in every process."""
    image = keras.Input((32, 32, 3))
    start = keras.initializers.HeNormal(seed=1)
    layer = keras.layers.Conv2D(8, 3, strides=4, activation="relu", kernel_initializer=start)
    model = keras.Model(image, layer(image))
    return Backbone.from_model(model, MINUS_ONE_TO_ONE, name="tiny")


def extract_slowly(cache, rows, pause, answer):
    """Extract in a process of its own, in small batches, each read slowly."""
    os.environ["TLH_CACHE"] = str(cache)
    features.inference_batch_size = lambda size: 16
    split = random_split(N_IMAGES).take(rows)
    slow = Watched(split)

    def load(rows, image_size):
        time.sleep(pause)
        return split.load(rows, image_size)

    slow.load = load
    found = extract_features(tiny_backbone(), slow, grid="map", progress=False)
    with (answer.with_suffix(".part")).open("wb") as file:
        np.save(file, found)
    os.replace(answer.with_suffix(".part"), answer)


def start(processes, *arguments):
    process = processes.Process(target=extract_slowly, args=arguments)
    process.start()
    return process


@pytest.fixture(scope="module")
def processes():
    """Processes that begin with TensorFlow imported, so that each costs little."""
    if not hasattr(signal, "SIGKILL") or sys.platform == "win32":
        pytest.skip("needs SIGKILL and forked processes")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tensorflow", "keras"])
    return context


@pytest.fixture(scope="module")
def uninterrupted(processes, tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    process = start(processes, folder / "cache", range(N_IMAGES), 0, folder / "answer.npy")
    process.join()
    answer = np.load(folder / "answer.npy")
    assert answer.shape == (N_IMAGES, 8, 8, 8)
    return answer


@pytest.mark.slow
class TestProcesses:
    def test_killed_at_ten_random_moments(self, processes, uninterrupted, tmp_path):
        random = np.random.default_rng()
        seen = []
        for _ in range(10):
            before = seen[-1] if seen else 0
            process = start(
                processes, tmp_path / "cache", range(N_IMAGES), 0.01, tmp_path / "answer.npy"
            )
            # Somewhere within the next three batches, wherever in a batch that is.
            wanted = before + 16 * random.integers(0, 4)
            while process.is_alive() and digests_in(tmp_path) < wanted:
                time.sleep(0.001)
            time.sleep(random.uniform(0, 0.03))
            process.kill()
            process.join()
            assert process.exitcode == -signal.SIGKILL
            seen.append(digests_in(tmp_path))
            assert seen[-1] >= before
        assert 0 < seen[-1] < N_IMAGES
        process = start(processes, tmp_path / "cache", range(N_IMAGES), 0, tmp_path / "answer.npy")
        process.join()
        assert process.exitcode == 0
        answer = np.load(tmp_path / "answer.npy")
        assert answer.tobytes() == uninterrupted.tobytes()
        assert digests_in(tmp_path) == N_IMAGES

    def test_two_at_once(self, processes, uninterrupted, tmp_path):
        asked = {"a.npy": range(400), "b.npy": range(599, 199, -1)}
        both = [
            start(processes, tmp_path / "cache", rows, 0.002, tmp_path / name)
            for name, rows in asked.items()
        ]
        for process in both:
            process.join()
            assert process.exitcode == 0
        for name, rows in asked.items():
            np.testing.assert_array_equal(np.load(tmp_path / name), uninterrupted[list(rows)])
        assert digests_in(tmp_path) == N_IMAGES
        (entry,) = entries(tmp_path / "cache" / "features")
        assert (entry / "rows.bin").stat().st_size == N_IMAGES * 8 * 8 * 8 * 4

    def test_a_dead_process_leaves_no_lock(self, processes, tmp_path, uninterrupted):
        answer = tmp_path / "answer.npy"
        process = start(processes, tmp_path / "cache", range(64), 0.01, answer)
        while process.is_alive() and digests_in(tmp_path) == 0:
            time.sleep(0.001)
        process.kill()
        process.join()
        second = start(processes, tmp_path / "cache", range(64), 0, answer)
        second.join(60)
        assert second.exitcode == 0
        np.testing.assert_array_equal(np.load(answer), uninterrupted[:64])


def digests_in(folder: Path) -> int:
    """Count whole records in the only entry of a cache."""
    return sum(
        index.stat().st_size // RECORD.itemsize
        for index in folder.glob("cache/features/*/index.bin")
    )
