"""Damaged stores and wrong weights files: mended and said, or refused in one sentence."""

import errno
import hashlib
import json
import os
import re
import subprocess
import sys
import time

import h5py
import keras
import numpy as np
import pytest
from toys import published_weights, random_images, random_split, small_backbone

from tlhelpers import files, load_backbone
from tlhelpers.book import cache as cache_tools
from tlhelpers.cli import main
from tlhelpers.models import backbones
from tlhelpers.models.backbones import Backbone
from tlhelpers.models.vgg16_mini import WEIGHTS_FILE
from tlhelpers.transfer import store
from tlhelpers.transfer.features import extract_features
from tlhelpers.transfer.store import RECORD

ROW = 32 * 4  # bytes: block 2 has 32 channels


@pytest.fixture(scope="module")
def base():
    return small_backbone(cut="block2_pool")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TLH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "features"


@pytest.fixture
def filed(base, cache):
    """A store of twenty rows, and what they are."""
    split = random_split(20)
    expected = np.array(extract_features(base, split))
    (folder,) = cache.iterdir()
    return folder, split, expected


def flip_bytes(rows):
    rows[5 * ROW + 3] ^= 1
    rows[11 * ROW + 64] ^= 128


def zero(rows):
    rows[3 * ROW : 9 * ROW] = bytes(6 * ROW)


def shift_by_one(rows):
    rows[:] = rows[-ROW:] + rows[:-ROW]


def not_numbers(rows):
    rows[7 * ROW : 8 * ROW] = np.full(32, np.nan, np.float32).tobytes()


def swap_two(rows):
    rows[: 2 * ROW] = rows[ROW : 2 * ROW] + rows[:ROW]


class TestDamagedRows:
    @pytest.mark.parametrize(
        ("damage", "count"),
        [(flip_bytes, 2), (zero, 6), (shift_by_one, 20), (not_numbers, 1), (swap_two, 2)],
    )
    def test_they_are_computed_again(self, base, filed, capsys, damage, count):
        folder, split, expected = filed
        rows = bytearray((folder / "rows.bin").read_bytes())
        damage(rows)
        (folder / "rows.bin").write_bytes(rows)
        np.testing.assert_array_equal(extract_features(base, split), expected)
        assert f"{count} of 20 stored features are damaged, and computed" in capsys.readouterr().out
        np.testing.assert_array_equal(extract_features(base, split), expected)
        assert "damaged" not in capsys.readouterr().out

    def test_another_entrys_rows(self, base, filed, cache, capsys):
        folder, split, expected = filed
        extract_features(base.with_random_weights(5), split)
        (other,) = set(cache.iterdir()) - {folder}
        for name in ("rows.bin", "index.bin"):
            (folder / name).write_bytes((other / name).read_bytes())
            np.testing.assert_array_equal(extract_features(base, split), expected)
            assert "20 of 20 stored features are damaged" in capsys.readouterr().out

    @pytest.mark.parametrize("field", ["digest", "row", "check", "own"])
    def test_a_damaged_index(self, base, filed, capsys, field):
        folder, split, expected = filed
        index = np.fromfile(folder / "index.bin", RECORD)
        bits = np.frombuffer(index[field].tobytes(), np.uint8).copy()
        bits[::3] ^= 21
        index[field] = np.frombuffer(bits.tobytes(), index[field].dtype)
        index.tofile(folder / "index.bin")
        np.testing.assert_array_equal(extract_features(base, split), expected)
        assert re.search(r"\d+ of 20 entries in .*index.bin are damaged", capsys.readouterr().out)
        np.testing.assert_array_equal(extract_features(base, split), expected)
        assert capsys.readouterr().out == ""

    def test_a_lost_index_and_lost_rows(self, base, filed):
        folder, split, expected = filed
        for name in ("index.bin", "rows.bin", "about.json"):
            (folder / name).unlink()
            np.testing.assert_array_equal(extract_features(base, split), expected)

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="a system without pipes")
    @pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
    @pytest.mark.parametrize("name", ["rows.bin", "index.bin", "about.json"])
    def test_what_is_no_regular_file_is_not_waited_for(self, base, filed, kind, name):
        folder, split, expected = filed
        file = folder / name
        file.unlink()
        make = {
            "pipe": os.mkfifo,
            "device": lambda at: at.symlink_to("/dev/zero"),
            "folder": os.mkdir,
        }
        make[kind](file)
        with pytest.raises(OSError, match=rf"regular files\. Received: .*{name}"):
            extract_features(base, split)
        assert main(["doctor", "--deep"]) in (0, 1)
        file.rmdir() if kind == "folder" else file.unlink()
        np.testing.assert_array_equal(extract_features(base, split), expected)

    def test_every_row_is_checked_however_it_is_read(self, base, filed):
        folder, split, expected = filed
        rows = bytearray((folder / "rows.bin").read_bytes())
        flip_bytes(rows)
        (folder / "rows.bin").write_bytes(rows)
        picked = [11, 2, 5]
        np.testing.assert_array_equal(extract_features(base, split.take(picked)), expected[picked])


