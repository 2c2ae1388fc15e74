"""Damaged archives, lists, caches, servers and disks: refused in one sentence, or put right.

Each case is a fault that was silent, lost data, or came out in another library's words.
"""

import contextlib
import errno
import io
import os
import shutil
import stat
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from servers import CONTENT, NAME, leftovers, make_mirror, publish, sha256, small_mirror

from tlhelpers import files
from tlhelpers.book.mirrors import fetch_all
from tlhelpers.data import archives, downloads, published
from tlhelpers.data.archives import unpack
from tlhelpers.data.datasets import load_dataset
from tlhelpers.data.downloads import DownloadError, fetch, parse_sums
from tlhelpers.data.published import CIFAR10_CLASSES, SIZES


def bounded(examples):
    """Try so many examples, the same every time."""
    odd = [HealthCheck.function_scoped_fixture]
    return settings(
        max_examples=examples, deadline=None, derandomize=True, suppress_health_check=odd
    )


def plain(error):
    """Check that an error is one or a few sentences, and return it."""
    text = str(error.value)
    assert "\n" not in text
    assert 20 < len(text) < 700
    assert text.rstrip(")").endswith((".", "DIR", "SHA256SUMS"))
    return text


@contextlib.contextmanager
def refusing(start):
    """Let a block fail with a message of ours, which begins so, and note it."""
    refused = []
    try:
        yield refused
    except (ValueError, DownloadError) as error:
        refused.append(str(error))
    assert not refused or refused[0].startswith(start)


def nothing_but_locks(folder):
    """Whether nothing was kept in a folder, which may not even have been made."""
    return not folder.exists() or all(path.suffix == ".lock" for path in folder.rglob("*"))


def zipped(content, method=zipfile.ZIP_STORED):
    """Return a zip of names and contents; a ZipInfo may stand for a name."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in content.items() if isinstance(content, dict) else content:
            archive.writestr(name, data)
    return file.getvalue()


# ---------------------------------------------------------------- names in archives

NAMES = [
    *("../evil", "a/../../evil", "a/..", "..", "/etc/evil", "//server/evil", "..\\evil"),
    *("C:evil", "C:/evil", "\\\\server\\evil", "a:stream", "~/evil", "$HOME/evil", "%TEMP%/evil"),
    *("", " ", ".", "./a", "a/./b", "a//b", "a/ /b", "a.", "a ", " a", "a/.", "a/b /c", ".hidden"),
    *("CON", "con.jpg", "nul", "a/AUX.txt", "COM1", "lpt9.x.jpg", "prn/1.jpg", "a/aux /b"),
    *("a\tb", "a\nb", "a\rb", "\x01", "a\x7f", "a\x1b[31m", "a*b", "a?", 'a"b', "a|b", "a<b", "-rf"),
    *("é", "e\u0301", "ﬁ", "Ａ", "a\u200bb", "\u202egpj.exe", "a\u00a0b", "猫.jpg", "\ufeffa", "🐈"),
    *("n" * 300, "/".join("d" * 2000), "a/" * 9 + "b"),
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES, ids=lambda name: repr(name)[:30])
def test_names_that_are_not_safe(own_cache, tmp_path, name):
    archive = tmp_path / "data.zip"
    entry = zipfile.ZipInfo("placeholder")
    entry.filename = entry.orig_filename = name
    archive.write_bytes(zipped([("good.txt", b"good"), (entry, b"evil")]))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(
        ValueError, match=r"^data\.zip was refused, and nothing of it kept"
    ) as caught:
        unpack(archive, tmp_path / "out", r"(?s:.*)")
    plain(caught)
    assert nothing_but_locks(tmp_path / "out")
    assert set(tmp_path.rglob("*")) - {tmp_path / "out"} == set(before)


PAIRS = [
    ("a", "a"),
    ("a", "A"),
    ("d/a.jpg", "D/A.JPG"),
    ("a", "a/b"),
    ("d/a/b/c", "d/a"),
    ("A/b", "a"),
]


@pytest.mark.parametrize("pair", PAIRS, ids=str)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_names_that_collide(own_cache, tmp_path, pair):
    archive = tmp_path / "data.zip"
    archive.write_bytes(zipped([(name, name.encode()) for name in pair]))
    with pytest.raises(ValueError, match=r"occurs twice|is a file and a folder") as caught:
        unpack(archive, tmp_path / "out", r".*")
    plain(caught)
    assert nothing_but_locks(tmp_path / "out")


KINDS = {
    "link": stat.S_IFLNK,
    "pipe": stat.S_IFIFO,
    "device": stat.S_IFCHR,
    "disk": stat.S_IFBLK,
    "socket": stat.S_IFSOCK,
    "folder": stat.S_IFDIR,
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_file(own_cache, tmp_path, kind):
    entry = zipfile.ZipInfo("innocent")
    entry.external_attr = (KINDS[kind] | 0o777) << 16
    (tmp_path / "data.zip").write_bytes(zipped([(entry, b"/etc/passwd")]))
    with pytest.raises(ValueError, match=r"'innocent' in it is a link, a device or encrypted"):
        unpack(tmp_path / "data.zip", tmp_path / "out", r".*")
    assert nothing_but_locks(tmp_path / "out")


def test_an_encrypted_file(own_cache, tmp_path):
    data = bytearray(zipped({"a": b"secret"}))
    data[data.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "data.zip").write_bytes(data)
    with pytest.raises(ValueError, match=r"encrypted"):
        unpack(tmp_path / "data.zip", tmp_path / "out", r".*")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA, 9, 93, 99])
def test_compressed_otherwise(own_cache, tmp_path, method):
    data = bytearray(zipped({"a": b"a" * 1000}, method if method in (12, 14) else 0))
    data[data.index(b"PK\x01\x02") + 10 :][:2] = struct.pack("<H", method)
    struct.pack_into("<H", data, data.index(b"PK\x01\x02") + 10, method)
    (tmp_path / "data.zip").write_bytes(data)
    with pytest.raises(ValueError, match=r"neither stored nor deflated"):
        unpack(tmp_path / "data.zip", tmp_path / "out", r".*")


def test_far_larger_than_it_looks(own_cache, tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "_SMALL_BYTES", 10_000)
    (tmp_path / "data.zip").write_bytes(zipped({"a": bytes(10**6)}, zipfile.ZIP_DEFLATED))
    with pytest.raises(ValueError, match=r"far larger than its own size suggests"):
        unpack(tmp_path / "data.zip", tmp_path / "out", r".*")
    assert nothing_but_locks(tmp_path / "out")


@pytest.mark.parametrize("declared", [0, 1, 99, 101, 2**31])
def test_a_size_that_is_not_true(own_cache, tmp_path, declared):
    data = bytearray(zipped({"a": b"a" * 100}, zipfile.ZIP_DEFLATED))
    struct.pack_into("<I", data, data.index(b"PK\x01\x02") + 24, declared)
    (tmp_path / "data.zip").write_bytes(data)
    with pytest.raises(ValueError, match=r"must be a whole zip archive|far larger") as caught:
        unpack(tmp_path / "data.zip", tmp_path / "out", r".*")
    plain(caught)
    assert not [path for path in (tmp_path / "out").rglob("*") if path.name == "a"]


# ---------------------------------------------------------------- archives damaged

GOOD = {f"d/{number}.jpg": bytes(range(256)) * number for number in range(4)}
WHOLE = {method: zipped(GOOD, method) for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)}
OTHERS = {
    "empty": b"",
    "text": b"not an archive",
    "page": b"<!doctype html><title>404</title>",
    "picture": b"\x89PNG\r\n\x1a\n" + bytes(100),
    "gzip": b"\x1f\x8b\x08" + bytes(100),
    "tar": b"a.jpg".ljust(100, b"\0") + b"0000644".ljust(157, b"\0") + b"ustar" + bytes(1000),
    "seven": b"7z\xbc\xaf\x27\x1c" + bytes(100),
    "hdf5": b"\x89HDF\r\n\x1a\n" + bytes(100),
    "header only": b"PK\x03\x04",
    "end only": b"PK\x05\x06" + b"\xff" * 18,
    "first half": WHOLE[8][: len(WHOLE[8]) // 2],
    "second half": WHOLE[8][len(WHOLE[8]) // 2 :],
    "last byte missing": WHOLE[8][:-1],
    "start overwritten": bytes(40) + WHOLE[8][40:],
}


@pytest.mark.parametrize("what", OTHERS)
def test_what_is_no_whole_archive(own_cache, tmp_path, what):
    (tmp_path / "data.zip").write_bytes(OTHERS[what])
    with pytest.raises(ValueError, match=r"data\.zip must be a whole zip archive") as caught:
        unpack(tmp_path / "data.zip", tmp_path / "out", r".*")
    plain(caught)


def unpacked_or_refused(data, holds=r".*"):
    """Unpack bytes; return the files' contents, or None where they were refused in plain words."""
    with tempfile.TemporaryDirectory() as place:
        archive, out = Path(place, "data.zip"), Path(place, "out")
        archive.write_bytes(data)
        with refusing("data.zip ") as refused:
            files = unpack(archive, out, holds)
        if refused:
            assert not leftovers(out)
            return None
        assert {path.name for path in Path(place).iterdir()} <= {"data.zip", "out"}
        (root,) = {path.parents[len(path.relative_to(out).parts) - 2] for path in files} or {out}
        return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


