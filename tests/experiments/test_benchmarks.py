"""The benchmarks' own arithmetic; what they measure is run by `make bench`."""

import json
import os

import pytest
from benchmarks import __main__ as bench
from benchmarks import growth, pairs, places, start, training


def test_a_pair_gives_the_ratio_of_its_seconds_and_what_both_returned(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(pairs.time, "perf_counter", lambda: clock[0])

    def takes(seconds, result):
        clock[0] += seconds.pop()
        return result

    ours, other = [2.0, 2.0, 2.0, 9.0], [6.0, 5.0, 8.0, 9.0]
    ways = {"ours": lambda: takes(ours, 0.9), "other": lambda: takes(other, 0.8)}
    times = pairs.in_turn(ways, 3)
    row = pairs.describe("a nap", list(zip(times["ours"], times["other"], strict=True)), wanted=2)
    assert (row["low"], row["ratio"], row["high"]) == (2.5, 3.0, 4.0)
    assert row["returned"] == [0.9, 0.8]
    assert row["repeats"] == 3
    assert (row["seconds_ours"], row["seconds_other"]) == (2.0, 6.0)


def test_an_empty_cache_is_new_gone_afterwards_and_the_old_one_back(monkeypatch):
    monkeypatch.setenv("TLH_CACHE", "/elsewhere")
    with places.empty_cache():
        folder = os.environ["TLH_CACHE"]
        assert os.listdir(folder) == []
    assert not os.path.exists(folder)
    assert os.environ["TLH_CACHE"] == "/elsewhere"


def test_the_package_imports_without_tensorflow():
    (row,) = start.rows(1.0, 1)
    assert row["repeats"] == 5
    assert row["low"] <= row["ratio"] <= row["high"]


def test_a_part_is_recorded_beside_the_others(tmp_path, monkeypatch):
    monkeypatch.setattr(bench, "RECORD", tmp_path / "benchmarks.json")
    for name in ("start", "growth"):
        bench.write(name, [{"name": name, "ratio": 1.0, "wanted": None}], {"processor": "one"})
    record = json.loads(bench.RECORD.read_text())
    assert set(record) == {"start", "growth"}
    assert "1.00" in bench.describe(record["growth"]["rows"][0])


def test_what_another_processor_gave_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(bench, "RECORD", tmp_path / "benchmarks.json")
    for ratio, processor in ((1.0, "one"), (2.0, "other"), (3.0, "other")):
        bench.write("start", [{"ratio": ratio}], {"processor": processor})
    record = json.loads(bench.RECORD.read_text())
    assert {part: made["rows"][0]["ratio"] for part, made in record.items()} == {
        "start": 3.0,
        "start, one": 1.0,
    }


def test_growth_is_the_slope_of_logarithms_and_the_ratio_of_peaks():
    runs = [{"images": n, "processor": 3e-6 * n**2, "peak": 1 + n / 1e5} for n in (1e3, 1e4, 1e5)]
    slope, memory = growth.summary({"train": runs})
    assert slope["ratio"] == pytest.approx(2)
    assert slope["low"] == pytest.approx(slope["high"])
    assert memory["ratio"] == pytest.approx(2 / 1.01)


def test_drawn_files_all_differ(tmp_path):
    paths = sorted(growth.draw(tmp_path / "a", 20).glob("*/*.jpg"))
    assert len({path.read_bytes() for path in paths}) == len(paths) == 20


def test_each_variant_of_a_training_is_compared_with_the_usual_one(monkeypatch):
    seconds = {"float32": (4.0, 2.0), "mixed_bfloat16": (5.0, 1.0)}
    monkeypatch.setattr(
        training, "seconds_of_training", lambda way, share: seconds[way["precision"]]
    )
    rows = {row["name"]: row["ratio"] for row in training.rows(1.0, 2)}
    assert rows["vgg16_mini at 64 px from scratch, an epoch: mixed_bfloat16"] == 2
    assert rows["vgg16_mini at 64 px from scratch, what is spent once: mixed_bfloat16"] == 0.8
    share = rows["vgg16_mini at 64 px from scratch: share spent once, of 9 epochs"]
    assert share == pytest.approx(4 / 22)


def test_linear_algebra_is_timed_on_one_thread_against_one_a_core(monkeypatch):
    from benchmarks import linear_algebra

    asked = []
    real = linear_algebra.threadpool_limits
    monkeypatch.setattr(linear_algebra, "SIZES", ((40, 8, 2),))
    monkeypatch.setattr(linear_algebra, "usable_cores", lambda: 3)
    monkeypatch.setattr(
        linear_algebra,
        "threadpool_limits",
        lambda threads, **rest: asked.append(threads) or real(threads, **rest),
    )
    [row] = linear_algebra.rows(1.0, 2)
    assert asked == [1, 3] * 3  # the first of three rounds is a trial
    assert row["repeats"] == 2
    assert row["ratio"] > 0
    assert row["notes"] == {"cores": 3, "images": 40}