class TestMapped:
    @pytest.mark.parametrize("damage", ["shrunk", "flipped", "lost"])
    def test_a_process_that_has_the_rows_mapped_keeps_them(self, base, filed, damage):
        """A mapped file that is cut off kills whoever reads on (SIGBUS)."""
        folder, split, expected = filed
        mapped = extract_features(base, split)
        assert isinstance(mapped.base, np.memmap)
        index = folder / "index.bin"
        if damage == "shrunk":
            index.write_bytes(index.read_bytes()[: 3 * RECORD.itemsize + 5])
        elif damage == "flipped":
            index.write_bytes(bytes(byte ^ 255 for byte in index.read_bytes()))
        else:
            index.unlink()
        size = (folder / "rows.bin").stat().st_size
        more = random_split(30, seed=7)
        extract_features(base, more)
        extract_features(base, split)
        assert (folder / "rows.bin").stat().st_size >= size
        np.testing.assert_array_equal(mapped, expected)


class TestWhatDecidesBits:
    def test_onednn_is_part_of_the_key(self, base, filed, cache, monkeypatch):
        _, split, _ = filed
        monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
        extract_features(base, split)
        assert len(list(cache.iterdir())) == 2
        abouts = [json.loads((folder / "about.json").read_text()) for folder in cache.iterdir()]
        assert {about["oneDNN"] for about in abouts} >= {"0"}
        assert all(about["backend"][1] for about in abouts)

    def test_stores_of_an_earlier_version_are_left_and_not_used(self, base, filed, capsys):
        folder, _, _ = filed
        about = json.loads((folder / "about.json").read_text())
        old = folder.with_name("vgg16_mini-0123456789")
        old.mkdir()
        (old / "about.json").write_text(json.dumps({**about, "format": 2}))
        assert cache_tools.verify(old) is None
        assert cache_tools.verify(folder) == (20, 0)
        assert main(["doctor", "--deep"]) == 0
        assert "20 rows were checked; 1 stores of other versions" in capsys.readouterr().out

    def test_two_networks_of_one_name_and_the_same_weights(self, cache):
        def build(activation):
            image = keras.Input((32, 32, 3))
            start = keras.initializers.HeNormal(seed=1)
            conv = keras.layers.Conv2D(
                4, 3, activation=activation, kernel_initializer=start, name="conv"
            )
            return Backbone.from_model(keras.Model(image, conv(image)), None, name="mine")

        split = random_split(3)
        relu, linear = (np.array(extract_features(build(a), split)) for a in ("relu", "linear"))
        assert not np.allclose(relu, linear)