@bounded(150)
@given(
    method=st.sampled_from(sorted(WHOLE)),
    edits=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=4),
    cut=st.one_of(st.just(1.0), st.floats(0, 1)),
)
def test_any_damage_to_an_archive_is_seen(own_cache, method, edits, cut):
    data = bytearray(WHOLE[method])
    for place, value in edits:
        data[int(place * (len(data) - 1))] = value
    found = unpacked_or_refused(bytes(data[: int(cut * len(data))]))
    # What still reads is what was packed: each file's bytes fit its checksum. A flipped bit in
    # the table can change a name or leave a file out; data sets check names and counts.
    if found is not None:
        assert set(found.values()) <= set(GOOD.values())


@bounded(150)
@given(st.dictionaries(st.text("aA1é./\\: \0-_", max_size=9), st.binary(max_size=20), max_size=4))
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_any_names_are_kept_or_refused(own_cache, content):
    entries = []
    for name, data in content.items():
        entry = zipfile.ZipInfo("placeholder")
        entry.filename = entry.orig_filename = name
        entries.append((entry, data))
    found = unpacked_or_refused(zipped(entries))
    if found is not None:
        assert found == {name: data for name, data in content.items() if not name.endswith("/")}


# ---------------------------------------------------------------- other contents under a right digest


def photographs(**changes):
    """The cats and dogs of a small mirror: four images, changed by name."""
    names = [
        f"cats_and_dogs_filtered/{part}/{kind}s/{kind}.{number}.jpg"
        for part in ("train", "validation")
        for kind in ("cat", "dog")
        for number in range(2)
    ]
    return {name: picture("JPEG", size=(8, 8)) for name in names}


def picture(form="PNG", size=(32, 32), mode="RGB"):
    """One image file."""
    file = io.BytesIO()
    Image.new(mode, size, 7).save(file, form)
    return file.getvalue()


def small_images():
    """CIFAR-10 with one image a class."""
    return {
        f"cifar10/{split}/{name}/0000.png": picture()
        for split in ("train", "test")
        for name in CIFAR10_CLASSES
    }


def digits():
    """MNIST with two images a class."""
    labels = np.repeat(np.arange(10, dtype=np.uint8), 2)
    images = np.arange(20 * 784, dtype=np.uint32).astype(np.uint8).reshape(20, 28, 28)
    return {"x_train": images, "y_train": labels, "x_test": images, "y_test": labels}


def npz(arrays):
    """Return the bytes of an .npz file."""
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


@pytest.fixture
def small_sets(own_cache, monkeypatch):
    """Let data sets be whole with very few images."""
    for name, each in (("cats_dogs", 2), ("cifar10", 1), ("mnist", 2)):
        monkeypatch.setitem(SIZES, name, dict.fromkeys(SIZES[name], each))


def without(content, part):
    return {name: data for name, data in content.items() if part not in name}


def renamed(content, old, new):
    return {name.replace(old, new): data for name, data in content.items()}


