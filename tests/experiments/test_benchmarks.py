"""The benchmarks' own arithmetic; what they measure is run by `make bench`."""

import json
import os
import time

from benchmarks import __main__ as bench
from benchmarks import pairs, places, start


def test_a_pair_gives_the_ratio_of_its_seconds_and_what_both_returned():
    row = pairs.compare(
        "a nap",
        ours=lambda: time.sleep(0.02) or 0.9,
        other=lambda: time.sleep(0.06) or 0.8,
        repeats=3,
        wanted=2,
    )
    assert 1.5 < row["low"] <= row["ratio"] <= row["high"] < 6
    assert row["returned"] == [0.9, 0.8]
    assert row["repeats"] == 3
    assert row["seconds_other"] > row["seconds_ours"] >= 0.02


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
        bench.write(name, [{"name": name, "ratio": 1.0, "wanted": None}], {"cores": 2})
    record = json.loads(bench.RECORD.read_text())
    assert set(record) == {"start", "growth"}
    assert "1.00" in bench.describe(record["growth"]["rows"][0])
