"""Only what a training made is replaced; what somebody edited is kept."""

import contextlib
import subprocess
import sys
from pathlib import Path

import pytest

from tlhelpers.workflow import results


@pytest.fixture
def photos(tmp_path):
    (tmp_path / "photos" / "cat").mkdir(parents=True)
    return tmp_path / "photos"


def write(folder, key="k", **files):
    with (
        results.claim(folder, folder.parent / "photos") as noted,
        results.making(folder) as made,
    ):
        for name, text in files.items():
            (made / name).write_text(text)
        return results.finish(folder, made, noted, key)


def noted_in(folder, photos):
    with results.claim(folder, photos) as noted:
        return noted


def test_two_trainings_do_not_write_to_one_folder(photos, tmp_path):
    out = tmp_path / "results"
    with results.claim(out, photos), results.making(out) as made:
        with pytest.raises(RuntimeError, match=r"One training at a time.*Received: .*results"):
            write(out, a="2")
        assert made.is_dir()
    assert write(out, a="3") == []
    code = "from pathlib import Path; from tlhelpers.workflow import results; import sys\n"
    code += "with results.claim(*map(Path, sys.argv[1:])): print('got it')"
    command = [sys.executable, "-c", code, out, photos]
    with results.claim(out, photos):
        other = subprocess.run(command, capture_output=True, text=True)
    assert "One training at a time" in other.stderr
    assert other.stdout == ""


def test_a_lock_that_a_killed_training_left_on_an_empty_folder_is_no_file_of_ones_own(
    photos, tmp_path
):
    out = tmp_path / "results"
    out.mkdir()
    (out / results.LOCK).touch()
    assert write(out, a="1") == []


def test_another_ones_folder_is_refused_untouched(photos, tmp_path):
    out = tmp_path / "thesis"
    out.mkdir()
    (out / "report.html").write_text("mine")
    with (
        pytest.raises(FileExistsError, match="other files; nothing was changed"),
        results.claim(out, photos),
    ):
        pass
    assert [path.name for path in out.iterdir()] == ["report.html"]


@pytest.mark.parametrize("inside", [".", "results", "cat/results"])
def test_results_do_not_go_among_the_photographs(photos, inside):
    with (
        pytest.raises(ValueError, match="outside the folder of photographs"),
        results.claim(photos / inside, photos),
    ):
        pass
    assert not (photos / "results").exists()


def test_an_unchanged_folder_is_whole_until_a_file_or_the_key_changes(photos, tmp_path):
    out = tmp_path / "results"
    write(out, a="1", b="2")
    noted = noted_in(out, photos)
    assert results.is_whole(out, noted, "k")
    assert not results.is_whole(out, noted, "other")
    (out / "a").write_text("edited")
    assert not results.is_whole(out, noted, "k")
    (out / "a").write_text("1")
    (out / "b").unlink()
    assert not results.is_whole(out, noted, "k")


def test_edits_are_kept_and_other_files_left_alone(photos, tmp_path):
    out = tmp_path / "results"
    assert write(out, a="1", b="2") == []
    (out / "a").write_text("edited")
    (out / "notes.txt").write_text("mine")
    assert write(out, a="3") == ["yours-1-a"]
    assert (out / "yours-1-a").read_text() == "edited"
    assert (out / "a").read_text() == "3"
    assert (out / "notes.txt").read_text() == "mine"
    assert not (out / "b").exists()


def test_an_interrupted_training_leaves_the_earlier_results_and_edits_of_them(photos, tmp_path):
    out = tmp_path / "results"
    write(out, a="1", b="1")
    noted = noted_in(out, photos)
    with contextlib.suppress(KeyboardInterrupt), results.making(out) as made:
        (made / "a").write_text("half")
        raise KeyboardInterrupt
    assert results.is_whole(out, noted_in(out, photos), "k")
    assert sorted(out.glob("[!.]*")) == [out / "a", out / "b", out / results.MARK]
    assert [path.name for path in out.glob(".*")] == [results.LOCK]
    (out / "b").write_text("my notes")  # whenever they are made, also while a training runs
    with results.making(out) as made:
        (made / "b").write_text("2")
        assert results.finish(out, made, noted, "new") == ["yours-1-b"]
    assert (out / "yours-1-b").read_text() == "my notes"


def test_a_training_killed_among_its_last_steps_is_no_edit(photos, tmp_path, monkeypatch):
    out = tmp_path / "results"
    write(out, a="1", b="1")
    replace = Path.replace

    def killed(path, target):
        if path.name == "b":
            raise KeyboardInterrupt
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        write(out, a="2", b="2")
    monkeypatch.undo()
    (out / ".making-x").mkdir()
    assert not results.is_whole(out, noted_in(out, photos), "k")
    assert write(out, a="3", b="3") == []
    assert sorted(out.glob("[!.]*")) == [out / "a", out / "b", out / results.MARK]


def test_a_file_of_ones_own_in_the_place_of_a_new_one_is_kept(photos, tmp_path):
    out = tmp_path / "results"
    write(out, a="1")
    (out / "b").write_text("mine")
    (out / "c").mkdir()
    assert write(out, a="2", b="2", c="2") == ["yours-1-b", "yours-1-c"]
    assert (out / "yours-1-b").read_text() == "mine"


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"key": "", "files": {"../photos/cat/1.png": ""}}']
)
def test_where_the_mark_says_nothing_nothing_is_touched(photos, tmp_path, content):
    out = tmp_path / "results"
    write(out, a="1")
    (photos / "cat/1.png").write_text("a picture")
    (out / results.MARK).write_text(content)
    with pytest.raises(FileExistsError, match="must say which files"):
        write(out, a="2")
    assert (out / "a").read_text() == "1"
    assert (photos / "cat/1.png").exists()