CATS = "cats_and_dogs_filtered/"
CONTENTS = {
    "cats_dogs": (
        "cats_and_dogs_filtered.zip",
        {
            "a tenth": lambda: zipped(without(photographs(), "1.jpg")),
            "no dogs": lambda: zipped(without(photographs(), "dogs")),
            "no validation": lambda: zipped(without(photographs(), "validation")),
            "one more": lambda: zipped({**photographs(), f"{CATS}train/cats/cat.9.jpg": b"x"}),
            "another class": lambda: zipped({**photographs(), f"{CATS}train/birds/b.1.jpg": b"x"}),
            "another layout": lambda: zipped(renamed(photographs(), CATS, "")),
            "another ending": lambda: zipped(renamed(photographs(), ".jpg", ".png")),
            "another file": lambda: zipped({**photographs(), "readme.txt": b"hello"}),
            "a program": lambda: zipped({**photographs(), f"{CATS}run.exe": b"MZ"}),
            "nothing": lambda: zipped({}),
            "text": lambda: b"stands in for an archive",
            "arrays": lambda: npz(digits()),
            "half": lambda: zipped(photographs())[:1000],
        },
    ),
    "cifar10": (
        "cifar10.zip",
        {
            "one class missing": lambda: zipped(without(small_images(), "train/ship")),
            "no test": lambda: zipped(without(small_images(), "/test/")),
            "one more": lambda: zipped({**small_images(), "cifar10/train/cat/1.png": picture()}),
            "other classes": lambda: zipped(renamed(small_images(), "truck", "train")),
            "one level less": lambda: zipped(renamed(small_images(), "cifar10/", "")),
            "larger images": lambda: zipped(dict.fromkeys(small_images(), picture(size=(64, 64)))),
            "one larger": lambda: zipped(
                {**small_images(), "cifar10/test/dog/0000.png": picture(size=(32, 33))}
            ),
            "grey images": lambda: zipped(dict.fromkeys(small_images(), picture(mode="L"))),
            "transparent images": lambda: zipped(
                dict.fromkeys(small_images(), picture(mode="RGBA"))
            ),
            "text for an image": lambda: zipped(
                {**small_images(), "cifar10/test/dog/0000.png": b"not an image"}
            ),
            "half an image": lambda: zipped(
                {**small_images(), "cifar10/test/dog/0000.png": picture()[:60]}
            ),
            "an animation": lambda: zipped(dict.fromkeys(small_images(), picture("GIF", mode="P"))),
            "text": lambda: b"stands in for an archive",
            "half": lambda: zipped(small_images())[:1500],
        },
    ),
    "digits": (
        "mnist.npz",
        {
            "labels all 0": lambda: npz({**digits(), "y_train": np.zeros(20, np.uint8)}),
            "labels of 255": lambda: npz({**digits(), "y_test": digits()["y_test"] + 246}),
            "fewer images": lambda: npz({key: array[:10] for key, array in digits().items()}),
            "fewer labels": lambda: npz({**digits(), "y_train": digits()["y_train"][:19]}),
            "columns of labels": lambda: npz({**digits(), "y_train": digits()["y_train"][:, None]}),
            "other shapes": lambda: npz({**digits(), "x_train": np.zeros((20, 32, 32), np.uint8)}),
            "colours": lambda: npz({**digits(), "x_test": np.zeros((20, 28, 28, 3), np.uint8)}),
            "floats": lambda: npz({**digits(), "x_train": digits()["x_train"] / 255}),
            "signed": lambda: npz({**digits(), "y_test": digits()["y_test"].astype(np.int64)}),
            "big-endian": lambda: npz({**digits(), "x_test": digits()["x_test"].astype(">u2")}),
            "objects": lambda: npz({**digits(), "y_train": np.array([{}] * 20, object)}),
            "strings": lambda: npz({**digits(), "y_train": digits()["y_train"].astype("U1")}),
            "no test images": lambda: npz(without(digits(), "x_test")),
            "another array": lambda: npz({**digits(), "extra": np.zeros(3)}),
            "text in it": lambda: zipped({f"{key}.npy": b"text" for key in digits()}),
            "one empty": lambda: zipped({f"{key}.npy": b"" for key in digits()}),
            "a header of terabytes": lambda: zipped({f"{key}.npy": giant() for key in digits()}),
            "a header of nonsense": lambda: zipped(
                {f"{key}.npy": giant().replace(b"(", b"[[") for key in digits()}
            ),
            "a single array": lambda: single(),
            "text": lambda: b"stands in for mnist.npz",
            "another network's weights": lambda: b"\x89HDF\r\n\x1a\n" + bytes(500),
            "half": lambda: npz(digits())[: len(npz(digits())) // 2],
            "nothing": lambda: b"",
        },
    ),
}


def giant():
    """An .npy file whose header promises more than any memory holds."""
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (60000, 28, 2800000), }"
    header = header.ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header


def single():
    """An .npy file under the name of an .npz."""
    file = io.BytesIO()
    np.save(file, digits()["x_train"])
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "what"), [(data, what) for data, (_, cases) in CONTENTS.items() for what in cases]
)
def test_a_mirror_vouches_for_something_else(small_sets, tmp_path, monkeypatch, data, what):
    name, cases = CONTENTS[data]
    place = make_mirror(tmp_path / "mirror", **{name.replace(".", "__"): cases[what]()})
    monkeypatch.setenv("TLH_MIRROR", str(place))
    with pytest.raises(
        ValueError, match=r"Received: |was refused, and nothing of it kept"
    ) as caught:
        load_dataset(data, tier="real")
    said = plain(caught)
    assert said.startswith(name)
    assert f"SHA256SUMS of the mirror {place} lists it" in said
    assert not leftovers(tmp_path / "cache")


def test_the_small_sets_are_read(small_sets, tmp_path, monkeypatch):
    """What the faults above start from is right."""
    contents = {
        "cats_and_dogs_filtered__zip": zipped(photographs()),
        "cifar10__zip": zipped(small_images()),
        "mnist__npz": npz(digits()),
    }
    monkeypatch.setenv("TLH_MIRROR", str(make_mirror(tmp_path / "mirror", **contents)))
    assert len(published.load_photographs(fetch("cats_and_dogs_filtered.zip"))) == 4
    assert published.load_cifar10(fetch("cifar10.zip"))[0]["train_images"].shape == (10, 32, 32, 3)
    assert published.load_mnist(fetch("mnist.npz"))["test_images"].shape == (20, 28, 28)