class TestDisk:
    def test_too_little_room_is_said_before(self, base, cache, monkeypatch):
        monkeypatch.setattr(files, "_free_bytes", lambda folder: 2000)
        with pytest.raises(OSError, match=r"Features of 20 images \(0.0 MB\).*TLH_CACHE"):
            extract_features(base, random_split(20))

    def test_much_is_announced(self, base, cache, monkeypatch, capsys):
        monkeypatch.setattr(store, "ANNOUNCED_BYTES", 1000)
        extract_features(base, random_split(20))
        assert re.search(
            r"Features of 20 images, 0.0 GB, are written to .*features.*TLH_CACHE names another "
            r"place; `tlhelpers cache clear`",
            capsys.readouterr().out,
        )
        extract_features(base, random_split(20))
        assert capsys.readouterr().out == ""

    def test_a_disk_that_fills_up_meanwhile(self, base, cache, monkeypatch):
        split = random_split(20)
        append = store._append

        def full(path, content):
            append(path, content[:700])
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(store, "_append", full)
        with pytest.raises(OSError, match=r"could not be written to .*No space left.*TLH_CACHE"):
            extract_features(base, split)
        monkeypatch.undo()
        monkeypatch.setenv("TLH_CACHE", str(cache.parent))
        found = np.array(extract_features(base, split))
        monkeypatch.setenv("TLH_CACHE", str(cache.parent.parent / "new"))
        np.testing.assert_array_equal(found, extract_features(base, split))

    @pytest.mark.skipif(
        not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read anything"
    )
    def test_another_users_store(self, base, filed):
        folder, split, _ = filed
        (folder / "lock").chmod(0)
        with pytest.raises(PermissionError, match="TLH_CACHE"):
            extract_features(base, split)

    def test_another_users_lock(self, base, filed, monkeypatch):
        folder, split, _ = filed

        def refuse(self, *_, **__):
            raise PermissionError(errno.EACCES, "Permission denied", str(folder / "lock"))

        monkeypatch.setattr("filelock.FileLock.acquire", refuse)
        with pytest.raises(PermissionError, match="TLH_CACHE names the folder"):
            extract_features(base, split)


