"""Features in shards: the same as in one go, whole, resumed, and read once."""

import hashlib
import json
import os
import re
import shutil
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

from tlhelpers.cli import main
from tlhelpers.data.images import UnreadableImageError, read_image
from tlhelpers.models.backbones import load_backbone
from tlhelpers.transfer.features import pooled_features
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


def reasons_of(folder):
    """What is listed as unreadable, with the reasons."""
    import pyarrow.parquet

    tables = [pyarrow.parquet.read_table(path) for path in folder.glob("unreadable-*")]
    return {row["file"]: row["reason"] for table in tables for row in table.to_pylist()}


def counts_of(manifest):
    return json.loads(manifest.read_text("utf-8"))["counts"]


@pytest.fixture
def mine(photos, tmp_path):
    """A copy of the images that may be changed."""
    return shutil.copytree(photos, tmp_path / "photos")


@pytest.fixture
def done(monkeypatch):
    """The shards that are computed."""
    numbers, usual = [], shards._extract
    monkeypatch.setattr(
        shards,
        "_extract",
        lambda plan, to, number, *rest: numbers.append(number) or usual(plan, to, number, *rest),
    )
    return numbers


def test_every_image_has_its_features_and_every_other_file_a_reason(photos, tmp_path):
    manifest = json.loads(extract_shards(photos, tmp_path / "to", **HOW).read_text("utf-8"))
    assert manifest["counts"] == {"features": 20, "unreadable": 1, "skipped": 0}
    found = rows_of(tmp_path / "to")
    names = sorted(found)
    images = np.stack([read_image(photos / name, 32) for name in names])
    expected = pooled_features(load_backbone("vgg16_mini", 32)).predict(images, verbose=0)
    for name, row in zip(names, expected, strict=True):
        where, digest, features = found[name]
        assert where == name.split("/")[0]
        assert digest == hashlib.sha256((photos / name).read_bytes()).digest()
        np.testing.assert_allclose(features, row, rtol=1e-4, atol=1e-5)

    ((name, reason),) = reasons_of(tmp_path / "to").items()
    assert name == "dog/notes.jpg"
    with pytest.raises(ValueError, match=re.escape(reason)):
        read_image(photos / "dog/notes.jpg", 32)


def test_shards_mix_the_classes(photos, tmp_path):
    extract_shards(photos, tmp_path / "to", **HOW)
    first = next(read_shards(tmp_path / "to", batch=8))
    assert set(first["folder"]) == {"cat", "dog"}


def test_what_is_missing_is_computed_and_nothing_else(photos, tmp_path, done):
    extract_shards(photos, tmp_path / "to", **HOW)
    before = rows_of(tmp_path / "to")
    gone = tmp_path / "to" / "features-000001.parquet"
    gone.unlink()
    (tmp_path / "to" / MANIFEST).unlink()
    done.clear()
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
    (tmp_path / ".part-0123456789ab.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"which holds thesis\.txt"):
        extract_shards(photos, tmp_path, **HOW)
    assert (tmp_path / "thesis.txt").read_text() == "mine"
    assert (tmp_path / ".part-0123456789ab.txt").read_text() == "mine"


def test_links_and_the_like_are_listed(mine, photos, tmp_path, capsys):
    (mine / "owl").symlink_to(photos / "cat", target_is_directory=True)
    (mine / "cat" / "gone.png").symlink_to(tmp_path / "nothing")
    command = ["extract", mine, "--to", tmp_path / "to", "--backbone", "vgg16_mini", "--size", "32"]
    assert main([*map(str, command), "--shard", "8"]) == 0
    said = capsys.readouterr().out
    assert "20 images" in said
    assert "1 file could not be read" in said
    assert "2 left out" in said
    assert "owl (a link to a folder)" in said
    manifest = tmp_path / "to" / MANIFEST
    left_out = {"owl": "a link to a folder", "cat/gone.png": "a link to nothing"}
    assert json.loads(manifest.read_text("utf-8"))["skipped"] == left_out
    assert counts_of(manifest) == {"features": 20, "unreadable": 1, "skipped": 2}
    assert reasons_of(tmp_path / "to") == {"dog/notes.jpg": "not an image", **left_out}

    (mine / "owl").unlink()
    (mine / "cat" / "gone.png").unlink()
    assert main([*map(str, command), "--shard", "8"]) == 0
    assert "left out" not in capsys.readouterr().out
    assert counts_of(manifest) == {"features": 20, "unreadable": 1, "skipped": 0}
    assert set(reasons_of(tmp_path / "to")) == {"dog/notes.jpg"}


def test_a_folder_of_links_alone_says_so(photos, tmp_path):
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "owl").symlink_to(photos / "cat", target_is_directory=True)
    with pytest.raises(FileNotFoundError, match=r"Left out: owl \(a link to a folder\)"):
        extract_shards(tmp_path / "links", tmp_path / "to", **HOW)


