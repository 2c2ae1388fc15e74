"""A reader's own folder, with everything that readers' folders hold."""

import struct
import unicodedata
import zlib

import numpy as np
import pytest
from PIL import Image

from tlhelpers.data.augmentation import Augmentation
from tlhelpers.data.folders import load_folder
from tlhelpers.data.images import read_image


def save(path, number=0, size=(24, 20), mode="RGB", form="PNG", **settings):
    """Write an image that no other number gives."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(number)
    pixels = rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path, form, **settings)
    return path


def fill(folder, counts, start=0):
    """Write some images for each class."""
    number = start
    for name, count in counts.items():
        for index in range(count):
            save(folder / name / f"{index}.png", number)
            number += 1
    return folder


def snapshot(folder):
    return {
        str(path): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else None)
        for path in folder.rglob("*")
    }


def counts(data):
    splits = (data.train, data.validation, data.test)
    return [np.bincount(split.labels, minlength=data.num_classes).tolist() for split in splits]


def test_splits_are_carved_roughly_in_proportion(tmp_path, capsys):
    root = fill(tmp_path / "photos", {"cats": 40, "dogs": 20})
    before = snapshot(root)
    data = load_folder(root, image_size=16)
    assert (data.name, data.class_names, data.image_size) == ("photos", ("cats", "dogs"), 16)
    train, validation, test = counts(data)
    assert 8 <= test[0] <= 13
    assert 4 <= test[1] <= 7
    assert 8 <= validation[0] <= 16
    assert train[0] >= 16
    assert train[1] >= 8
    every = [*data.train.paths, *data.validation.paths, *data.test.paths]
    assert len(set(every)) == 60
    for split in (data.train, data.validation, data.test):
        assert [path.parent.name for path in split.paths] == [
            data.class_names[label] for label in split.labels
        ]
    assert [s.name for s in (data.train, data.validation, data.test)] == [
        "train",
        "validation",
        "test",
    ]
    assert data.skipped == ()
    assert data.source.origin == str(root)
    assert data.train.images.shape == (len(data.train), 16, 16, 3)
    assert snapshot(root) == before
    printed = capsys.readouterr().out
    assert printed == f"{data.audit}\n"
    assert "photos: 60 images\n  2 classes: cats 40, dogs 20\n" in printed
    assert f"test {sum(test)} (by content, seed 0): cats {test[0]}, dogs {test[1]}\n" in printed
    assert [list(data.audit.counts[name]) for name in ("train", "validation", "test")] == counts(
        data
    )
    assert data.few(4).audit is data.audit


def test_seed_and_shares(tmp_path):
    root = fill(tmp_path / "photos", {"a": 40, "b": 40})
    first, again, other = (load_folder(root, seed=seed).test.paths for seed in (0, 0, 1))
    assert first == again != other
    data = load_folder(root, validation=0.25, test=0.5)
    assert len(data.test) >= 40
    assert len(data.validation) >= 20
    assert set(first) <= set(data.test.paths)


@pytest.mark.parametrize("names", [("train", "validation", "test"), ("Training", "val", "TEST")])
def test_split_folders_are_used(tmp_path, names):
    for number, (name, count) in enumerate(zip(names, (6, 3, 4), strict=True)):
        fill(tmp_path / name, {"a": count, "b": count}, start=100 * number)
    data = load_folder(tmp_path)
    assert (len(data.train), len(data.validation), len(data.test)) == (12, 6, 8)
    assert {path.parents[1].name for path in data.validation.paths} == {names[1]}


def test_missing_split_is_carved_from_train(tmp_path):
    fill(tmp_path / "train", {"a": 10, "b": 10})
    fill(tmp_path / "test", {"a": 5, "b": 5}, start=50)
    data = load_folder(tmp_path)
    assert len(data.train) + len(data.validation) == 20
    assert 4 <= len(data.validation) <= 8
    assert len(data.test) == 10
    assert {path.parents[1].name for path in data.validation.paths} == {"train"}
    assert data.audit.split_folders == {"train": ("train",), "validation": (), "test": ("test",)}
    assert "test 10 (from test)" in str(data.audit)


def test_train_may_be_a_class(tmp_path):
    data = load_folder(fill(tmp_path / "vehicles", {"bus": 5, "car": 5, "train": 5}))
    assert data.class_names == ("bus", "car", "train")
    assert "note: train was taken as a class" in str(data.audit)


class TestClasses:
    def test_order_and_choice(self, tmp_path):
        root = fill(tmp_path, {"a": 6, "b": 6, "c": 6})
        data = load_folder(root, classes=["c", "a"])
        assert data.class_names == ("c", "a")
        assert {path.parent.name for path in data.train.take(data.train.labels == 0).paths} == {"c"}
        assert data.skipped == ((root / "b", "not among classes="),)

    def test_names_of_splits(self, tmp_path):
        root = fill(tmp_path, {"train": 6, "test": 6})
        with pytest.raises(ValueError, match=r"hold one folder per class. Received.*classes="):
            load_folder(root)
        assert load_folder(root, classes=["train", "test"]).class_names == ("train", "test")

    def test_inside_splits(self, tmp_path):
        for number, split in enumerate(("train", "test")):
            fill(tmp_path / split, {"a": 5, "b": 5, "c": 5}, start=50 * number)
        data = load_folder(tmp_path, classes=["b", "c"])
        assert data.class_names == ("b", "c")
        assert len(data.test) == 10

    @pytest.mark.parametrize("classes", [["a"], "ab", ["a", "a"], []])
    def test_too_few(self, tmp_path, classes):
        with pytest.raises(ValueError, match="classes must name two folders or more"):
            load_folder(fill(tmp_path, {"a": 5, "b": 5}), classes=classes)

    def test_unknown(self, tmp_path):
        with pytest.raises(ValueError, match=r"Received: d; there are: a, b"):
            load_folder(fill(tmp_path, {"a": 5, "b": 5}), classes=["a", "d"])


def test_every_kind_of_image_is_fine(tmp_path, capsys):
    root = fill(tmp_path / "photos", {"odd": 1, "plain": 8})
    odd = root / "odd"
    exif = Image.Exif()
    exif[0x0112] = 6
    save(odd / "grey.png", 101, mode="L")
    save(odd / "CMYK.JPG", 102, mode="CMYK", form="JPEG")
    save(odd / "alpha.png", 103, mode="RGBA")
    save(odd / "palette.gif", 104, mode="P", form="GIF")
    save(odd / "rotated.jpeg", 105, form="JPEG", exif=exif)
    save(odd / "really a png.jpg", 106)
    save(odd / "猫のしゃしん ñ.png", 107)
    save(odd / "deep" / "er" / "UPPER.PNG", 108)
    save(odd / "no extension", 109)
    (root / ".DS_Store").write_bytes(b"\0")
    (odd / ".hidden.png").write_bytes(b"\0")
    (odd / "Thumbs.db").write_bytes(b"\0")
    (root / "__MACOSX" / "odd").mkdir(parents=True)
    (root / "__MACOSX" / "odd" / "._grey.png").write_bytes(b"\0")
    (root / ".ipynb_checkpoints").mkdir()
    data = load_folder(root, image_size=8)
    assert data.class_names == ("odd", "plain")
    assert data.skipped == ()
    assert "skipped" not in capsys.readouterr().out
    assert sum(map(len, (data.train, data.validation, data.test))) == 18
    for split in (data.train, data.validation, data.test):
        assert split.images.dtype == np.uint8


def test_unusable_files_are_skipped_and_reported(tmp_path, capsys):
    root = fill(tmp_path / "photos", {"cats": 6, "dogs": 6})
    whole = save(root / "cats" / "cut.jpg", 50, size=(60, 60), form="JPEG").read_bytes()
    (root / "cats" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (root / "dogs" / "empty.png").touch()
    (root / "dogs" / "notes.txt").write_text("shot in May")
    save(root / "stray.png", 60)
    data = load_folder(root)
    reasons = {path.relative_to(root).as_posix(): reason for path, reason in data.skipped}
    assert reasons == {
        "stray.png": "lies outside the class folders",
        "cats/cut.jpg": "truncated",
        "dogs/empty.png": "empty file",
        "dogs/notes.txt": "not an image",
    }
    printed = capsys.readouterr().out
    assert "4 files skipped: stray.png (lies outside the class folders), " in printed
    assert "cut.jpg (truncated)" in printed
    assert sum(map(len, (data.train, data.validation, data.test))) == 12
    assert "4 files skipped" in repr(data)
    assert whole[: len(whole) // 2] == (root / "cats" / "cut.jpg").read_bytes()


def test_many_skipped_files_are_counted_not_all_named(tmp_path, capsys):
    root = fill(tmp_path / "photos", {"cats": 6, "dogs": 6})
    for number in range(30):
        (root / "cats" / f"note{number:02}.txt").write_text("x")
    assert len(load_folder(root).skipped) == 30
    assert "30 files skipped (30 not an image): " in (printed := capsys.readouterr().out)
    assert "and 22 more" in printed
    assert printed.count("cats/note") == 8


def test_copies_stay_in_one_split(tmp_path):
    root = fill(tmp_path / "photos", {"a": 12, "b": 12})
    for number in range(12):
        original = root / "a" / f"{number}.png"
        (root / "a" / f"copy of {number}.png").write_bytes(original.read_bytes())
    for seed in range(5):
        data = load_folder(root, seed=seed)
        digests = [set(s.digests()) for s in (data.train, data.validation, data.test)]
        assert sum(map(len, digests)) == len(set.union(*digests)) == 24
        assert sum(map(len, (data.train, data.validation, data.test))) == 36


def test_copies_across_given_splits_leave_train(tmp_path, capsys):
    fill(tmp_path / "train", {"a": 6, "b": 6})
    fill(tmp_path / "val", {"a": 3, "b": 3}, start=20)
    fill(tmp_path / "test", {"a": 3, "b": 3}, start=40)
    shown = tmp_path / "train" / "a" / "0.png"
    (tmp_path / "test" / "a" / "again.png").write_bytes(shown.read_bytes())
    (tmp_path / "val" / "a" / "once more.png").write_bytes(shown.read_bytes())
    Image.open(tmp_path / "train" / "a" / "1.png").save(tmp_path / "val" / "a" / "as bitmap.bmp")
    torn = (tmp_path / "train" / "b" / "1.png").read_bytes()
    (tmp_path / "train" / "a" / "also.png").write_bytes(torn)
    data = load_folder(tmp_path)
    printed = capsys.readouterr().out
    assert {path.relative_to(tmp_path).as_posix(): why for path, why in data.skipped} == {
        "train/a/0.png": "belongs together with test/a/again.png",
        "val/a/once more.png": "belongs together with test/a/again.png",
        "train/a/1.png": "belongs together with val/a/as bitmap.bmp",
    }
    assert "3 files skipped: " in printed
    counted = "turned, mirrored or slightly changed ones counted"
    assert (
        f"1 picture in more than one class, {counted}: train/a/also.png = train/b/1.png" in printed
    )
    assert "in more than one class" in data.source.note
    assert counts(data) == [[5, 6], [4, 3], [4, 3]]
    splits = [set(split.digests()) for split in (data.train, data.validation, data.test)]
    assert sum(map(len, splits)) == len(set.union(*splits))


def test_groups_across_given_splits_leave_train(tmp_path):
    for number, split in enumerate(("train", "test")):
        for patient in range(12):
            for kind in ("ill", "well"):
                seed = 1000 * number + 10 * patient + (kind == "ill")
                save(tmp_path / split / kind / f"p{patient + 8 * number}_{split}.png", seed)
    data = load_folder(tmp_path, groups=r"(p\d+)_")
    left_out = [path.name for path, why in data.skipped if why.startswith("belongs together")]
    assert left_out == [f"p{patient}_train.png" for patient in (10, 11, 8, 9)] * 2
    assert len(data.test) == 24


@pytest.mark.parametrize("how", ["pattern", "mapping", "csv"])
def test_groups_stay_in_one_split(tmp_path, how):
    root, table = tmp_path / "scans", {}
    for number in range(96):
        name = f"patient{number // 4:02}_{number % 4}.png"
        save(root / ("ill" if number % 8 < 4 else "well") / name, number)
        table[name] = f"patient{number // 4:02}"
    listed = tmp_path / "who.csv"
    listed.write_text("file;patient\n" + "".join(f"{k};{v}\n" for k, v in table.items()))
    groups = {"pattern": r"(patient\d+)_", "mapping": table, "csv": listed}[how]
    for seed in range(3):
        data = load_folder(root, groups=groups, seed=seed)
        splits = (data.train, data.validation, data.test)
        patients = [{path.name.split("_")[0] for path in split.paths} for split in splits]
        assert sum(map(len, patients)) == len(set.union(*patients)) == 24
        assert data.audit.groups == 24
        assert "kept together: 24 groups" in str(data.audit)
        assert "suggest" not in str(data.audit)
    assert "file names suggest 24 groups (patient00, patient01, …)" in str(load_folder(root).audit)


def test_pictures_that_look_the_same_stay_in_one_split(tmp_path, capsys):
    root = tmp_path / "photos"
    rng = np.random.default_rng(0)
    for number in range(40):
        coarse = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8))
        photo = coarse.resize((240, 180), Image.Resampling.BICUBIC)
        folder = root / ("a", "b")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        photo.save(folder / f"{number}.png")
        if number < 4:
            photo.resize((120, 90)).save(folder / f"{number} small.jpg", quality=60)
        elif number < 6:
            photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(folder / f"{number} mirrored.png")
        elif number == 6:
            photo.crop((3, 2, 237, 178)).save(folder / f"{number} cropped.png")
    for seed in range(4):
        data = load_folder(root, seed=seed)
        split_of = {
            p.name: s.name for s in (data.train, data.validation, data.test) for p in s.paths
        }
        near = {tuple(path.name for path in group) for group in data.audit.near_copies}
        assert len(near) == 7
        assert all(len({split_of[name] for name in group}) == 1 for group in near)
        assert all(len({name.split(" ")[0].split(".")[0] for name in group}) == 1 for group in near)
    assert "7 pictures with near-copies, kept on one side: a/0" in capsys.readouterr().out


def test_pictures_too_small_to_look_for_near_copies_are_counted(tmp_path):
    for number in range(24):
        save(tmp_path / "ab"[number % 2] / f"{number}.png", number, size=(44, 36))
    assert "less than 32 pixels" not in str(load_folder(tmp_path).audit)
    for number in (1, 2):
        Image.open(tmp_path / "b" / "1.png").resize((40, 31 - number)).save(
            tmp_path / "a" / f"tiny {number}.png"
        )
    assert "2 pictures of less than 32 pixels: of those, only copies with the same pixels" in str(
        load_folder(tmp_path).audit
    )


def test_a_folder_whose_pictures_are_not_all_compared_promises_less(tmp_path, monkeypatch):
    fill(tmp_path, {"a": 60, "b": 60})
    assert load_folder(tmp_path).audit.settled
    monkeypatch.setattr("tlhelpers.data.folders.ALL", 100)
    audit = load_folder(tmp_path).audit
    assert not audit.settled
    assert "which finds nearly all, so pictures may go from test to train" in str(audit)


def test_frames_of_a_film_are_not_kept_together_and_that_is_said(tmp_path):
    rng = np.random.default_rng(0)
    scenes = rng.integers(0, 256, (2, 9, 12, 3)).astype(np.uint8)
    for number in range(30):
        scene = Image.fromarray(scenes[number % 2]).resize((80, 60), Image.Resampling.BICUBIC)
        frame = np.asarray(scene) + rng.normal(0, 2, (60, 80, 3))
        path = tmp_path / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.uint8(frame.clip(0, 255))).save(path)
    data = load_folder(tmp_path)
    assert data.audit.near_copies == ()
    assert not data.audit.settled
    assert "note: 30 pictures look so much alike that they were not kept together" in str(
        data.audit
    )
    named = load_folder(tmp_path, groups={f"{n}.png": f"shot {n // 6}" for n in range(30)})
    shots = [
        {int(p.stem) // 6 for p in s.paths} for s in (named.train, named.validation, named.test)
    ]
    assert sum(map(len, shots)) == 5


class TestGrey:
    def fill(self, root, low, high, dtype=np.uint16):
        rng = np.random.default_rng(0)
        for number in range(12):
            grey = rng.integers(low, high + 1, (40, 40)).astype(dtype)
            grey[0, :2] = (low, high) if number == 7 else low + (high - low) // 2
            path = root / ("a", "b")[number % 2] / f"{number}.tif"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(grey).save(path)
        return root

    @pytest.mark.parametrize(
        ("low", "high", "dtype"),
        [
            (0, 255, np.uint16),
            (0, 4095, np.uint16),
            (500, 65535, np.uint16),
            (-1024, 3071, np.int32),
        ],
    )
    def test_the_range_of_the_data_set_decides(self, tmp_path, capsys, low, high, dtype):
        root = self.fill(tmp_path / "scans", low, high, dtype)
        data = load_folder(root, image_size=40)
        assert data.audit.grey_range == (low, high)
        printed = capsys.readouterr().out
        assert printed.count(f"the values {low:,} to {high:,} become 0 to 255") == 1
        for split in (data.train, data.validation, data.test):
            for path, image in zip(split.paths, split.images, strict=True):
                grey = np.asarray(Image.open(path)).astype(float)
                expected = np.round((grey - low) * 255 / (high - low))
                assert np.abs(image[..., 0] - expected).max() <= 1
                np.testing.assert_array_equal(
                    image, read_image(path, 40, grey_range=data.audit.grey_range)
                )

    def test_features_of_another_range_are_others(self, tmp_path):
        root = self.fill(tmp_path / "scans", 0, 4095)
        before = load_folder(root).train
        Image.fromarray(np.full((40, 40), 9999, np.uint16)).save(root / "a" / "bright.tif")
        after = load_folder(root).train
        shared = set(before.paths) & set(after.paths)
        assert shared
        assert not set(before.digests()) & set(after.digests())

    def test_colours_of_16_bits_are_noted(self, tmp_path):
        root = fill(tmp_path, {"a": 5, "b": 5})
        (root / "a" / "deep.png").write_bytes(png_of_16_bits())
        assert "1 file in colours of 16 bits, of which the upper 8 are read" in str(
            load_folder(root).audit
        )


def png_of_16_bits():
    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    pixels = zlib.compress((b"\0" + b"\x0f\xff" * 24) * 8)
    header = struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0)
    parts = (b"IHDR", header), (b"IDAT", pixels), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def test_what_cropping_cuts_is_said(tmp_path):
    for number in range(12):
        save(tmp_path / "ab"[number % 2] / f"{number}.png", number, size=(128, 64))
    save(tmp_path / "a" / "square.png", 50, size=(64, 64))
    audit = load_folder(tmp_path).audit
    assert audit.cut == pytest.approx(0.5 * 12 / 13)
    assert "46% of the pixels are cut off on average, at most 50% (a/0.png); fit=" in str(audit)
    padded = load_folder(tmp_path, fit="pad", image_size=64)
    assert padded.audit.most_cut is None
    assert "cut off" not in str(padded.audit)
    for image, path in zip(padded.train.images, padded.train.paths, strict=True):
        np.testing.assert_array_equal(image, read_image(path, 64, fit="pad"))
        assert path.name == "square.png" or image[:16].max() == image[48:].max() == 0


def test_classes_that_augmentation_may_exchange_are_noted(tmp_path):
    root = fill(tmp_path, {"left": 5, "right": 5})
    assert "Augmentation(flip=False, shift=0)" in str(load_folder(root).audit)
    assert "Augmentation(flip=False, shift=0)" in str(
        load_folder(root, augmentation=Augmentation(flip=False)).audit
    )
    left_out = Augmentation(flip=False, shift=0)
    assert "another label" not in str(load_folder(root, augmentation=left_out).audit)


def test_both_spellings_of_an_accent_are_one_class(tmp_path):
    for number, form in enumerate(("NFC", "NFD")):
        folder = tmp_path / ("train", "test")[number]
        fill(folder, {unicodedata.normalize(form, "café"): 5, "thé": 5}, start=50 * number)
    assert load_folder(tmp_path).class_names == ("café", "thé")


class TestErrors:
    def test_missing_and_file(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere"):
            load_folder(tmp_path / "nowhere")
        with pytest.raises(NotADirectoryError, match="Received the file"):
            load_folder(save(tmp_path / "one.png"))

    def test_no_classes(self, tmp_path):
        with pytest.raises(ValueError, match=r"one folder per class.*0 files"):
            load_folder(tmp_path)
        save(tmp_path / "1.png")
        with pytest.raises(ValueError, match=r"one folder per class.*1 file "):
            load_folder(tmp_path)

    def test_one_class(self, tmp_path):
        fill(tmp_path, {"cats": 5})
        with pytest.raises(ValueError, match=r"at least two class folders.*cats"):
            load_folder(tmp_path)

    def test_empty_class(self, tmp_path):
        fill(tmp_path, {"cats": 5, "dogs": 5})
        (tmp_path / "birds").mkdir()
        with pytest.raises(ValueError, match="empty: birds"):
            load_folder(tmp_path)

    def test_class_that_is_empty_after_skipping(self, tmp_path):
        fill(tmp_path, {"cats": 5, "dogs": 5})
        (tmp_path / "birds").mkdir()
        (tmp_path / "birds" / "robin.jpg").write_text("no image")
        with pytest.raises(ValueError, match=r"folder birds has none.*robin.jpg \(not an image\)"):
            load_folder(tmp_path)

    def test_classes_differ_between_splits(self, tmp_path):
        fill(tmp_path / "train", {"cats": 5, "dogs": 5})
        fill(tmp_path / "test", {"cats": 5, "dog": 5}, start=50)
        with pytest.raises(ValueError, match=r"The test folder .* lacks: dogs; it has: cats, dog"):
            load_folder(tmp_path)

    def test_unlabelled_test_folder(self, tmp_path):
        fill(tmp_path / "train", {"cats": 5, "dogs": 5})
        save(tmp_path / "test" / "1.png")
        with pytest.raises(ValueError, match=r"test must hold one folder per class"):
            load_folder(tmp_path)

    def test_too_few_images(self, tmp_path):
        root = fill(tmp_path, {"cats": 9, "dogs": 2})
        with pytest.raises(ValueError, match="split of: dogs"):
            load_folder(root)
        save(root / "dogs" / "third.png", 99)
        for seed in range(8):
            data = load_folder(root, seed=seed)
            assert [of_split[1] for of_split in counts(data)] == [1, 1, 1]

    def test_copies_do_not_make_a_class_large_enough(self, tmp_path):
        root = fill(tmp_path, {"cats": 9, "dogs": 1})
        for number in range(5):
            content = (root / "dogs" / "0.png").read_bytes()
            (root / "dogs" / f"copy{number}.png").write_bytes(content)
        with pytest.raises(ValueError, match="Add different images"):
            load_folder(root)

    @pytest.mark.parametrize("shares", [(0, 0.2), (0.2, 1), (0.5, 0.5), (-0.1, 0.2)])
    def test_shares(self, tmp_path, shares):
        fill(tmp_path, {"cats": 5, "dogs": 5})
        with pytest.raises(ValueError, match="Received"):
            load_folder(tmp_path, validation=shares[0], test=shares[1])