@bounded(120)
@given(st.floats(0, 1), st.integers(0, 255), st.one_of(st.just(1.0), st.floats(0, 1)))
def test_any_damage_to_mnist_is_seen(small_sets, place, value, cut):
    data = bytearray(npz(digits()))
    data[int(place * (len(data) - 1))] = value
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "mnist.npz")
        file.write_bytes(data[: int(cut * len(data))])
        with refusing("mnist.npz ") as refused:
            arrays = published.load_mnist(file)
        if not refused:
            np.testing.assert_array_equal(arrays["train_images"], digits()["x_train"])
            np.testing.assert_array_equal(arrays["test_labels"], digits()["y_test"])


# ---------------------------------------------------------------- damage after unpacking


def delete(path):
    path.unlink()


def zero(path):
    """Overwrite with zeros, keeping size and time."""
    facts = path.stat()
    path.write_bytes(bytes(facts.st_size))
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def shorten(path):
    path.write_bytes(path.read_bytes()[:-1])


def lengthen(path):
    path.write_bytes(path.read_bytes() + b"x")


def replace_by(make):
    def damage(path):
        path.unlink()
        make(path)

    return damage


def swap(path):
    other = next(file for file in sorted(path.parent.iterdir()) if file != path)
    content = path.read_bytes()
    path.write_bytes(other.read_bytes())
    other.write_bytes(content)


