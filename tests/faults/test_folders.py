"""What users' folders hold, and what becomes of them: nothing hangs, is guessed or is lost."""

import contextlib
import io
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import unicodedata
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import tlhelpers as tl
from tlhelpers.data import images, layout

posix = pytest.mark.skipif(os.name != "posix", reason="files of POSIX systems")
not_root = pytest.mark.skipif(
    hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may read everything"
)
CLASSES = ("cat", "dog")


def picture(number, size=(44, 36)):
    """A picture that no other number gives, as smooth as a photograph."""
    rng = np.random.default_rng(number)
    coarse = Image.fromarray(rng.integers(0, 256, (7, 9, 3), np.uint8))
    return coarse.resize(size, Image.Resampling.BICUBIC)


def save(path, number, form="PNG", size=(44, 36), mode="RGB", **how):
    path.parent.mkdir(parents=True, exist_ok=True)
    picture(number, size).convert(mode).save(path, form, **how)
    return path


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """Twelve pictures of each of two classes."""
    root = tmp_path_factory.mktemp("template")
    for number in range(24):
        save(root / CLASSES[number % 2] / f"{number:02}.png", number)
    return root


@pytest.fixture
def root(template, tmp_path):
    return Path(shutil.copytree(template, tmp_path / "photos"))


@pytest.fixture(autouse=True)
def not_for_ever():
    """Fail instead of waiting for ever."""
    if os.name != "posix":
        yield
        return

    def late(*_):
        raise TimeoutError("it hangs")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(120)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def snapshot(folder):
    """Everything in a folder, with its content."""
    return {
        path: path.read_bytes() if path.is_file() and not path.is_symlink() else None
        for path in folder.rglob("*")
    }


def check(data, images_expected=None):
    """Check what must hold of any folder, and return what was skipped."""
    splits = (data.train, data.validation, data.test)
    paths = [path for split in splits for path in split.paths]
    assert len(paths) == len(set(paths))
    assert all(set(split.labels) == set(range(data.num_classes)) for split in splits)
    for split in splits:
        assert split.load(image_size=8).shape == (len(split), 8, 8, 3)
    assert {tuple(map(sum, zip(*data.audit.counts.values(), strict=True)))} == {
        tuple(sum(np.bincount(s.labels, minlength=data.num_classes) for s in splits).tolist())
    }
    if images_expected is not None:
        assert len(paths) == images_expected
    str(data.audit).encode()
    return {
        os.fsencode(path.relative_to(data.audit.folder)).decode("utf-8", "replace"): reason
        for path, reason in data.skipped
    }