class TestCache:
    def test_it_is_shown_by_kind_and_cleared_of_features(self, filed, cache, capsys):
        folder = cache.parent / "files"
        folder.mkdir()
        (folder / "mnist.npz").write_bytes(bytes(3_000_000))
        assert main(["cache"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[0] == "       3.0 MB  files"
        assert lines[1].split()[2] == "features"
        assert str(cache.parent) in lines[2]
        assert main(["cache", "clear"]) == 0
        assert "0.0 MB of stored features were removed" in capsys.readouterr().out
        assert list(cache.iterdir()) == []
        assert (folder / "mnist.npz").exists()

    def test_what_was_used_lately_is_kept(self, base, filed, cache):
        folder, split, expected = filed
        weeks_ago = time.time() - 20 * 86_400
        os.utime(folder / "about.json", (weeks_ago, weeks_ago))
        extract_features(base, split)  # a use, if one that computes nothing
        assert main(["cache", "clear", "--older-than", "10"]) == 0
        assert list(cache.iterdir()) == [folder]
        os.utime(folder / "about.json", (weeks_ago, weeks_ago))
        assert main(["cache", "clear", "--older-than", "10"]) == 0
        assert list(cache.iterdir()) == []
        np.testing.assert_array_equal(extract_features(base, split), expected)

    def test_what_is_in_use_is_left_alone(self, filed, cache):
        folder, _, _ = filed
        code = (
            "import sys; from filelock import FileLock\n"
            f"with FileLock({str(folder / 'lock')!r}): print('mine', flush=True); input()"
        )
        with subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as other:
            assert other.stdout.readline() == "mine\n"
            assert cache_tools.clear() == 0
            other.stdin.close()
        assert (folder / "rows.bin").exists()
        assert cache_tools.clear() > 20 * ROW

    @pytest.mark.parametrize("days", ["-1", "nan", "-inf"])
    def test_an_age_that_is_none_removes_nothing(self, filed, cache, days, capsys):
        assert main(["cache", "clear", f"--older-than={days}"]) == 1
        assert "number of days, 0 or more. Received" in capsys.readouterr().err
        assert list(cache.iterdir()) == [filed[0]]

    def test_a_cache_that_cannot_be_written_is_shown_and_examined(
        self, filed, cache, monkeypatch, capsys
    ):
        def read_only(*_):
            raise PermissionError("The cache folder must be writable.")

        monkeypatch.setattr("tlhelpers.files.writable_folder", read_only)
        assert main(["cache"]) == 0
        assert "features" in capsys.readouterr().out
        assert main(["doctor", "--deep"]) == 1
        said = capsys.readouterr().out
        assert "wrong  cache: The cache folder must be writable." in said
        assert "features: " in said

    def test_a_folder_that_is_no_store_is_never_removed(self, filed, cache):
        mine = cache / "my photographs"
        mine.mkdir()
        (mine / "a.jpg").touch()
        cache_tools.clear()
        assert (mine / "a.jpg").exists()

    def test_the_doctor_finds_damage(self, filed, capsys):
        folder, _, _ = filed
        assert main(["doctor", "--deep"]) == 0
        assert "ok  features: 20 rows were checked" in capsys.readouterr().out
        rows = bytearray((folder / "rows.bin").read_bytes())
        flip_bytes(rows)
        (folder / "rows.bin").write_bytes(rows)
        assert main(["doctor", "--deep"]) == 0
        out = capsys.readouterr().out
        assert f"note  features: 2 of 20 rows in {folder} are damaged" in out
        assert "GB used: features 0.0" in out


def arrays_of(path):
    with np.load(path) as stored:
        return {name: stored[name] for name in stored.files}


def npz(folder, arrays):
    """Write arrays as pre-training does, with a record of their digest."""
    path = folder / "mine.npz"
    np.savez(path, **arrays)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    path.with_suffix(".json").write_text(json.dumps({"sha256": digest}))
    return path


class TestNpz:
    def refused(self, folder, arrays, message):
        path = npz(folder, arrays)
        for cut in (None, "block2_pool"):
            with pytest.raises(ValueError, match=f"mine.npz must hold the 26 arrays.*{message}"):
                load_backbone("vgg16_mini", 32, cut=cut, weights=path)

    def test_layers_missing(self, tmp_path):
        arrays = arrays_of(WEIGHTS_FILE)
        del arrays["block3_conv2/kernel"], arrays["block5_conv3/bias"]
        self.refused(tmp_path, arrays, "24 arrays; .*: block3_conv2/kernel, block5_conv3/bias")

    def test_not_a_number(self, tmp_path):
        arrays = arrays_of(WEIGHTS_FILE)
        arrays["block2_conv1/kernel"][0, 0, 0, 0] = np.nan
        self.refused(tmp_path, arrays, "not finite: block2_conv1/kernel")

    def test_another_networks(self, tmp_path):
        arrays = arrays_of(WEIGHTS_FILE)
        arrays["block1_conv1/kernel"] = np.zeros((3, 3, 3, 64), np.float32)
        self.refused(tmp_path, arrays, "of another shape.*: block1_conv1/kernel")
        arrays = {**arrays_of(WEIGHTS_FILE), "block6_conv1/bias": np.zeros(3)}
        self.refused(tmp_path, arrays, "27 arrays; .*: block6_conv1/bias")

    def test_no_record_beside_it(self, tmp_path):
        path = npz(tmp_path, arrays_of(WEIGHTS_FILE))
        assert load_backbone("vgg16_mini", 32, weights=path).weights == "mine.npz"
        path.with_suffix(".json").unlink()
        with pytest.raises(FileNotFoundError, match=r"without mine\.json"):
            load_backbone("vgg16_mini", 32, weights=path)


NAME = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_{}_no_top.h5"


@pytest.fixture(scope="module")
def mobilenet_v2(tmp_path_factory):
    """A whole file of MobileNetV2's weights, random ones."""
    base = load_backbone("mobilenet_v2", 32, weights=None)
    return published_weights(base.model, tmp_path_factory.mktemp("published") / "mobilenet_v2.h5")


def list_digests(folder):
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
        for path in folder.glob("*.h5")
    ]
    (folder / "SHA256SUMS").write_text("".join(lines))


@pytest.mark.filterwarnings("ignore:Skipping nested container")
class TestHdf5:
    def save(self, folder, cut, layout, change=None):
        model = small_backbone(cut=cut).model
        if change is not None:
            layer = model.get_layer("block1_conv2")
            kernel, bias = layer.get_weights()
            bias[3] = change
            layer.set_weights([kernel, bias])
        if layout == "published":
            return published_weights(model, folder / "mine.h5")
        model.save_weights(folder / "mine.weights.h5")
        return folder / "mine.weights.h5"

    @pytest.mark.parametrize("layout", ["published", "keras"])
    def test_right(self, tmp_path, layout):
        path = self.save(tmp_path, "block2_pool", layout)
        loaded = load_backbone("vgg16_mini", 32, cut="block2_pool", weights=path)
        assert loaded.weights == path.name
        for found, array in zip(
            loaded.model.get_weights(),
            small_backbone(cut="block2_pool").model.get_weights(),
            strict=True,
        ):
            assert found.shape == array.shape

    @pytest.mark.parametrize("layout", ["published", "keras"])
    @pytest.mark.parametrize(("held", "arrays"), [("block1_pool", 4), ("block3_pool", 14)])
    def test_of_another_cut(self, tmp_path, layout, held, arrays):
        path = self.save(tmp_path, held, layout)
        message = (
            rf"weights of vgg16_mini as cut at block2_pool: 8 arrays with 16,\d\d\d numbers\. "
            rf"Received: .*mine.*, with {arrays} arrays with [\d,]+ numbers\."
        )
        with pytest.raises(ValueError, match=message):
            load_backbone("vgg16_mini", 32, cut="block2_pool", weights=path)

    @pytest.mark.parametrize("layout", ["published", "keras"])
    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_not_finite(self, tmp_path, layout, value):
        path = self.save(tmp_path, "block2_pool", layout, value)
        with pytest.raises(ValueError, match="with numbers that are not finite"):
            load_backbone("vgg16_mini", 32, cut="block2_pool", weights=path)

    def test_another_networks(self, tmp_path):
        other = load_backbone("vgg16", 32, cut="block1_pool", weights=None)
        path = published_weights(other.model, tmp_path / "vgg16.h5")
        with pytest.raises(ValueError, match=r"vgg16.h5, with 4 arrays with 38,720 numbers"):
            load_backbone("vgg16_mini", 32, cut="block1_pool", weights=path)
        with h5py.File(path, "r+") as file:
            for number, layer in enumerate(other.model.layers[1:3]):
                for name in list(file[layer.name][layer.name]):
                    del file[layer.name][layer.name][name]
                shapes = [(3, 3, 3, 16), (16, 16, 3, 3)][number], (16,)
                for name, shape in zip(("kernel:0", "bias:0"), shapes, strict=True):
                    file[layer.name][layer.name][name] = np.zeros(shape)
        with pytest.raises(ValueError, match="4 arrays with 2,768 numbers, of other shapes"):
            load_backbone("vgg16_mini", 32, cut="block1_pool", weights=path)

    @pytest.mark.slow
    def test_a_trained_models_optimiser_is_no_weight(self, tmp_path):
        model = small_backbone(cut="block1_pool").model
        model.compile("adam", "mse")
        model.fit(random_images(2).astype("float32"), np.zeros((2, 16, 16, 16)), verbose=0)
        model.save_weights(tmp_path / "mine.weights.h5")
        loaded = load_backbone(
            "vgg16_mini", 32, cut="block1_pool", weights=tmp_path / "mine.weights.h5"
        )
        for found, wanted in zip(loaded.model.get_weights(), model.get_weights(), strict=True):
            np.testing.assert_array_equal(found, wanted)

    @pytest.mark.parametrize("content", ["text", "half", "nan", "other"])
    def test_a_mirrors_file_that_holds_something_else(
        self, tmp_path, monkeypatch, mobilenet_v2, content
    ):
        """One sentence: the file, what it must hold, what it holds, and whose list vouched for it."""
        name = NAME.format(224)
        path = tmp_path / name
        if content == "half":
            path.write_bytes(mobilenet_v2.read_bytes()[:1_000_000])
        elif content == "text":
            path.write_text("<html>504 Gateway Timeout</html>")
        elif content == "other":
            published_weights(small_backbone().model, path)
        else:
            path.write_bytes(mobilenet_v2.read_bytes())
            with h5py.File(path, "r+") as file:
                file["Conv1"]["Conv1/kernel:0"][0, 0, 0, 0] = np.nan
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        (tmp_path / "SHA256SUMS").write_text(f"{digest}  {name}\n")
        monkeypatch.setenv("TLH_MIRROR", str(tmp_path))
        with pytest.raises(
            ValueError,
            match=rf"hold the weights of mobilenet_v2: 260 arrays with 2,257,984 numbers. "
            rf"Received: .*{name}, with .*although {tmp_path} lists it with this digest",
        ):
            load_backbone("mobilenet_v2", 32)


class TestMobileNetV2BySize:
    def test_each_size_has_its_own(self, tmp_path, monkeypatch, capsys, mobilenet_v2):
        other = bytearray(mobilenet_v2.read_bytes())
        for size in (96, 224):
            (tmp_path / NAME.format(size)).write_bytes(other)
            with h5py.File(tmp_path / NAME.format(size), "r+") as file:
                file["Conv1"]["Conv1/kernel:0"][0, 0, 0, 0] = size
        list_digests(tmp_path)
        monkeypatch.setenv("TLH_MIRROR", str(tmp_path))
        for size, file in ((64, 224), (96, 96)):
            base = load_backbone("mobilenet_v2", size)
            assert base.weights == NAME.format(file)
            assert base.model.get_layer("Conv1").kernel[0, 0, 0, 0] == file
        assert capsys.readouterr().out == ""

    @pytest.mark.slow
    def test_a_mirror_that_lacks_them(self, tmp_path, monkeypatch, capsys, mobilenet_v2):
        (tmp_path / NAME.format(224)).write_bytes(mobilenet_v2.read_bytes())
        list_digests(tmp_path)
        monkeypatch.setenv("TLH_MIRROR", str(tmp_path))
        assert load_backbone("mobilenet_v2", 160).weights == NAME.format(224)
        assert capsys.readouterr().out.startswith(f"{NAME.format(160)} is not in the mirror: ")

    @pytest.mark.slow
    @pytest.mark.parametrize("size", [96, 150, 192])
    @pytest.mark.filterwarnings("ignore:`input_shape` is undefined or non-square")
    def test_the_choice_is_that_of_keras(self, tmp_path, monkeypatch, size):
        asked = []

        def note(name, *_, **__):
            asked.append(name)
            raise InterruptedError

        monkeypatch.setattr("keras.src.applications.mobilenet_v2.file_utils.get_file", note)
        with pytest.raises(InterruptedError):
            keras.applications.MobileNetV2(include_top=False, input_shape=(size, size, 3))
        names = [NAME.format(size) for size in (96, 128, 160, 192, 224)]
        (tmp_path / "SHA256SUMS").write_text("".join(f"{'0' * 64}  {name}\n" for name in names))
        monkeypatch.setenv("TLH_MIRROR", str(tmp_path))
        assert backbones.published_file("mobilenet_v2", size) == asked[0]