DAMAGES = {
    "deleted": delete,
    "zeros of the same size and time": zero,
    "shortened": shorten,
    "lengthened": lengthen,
    "emptied": lambda path: path.write_bytes(b""),
    "a pipe": replace_by(os.mkfifo),
    "a dangling link": replace_by(lambda path: path.symlink_to("nowhere")),
    "a link to another": replace_by(lambda path: path.symlink_to("3.jpg")),
    "a link to itself": replace_by(lambda path: path.symlink_to(path.name)),
    "swapped with another": swap,
    "its folder deleted": lambda path: shutil.rmtree(path.parent),
    "its folder renamed": lambda path: path.parent.rename(path.parent.with_name("e")),
    "everything deleted": lambda path: shutil.rmtree(path.parents[1]),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_unpacked_files_are_put_right(own_cache, tmp_path, damage, capsys):
    archive = tmp_path / "data.zip"
    archive.write_bytes(WHOLE[8])
    files = unpack(archive, tmp_path / "out", r".*")
    DAMAGES[damage](files[1])
    capsys.readouterr()
    assert unpack(archive, tmp_path / "out", r".*") == files
    assert "Unpacking" in capsys.readouterr().out, "said"
    assert [path.read_bytes() for path in files] == list(GOOD.values())
    assert not leftovers(tmp_path / "out")


def test_a_pipe_for_an_empty_file(own_cache, tmp_path):
    """It has the right size, and reading it would wait for ever (here: for the timer)."""
    archive = tmp_path / "data.zip"
    archive.write_bytes(WHOLE[8])
    (empty, *_) = unpack(archive, tmp_path / "out", r".*")
    empty.unlink()
    os.mkfifo(empty)
    pipe = os.open(empty, os.O_RDWR)
    threading.Timer(1, os.close, [pipe]).start()
    unpack(archive, tmp_path / "out", r".*")
    assert empty.is_file()


def test_a_foreign_file_is_not_among_them(small_sets, tmp_path, monkeypatch):
    place = make_mirror(tmp_path / "mirror", cats_and_dogs_filtered__zip=zipped(photographs()))
    archive = place / "cats_and_dogs_filtered.zip"
    before = published.load_photographs(archive)
    foreign = before["train/cats"][0].with_name("cat.7.jpg")
    foreign.write_bytes(picture("JPEG"))
    assert published.load_photographs(archive) == before
    assert foreign.exists(), "nor is it lost"


@pytest.mark.parametrize("where", ["file", "class", "root"])
def test_something_in_the_way(own_cache, tmp_path, where):
    archive = tmp_path / "data.zip"
    archive.write_bytes(WHOLE[8])
    (path, *_) = unpack(archive, tmp_path / "out", r".*")
    place = {"file": path, "class": path.parent, "root": path.parents[1]}[where]
    if where == "file":
        path.unlink()
        path.mkdir()
        (path / "mine").write_text("mine")
    else:
        shutil.rmtree(place)
        place.write_text("mine")
    with pytest.raises(OSError, match=r"could not be written to .*(directory|exists)") as caught:
        unpack(archive, tmp_path / "out", r".*")
    plain(caught)
    assert (place / "mine" if where == "file" else place).read_text() == "mine"


@bounded(40)
@given(
    st.lists(
        st.tuples(
            st.integers(1, 3), st.sampled_from(["deleted", "shortened", "lengthened", "emptied"])
        ),
        max_size=4,
    ),
    st.dictionaries(st.integers(1, 3), st.binary(max_size=300), max_size=3),
)
def test_any_damage_to_unpacked_files_is_put_right(own_cache, damages, contents):
    with tempfile.TemporaryDirectory() as place:
        archive = Path(place, "data.zip")
        archive.write_bytes(WHOLE[0])
        files = unpack(archive, Path(place, "out"), r".*")
        for number, content in contents.items():
            files[number].write_bytes(content)
        for number, damage in damages:
            with contextlib.suppress(FileNotFoundError):
                DAMAGES[damage](files[number])
        assert unpack(archive, Path(place, "out"), r".*") == files
        assert [path.read_bytes() for path in files] == list(GOOD.values())


# ---------------------------------------------------------------- damage after decoding


def of_zeros(path):
    """Write zeros of the same shape as NumPy does it: a whole and readable file."""
    np.save(path, np.zeros_like(np.load(path)))


def of_another_kind(path):
    np.save(path, np.load(path).astype(np.float32))


DECODED = {
    "zeros of the same size and time": zero,
    "zeros": of_zeros,
    "another dtype": of_another_kind,
    "zeros in the data": lambda path: path.write_bytes(path.read_bytes()[:200].ljust(path.stat().st_size, b"\0")),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "deleted": delete,
    "emptied": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("not an array"),
    "train for test": lambda path: shutil.copyfile(
        path, path.with_name(path.name.replace("train", "test"))
    ),
    "list deleted": lambda path: (path.parent / "SHA256SUMS").unlink(),
    "list emptied": lambda path: (path.parent / "SHA256SUMS").write_text(""),
    "list of nonsense": lambda path: (path.parent / "SHA256SUMS").write_text("nonsense"),
    "folder deleted": lambda path: shutil.rmtree(path.parent),
}  # fmt: skip


@pytest.mark.parametrize("name", ["train_images", "train_labels"])
@pytest.mark.parametrize("damage", DECODED)
def test_decoded_arrays_are_put_right(small_sets, tmp_path, own_cache, damage, name):
    archive = tmp_path / "cifar10.zip"
    content = small_images()
    for number, file in enumerate(content):
        content[file] = picture(size=(32, 32)) if number % 2 else picture("PNG", mode="RGB")
    archive.write_bytes(zipped(content))
    right = {key: np.array(array) for key, array in published.load_cifar10(archive)[0].items()}
    (path,) = own_cache.rglob(f"{name}.npy")
    DECODED[damage](path)
    found, _ = published.load_cifar10(archive)
    for key, array in right.items():
        np.testing.assert_array_equal(found[key], array)
        assert found[key].dtype == array.dtype
    assert not leftovers(own_cache)


# ---------------------------------------------------------------- lists of digests

D1, D2 = "a" * 64, "0123456789abcdef" * 4
LISTS = {
    "sha256sum": f"{D1}  mnist.npz\n{D2}  cifar10.zip\n",
    "sha256sum --binary": f"{D1} *mnist.npz\n{D2} *cifar10.zip\n",
    "sha256sum ./*": f"{D1}  ./mnist.npz\n{D2}  ./cifar10.zip\n",
    "sha256sum of a path": f"{D1}  /srv/class/mnist.npz\n{D2}  ../cifar10.zip\n",
    "sha256sum --zero": f"{D1}  mnist.npz\0{D2}  cifar10.zip\0",
    "sha256sum --tag": f"SHA256 (mnist.npz) = {D1}\nSHA256 (cifar10.zip) = {D2}\n",
    "escaped": f"\\{D1}  mnist.npz\n{D2}  cifar10.zip\n",
    "shasum --UNIVERSAL": f"{D1} ^mnist.npz\n{D2} ^cifar10.zip\n",
    "shasum --portable": f"{D1} ?mnist.npz\n{D2} ?cifar10.zip\n",
    "shasum --tag": f"SHA256 (./mnist.npz) = {D1}\nSHA256 (./cifar10.zip) = {D2}\n",
    "openssl 1": f"SHA256(mnist.npz)= {D1}\nSHA256(cifar10.zip)= {D2}\n",
    "openssl 3": f"SHA2-256(mnist.npz)= {D1}\nSHA2-256(cifar10.zip)= {D2}\n",
    "one blank": f"{D1} mnist.npz\n{D2} cifar10.zip\n",
    "a tab": f"{D1}\tmnist.npz\n{D2}\tcifar10.zip\n",
    "capitals": f"{D1.upper()}  mnist.npz\n{D2.upper()}  cifar10.zip\n",
    "comments and blank lines": f"# made in May\n\n{D1}  mnist.npz\n;x\n{D2}  cifar10.zip\n\n",
    "no last newline": f"{D1}  mnist.npz\n{D2}  cifar10.zip",
    "blanks around": f"  {D1}  mnist.npz  \n {D2}  cifar10.zip \n",
    "listed twice alike": f"{D1}  mnist.npz\n{D2}  cifar10.zip\n{D1}  ./mnist.npz\n",
    "Get-FileHash": (
        "\nAlgorithm       Hash                                                  Path\n"
        "---------       ----                                                  ----\n"
        f"SHA256          {D1.upper()}       C:\\class\\mnist.npz\n"
        f"SHA256          {D2.upper()}       C:\\class\\cifar10.zip\n\n"
    ),
    "Get-FileHash | Format-List": (
        f"\n\nAlgorithm : SHA256\nHash      : {D1.upper()}\nPath      : C:\\class\\mnist.npz\n\n"
        f"Algorithm : SHA256\nHash      : {D2.upper()}\nPath      : C:\\class\\cifar10.zip\n\n\n"
    ),
    "Get-FileHash | Export-Csv": (
        '#TYPE Microsoft.Powershell.Utility.FileHash\n"Algorithm","Hash","Path"\n'
        f'"SHA256","{D1.upper()}","C:\\class\\mnist.npz"\n'
        f'"SHA256","{D2.upper()}","C:\\class\\cifar10.zip"\n'
    ),
}
ENCODINGS = {
    "utf-8": lambda text: text.encode(),
    "with a mark": lambda text: text.encode("utf-8-sig"),
    "utf-16": lambda text: text.encode("utf-16"),
    "utf-16-be with a mark": lambda text: b"\xfe\xff" + text.encode("utf-16-be"),
    "utf-16-le": lambda text: text.encode("utf-16-le"),
    "utf-16-be": lambda text: text.encode("utf-16-be"),
    "crlf": lambda text: text.replace("\n", "\r\n").encode(),
    "windows": lambda text: text.replace("\n", "\r\n").encode("utf-16"),
    "another line in Latin-1": lambda text: f"{'b' * 64}  caf\xe9.zip\n".encode("latin-1") + text.encode(),
}  # fmt: skip


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("form", LISTS)
def test_lists_of_digests_are_read(form, encoding):
    listed = parse_sums(ENCODINGS[encoding](LISTS[form]), "SHA256SUMS")
    assert listed["mnist.npz"] == f"sha256:{D1}"
    assert listed["cifar10.zip"] == f"sha256:{D2}"
    assert len(listed) == 2 + (encoding == "another line in Latin-1")


NO_LISTS = {
    "a page": b"<!doctype html>\n<title>Log in</title>",
    "MD5": b"d41d8cd98f00b204e9800998ecf8427e  mnist.npz",
    "SHA-1": b"da39a3ee5e6b4b0d3255bfef95601890afd80709  mnist.npz",
    "SHA-512": b"c" * 128 + b"  mnist.npz",
    "a digit missing": D1[1:].encode() + b"  mnist.npz",
    "a digit too many": D1.encode() + b"a  mnist.npz",
    "no digit": b"x" * 64 + b"  mnist.npz",
    "no name": D1.encode() + b"  \n",
    "a name of slashes": D1.encode() + b"  ././",
    "name first": b"mnist.npz  " + D1.encode(),
    "JSON": b'{"mnist.npz": "' + D1.encode() + b'"}',
    "two digests for a name": f"{D1}  mnist.npz\n{D2}  mnist.npz".encode(),
    "two in two folders": f"{D1}  a/mnist.npz\n{D2}  b/mnist.npz".encode(),
    "noise": bytes(range(128, 256)) * 3,
    "one bad line": f"{D1}  mnist.npz\nsha256sum: x: No such file\n".encode(),
    "too long": b"#" * (10**6 + 1),
}


@pytest.mark.parametrize("what", NO_LISTS)
def test_what_is_no_list_is_refused(own_cache, tmp_path, monkeypatch, what):
    place = small_mirror(tmp_path / "mirror")
    (place / "SHA256SUMS").write_bytes(NO_LISTS[what])
    monkeypatch.setenv("TLH_MIRROR", str(place))
    with pytest.raises(DownloadError, match=r"SHA256SUMS must .*Received") as caught:
        fetch(NAME)
    plain(caught)
    # Nor is it overwritten where a mirror is to be completed.
    monkeypatch.setenv("TLH_MIRROR", str(small_mirror(tmp_path / "other")))
    (report,) = fetch_all(place, [NAME])
    assert report.status == "failed"
    assert (place / "SHA256SUMS").read_bytes() == NO_LISTS[what]


def test_a_list_of_ten_gigabytes(own_cache, tmp_path, monkeypatch):
    place = small_mirror(tmp_path / "mirror")
    with (place / "SHA256SUMS").open("ab") as file:
        file.truncate(10**10)
    monkeypatch.setenv("TLH_MIRROR", str(place))
    with pytest.raises(DownloadError, match=r"more than 1,000,000 bytes"):
        fetch(NAME)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("none", path)])
