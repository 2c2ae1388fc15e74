"""Features in shards: the same as in one go, whole, resumed, and read once."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tlhelpers.workflow import shards
from tlhelpers.workflow.shards import MANIFEST, extract_shards, read_shards

pytest.importorskip("pyarrow", reason="the extra tlhelpers[cluster] is not installed")

HOW = {"backbone": "vgg16_mini", "image_size": 32, "shard": 8}


@pytest.fixture(autouse=True)
def short_batches(monkeypatch):
    """Don't fill up every batch to hundreds of images."""
    monkeypatch.setattr(shards, "inference_batch_size", lambda _: 8)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Twenty images in two folders, of which one is no image."""
    folder, rng = tmp_path_factory.mktemp("shards") / "photos", np.random.default_rng(0)
    for place in range(20):
        path = folder / ("cat", "dog")[place % 2] / f"{place}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (40, 36, 3), np.uint8)).save(path)
    (folder / "dog" / "notes.jpg").write_text("no image")
    return folder


def rows_of(folder):
    found = {}
    for part in read_shards(folder, batch=3):
        for name, where, digest, row in zip(
            part["file"], part["folder"], part["sha256"], part["features"], strict=True
        ):
            assert name not in found
            found[name] = (where, digest, row)
    return found


def test_every_image_has_its_features_and_every_other_file_a_reason(photos, tmp_path):
    from tlhelpers.data.images import read_image
    from tlhelpers.models.backbones import load_backbone
    from tlhelpers.transfer.features import pooled_features

    manifest = json.loads(extract_shards(photos, tmp_path / "to", **HOW).read_text("utf-8"))
    assert manifest["counts"] == {"features": 20, "unreadable": 1}
    found = rows_of(tmp_path / "to")
    names = sorted(found)
    images = np.stack([read_image(photos / name, 32) for name in names])
    expected = pooled_features(load_backbone("vgg16_mini", 32)).predict(images, verbose=0)
    for name, row in zip(names, expected, strict=True):
        where, digest, features = found[name]
        assert where == name.split("/")[0]
        assert digest == hashlib.sha256((photos / name).read_bytes()).digest()
        np.testing.assert_allclose(features, row, rtol=1e-4, atol=1e-5)

    import pyarrow.parquet

    tables = [pyarrow.parquet.read_table(path) for path in (tmp_path / "to").glob("unread*")]
    (row,) = [row for table in tables for row in table.to_pylist()]
    assert row["file"] == "dog/notes.jpg"
    with pytest.raises(ValueError, match=re.escape(row["reason"])):
        read_image(photos / "dog/notes.jpg", 32)


def test_shards_mix_the_classes(photos, tmp_path):
    extract_shards(photos, tmp_path / "to", **HOW)
    first = next(read_shards(tmp_path / "to", batch=8))
    assert set(first["folder"]) == {"cat", "dog"}


def test_what_is_missing_is_computed_and_nothing_else(photos, tmp_path, monkeypatch):
    extract_shards(photos, tmp_path / "to", **HOW)
    before = rows_of(tmp_path / "to")
    gone = tmp_path / "to" / "features-000001.parquet"
    gone.unlink()
    (tmp_path / "to" / MANIFEST).unlink()
    done, usual = [], shards._extract
    monkeypatch.setattr(
        shards,
        "_extract",
        lambda plan, to, number, *rest: done.append(number) or usual(plan, to, number, *rest),
    )
    extract_shards(photos, tmp_path / "to", **HOW)
    assert done == [1]
    after = rows_of(tmp_path / "to")
    assert after.keys() == before.keys()
    for name in after:
        np.testing.assert_array_equal(after[name][2], before[name][2])


@pytest.mark.parametrize(
    ("change", "named"), [({"cut": "block2_pool"}, "cut"), ({"shard": 7}, "shard")]
)
def test_other_work_is_refused(photos, tmp_path, change, named):
    extract_shards(photos, tmp_path / "to", **HOW)
    with pytest.raises(ValueError, match=rf"holds features of other work: {named}"):
        extract_shards(photos, tmp_path / "to", **{**HOW, **change})


def test_a_folder_of_somebody_elses_is_refused(photos, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"which holds thesis\.txt"):
        extract_shards(photos, tmp_path, **HOW)
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_not_among_the_images(photos):
    with pytest.raises(ValueError, match="not among the images"):
        extract_shards(photos, photos / "features", **HOW)


def test_an_unfinished_or_changed_extraction_is_not_read(photos, tmp_path):
    with pytest.raises(FileNotFoundError, match="finished extraction"):
        next(read_shards(tmp_path))
    extract_shards(photos, tmp_path / "to", **HOW)
    path = tmp_path / "to" / "features-000000.parquet"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="replaced or damaged"):
        list(read_shards(tmp_path / "to"))


@pytest.mark.slow
def test_a_job_killed_at_a_random_moment_loses_and_doubles_nothing(photos, tmp_path, monkeypatch):
    monkeypatch.undo()  # the jobs are processes of their own, with batches of the usual length
    monkeypatch.setattr("tlhelpers.transfer.recipes.MOST_AT_ONCE", 512)
    extract_shards(photos, tmp_path / "whole", **{**HOW, "shard": 2})
    code = (
        "import sys; from tlhelpers.workflow.shards import extract_shards; "
        "extract_shards(sys.argv[1], sys.argv[2], backbone='vgg16_mini', image_size=32, shard=2)"
    )
    command = [sys.executable, "-c", code, str(photos), str(tmp_path / "to")]
    rng = np.random.default_rng(int(time.time()))
    job = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
    began = time.monotonic()
    while not list(tmp_path.glob("to/features-*")) and time.monotonic() - began < 60:
        time.sleep(0.01)
    time.sleep(rng.uniform(0, 0.3))
    os.killpg(job.pid, signal.SIGKILL)
    job.wait()
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    whole, resumed = rows_of(tmp_path / "whole"), rows_of(tmp_path / "to")
    assert resumed.keys() == whole.keys()
    for name in whole:
        np.testing.assert_array_equal(resumed[name][2], whole[name][2])


def kill_a_worker(folder):
    """Kill one of Ray's actors when the first shard is there; return its process number."""
    while not list(folder.glob("features-*")):
        time.sleep(0.05)
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (process / "cmdline").read_bytes().startswith(b"ray::_Worker"):
                os.kill(int(process.name), signal.SIGKILL)
                return int(process.name)
    return None


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="processes are found in Linux's /proc")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_two_workers_of_which_one_is_killed_give_the_same_as_one(photos, tmp_path, monkeypatch):
    ray = pytest.importorskip("ray", reason="the extra tlhelpers[cluster] is not installed")
    monkeypatch.undo()  # the workers are processes of their own, with batches of the usual length
    monkeypatch.setattr("tlhelpers.transfer.recipes.MOST_AT_ONCE", 512)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    how = {**HOW, "shard": 2}
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        with ThreadPoolExecutor() as killers:
            killed = killers.submit(kill_a_worker, tmp_path / "two")
            extract_shards(photos, tmp_path / "two", cluster="ray", workers=2, **how)
            assert killed.result() is not None
    finally:
        ray.shutdown()
    extract_shards(photos, tmp_path / "one", **how)
    one, two = rows_of(tmp_path / "one"), rows_of(tmp_path / "two")
    assert one.keys() == two.keys()
    for name in one:
        np.testing.assert_array_equal(one[name][2], two[name][2])
