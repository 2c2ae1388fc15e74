"""Records: whole, shared by several processes, and tied to images by what they hold."""

import json
import multiprocessing
import time
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image
from toys import striped_data

from tlhelpers.data.splits import Dataset, Source, Split
from tlhelpers.experiments.records import (
    OtherDataError,
    claiming,
    content_of,
    identity,
    load_record,
    note_data,
    open_record,
    record_missing,
    settings_recorded,
    updating,
)
from tlhelpers.transfer.runs import Run

PLAN = [{"method": "frozen", "labels": 4, "seed": seed} for seed in range(6)]


def finished(settings, data):
    """Give a run that is right throughout."""
    return Run("frozen", None, data, {}, 1.0, {}, None, 1, lambda split: np.eye(2)[split.labels])


def record_slowly(path, log):
    """Record the plan, and note which results this process ran."""

    def run(settings, data):
        with log.open("a") as file:
            file.write(f"{settings['seed']}\n")
        time.sleep(0.05)
        return finished(settings, data)

    list(record_missing(path, PLAN, lambda _: striped_data(), run))


class TestSharing:
    def test_two_processes_lose_no_row_and_do_nothing_twice(self, tmp_path):
        path, log = tmp_path / "toy.json", tmp_path / "log.txt"
        context = multiprocessing.get_context("fork")
        workers = [context.Process(target=record_slowly, args=(path, log)) for _ in range(3)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(60)
            assert worker.exitcode == 0
        assert sorted(row["seed"] for row in open_record(path)["results"]) == list(range(6))
        assert sorted(log.read_text().split()) == [str(seed) for seed in range(6)]

    def test_what_another_process_is_at_is_left_to_it(self, tmp_path):
        path = tmp_path / "toy.json"
        with claiming(path, identity(PLAN[0])) as ours:
            assert ours
            rows = list(record_missing(path, PLAN[:2], lambda _: striped_data(), finished))
        assert [row["seed"] for row in rows] == [1]
        assert [file.name for file in tmp_path.glob(".toy-*")] == []

    def test_changes_of_others_are_kept(self, tmp_path):
        path = tmp_path / "toy.json"

        def meanwhile(settings, data):
            with updating(path) as record:
                record["results"].append({**PLAN[5], "test": 0.5})
            return finished(settings, data)

        list(record_missing(path, PLAN[:1], lambda _: striped_data(), meanwhile))
        assert {row["seed"] for row in open_record(path)["results"]} == {0, 5}


class TestDamage:
    CONTENTS: ClassVar = {
        "is empty": b"",
        "is damaged, cut off": b'{"experiment": "toy", "data": {}, "results": [{"te',
        "holds a list": b"[1, 2]",
        "lacks data, environments": b'{"experiment": "toy", "results": []}',
        "holds results of 'other'": json.dumps(
            {"experiment": "other", "data": {}, "environments": [], "results": []}
        ).encode(),
        "without a test accuracy": json.dumps(
            {"experiment": "toy", "data": {}, "environments": [], "results": [{"seed": 1}]}
        ).encode(),
        "no JSON": b"\xff\xfe\x00 not text",
    }

    @pytest.mark.parametrize("wrong", CONTENTS)
    def test_a_file_that_is_no_record_is_said_and_left(self, wrong, tmp_path):
        path = tmp_path / "toy.json"
        path.write_bytes(self.CONTENTS[wrong])
        with pytest.raises(ValueError, match=wrong) as said:
            list(record_missing(path, PLAN, lambda _: striped_data(), finished))
        assert str(path) in str(said.value)
        assert path.read_bytes() == self.CONTENTS[wrong]
        assert [file.name for file in tmp_path.iterdir()] == ["toy.json"]

    def test_results_of_another_kind_are_not_added_to(self, tmp_path):
        path = tmp_path / "toy.json"
        list(record_missing(path, PLAN[:1], lambda _: striped_data(), finished))
        before = path.read_bytes()
        others = [{"backbone": "vgg16", **PLAN[1]}]
        with pytest.raises(ValueError, match="holds results by method, labels, seed"):
            list(record_missing(path, others, lambda _: striped_data(), finished))
        assert path.read_bytes() == before

    def test_reading_says_which_file_is_damaged(self, tmp_path):
        (tmp_path / "toy.json").write_text("{")
        with pytest.raises(ValueError, match=r"toy\.json, which is damaged"):
            load_record("toy", folder=tmp_path)

    def test_a_folder_in_its_place(self, tmp_path):
        (tmp_path / "toy.json").mkdir()
        with pytest.raises(ValueError, match="is no file"):
            open_record(tmp_path / "toy.json")


def with_source(data, digest, **changes):
    source = Source("stripes", f"file {digest}", digest, "MIT", **changes)
    return Dataset(data.name, data.train, data.validation, data.test, source)


class TestData:
    @pytest.fixture
    def record(self, tmp_path):
        path = tmp_path / "toy.json"
        data = with_source(striped_data(), "sha256:mirror")
        list(record_missing(path, PLAN[:1], lambda _: data, finished))
        return open_record(path)

    def test_the_same_images_from_another_file_go_on(self, record):
        noted = note_data(record, with_source(striped_data(), "sha256:publisher"))
        assert noted == record["data"]
        assert noted["digest"] == "sha256:mirror"

    def test_another_split_or_size_of_the_same_images_is_no_other_data(self, record):
        data = striped_data()
        rows = np.r_[3:16, :3]
        moved = Dataset(
            data.name,
            data.train.take(rows[:9]),
            Split.from_arrays(
                np.concatenate([data.train.images[rows[9:]], data.validation.images]),
                np.concatenate([data.train.labels[rows[9:]], data.validation.labels]),
                data.class_names,
                name="validation",
            ),
            data.test,
            data.source,
        )
        assert content_of(moved) == content_of(data.resized(48)) == record["data"]["content"]

    @pytest.mark.parametrize("change", ["a pixel", "a label", "an image less"])
    def test_other_images_are_refused_with_both_named(self, change, record):
        data = striped_data()
        images, labels = data.train.images.copy(), data.train.labels.copy()
        if change == "a pixel":
            images[5, 0, 0, 0] ^= 1
        if change == "a label":
            labels[5] = 1 - labels[5]
        count = len(labels) - (change == "an image less")
        train = Split.from_arrays(images[:count], labels[:count], data.class_names)
        other = with_source(
            Dataset(data.name, train, data.validation, data.test, data.source),
            "sha256:publisher",
            note="lossless",
        )
        with pytest.raises(OtherDataError) as said:
            note_data(record, other)
        message = str(said.value)
        for part in ("file sha256:publisher", "lossless", "file sha256:mirror", "--to DIR"):
            assert part in message
        assert f"{count + 6} train" in message

    def test_files_are_told_by_their_pixels(self, tmp_path):
        data = striped_data(train=6, validation=4, test=4)

        def files(ending):
            splits = []
            for split in (data.train, data.validation, data.test):
                paths = [tmp_path / f"{split.name}{i}.{ending}" for i in range(len(split))]
                for path, image in zip(paths, split.images, strict=True):
                    Image.fromarray(image).save(path)
                splits.append(
                    Split.from_paths(
                        paths, split.labels, data.class_names, image_size=16, name=split.name
                    )
                )
            return Dataset(data.name, *splits, data.source)

        assert content_of(files("png")) == content_of(files("bmp")) == content_of(data)
        assert content_of(files("jpg")) != content_of(data)


@pytest.mark.mirror
@pytest.mark.parametrize("name", ["digits", "cifar10_alike"])
@pytest.mark.slow
def test_the_books_records_hold_what_the_mirror_holds(name, root, real_cache, monkeypatch):
    from tlhelpers.experiments.field import EXPERIMENTS

    monkeypatch.setenv("TLH_CACHE", str(real_cache))
    recorded = open_record(Path(root, "book", "_data", "field", f"{name}.json"))["data"]
    data = EXPERIMENTS[name].load({"image_size": 28, "seed": 0})
    assert content_of(data) == recorded["content"]


def test_counting_what_is_recorded(tmp_path):
    path = tmp_path / "toy.json"
    list(record_missing(path, PLAN[:2], lambda _: striped_data(), finished))
    assert settings_recorded(path, PLAN) == 2
    assert settings_recorded(path, PLAN[2:]) == 0