def test_a_list_that_is_no_file(own_cache, tmp_path, monkeypatch, make):
    place = tmp_path / "mirror"
    place.mkdir()
    make(place / "SHA256SUMS")
    monkeypatch.setenv("TLH_MIRROR", str(place))
    with pytest.raises(DownloadError, match=r"a folder that holds SHA256SUMS") as caught:
        fetch(NAME)
    plain(caught)


names = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,12}", fullmatch=True)
hexadecimal = st.text("0123456789abcdefABCDEF", min_size=64, max_size=64)


@pytest.mark.slow
@bounded(150)
@given(
    st.dictionaries(names, hexadecimal, min_size=1, max_size=6),
    st.sampled_from(["{d}  {n}", "{d} *./{n}", "SHA256 ({n}) = {d}", "SHA256   {d}   C:\\x\\{n}"]),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"]),
)
def test_any_list_is_read(digests, form, newline, encoding):
    text = "".join(form.format(d=digest, n=name) + newline for name, digest in digests.items())
    found = parse_sums(text.encode(encoding), "SHA256SUMS")
    assert found == {name: f"sha256:{digest.lower()}" for name, digest in digests.items()}


@bounded(200)
@given(st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)))
def test_any_bytes_are_a_list_or_refused(content):
    with refusing("SHA256SUMS must ") as refused:
        listed = parse_sums(content, "SHA256SUMS")
    if not refused:
        assert all(len(digest) == 71 for digest in listed.values())


# ---------------------------------------------------------------- servers and networks

WAITS = downloads._WAITS  # before a fixture makes them short
PASSING = [408, 425, 429, 500, 502, 503, 504, "hang up", "half"]


@pytest.fixture
def published_file(own_cache, server, monkeypatch):
    """A file with a published digest on the server."""
    (server.folder / "data.bin").write_bytes(CONTENT)
    return publish(monkeypatch, f"{server.url}/data.bin", f"sha256:{sha256(CONTENT)}")


@pytest.mark.parametrize("trouble", PASSING)
@pytest.mark.parametrize("times", [1, 3])
def test_what_passes_is_tried_again(published_file, server, capsys, trouble, times):
    server.troubles += [trouble] * times
    assert fetch(published_file).read_bytes() == CONTENT
    assert len(server.asked) == times + 1
    assert capsys.readouterr().out.count("trying again in") == times


@pytest.mark.parametrize("trouble", PASSING)
def test_what_does_not_pass_is_given_up(published_file, server, own_cache, trouble):
    server.troubles += [trouble] * 9
    with pytest.raises(DownloadError, match=r"answered|broke off") as caught:
        fetch(published_file)
    assert "TLH_MIRROR" in plain(caught)
    assert len(server.asked) == 4
    assert nothing_but_locks(own_cache / "files" / sha256(CONTENT)[:12])


@pytest.mark.parametrize("trouble", [400, 401, 403, 404, 410, 451, 501])
def test_what_will_not_pass_is_not_tried_again(published_file, server, trouble):
    server.troubles += [trouble] * 9
    with pytest.raises(DownloadError, match=f"the server answered {trouble}"):
        fetch(published_file)
    assert len(server.asked) == 1


def test_a_server_that_says_nothing(published_file, server, monkeypatch):
    monkeypatch.setattr(downloads, "_TIMEOUT", 0.2)
    server.troubles += ["silence"]
    assert fetch(published_file).read_bytes() == CONTENT
    server.troubles += ["silence"] * 4
    with pytest.raises(DownloadError, match=r"the server did not answer in time"):
        fetch(publish(monkeypatch, f"{server.url}/other.bin", name="other.bin"))


def test_each_try_waits_longer(published_file, server, monkeypatch):
    waited = []
    monkeypatch.setattr(downloads, "_WAITS", WAITS)
    monkeypatch.setattr(
        downloads, "time", SimpleNamespace(sleep=waited.append, time_ns=time.time_ns)
    )
    server.troubles += [503] * 3
    fetch(published_file)
    assert waited == [1, 2, 4]


def test_a_list_of_digests_is_tried_again(own_cache, server, monkeypatch):
    small_mirror(server.folder)
    server.troubles += [503, "hang up", "half"]
    monkeypatch.setenv("TLH_MIRROR", server.url)
    assert fetch(NAME).read_bytes() == CONTENT


