"""Only what a training made is replaced; what somebody edited is kept."""

import pytest

from tlhelpers.workflow import results


@pytest.fixture
def photos(tmp_path):
    (tmp_path / "photos" / "cat").mkdir(parents=True)
    return tmp_path / "photos"


def write(folder, key="k", **files):
    noted = results.claim(folder, folder.parent / "photos")
    moved = results.begin(folder, noted)
    for name, text in files.items():
        (folder / name).write_text(text)
    results.finish(folder, key, list(files))
    return moved


def test_another_ones_folder_is_refused_untouched(photos, tmp_path):
    out = tmp_path / "thesis"
    out.mkdir()
    (out / "report.html").write_text("mine")
    with pytest.raises(FileExistsError, match="other files; nothing was changed"):
        results.claim(out, photos)
    assert [path.name for path in out.iterdir()] == ["report.html"]


@pytest.mark.parametrize("inside", [".", "results", "cat/results"])
def test_results_do_not_go_among_the_photographs(photos, inside):
    with pytest.raises(ValueError, match="outside the folder of photographs"):
        results.claim(photos / inside, photos)
    assert not (photos / "results").exists()


def test_an_unchanged_folder_is_whole_until_a_file_or_the_key_changes(photos, tmp_path):
    out = tmp_path / "results"
    write(out, a="1", b="2")
    noted = results.claim(out, photos)
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


def test_an_interrupted_training_leaves_nothing_that_counts_as_an_edit(photos, tmp_path):
    out = tmp_path / "results"
    write(out, a="1")
    results.begin(out, results.claim(out, photos))
    (out / "a").write_text("half")
    assert not results.is_whole(out, results.claim(out, photos), "k")
    assert write(out, a="2") == []
    assert sorted(path.name for path in out.iterdir()) == ["a", results.MARK]
