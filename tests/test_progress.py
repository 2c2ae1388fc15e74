"""Progress: a bar where somebody watches, lines where nobody does."""

import io
import sys
import time

import numpy as np
import pytest
from toys import small_backbone, striped_data

import tlhelpers as tl
from tlhelpers import progress
from tlhelpers.transfer.recipes import Training


@pytest.fixture
def at_once(monkeypatch):
    """A line for everything that is done, as in a pipe."""
    monkeypatch.setattr(progress, "SECONDS", 0)
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    monkeypatch.delenv("TQDM_DISABLE", raising=False)


def test_lines_in_a_pipe(at_once, capsys):
    assert list(progress.counted("abc", 3, "reading", " letters")) == ["a", "b", "c"]
    said = capsys.readouterr()
    assert said.out == ""
    lines = said.err.splitlines()
    assert any(line.startswith("reading: 1 of 3 letters, 00:00, ") for line in lines)
    assert lines[-1].startswith("reading: 3 of 3 letters, ")
    assert "\r" not in said.err


def test_lines_keep_their_distance(at_once, monkeypatch, capsys):
    monkeypatch.setattr(progress, "SECONDS", 0.2)
    for _ in progress.counted(range(60), 60, "reading", " letters"):
        time.sleep(0.01)
    assert 2 <= len(capsys.readouterr().err.splitlines()) <= 5


def test_a_million_jobs_do_not_wait_at_once():
    class Pool:
        def map(self, function, items):
            waiting.append(len(items))
            return map(function, items)

    waiting = []
    assert list(progress.mapped(Pool(), str, range(2500))) == list(map(str, range(2500)))
    assert max(waiting) <= 1024


def test_short_work_and_silence(monkeypatch, at_once, capsys):
    monkeypatch.setenv("TQDM_DISABLE", "1")
    list(progress.counted("abc", 3, "reading", " letters"))
    monkeypatch.delenv("TQDM_DISABLE")
    monkeypatch.setattr(progress, "SECONDS", 10)
    list(progress.counted("abc", 3, "reading", " letters"))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("where", ["terminal", "notebook"])
def test_a_bar_where_somebody_watches(monkeypatch, where):
    stream = io.StringIO()
    stream.isatty = lambda: where == "terminal"
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setitem(sys.modules, "ipykernel", sys)
    with progress.progress_bar(3, "reading", " letters", delay=0) as bar:
        bar.update(3)
    assert "\rreading: 100%|" in stream.getvalue()


def test_long_work_of_transfer_says_how_far_it_is(at_once, capsys, own_cache):
    data, base = striped_data(), small_backbone("block2_pool")
    recipe = Training(epochs=2, batch_size=8, learning_rate=1e-3)
    tl.extract_features(base, data.test)
    assert "features: 10 of 10 images, " in capsys.readouterr().err
    shown = tl.from_scratch(base, data, recipe=recipe)
    said = capsys.readouterr().err
    assert "training: 1 of 4 batches, " in said
    assert "training: 4 of 4 batches, " in said
    progress.SECONDS = 10
    quiet = tl.from_scratch(base, data, recipe=recipe)
    assert capsys.readouterr().err == ""
    for one, other in zip(shown.model.get_weights(), quiet.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