def test_a_list_without_end(own_cache, server, monkeypatch):
    small_mirror(server.folder)
    (server.folder / "SHA256SUMS").write_bytes(b"#" * 5_000_000)
    monkeypatch.setenv("TLH_MIRROR", server.url)
    with pytest.raises(DownloadError, match=r"more than 1,000,000 bytes"):
        fetch(NAME)


PAGE = "  <!DOCTYPE html><title>Please log in</title>"
FIRST = {
    "data.zip": [PAGE, "not a zip", "PK\x03\x04 and no end", ""],
    "data.npz": [PAGE, "not arrays"],
    "data.h5": [PAGE, "not weights"],
    "data.bin": [PAGE],
}


@pytest.mark.parametrize(("name", "wrong"), [(n, wrong) for n in FIRST for wrong in FIRST[n]])
def test_what_came_first_is_not_held_to_if_it_is_something_else(
    own_cache, server, monkeypatch, name, wrong
):
    publish(monkeypatch, f"{server.url}/{name}", name=name)
    right = {"zip": WHOLE[8], "npz": npz(digits()), "h5": b"\x89HDF\r\n\x1a\n"}.get(
        name[5:], CONTENT
    )
    (server.folder / name).write_bytes(right)
    server.troubles += [wrong]
    with pytest.raises(
        DownloadError, match=r"a web page came instead|what came is no whole"
    ) as caught:
        fetch(name)
    plain(caught)
    assert fetch(name).read_bytes() == right
    assert fetch(name).read_bytes() == right


def test_a_page_in_place_of_a_file_with_a_digest(published_file, server):
    server.troubles += [PAGE]
    with pytest.raises(DownloadError, match=r"a web page came instead"):
        fetch(published_file)


ADDRESSES = {
    "http://127.0.0.1:9/x": "there is no connection to it",
    "http://nowhere.invalid/x": "there is no connection to it",
    "http://127.0.0.1:99999/x": "does not work",
    "http://[::1/x": "does not work",
    "http:///x": "does not work",
    "ftq://127.0.0.1/x": "does not work",
    "http://ada:secret@127.0.0.1:9/x": "fetched from http://127.0.0.1:9/x",
}


@pytest.mark.parametrize("address", ADDRESSES)
def test_addresses_that_lead_nowhere(own_cache, monkeypatch, address, capsys):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    name = publish(monkeypatch, address)
    with pytest.raises(DownloadError, match=ADDRESSES[address]) as caught:
        fetch(name)
    assert "secret" not in plain(caught) + capsys.readouterr().out


def test_an_address_that_turns_in_a_circle(published_file, server):
    server.troubles += ["loop"] * 40
    with pytest.raises(DownloadError, match=r"does not work .TooManyRedirects") as caught:
        fetch(published_file)
    plain(caught)