def encode(image, form="PNG", **how):
    file = io.BytesIO()
    image.save(file, form, **how)
    return file.getvalue()


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def empty_png(width, height):
    """A grey PNG of any size that takes no room on the disk."""
    packer = zlib.compressobj(1)
    rows = bytes((1 + width) * 100)
    data = b"".join(packer.compress(rows) for _ in range(height // 100)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height // 100 * 100, 8, 0, 0, 0, 0)
    parts = (b"IHDR", header), (b"IDAT", data), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def with_hole(content):
    """Overwrite a fifth of a file, from its middle on, with zeros."""
    middle, size = len(content) // 2, len(content) // 5
    return content[:middle] + bytes(size) + content[middle + size :]


HOLE = "damaged: part of the picture is zeros"
PHOTO = picture(900, (80, 60))
FLOAT = Image.fromarray(np.linspace(0, 1, 2400, dtype=np.float32).reshape(40, 60))

# Content of a file in a class folder, and the reason for which it is left out (None: it is read).
CONTENTS = {
    "empty": (b"", "empty file"),
    "one byte": (b"\xff", "not an image"),
    "text": (b"shot in May", "not an image"),
    "zeros": (bytes(4000), "not an image"),
    "HTML": (b"<!doctype html><title>404</title>", "not an image"),
    "SVG": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image"),
    "PDF": (b"%PDF-1.7\n" + bytes(500), "not an image"),
    "PostScript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "not an image"),
    "zip": (b"PK\x03\x04" + bytes(500), "not an image"),
    "film": (b"\0\0\0\x20ftypisom" + bytes(500), "not an image"),
    "HEIC": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "a HEIC photograph; export it as JPEG"),
    "icon": (encode(PHOTO.resize((32, 32)), "ICO"), "not an image"),
    "AppleDouble": (b"\0\5\x16\7\0\2\0\0Mac OS X", "not an image"),
    "Git LFS pointer": (b"version https://git-lfs.github.com/spec/v1\n", "not an image"),
    "hole in a JPEG": (with_hole(encode(picture(900, (400, 300)), "JPEG")), HOLE),
    "head of a PNG": (b"\x89PNG\r\n\x1a\n", ...),
    "head of a JPEG": (b"\xff\xd8\xff\xe0\0\x10JFIF", ...),
    "cut JPEG": (encode(PHOTO, "JPEG")[:-300], "truncated"),
    "cut PNG": (encode(PHOTO)[:-300], ...),
    "cut GIF": (encode(PHOTO, "GIF")[:-300], ...),
    "cut WebP": (encode(PHOTO, "WEBP")[:-300], ...),
    "cut TIFF": (encode(PHOTO, "TIFF")[:-3000], ...),
    "cut BMP": (encode(PHOTO, "BMP")[:-300], "truncated"),
    "cut AVIF": (encode(PHOTO, "AVIF")[:-300], ...),
    "flipped bits in a PNG": (encode(PHOTO)[:200] + b"\0\1\2" + encode(PHOTO)[203:], ...),
    "PNG without pixels": (empty_png(40, 0), ...),
    "floating point": (encode(FLOAT, "TIFF"), ...),
    "half a minute in one pixel": (encode(Image.new("RGB", (1, 1), "red")), None),
    "a line": (encode(PHOTO.resize((3000, 1))), None),
    "a column": (encode(PHOTO.resize((1, 3000))), None),
    "grey": (encode(PHOTO.convert("L")), None),
    "grey with alpha": (encode(PHOTO.convert("LA")), None),
    "alpha": (encode(PHOTO.convert("RGBA")), None),
    "palette": (encode(PHOTO.convert("P")), None),
    "black and white": (encode(PHOTO.convert("1")), None),
    "CMYK": (encode(PHOTO.convert("CMYK"), "JPEG"), None),
    "YCbCr": (encode(PHOTO.convert("YCbCr"), "TIFF"), None),
    "Lab": (encode(PHOTO.convert("LAB"), "TIFF"), None),
    "16 bits": (encode(Image.fromarray(np.arange(2400, dtype=np.uint16).reshape(40, 60))), None),
    "32 bits": (
        encode(Image.fromarray(np.arange(2400, dtype=np.int32).reshape(40, 60)), "TIFF"),
        None,
    ),
    "progressive JPEG": (encode(PHOTO, "JPEG", progressive=True), None),
    "animated GIF": (encode(PHOTO, "GIF", save_all=True, append_images=[PHOTO.rotate(9)]), None),
    "animated WebP": (encode(PHOTO, "WEBP", save_all=True, append_images=[PHOTO.rotate(9)]), None),
    "pages": (encode(PHOTO, "TIFF", save_all=True, append_images=[PHOTO.rotate(9)]), None),
    "stereo": (encode(PHOTO, "MPO", save_all=True, append_images=[PHOTO.rotate(9)]), None),
    "LZW": (encode(PHOTO, "TIFF", compression="tiff_lzw"), None),
    "JPEG 2000": (encode(PHOTO, "JPEG2000"), None),
    "AVIF": (encode(PHOTO, "AVIF"), None),
    "Targa": (encode(PHOTO, "TGA"), None),
    "PPM": (encode(PHOTO, "PPM"), None),
    "film after a JPEG": (encode(PHOTO, "JPEG") + bytes(100_000), None),
    "broken EXIF": (encode(PHOTO, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff"), None),
    "200 megapixels": (empty_png(20_000, 10_000), ...),
}


@pytest.mark.filterwarnings("ignore:Corrupt EXIF:UserWarning")
def test_contents_of_files(root):
    """All at once: each is read, or left out with its reason."""
    for name, (content, _) in CONTENTS.items():
        (root / "cat" / f"{name}.jpg").write_bytes(content)
    before = snapshot(root)
    data = tl.load_folder(root)
    skipped = check(data)
    for name, (_, reason) in CONTENTS.items():
        found = skipped.pop(f"cat/{name}.jpg", None)
        assert (found is not None) if reason is ... else (found == reason), (name, found)
    assert skipped == {}
    assert snapshot(root) == before


NAMES = {
    "emoji": "🐈.png",
    "Chinese": "猫.png",
    "Arabic, right to left": "قطة صغيرة.png",
    "Persian, with a joiner": "می‌خواهم.png",
    "Hindi": "बिल्ली.png",
    "accent in two characters": "cafe\u0301.png",
    "spaces": "  a  b .png",
    "line break": "a\nb.png",
    "tab": "a\tb.png",
    "escape sequence": "\x1b[31mred.png",
    "quotes": "\"'`.png",
    "HTML": "<b>&amp;.png",
    "comma and semicolon": "a,b;c.png",
    "percent and braces": "{0}%s%d.png",
    "backslash": "a\\b.png",
    "dash first": "-rf.png",
    "wildcards": "[*?].png",
    "no extension": "photo",
    "other extension": "photo.docx",
    "two extensions": "photo.tar.gz.png",
    "dots last": "photo...",
    "device of Windows": "con.png",
    "long": "x" * 250 + ".png",
    "byte-order mark": "\ufeffa.png",
    "direction override": "a\u202egnp.png",
    "colon": "a:b.png",
    "hash": "#1.png",
    "upper case": "PHOTO.PNG",
    "differs in case only": "photo.PNG",
}


@posix
def test_names_of_files_and_classes(root, capsys):
    for number, name in enumerate(NAMES.values()):
        save(root / "cat" / name, 100 + number)
    (root / "dog" / "bad\nname\x1b[2J.png").write_bytes(b"")
    with contextlib.suppress(OSError):  # some file systems take no such name
        Path(os.fsdecode(os.fsencode(root / "dog") + b"/caf\xe9.png")).write_bytes(b"")
    data = tl.load_folder(root)
    check(data, images_expected=24 + len(NAMES))
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert "bad\\nname" in printed


@posix
@pytest.mark.parametrize(
    "name", [n.removesuffix(".png")[:60] for n in NAMES.values()] + [b"caf\xe9"]
)
def test_names_of_classes(root, name):
    with contextlib.suppress(OSError):
        target = os.fsencode(root) + b"/" + (name if isinstance(name, bytes) else os.fsencode(name))
        os.rename(os.fsencode(root / "cat"), target)
        data = tl.load_folder(root, image_size=8)
        assert len(data.class_names) == 2
        assert all(unicodedata.normalize("NFC", one) == one for one in data.class_names)
        ",".join(data.class_names).encode()
        chosen = tl.load_folder(root, classes=list(reversed(data.class_names)), image_size=8)
        assert chosen.class_names == data.class_names[::-1]


@posix
def test_a_terminal_of_another_encoding(root):
    (root / "cat").rename(root / "猫 ü")
    script = f"import tlhelpers as tl; tl.load_folder({str(root)!r})"
    environment = {**os.environ, "PYTHONIOENCODING": "ascii:strict", "PYTHONUTF8": "0"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, env=environment)
    assert done.returncode == 0, done.stderr.decode()
    assert b"\\u732b \\xfc 12" in done.stdout


CLUTTER = (
    ".DS_Store", "._00.png", ".hidden.png", "Thumbs.db", "THUMBS.DB", "ehthumbs.db", "desktop.ini",
    "Desktop.ini", "Icon\r", "Picasa.ini", ".picasa.ini", ".directory", ".nomedia",
)  # fmt: skip
CLUTTER_FOLDERS = (
    "__MACOSX", ".git", ".ipynb_checkpoints", "@eaDir", "#recycle", "$RECYCLE.BIN", "lost+found",
    "System Volume Information", ".Trash-1000", ".thumbnails", ".Spotlight-V100",
)  # fmt: skip


@posix
def test_clutter_is_passed_over(root, capsys):
    for folder in (root, root / "cat"):
        for name in CLUTTER:
            (folder / name).write_bytes(b"x")
        for name in CLUTTER_FOLDERS:
            save(folder / name / "cat" / "0.png", 500)
    assert check(tl.load_folder(root), images_expected=24) == {}
    assert "skipped" not in capsys.readouterr().out


@posix
def test_what_is_no_regular_file_is_never_opened(root, tmp_path):
    cat = root / "cat"
    os.mkfifo(cat / "fifo.png")
    os.mkfifo(root / "fifo beside the classes")
    address = socket.socket(socket.AF_UNIX)
    where = os.getcwd()
    os.chdir(cat)  # addresses of sockets are short
    address.bind("socket.png")
    os.chdir(where)
    (cat / "zero.png").symlink_to("/dev/zero")
    (cat / "null.png").symlink_to("/dev/null")
    (cat / "nothing.png").symlink_to(tmp_path / "gone.png")
    (cat / "itself.png").symlink_to(cat / "itself.png")
    (cat / "loop").symlink_to(root)
    (cat / "elsewhere").symlink_to(tmp_path)
    (cat / "linked.png").symlink_to(save(tmp_path / "outside.png", 700))
    os.link(save(tmp_path / "other.png", 701), cat / "hard.png")
    data = tl.load_folder(root)
    address.close()
    skipped = check(data, images_expected=26)
    loop = skipped.pop("cat/itself.png")
    assert "link" in loop
    assert skipped == {
        "cat/fifo.png": "not a regular file",
        "fifo beside the classes": "lies outside the class folders",
        "cat/socket.png": "not a regular file",
        "cat/zero.png": "not a regular file",
        "cat/null.png": "not a regular file",
        "cat/nothing.png": "a link to nothing",
        "cat/loop": "a link to a folder",
        "cat/elsewhere": "a link to a folder",
    }


@posix
def test_linked_class_folders_are_followed(root, tmp_path):
    (root / "dog").rename(tmp_path / "dogs elsewhere")
    (root / "dog").symlink_to(tmp_path / "dogs elsewhere")
    link = tmp_path / "link"
    link.symlink_to(root)
    data = tl.load_folder(link)
    check(data, images_expected=24)
    (root / "hound").symlink_to(root / "dog")
    twice = tl.load_folder(root)
    assert len(twice.audit.several_classes) == 12


@not_root
@posix
def test_no_permission(root):
    os.chmod(root / "cat" / "00.png", 0)
    save(root / "cat" / "private" / "0.png", 800)
    os.chmod(root / "cat" / "private", 0)
    try:
        assert check(tl.load_folder(root), images_expected=23) == {
            "cat/00.png": "no permission to read it",
            "cat/private": "no permission to read it",
        }
    finally:
        os.chmod(root / "cat" / "private", 0o700)


def test_no_permission_as_any_user(root, monkeypatch):
    save(root / "cat" / "private" / "0.png", 800)
    listed, opened = Path.iterdir, os.open

    def iterdir(path):
        if path.name == "private":
            raise PermissionError(13, "Permission denied")
        return listed(path)

    def open_(path, *rest):
        if str(path).endswith("00.png"):
            raise PermissionError(13, "Permission denied")
        return opened(path, *rest)

    monkeypatch.setattr(layout.Path, "iterdir", iterdir)
    monkeypatch.setattr(images.os, "open", open_)
    expected = {
        "cat/00.png": "no permission to read it",
        "cat/private": "no permission to read it",
    }
    assert check_skipped(tl.load_folder(root)) == expected
    monkeypatch.setattr(
        layout.Path,
        "iterdir",
        lambda path: iterdir(path) if path.name != "dog" else iterdir(path / "private"),
    )
    with pytest.raises(ValueError, match=r"empty: dog \(no permission to read it\)"):
        tl.load_folder(root)


def check_skipped(data):
    return {path.relative_to(data.audit.folder).as_posix(): why for path, why in data.skipped}


class TestFilesThatChange:
    def test_gone_before_it_is_read(self, root, monkeypatch):
        found = layout.files_below

        def then_gone(folder, into):
            files = list(found(folder, into))
            Path(files[0]).unlink()
            return files

        monkeypatch.setattr(layout, "files_below", then_gone)
        assert set(check(tl.load_folder(root), images_expected=22).values()) == {"missing file"}

    @pytest.mark.parametrize("what", ["gone", "changed", "emptied", "a folder", "fifo"])
    def test_after_loading(self, root, what):
        data = tl.load_folder(root)
        path = data.train.paths[0]
        before = data.train.digests()
        path.unlink()
        if what == "changed":
            picture(999).save(path)
        elif what == "emptied":
            path.touch()
        elif what == "a folder":
            path.mkdir()
        elif what == "fifo":
            if os.name != "posix":
                pytest.skip("needs FIFOs")
            os.mkfifo(path)
        for read in (data.train.load, data.train.digests):
            with pytest.raises((ValueError, FileNotFoundError), match=path.name):
                read()
        assert data.train.last_digests() == before
        assert data.train.load(range(1, 4)).shape[0] == 3

    def test_replaced_between_its_digest_and_its_reading(self, root):
        """Features are never filed under the digest of another picture."""
        split = tl.load_folder(root).train
        digests = split.digests()
        first, second = split.paths[:2]
        content = first.read_bytes()
        shutil.copy(second, first)
        with pytest.raises(ValueError, match="Load the data set again"):
            split.load([0])
        first.write_bytes(content)
        assert split.load([0]).shape[0] == 1
        assert split.digests() == digests

    def test_the_folder_is_moved(self, root):
        data = tl.load_folder(root)
        root.rename(root.with_name("elsewhere"))
        with pytest.raises(FileNotFoundError, match="no image file"):
            data.test.load()


def originals(root):
    return sorted((root / "cat").glob("??.png"))


def test_a_cut_out_picture_on_white_is_a_copy_of_the_one_on_nothing(root):
    """Pictures are seen on white, so that is how copies are looked for."""
    ring = np.hypot(*np.mgrid[-1:1:60j, -1:1:60j]) < 0.8
    for number in (300, 301):
        drawn = picture(number, (60, 60))
        drawn.putalpha(Image.fromarray(np.uint8(255 * ring)))
        drawn.save(root / "cat" / f"{number}.png")
        white = Image.new("RGBA", drawn.size, "white")
        white.alpha_composite(drawn)
        white.convert("RGB").resize((52, 52)).save(root / "dog" / f"{number}.jpg", quality=85)
    found = tl.load_folder(root).audit.near_copies
    assert [[path.name for path in group] for group in found] == [
        ["300.png", "300.jpg"],
        ["301.png", "301.jpg"],
    ]


@pytest.mark.parametrize(
    ("name", "copy"),
    [
        ("bitmap", lambda image, path: image.save(path, "BMP")),
        ("TIFF", lambda image, path: image.save(path, "TIFF", compression="tiff_lzw")),
        ("lossless WebP", lambda image, path: image.save(path, "WEBP", lossless=True)),
        ("other compression", lambda image, path: image.save(path, "PNG", compress_level=0)),
        ("with alpha", lambda image, path: image.convert("RGBA").save(path, "PNG")),
        ("quality 95", lambda image, path: image.save(path, "JPEG", quality=95)),
        ("quality 60", lambda image, path: image.save(path, "JPEG", quality=60)),
        ("larger", lambda image, path: image.resize((88, 72)).save(path, "PNG")),
        (
            "mirrored",
            lambda image, path: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(path, "PNG"),
        ),
        ("cropped", lambda image, path: image.crop((1, 0, 44, 35)).save(path, "PNG")),
        ("turned by EXIF", None),
        ("other EXIF", None),
        ("trailing bytes", lambda image, path: path.write_bytes(encode(image) + bytes(99))),
    ],
)
def test_copies_stay_on_one_side(root, name, copy):
    """A tenth of the pictures is there twice, in another shape."""
    for path in originals(root)[:2]:
        image = Image.open(path).convert("RGB")
        twin = path.with_name(f"{path.stem} twin.png")
        exif = Image.Exif()
        if name == "turned by EXIF":
            exif[0x0112] = 8
            image.transpose(Image.Transpose.ROTATE_270).save(twin, exif=exif)
        elif name == "other EXIF":
            exif[0x010E] = "a description"
            image.save(twin, exif=exif)
        else:
            copy(image, twin)
    for seed in range(4):
        data = tl.load_folder(root, seed=seed, image_size=8)
        splits = (data.train, data.validation, data.test)
        side = {path.name: split.name for split in splits for path in split.paths}
        twins = [one for one in side if "twin" in one]
        assert len(twins) == 2
        assert all(side[one] == side[one.replace(" twin", "")] for one in twins)
        assert len(data.audit.copies) + len(data.audit.near_copies) == 2


class TestGrowth:
    def grow(self, root, count=30):
        for number in range(200, 200 + count):
            save(root / CLASSES[number % 2] / f"{number}.png", number)

    @pytest.mark.parametrize("seed", range(4))
    def test_more_pictures(self, root, seed):
        self.grow(root)
        first = tl.load_folder(root, seed=seed, image_size=8)
        was = {path.name for path in first.test.paths}
        for number in range(300, 420):
            save(root / CLASSES[number % 2] / f"{number}.png", number)
        for path in originals(root)[:3]:
            Image.open(path).resize((66, 54)).save(path.with_name(f"{path.stem} again.jpg"))
        second = tl.load_folder(root, seed=seed, image_size=8)
        if first.audit.settled and second.audit.settled:
            assert not was & {path.name for path in second.train.paths}

    def test_groups_that_come_later(self, root):
        """A few leave test pictures where they are; with many, what may have moved is said."""
        self.grow(root, 120)
        first = tl.load_folder(root, image_size=8)
        was = {path.name for path in first.test.paths}
        few = tl.load_folder(
            root, image_size=8, groups={f"{n}.png": n // 4 for n in range(200, 216)}
        )
        assert first.audit.settled
        assert few.audit.settled
        assert few.audit.groups == 4
        assert not was & {path.name for path in few.train.paths}
        many = tl.load_folder(
            root, image_size=8, groups={f"{n}.png": n // 4 for n in range(200, 320)}
        )
        assert not many.audit.settled
        assert (
            "some pictures have a group and some none, so pictures may go from test to train"
            in (str(many.audit))
        )
        (left,) = re.findall(r"note: (\d+) pictures? of train would be in test", str(many.audit))
        assert int(left) > 0

    def test_renamed_moved_and_relabelled(self, root):
        self.grow(root)
        first = tl.load_folder(root, image_size=8)
        was = set(first.test._file_digests)
        for number, path in enumerate(sorted((root / "cat").iterdir())):
            path.rename(path.with_name(f"renamed {99 - number}.png"))
        for path in sorted((root / "cat").iterdir())[::9]:
            path.rename(root / "dog" / path.name)
        second = tl.load_folder(root, image_size=8)
        assert first.audit.settled
        assert second.audit.settled
        assert not was & set(second.train._file_digests)
        assert len(was & set(second.test._file_digests)) > 0.7 * len(was)


def split_tree(root, **names):
    for folder, start, count in names.values():
        for number in range(start, start + count):
            save(root / folder / CLASSES[number % 2] / f"{number}.png", number)
    return root


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (("test", "val"), "no folder of training pictures"),
        (("Test", "Validation"), "no folder of training pictures"),
        (("test",), "no folder of training pictures"),
        (("seg_test", "holdout"), "no folder of training pictures"),
    ],
)
def test_splits_are_never_classes(tmp_path, folders, message):
    for number, folder in enumerate(folders):
        split_tree(tmp_path, one=(folder, 100 * number, 10))
    with pytest.raises(ValueError, match=message):
        tl.load_folder(tmp_path)


@pytest.mark.parametrize(
    ("train", "validation", "test"),
    [
        ("train", "val", "test"),
        ("Training", "Validation", "Testing"),
        ("train2017", "val2017", "test2017"),
        ("train_set", "valid_set", "test_set"),
        ("seg_train", "seg_dev", "seg_test"),
        ("train", "eval", "holdout"),
    ],
)
def test_names_of_splits(tmp_path, train, validation, test):
    split_tree(tmp_path, a=(train, 0, 12), b=(validation, 20, 6), c=(test, 40, 8))
    data = tl.load_folder(tmp_path)
    check(data, images_expected=26)
    assert [len(data.train), len(data.validation), len(data.test)] == [12, 6, 8]
    assert f"test 8 (from {test})" in str(data.audit)


def test_copies_leave_train_never_test(tmp_path):
    split_tree(tmp_path, a=("train", 0, 20), b=("test", 40, 8))
    Image.open(tmp_path / "train" / "cat" / "0.png").save(
        tmp_path / "test" / "cat" / "x.jpg", quality=60
    )
    shutil.copy(tmp_path / "train" / "dog" / "1.png", tmp_path / "test" / "dog" / "y.png")
    data = tl.load_folder(tmp_path)
    assert check(data) == {
        "train/cat/0.png": "belongs together with test/cat/x.jpg",
        "train/dog/1.png": "belongs together with test/dog/y.png",
    }
    assert len(data.test) == 10


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({}, "one folder per class"),
        ({"a.png": 1}, "one folder per class"),
        ({"cat/0.png": 1}, "at least two class folders"),
        ({"cat/0.png": 1, "dog": None}, "empty: dog"),
        ({"cat/0.png": 1, "dog/.DS_Store": b"x"}, "empty: dog"),
        ({"cat/0.png": 1, "dog/notes.txt": b"x"}, "folder dog has none"),
        ({"cat/0.png": 1, "dog/1.png": 2}, "3 a class at the very least"),
        (
            {**{f"cat/{n}.png": n for n in range(9)}, **{f"dog/{n}.png": 50 for n in range(9)}},
            "too few",
        ),
        ({"Cat/0.png": 1, "cat/0.png": 2}, "more than case"),
        (
            {"cat/train/0.png": 1, "cat/test/1.png": 2, "dog/train/2.png": 3},
            "above those of classes",
        ),
        ({"train/cat/0.png": 1, "train/dog/1.png": 2, "test/2.png": 3}, "one folder per class"),
        ({"train/cat/0.png": 1, "train/dog/1.png": 2, "test/cat/2.png": 3}, "lacks: dog"),
        (
            {"train/cat/0.png": 1, "train/dog/1.png": 2, "test/cat/2.png": 3, "test/Dog/2.png": 3},
            r"lacks: dog; it has: Dog",
        ),
        ({"train/0.png": 1, "test/1.png": 2}, "classes="),
        ({"bus/0.png": 1, "train/x/0.png": 2}, "classes="),
        ({"cat/0.png": 1, "dog/1.png": 2, "test/2.png": 3}, "classes="),
    ],
)
def test_folders_that_are_refused(tmp_path, tree, message):
    for name, content in tree.items():
        path = tmp_path / name
        if content is None:
            path.mkdir()
        elif isinstance(content, bytes):
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
        else:
            save(path, content)
    if sys.platform in ("win32", "darwin") and "Cat/0.png" in tree:
        pytest.skip("file names have no case")
    with pytest.raises(ValueError, match=message):
        tl.load_folder(tmp_path)


def test_both_spellings_of_a_class(root):
    for number, form in enumerate(("NFC", "NFD")):
        for copy in range(8):
            save(
                root / unicodedata.normalize(form, "thé") / f"{copy}.png", 400 + 10 * number + copy
            )
    data = tl.load_folder(root)
    check(data, images_expected=40)
    assert data.class_names == ("cat", "dog", "thé")


@pytest.mark.parametrize(
    "settings_",
    [
        {"validation": 0}, {"test": 1}, {"test": 0.6, "validation": 0.4}, {"fit": "zoom"},
        {"classes": ["cat"]}, {"classes": "cat"}, {"classes": ["cat", "cow"]}, {"groups": "("},
        {"groups": {}}, {"groups": "nothing like it"}, {"image_size": 0}, {"test": float("nan")},
    ],
)  # fmt: skip
def test_settings_that_are_refused(root, settings_):
    with pytest.raises(ValueError, match="Received"):
        tl.load_folder(root, **settings_)


@pytest.mark.parametrize("seed", [None, 0.5, "x", -1])
def test_without_a_seed_nothing_is_carved(root, seed):
    with pytest.raises((TypeError, ValueError), match=r"seed must .*Received"):
        tl.load_folder(root, seed=seed)


@pytest.mark.parametrize("classes", [{"cat", "dog"}, {"cat": 0, "dog": 1}, [0, 1], 2])
def test_the_order_of_classes_is_never_left_to_chance(root, classes):
    with pytest.raises(ValueError, match=r"in a list: its order.*Received"):
        tl.load_folder(root, classes=classes)


def test_files_without_a_group_are_counted(root, capsys):
    names = sorted(path.name for path in (root / "cat").iterdir())
    tl.load_folder(root, groups={name: f"g{row // 2}" for row, name in enumerate(names[:4])})
    assert re.search(r"groups= says nothing of \d+ files \(", capsys.readouterr().out)


@pytest.mark.slow
def test_bombs_decode_one_after_the_other(root, monkeypatch):
    """Four files of 18 megapixels that take no room on the disk, decoded within 20 megapixels."""
    monkeypatch.setenv("TLH_MEGAPIXELS", "20")
    for number in range(4):
        (root / "cat" / f"bomb{number}.png").write_bytes(empty_png(6_000 + number, 3_000))
    held, most = [0], [0]
    real = images._room_for_pixels.hold

    @contextlib.contextmanager
    def hold(amount, limit):
        with real(amount, limit):
            held[0] += amount
            most[0] = max(most[0], held[0])
            yield
            held[0] -= amount

    monkeypatch.setattr(images._room_for_pixels, "hold", hold)
    data = tl.load_folder(root)
    assert 18e6 < most[0] <= 20e6
    check(data, images_expected=28)
    monkeypatch.setenv("TLH_MEGAPIXELS", "10")
    skipped = check(tl.load_folder(root.rename(root.with_name("moved"))), images_expected=24)
    assert len(skipped) == 4
    assert all("TLH_MEGAPIXELS raises it" in reason for reason in skipped.values())


@pytest.mark.slow
def test_hundreds_of_classes(tmp_path):
    for number in range(900):
        save(tmp_path / f"class {number % 300:03}" / f"{number}.png", number, size=(12, 12))
    data = tl.load_folder(tmp_path)
    check(data, images_expected=900)
    assert len(str(data.audit)) < 2000
    assert "1 of each class" in str(data.audit)


kinds = st.sampled_from(["picture", "copy", "text", "folder", "empty", "link", "cut"])
trees = st.lists(
    st.tuples(
        st.sampled_from(
            ["cat", "dog", "train", "test/cat", "train/cat", "train/dog", "val", ".x", ""]
        ),
        st.text(
            st.characters(exclude_characters="/\0", exclude_categories=["Cs"]),
            min_size=1,
            max_size=12,
        ),
        kinds,
    ),
    max_size=30,
)


@pytest.mark.slow
@posix
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(tree=trees, whole=st.booleans())
def test_any_folder_is_read_or_refused_in_a_sentence(template, tmp_path_factory, tree, whole):
    """Random trees: no other error than one that says what was received, and nothing is written."""
    root = tmp_path_factory.mktemp("tree")
    if whole:
        shutil.copytree(template, root, dirs_exist_ok=True)
    for number, (folder, name, kind) in enumerate(tree):
        path = root / folder / name
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            if kind == "folder":
                path.mkdir()
            elif kind == "link":
                path.symlink_to(root)
            else:
                content = encode(picture(1 if kind == "copy" else 50 + number % 20))
                contents = {"text": b"text", "empty": b"", "cut": content[:-90]}
                path.write_bytes(contents.get(kind, content))
    before = snapshot(root)
    refusal = f"{root}"
    try:
        check(tl.load_folder(root, image_size=8))
    except ValueError as error:
        refusal = str(error)
    assert str(root) in refusal or "split of" in refusal
    assert len(refusal) < 2000
    assert snapshot(root) == before
    shutil.rmtree(root)
