"""Planted faults are found by file name, and nothing else is."""

import csv
import io
import tracemalloc
from collections import Counter
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
from drawn_folder import draw_folder, plant_faults

import tlhelpers as tl
from tlhelpers.data.inspection import FACTS, THUMB
from tlhelpers.workflow import audit
from tlhelpers.workflow.audit import as_csv, find_faults, pixel_features, pixel_sums
from tlhelpers.workflow.split import gather


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    root = tmp_path_factory.mktemp("photos")
    names = plant_faults(root, draw_folder(root, 60))
    before = {path: path.read_bytes() for path in root.rglob("*.*")}
    data = tl.load_folder(root, image_size=64)
    faults, sums = find_faults(data, gather(data))
    assert {path: path.read_bytes() for path in root.rglob("*.*")} == before
    return names, faults, sums


def test_each_planted_fault_is_named(found):
    names, faults, _ = found
    by_kind = {}
    for fault in faults:
        by_kind.setdefault(fault.kind, []).append(set(fault.files))
    assert {names[0], "cat/copy.bmp"} in by_kind["stored more than once"]
    assert {names[1], "cat/smaller.png"} in by_kind["near-copies"]
    assert by_kind["in several classes"] == [{names[2], "dog/other.png"}]
    assert by_kind["left out"] == [{"cat/torn.png"}]
    assert {"dog/tiny.png"} in by_kind["tiny"]
    assert by_kind["nearly uniform"] == [{"dog/plain.png"}]


def test_leaks_between_a_users_own_splits_are_named(tmp_path):
    draw_folder(tmp_path / "train", 30)
    written = draw_folder(tmp_path / "test", 12, seed=9)
    name = min(written)
    copy = tmp_path / "train" / "dog" / "again.png"
    copy.write_bytes((tmp_path / "test" / name).read_bytes())
    data = tl.load_folder(tmp_path, image_size=64)
    leaks = [one for one in find_faults(data, gather(data))[0] if one.kind.startswith("leak")]
    assert [one.files for one in leaks] == [("train/dog/again.png",)]
    assert f"test/{name}" in leaks[0].detail


def test_the_table_holds_all(found):
    _, faults, _ = found
    rows = list(csv.reader(io.StringIO(as_csv(faults))))
    assert rows[0] == ["kind", "detail", "files"]
    assert [tuple(row[2:]) for row in rows[1:]] == [fault.files for fault in faults]


def test_pixels_are_means_of_four(found):
    assert found[2].shape == (len(found[2]), 768)
    thumbs = np.random.default_rng(0).integers(0, 256, (50, THUMB, THUMB, 3), np.uint8)
    pixels = pixel_features(pixel_sums(thumbs))
    means = thumbs.reshape(50, 16, 2, 16, 2, 3).mean(axis=(2, 4), dtype=np.float32) / 255
    np.testing.assert_array_equal(pixels, means.reshape(50, -1))
    expected = thumbs[3, 2:4, 4:6, 1].mean() / 255
    np.testing.assert_allclose(pixels[3].reshape(16, 16, 3)[1, 2, 1], expected, rtol=1e-6)


def test_looking_for_plain_pictures_takes_little_memory(monkeypatch):
    """No copy of the thumbnails, 3 KiB an image, is made; in eight bytes they would be 24."""
    facts, thumbs = np.zeros(3000, FACTS), np.zeros((3000, THUMB, THUMB, 3), np.uint8)
    monkeypatch.setattr(audit, "inspect_images", lambda *a: nullcontext(([], facts, thumbs)))
    nothing = SimpleNamespace(folder="", skipped=(), several_classes=(), copies=(), near_copies=())
    pictures = SimpleNamespace(paths=[], names=["a.jpg"] * 3000)
    tracemalloc.start()
    faults, _ = find_faults(SimpleNamespace(audit=nothing), pictures)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert Counter(one.kind for one in faults) == {"tiny": 3000, "nearly uniform": 3000}
    assert peak < thumbs.nbytes