@pytest.fixture
def behind_proxy(own_cache, monkeypatch):
    """Every request goes through a proxy, whose address the test sets."""
    for name in ("NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)

    def through(proxy):
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY"):
            monkeypatch.setenv(name, proxy)

    return through


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_is_not_there(behind_proxy, monkeypatch, scheme, capsys):
    behind_proxy("http://ada:secret@127.0.0.1:9")
    name = publish(monkeypatch, f"{scheme}://data.example/x")
    with pytest.raises(
        DownloadError, match=r"the proxy http://127\.0\.0\.1:9 can't be used"
    ) as caught:
        fetch(name)
    assert "HTTPS_PROXY" in plain(caught)
    assert "secret" not in str(caught.value) + capsys.readouterr().out


def test_a_proxy_that_wants_a_password(behind_proxy, server, monkeypatch):
    server.troubles += [407] * 9
    behind_proxy(server.url)
    name = publish(monkeypatch, "http://data.example/x")
    with pytest.raises(DownloadError, match=r"HTTPS_PROXY=http://NAME:PASSWORD@HOST:PORT"):
        fetch(name)


def test_a_proxy_that_refuses_encrypted_traffic(behind_proxy, server, monkeypatch):
    behind_proxy(server.url)  # it answers CONNECT by 501
    name = publish(monkeypatch, "https://data.example/x")
    with pytest.raises(DownloadError, match=r"the proxy .* can't be used"):
        fetch(name)


@pytest.mark.parametrize("proxy", ["nonsense://x", "http://", "http://[x"])
def test_a_proxy_that_is_no_address(behind_proxy, monkeypatch, proxy):
    behind_proxy(proxy)
    name = publish(monkeypatch, "http://data.example/x")
    with pytest.raises(DownloadError) as caught:
        fetch(name)
    plain(caught)


def test_no_certificate(own_cache, server, monkeypatch):
    name = publish(monkeypatch, server.url.replace("http:", "https:") + "/data.bin")
    with pytest.raises(DownloadError, match=r"certificate can't be verified.*REQUESTS_CA_BUNDLE"):
        fetch(name)


def test_a_certificate_file_that_is_not_there(own_cache, server, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere/ca.pem")
    name = publish(monkeypatch, server.url.replace("http:", "https:") + "/data.bin")
    with pytest.raises(DownloadError, match=r"/nowhere/ca\.pem"):
        fetch(name)


# ---------------------------------------------------------------- disks and other users


def full(*args, **kwargs):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


DISK = r"could not be written to .*(No space left on device|too little room), with .* MB free there"


@pytest.mark.parametrize("when", ["before", "during", "at the end"])
def test_a_disk_without_room_for_a_download(published_file, own_cache, monkeypatch, server, when):
    if when == "before":
        monkeypatch.setattr(files, "_free_bytes", lambda folder: 100)
    elif when == "during":
        monkeypatch.setattr(downloads, "_save", full)
    else:
        monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"^data\.bin \(0\.0 MB\) " + DISK) as caught:
        fetch(published_file)
    said = plain(caught)
    assert str(own_cache) in said
    assert "TLH_CACHE" in said
    assert bool(server.asked) == (when == "at the end")
    assert nothing_but_locks(own_cache / "files" / sha256(CONTENT)[:12])


def test_a_disk_without_room_for_a_mirror(own_cache, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TLH_MIRROR", str(small_mirror(tmp_path / "mirror")))
    monkeypatch.setattr(files, "_free_bytes", lambda folder: 100)
    (report,) = fetch_all(tmp_path / "room", [NAME])
    assert report.status == "failed"
    assert "too little room" in report.reason
    assert "TLH_CACHE" not in report.reason, "which has nothing to do with it"
    assert nothing_but_locks(tmp_path / "room")


@pytest.mark.parametrize("what", ["unpacking", "decoding"])
@pytest.mark.parametrize("when", ["before", "during"])
def test_a_disk_without_room_for_what_is_in_it(small_sets, tmp_path, monkeypatch, what, when):
    name, content, load = {
        "unpacking": ("cats_and_dogs_filtered.zip", photographs(), published.load_photographs),
        "decoding": ("cifar10.zip", small_images(), published.load_cifar10),
    }[what]
    (tmp_path / name).write_bytes(zipped(content))
    if when == "before":
        monkeypatch.setattr(files, "_free_bytes", lambda folder: 100)
    else:
        monkeypatch.setattr(Path, "write_bytes", full)
        monkeypatch.setattr(np, "save", full)
    with pytest.raises(OSError, match=DISK) as caught:
        load(tmp_path / name)
    assert "TLH_CACHE" in plain(caught)
    assert not leftovers(tmp_path / "cache")
    monkeypatch.undo()


@pytest.mark.slow
def test_a_disk_that_is_really_full(tmp_path):
    """No file may grow beyond a kilobyte: what a full disk does, done by the system."""
    (tmp_path / "data.zip").write_bytes(zipped({"a": b"small", "big": bytes(5000)}))
    code = (
        "import resource; from pathlib import Path\n"
        "from tlhelpers.data.archives import unpack\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "unpack(Path('data.zip'), Path('out'), '.*')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert "could not be written to out: File too large" in done.stderr.splitlines()[-1]
    assert not leftovers(tmp_path / "out")
    assert not list(tmp_path.rglob("big"))


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="needs users")
def test_a_second_user_on_a_shared_cache(server):
    """Who may only read another's files gets what is there, and is told about TLH_CACHE else."""
    with tempfile.TemporaryDirectory() as place:
        os.chmod(place, 0o755)
        shared = Path(place, "shared")
        shared.mkdir()
        for name in ("here", "new"):
            (server.folder / name).write_bytes(CONTENT)
        code = (
            "import os, sys, filelock, pooch, requests, tqdm, platformdirs, encodings.idna\n"
            "from tlhelpers.data.downloads import FILES, RemoteFile, fetch\n"
            "name, *user = sys.argv[1:]\n"
            "if user: os.setgroups([]), os.setgid(int(user[0])), os.setuid(int(user[0]))\n"
            f"FILES[name] = RemoteFile(name, '{server.url}/' + name, 'sha256:{sha256(CONTENT)}', "
            "0.01, 'MIT', 'test data')\n"
            "print(fetch(name).read_bytes() == bytes(range(256)) * 40)"
        )
        other = ["65534"] if os.geteuid() == 0 else []

        def run(name, *user):
            environment = {**os.environ, "TLH_CACHE": str(shared), "NO_PROXY": "127.0.0.1"}
            environment.pop("TLH_MIRROR", None)
            return subprocess.run(
                [sys.executable, "-c", code, name, *user],
                env=environment,
                capture_output=True,
                text=True,
            )

        assert run("here").stdout.endswith("True\n")
        shared.chmod(0o777)
        (shared / "files").chmod(0o555)
        for folder in (shared / "files").rglob("*"):
            if folder.is_dir():
                folder.chmod(0o555)
        assert run("here", *other).stdout == "True\n"
        done = run("new", *other)
        assert done.returncode == 1
        assert "could not be written to" in done.stderr
        assert "TLH_CACHE names the folder" in done.stderr.splitlines()[-1]
        for folder in (shared / "files", *(shared / "files").rglob("*")):
            folder.chmod(0o755)


def test_what_killed_processes_left_is_removed(small_sets, published_file, tmp_path, monkeypatch):
    """Of a download, of a mirror's copy, and of decoding."""
    archive = tmp_path / "cifar10.zip"
    archive.write_bytes(zipped(small_images()))
    published.load_cifar10(archive)
    cache = tmp_path / "cache"
    (decoded,) = (path.parent for path in cache.rglob("train_images.npy"))
    (decoded / "train_images.npy").unlink()
    shelf, room = cache / "files" / sha256(CONTENT)[:12], tmp_path / "room"
    for left in (shelf / ".data.bin.part" / "tmpx", room / ".part-1.zip", decoded / ".part-2.npy"):
        left.parent.mkdir(parents=True, exist_ok=True)
        left.write_bytes(b"half")
    published.load_cifar10(archive)
    assert [report.status for report in fetch_all(room, [published_file])] == ["fetched"]
    assert leftovers(cache) + leftovers(room) == []


# ---------------------------------------------------------------- several at once


@pytest.mark.slow
def test_four_processes_make_one_mirror(own_cache, tmp_path, monkeypatch):
    contents = {f"file{number}__bin": bytes([number]) * 1000 for number in range(24)}
    place = make_mirror(tmp_path / "mirror", **contents)
    code = (
        "import sys; from tlhelpers.book.mirrors import fetch_all\n"
        "sys.exit(any(f.status == 'failed' for f in fetch_all('room', sys.argv[1:])))"
    )
    every = [name.replace("__", ".") for name in contents]
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", code, *every[number::4], *every[:2]],
            cwd=tmp_path,
            env={**os.environ, "TLH_MIRROR": str(place)},
            stdout=subprocess.DEVNULL,
        )
        for number in range(4)
    ]
    assert [worker.wait(60) for worker in workers] == [0] * 4
    assert downloads.read_sums(tmp_path / "room" / "SHA256SUMS") == {
        name: f"sha256:{sha256(content)}"
        for name, content in zip(every, contents.values(), strict=True)
    }


def test_two_mirrors_of_one_folder(own_cache, tmp_path, monkeypatch):
    """A mirror completed from itself stays as it is."""
    place = small_mirror(tmp_path / "mirror")
    before = (place / NAME).read_bytes()
    monkeypatch.setenv("TLH_MIRROR", str(place))
    assert [report.status for report in fetch_all(place, [NAME, "other.bin"])] == [
        "already there",
        "failed",
    ]
    assert (place / NAME).read_bytes() == before