@pytest.fixture
def grey(tmp_path):
    """Grey of 12 bits in files for 16, in two formats, and other grey beside it."""
    values = np.random.default_rng(0).integers(0, 4096, (40, 30)).astype(np.uint16)
    values[0, :2] = 0, 4095
    (tmp_path / "grey").mkdir()
    for name in ("deep.png", "deep.tif"):
        Image.fromarray(values).save(tmp_path / "grey" / name)
    for name in ("flat.png", "flat.tif", "flat.jpg"):
        Image.fromarray(np.uint8(values // 16)).save(tmp_path / "grey" / name)
    Image.fromarray(np.uint8(values // 16)).convert("RGB").save(tmp_path / "grey" / "colour.tif")
    return tmp_path / "grey"


def test_deep_grey_without_its_range_is_unreadable(grey, tmp_path):
    manifest = extract_shards(grey, tmp_path / "to", **HOW)
    assert counts_of(manifest) == {"features": 4, "unreadable": 2, "skipped": 0}
    reasons = reasons_of(tmp_path / "to")
    assert set(reasons) == {"deep.png", "deep.tif"}
    for reason in reasons.values():
        assert re.search(r"more than 8 bits.* from 0 to 4,095.*--grey-range 0 4095", reason)


def test_fit_and_grey_range_are_those_of_reading(grey, tmp_path):
    command = ["extract", grey, "--to", tmp_path / "to", "--backbone", "vgg16_mini", "--size", "32"]
    options = ["--shard", "8", "--fit", "pad", "--grey-range", "0", "4095"]
    assert main([*map(str, command), *options]) == 0
    found = rows_of(tmp_path / "to")
    names = sorted(found)
    assert len(names) == 6
    images = np.stack(
        [read_image(grey / name, 32, fit="pad", grey_range=(0, 4095)) for name in names]
    )
    expected = pooled_features(load_backbone("vgg16_mini", 32)).predict(images, verbose=0)
    for name, row in zip(names, expected, strict=True):
        np.testing.assert_allclose(found[name][2], row, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [({"grey_range": (4095, 0)}, "lower value first"), ({"fit": "squeeze"}, "fit must be")],
)
def test_fit_and_grey_range_that_are_not_possible(photos, tmp_path, wrong, named):
    with pytest.raises(ValueError, match=named):
        extract_shards(photos, tmp_path / "to", **HOW, **wrong)


@pytest.mark.skipif(sys.platform != "linux", reason="names that are no text need Linux")
def test_names_that_are_written_alike_are_not_taken_for_one_another(mine, tmp_path, done):
    shutil.copy(mine / "dog" / "1.png", os.fsencode(mine / "cat") + b"/a\xff.png")
    with open(os.fsencode(mine / "cat") + b"/a\xfe.png", "wb") as file:
        file.write(b"no picture")
    to = tmp_path / "to"
    assert (
        counts_of(extract_shards(mine, to, **HOW))["unreadable"] == 2
    )  # the other is what the folder has
    done.clear()
    extract_shards(mine, to, **HOW)
    assert not done


def shard_of(folder, name):
    """The number of the shard that lists a file."""
    import pyarrow.parquet as pq

    listed = pq.read_table(folder / "files.parquet").column("file").to_pylist()
    return listed.index(os.fsencode(name)) // HOW["shard"]


def test_a_file_that_was_replaced_has_its_shard_done_again(mine, tmp_path, done):
    to = tmp_path / "to"
    extract_shards(mine, to, **HOW)
    before = rows_of(to)
    shutil.copy(mine / "dog" / "1.png", mine / "cat" / "0.png")
    done.clear()
    extract_shards(mine, to, **HOW)
    assert done == [shard_of(to, "cat/0.png")]
    after = rows_of(to)
    assert after["cat/0.png"][1] == hashlib.sha256((mine / "cat/0.png").read_bytes()).digest()
    np.testing.assert_allclose(after["cat/0.png"][2], before["dog/1.png"][2], rtol=1e-4, atol=1e-5)
    for name in before.keys() - {"cat/0.png"}:
        np.testing.assert_array_equal(after[name][2], before[name][2])
    done.clear()
    extract_shards(mine, to, **HOW)
    assert not done


def test_a_copy_of_the_folder_with_new_times_is_the_same_work(mine, tmp_path, done):
    extract_shards(mine, tmp_path / "to", **HOW)
    for path in mine.glob("*/*"):
        os.utime(path, (1, 1))
    done.clear()
    extract_shards(mine, tmp_path / "to", **HOW)
    assert not done


def test_added_files_are_refused(mine, tmp_path):
    extract_shards(mine, tmp_path / "to", **HOW)
    shutil.copy(mine / "dog" / "1.png", mine / "cat" / "new.png")
    with pytest.raises(ValueError, match=r"which files there are \(then 21, now 22\) changed"):
        extract_shards(mine, tmp_path / "to", **HOW)


def test_a_repaired_file_is_read(mine, tmp_path, done):
    path, to = mine / "cat" / "0.png", tmp_path / "to"
    whole = path.read_bytes()
    path.write_bytes(whole[:300])
    assert counts_of(extract_shards(mine, to, **HOW))["unreadable"] == 2
    path.write_bytes(whole)
    done.clear()
    assert counts_of(extract_shards(mine, to, **HOW))["unreadable"] == 1
    assert done == [shard_of(to, "cat/0.png")]
    assert rows_of(to)["cat/0.png"][1] == hashlib.sha256(whole).digest()


def test_what_could_not_be_read_is_tried_again(photos, tmp_path, monkeypatch, done):
    def denied(source):
        if Path(source).name == "0.png":
            raise UnreadableImageError("no permission to read it")
        return usual(source)

    usual, to = shards.file_content, tmp_path / "to"
    monkeypatch.setattr(shards, "file_content", denied)
    extract_shards(photos, to, **HOW)
    assert reasons_of(to)["cat/0.png"] == "no permission to read it"
    done.clear()
    extract_shards(photos, to, **HOW)
    assert not done
    monkeypatch.setattr(shards, "file_content", usual)
    assert counts_of(extract_shards(photos, to, **HOW))["features"] == 20
    assert done == [shard_of(to, "cat/0.png")]
    assert set(reasons_of(to)) == {"dog/notes.jpg"}


def test_a_job_killed_before_its_plan_was_written_goes_on(photos, tmp_path):
    whole, to = tmp_path / "whole", tmp_path / "to"
    extract_shards(photos, whole, **HOW)
    to.mkdir()
    (to / "lock").touch()
    (to / ".part-0123456789ab.parquet").write_bytes(b"PAR1")
    shutil.copy(whole / "files.parquet", to)
    assert counts_of(extract_shards(photos, to, **HOW))["features"] == 20
    assert not list(to.glob(".part-*"))
    assert rows_of(to).keys() == rows_of(whole).keys()


def test_a_job_killed_between_plan_and_listing_goes_on(photos, tmp_path):
    extract_shards(photos, tmp_path / "whole", **HOW)
    (tmp_path / "to").mkdir()
    shutil.copy(tmp_path / "whole" / "plan.json", tmp_path / "to")
    assert counts_of(extract_shards(photos, tmp_path / "to", **HOW))["features"] == 20


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
            # One more than there are processors for, which would wait for ever.
            extract_shards(photos, tmp_path / "two", cluster="ray", workers=3, **how)
            assert killed.result() is not None
    finally:
        ray.shutdown()
    extract_shards(photos, tmp_path / "one", **how)
    one, two = rows_of(tmp_path / "one"), rows_of(tmp_path / "two")
    assert one.keys() == two.keys()
    for name in one:
        np.testing.assert_array_equal(one[name][2], two[name][2])
