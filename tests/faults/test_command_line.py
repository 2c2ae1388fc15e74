"""What goes wrong around the command line: each is said in a sentence, and nothing is lost."""

import errno
import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import nbformat
import numpy as np
import pytest
from toys import striped_data

from tlhelpers.book import notebooks
from tlhelpers.cli import main
from tlhelpers.data.splits import Source
from tlhelpers.experiments import field
from tlhelpers.experiments.field.plans import Experiment, grid
from tlhelpers.transfer.runs import Run

posix = pytest.mark.skipif(sys.platform == "win32", reason="signals and locks of POSIX systems")
NETWORKS = [
    {"backbone": "vgg16", "cut": None, "image_size": 32, "method": "frozen"},
    {"backbone": "vgg16", "cut": None, "image_size": 32, "method": "tuned"},
    {"backbone": "resnet50", "cut": None, "image_size": 32, "method": "scratch"},
]


@pytest.fixture
def ran(monkeypatch):
    """Two experiments that take no time, and what of them was run."""
    ran = []

    def run(settings, data):
        ran.append(settings)
        name = settings["method"]
        return Run(name, None, data, {}, 1.0, {}, None, 1, lambda split: np.eye(2)[split.labels])

    toy = Experiment(grid(NETWORKS, (4, 6), seeds=2), lambda _: striped_data(), run)
    monkeypatch.setattr(field, "EXPERIMENTS", {"toy": toy, "game": toy})
    monkeypatch.setattr("tlhelpers.runtime.setup", lambda **_: None)
    return ran


def files(folder):
    """Return what each file of a folder holds, locks apart."""
    found = {path for path in Path(folder).rglob("*") if path.is_file() and path.suffix != ".lock"}
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def refused(capsys, arguments, *words, status=1):
    """Run a command that must fail, and look for words in what it says."""
    try:
        left = main([str(argument) for argument in arguments])
    except SystemExit as ended:
        left = ended.code
    said = capsys.readouterr().err
    assert left == status, said
    assert "Traceback" not in said
    assert all(word in said for word in words), said


class TestRecord:
    @pytest.mark.parametrize(
        ("options", "words", "status"),
        [
            (["--seeds", "-1"], "at least 1", 2),
            (["--seeds", "0"], "at least 1", 2),
            (["--seeds", "two"], "Received: 'two'", 2),
            (["--labels", "4", "0"], "at least 2", 2),
            (["--labels", "5"], "4, 6. Received: 5", 1),
            (["--methods", "melted"], "frozen, tuned, scratch. Received: 'melted'", 1),
            (["--backbones", "nosuch"], "vgg16, resnet50. Received: 'nosuch'", 1),
            (["--backbones", "resnet50", "--methods", "tuned"], "resnet50 scratch", 1),
            (["--backbones", "resnet50", "vgg16", "--methods", "tuned"], "'resnet50'", 1),
            (["moon"], "toy, game. Received: 'moon'", 1),
            (["--to", ""], "a folder's name", 2),
            (["--to", "file"], "must be writable", 1),
            (["--to", "file/below"], "must be writable", 1),
        ],
    )
    def test_wrong_choices(self, options, words, status, ran, tmp_path, monkeypatch, capsys):
        monkeypatch.chdir(tmp_path)
        Path("file").write_text("the user's")
        refused(capsys, ["record", "toy", *options], words, status=status)
        assert ran == []
        assert files(tmp_path) == {"file": b"the user's"}

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (b"", "is empty"),
            (b"\n \n", "is empty"),
            (b'{"experiment": "toy", "results": [{"te', "cut off"),
            (b"\x89PNG\r\n\x1a\n", "no JSON"),
            (b"\xff\xfe{\x00", "no JSON"),
            (b"[" * 100_000, "no JSON"),
            (b"null", "holds a NoneType"),
            (b'[{"name": "mine"}]', "holds a list"),
            (b'{"name": "mine", "results": []}', "lacks experiment, data, environments"),
            (b'{"experiment":"game","data":{},"environments":[],"results":[]}', "'game'"),
            (b'{"experiment":"toy","data":{},"environments":[],"results":[1]}', "test accuracy"),
            (
                b'{"experiment":"toy","data":{},"environments":[],'
                b'"results":[{"method":"frozen","labels":4,"seed":0,"test":1}]}',
                "results by method, labels, seed",
            ),
        ],
    )
    def test_a_file_that_is_no_record(self, content, words, ran, tmp_path, capsys):
        (tmp_path / "toy.json").write_bytes(content)
        refused(capsys, ["record", "toy", "--to", tmp_path], words, str(tmp_path / "toy.json"))
        assert ran == []
        assert files(tmp_path) == {"toy.json": content}

    @pytest.mark.parametrize("option", [["--seeds", "2"], ["--all"], ["--methods", "frozen"]])
    def test_what_packs_of_features_have_no_part_of(self, option, ran, tmp_path, capsys):
        refused(capsys, ["record", "features", *option, "--to", tmp_path], "leave that out")

    @posix
    def test_a_pipe_in_the_records_place(self, ran, tmp_path, capsys):
        os.mkfifo(tmp_path / "toy.json")
        refused(capsys, ["record", "toy", "--to", tmp_path], "is no file")

    def test_what_is_there_is_counted(self, ran, tmp_path, capsys):
        assert main(["record", "toy", "--seeds", "1", "--to", str(tmp_path)]) == 0
        assert "Recorded 6 new results in " in capsys.readouterr().out
        assert main(["record", "toy", "--to", str(tmp_path)]) == 0
        assert "Recorded 6 new results in " in capsys.readouterr().out
        assert main(["record", "toy", "--to", str(tmp_path)]) == 0
        said = capsys.readouterr().out
        assert "Recorded 0 new results" in said
        assert "holds 12 of the 12 asked for; none was missing" in said
        assert len(ran) == 12

    @posix
    def test_two_at_once(self, ran, tmp_path):
        command = ["record", "toy", "--to", str(tmp_path)]
        context = multiprocessing.get_context("fork")
        both = [context.Process(target=main, args=(command,)) for _ in range(2)]
        for one in both:
            one.start()
        for one in both:
            one.join(60)
            assert one.exitcode == 0
        results = json.loads((tmp_path / "toy.json").read_text())["results"]
        keys = [(row["backbone"], row["method"], row["labels"], row["seed"]) for row in results]
        assert len(set(keys)) == len(keys) == 12

    @pytest.mark.parametrize("call", ["fsync", "replace"])
    def test_a_full_disk(self, call, ran, tmp_path, capsys, monkeypatch):
        assert main(["record", "toy", "--seeds", "1", "--to", str(tmp_path)]) == 0
        before = files(tmp_path)

        def full(*_):
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patched:
            patched.setattr(os, call, full)
            refused(capsys, ["record", "toy", "--to", tmp_path], "No space left")
        assert files(tmp_path) == before

    def test_other_images_stop_one_experiment_and_not_the_next(
        self, ran, tmp_path, capsys, monkeypatch
    ):
        assert main(["record", "toy", "--seeds", "1", "--to", str(tmp_path)]) == 0
        before, toy = files(tmp_path), field.EXPERIMENTS["toy"]
        publisher = Source("stripes", "https://publisher", "sha256:1", "MIT", "lossless")
        other = replace(striped_data(seed=9), source=publisher)
        experiments = {"toy": replace(toy, load=lambda _: other), "game": toy}
        monkeypatch.setattr(field, "EXPERIMENTS", experiments)
        refused(capsys, ["record", "--all", "--to", tmp_path], "https://publisher", "--to DIR")
        after = files(tmp_path)
        assert after["toy.json"] == before["toy.json"]
        assert len(json.loads(after["game.json"])["results"]) == 12


class TestStudy:
    @pytest.mark.parametrize(
        ("options", "words", "status"),
        [
            (["--seeds", "0"], "at least 1", 2),
            (["--seeds", "-1"], "at least 1", 2),
            (["--labels", "1"], "at least 2", 2),
            (["--labels", "100000000"], "at most 625 labelled images a class", 1),
            (["--targets", "mnist", "--labels", "5", "5422"], "at most 5,421 labelled", 1),
            (["--targets", "relatedness", "--labels", "626"], "Received: 626 labels", 1),
            (["--methods", "best"], "Received: best", 1),
            (["--targets", "cats"], "Received: cats", 1),
            (["--targets", "relatedness", "--methods", "best"], "Received: best", 1),
            (["--to", "file"], "must be writable", 1),
        ],
    )
    def test_wrong_choices(self, options, words, status, ran, tmp_path, monkeypatch, capsys):
        monkeypatch.chdir(tmp_path)
        Path("file").touch()
        refused(capsys, ["study", *options], words, status=status)
        assert files(tmp_path) == {"file": b""}

    def test_a_record_of_full_size_results_in_the_studys_place(self, ran, tmp_path, capsys, root):
        field = root / "book" / "_data" / "field" / "cifar10_alike.json"
        renamed = field.read_text("utf-8").replace('"cifar10_alike"', '"cifar10"')
        (tmp_path / "cifar10.json").write_text(renamed, "utf-8")
        command = ["study", "--targets", "cifar10", "--labels", "5", "--to", tmp_path]
        refused(capsys, command, "holds results by backbone")
        assert (tmp_path / "cifar10.json").read_text("utf-8") == renamed


NEW = nbformat.v4


def write(path, source):
    """Write a notebook of one code cell."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kernel = {"name": "python3", "display_name": "Python 3"}
    cells = [NEW.new_code_cell(source)]
    nbformat.write(NEW.new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)
    return path


class TestRun:
    @pytest.fixture
    def chapter(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        monkeypatch.delenv("TLH_TIER", raising=False)
        monkeypatch.setattr("tlhelpers.runtime._chosen_tier", None)
        (tmp_path / "book").mkdir()
        (tmp_path / "book" / "_toc.yml").touch()
        source = "import os\nos.environ.get('TLH_BACKBONE', 'vgg16')\nopen('ran', 'w').close()"
        return write(tmp_path / "book" / "05_a.ipynb", source)

    @pytest.mark.parametrize(
        ("options", "words", "status"),
        [
            (["--tier", "real", "--backbone", "nosuch"], "Received: 'nosuch'", 1),
            (["--tier", "real", "--backbone", ""], "Received: ''", 1),
            (["--tier", "real", "--cut", "nosuch"], "A stage of vgg16", 1),
            (["--tier", "real", "--backbone", "resnet50", "--cut", "block1_pool"], "resnet50", 1),
            (["--backbone", "resnet50"], "add --tier real", 1),
            (["--cut", "block1_pool"], "add --tier real", 1),
            (["--to", ""], "a folder's name", 2),
            (["--to", "file"], "must be writable", 1),
            (["--to", "file/below"], "must be writable", 1),
            (["--to", "book"], "must differ", 1),
            (["--to", "taken"], "is something else or was edited", 1),
            (["--to", "edited"], "is something else or was edited", 1),
        ],
    )
    def test_wrong_choices(self, options, words, status, chapter, capsys):
        Path("file").touch()
        Path("taken", "05_a.ipynb").mkdir(parents=True)
        write(Path("edited", "05_a.ipynb"), "the user's own")
        before = files(".")
        refused(capsys, ["run", "05", *options], words, status=status)
        assert files(".") == before  # and so no cell ran

    @pytest.mark.parametrize(
        "content",
        ["", "not JSON", "{}", "[1]", "5", '{"nbformat": 9}', b"\xff\xfe", b"\x89PNG"]
        + [
            json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells})
            for cells in (5, {}, [5], [{"cell_type": "code"}], [{"cell_type": "x", "source": ""}])
        ],
        ids=repr,
    )
    def test_a_file_that_is_no_notebook(self, content, tmp_path, monkeypatch, capsys):
        monkeypatch.chdir(tmp_path)
        Path("a.ipynb").write_bytes(content if isinstance(content, bytes) else content.encode())
        refused(capsys, ["run", "a.ipynb"], "a.ipynb must be a Jupyter notebook")
        assert set(files(".")) == {"a.ipynb"}

    @pytest.mark.slow
    def test_its_own_result_is_replaced_until_somebody_edits_it(self, chapter, capsys):
        for _ in range(2):
            assert main(["run", "05"]) == 0
        result = Path("results", "05_a.ipynb")
        edited = nbformat.read(result, as_version=4)
        edited.cells.append(NEW.new_markdown_cell("my notes"))
        nbformat.write(edited, result)
        refused(capsys, ["run", "05"], "was edited")
        assert "my notes" in result.read_text()

    @pytest.mark.slow
    def test_a_full_disk(self, chapter, capsys, monkeypatch):
        def full(*_):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr("tlhelpers.files.os.fsync", full)
        refused(capsys, ["run", "05"], "No space left")
        assert files("results") == {}

    @pytest.mark.slow
    @posix
    def test_ctrl_c(self, chapter):
        write(chapter, "import time\nopen('ran', 'w').close()\ntime.sleep(60)")
        command = [sys.executable, "-m", "tlhelpers.cli", "run", "05"]
        running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 30
        while not Path("book", "ran").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        running.send_signal(signal.SIGINT)
        _, errors = running.communicate(timeout=30)
        assert running.returncode == 130
        assert errors.endswith(
            "Interrupted. Nothing was written; start again with the same command.\n"
        )
        assert files("results") == {}


class TestExecutedCopy:
    @pytest.fixture
    def project(self, tmp_path, monkeypatch):
        """A project with a book and an earlier executed copy of it."""
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(notebooks, "execute", self.copy_only)
        write(Path("project", "book", "01_a.ipynb"), "1")
        assert notebooks.main(["project/book", "--to", "project/_build/book"]) == 0
        return tmp_path / "project"

    @staticmethod
    def copy_only(notebook, out, *, cwd):
        return notebooks.ExecutedChapter(notebook.stem, out, 1.0, 1.0, 0, 1.0)

    def test_made_anew(self, project):
        (project / "_build" / "book" / "stale.txt").touch()
        assert notebooks.main(["project/book", "--to", "project/_build/book/"]) == 0
        assert not (project / "_build" / "book" / "stale.txt").exists()
        assert [path.name for path in (project / "_build").iterdir()] == ["book"]

    @pytest.mark.parametrize("how", [shutil.copytree, os.rename])
    def test_a_copy_with_the_marker_that_somebody_works_in(self, how, project, capsys):
        how(project / "_build" / "book", project / "mine")
        (project / "mine" / "notes.txt").write_text("the user's")
        before = files(project)
        assert notebooks.main(["project/book", "--to", "project/mine"]) == 1
        assert "was moved here" in capsys.readouterr().err
        assert files(project) == before

    def test_the_marker_copied_among_other_files(self, project, capsys):
        shutil.copy(project / "_build" / "book" / notebooks.MARKER, project)
        before = files(project)
        for place in ("project", "project/", "project/book/..", "project/_build/.."):
            assert notebooks.main(["project/book", "--to", place]) == 1
        assert files(project) == before

    @posix
    @pytest.mark.parametrize("place", ["other", "other/new", "other/new/deep"])
    def test_another_name_of_the_books_folder(self, place, project, capsys, monkeypatch):
        """As on disks that tell no capitals from small letters, or with a second mount."""
        (project / "other").symlink_to(project / "book", target_is_directory=True)
        monkeypatch.setattr(Path, "resolve", lambda self, strict=False: self.absolute())
        before = files(project)
        assert notebooks.main(["project/book", "--to", f"project/{place}"]) == 1
        assert "outside the book's folder" in capsys.readouterr().err
        assert files(project) == before

    @posix
    @pytest.mark.parametrize("place", ["", "photo graphs"])
    def test_what_is_mounted_in_a_copy_is_not_emptied(self, place, project, capsys):
        mine, mounted = project / "mine", project / "_build" / "book" / place
        for folder in (mine, mounted):
            folder.mkdir(exist_ok=True)
        (mine / "note.txt").write_text("the user's")
        if place == "":
            shutil.copytree(project / "_build" / "book", mine, dirs_exist_ok=True)
        mount = subprocess.run(["mount", "--bind", mine, mounted], capture_output=True)
        if mount.returncode:
            pytest.skip("mounting needs root's rights")
        try:
            assert notebooks.main(["project/book", "--to", "project/_build/book"]) == 1
        finally:
            subprocess.run(["umount", mounted], check=True)
        assert "nothing may be mounted" in capsys.readouterr().err
        assert (mine / "note.txt").read_text() == "the user's"

    @posix
    def test_a_link_to_an_earlier_copy_stays_a_link(self, project):
        (project / "link").symlink_to(project / "_build" / "book", target_is_directory=True)
        assert notebooks.main(["project/book", "--to", "project/link"]) == 0
        assert (project / "link").is_symlink()

    def test_a_copy_of_a_copy(self, project):
        """The copy's own marker names the new place, so it can be made anew."""
        for _ in range(2):
            assert notebooks.main(["project/_build/book", "--to", "project/again"]) == 0
        assert notebooks.main(["project/again", "--to", "project/_build/book"]) == 0

    def test_an_unknown_chapter_leaves_the_earlier_copy(self, project, capsys):
        before = files(project)
        assert notebooks.main(["project/book", "77", "--to", "project/_build/book"]) == 1
        assert files(project) == before

    @pytest.mark.parametrize("book", ["project/book/01_a.ipynb", "nosuch"])
    def test_no_book(self, book, project, capsys):
        assert notebooks.main([book, "--to", "project/_build/book"]) == 1
        assert "must be a folder with notebooks" in capsys.readouterr().err


class TestOutput:
    COMMAND = (sys.executable, "-m", "tlhelpers.cli", "record", "--list")

    @posix
    @pytest.mark.parametrize("command", [COMMAND, (*COMMAND[:3], "--help")])
    def test_a_closed_pipe_is_no_error(self, command):
        reading, writing = os.pipe()
        os.close(reading)
        done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True)
        os.close(writing)
        assert (done.returncode, done.stderr) == (0, "")

    @posix
    def test_a_closed_pipe_is_no_failed_download(self, tmp_path):
        (tmp_path / "mnist.npz").touch()
        digest = hashlib.sha256(b"").hexdigest()
        (tmp_path / "SHA256SUMS").write_text(f"{digest}  mnist.npz\n")
        reading, writing = os.pipe()
        os.close(reading)
        command = (sys.executable, "-u", "-m", "tlhelpers.cli", "fetch", "mnist.npz")
        env = {**os.environ, "TLH_MIRROR": str(tmp_path)}
        done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, env=env)
        os.close(writing)
        assert (done.returncode, done.stderr) == (0, "")

    @pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
    def test_letters_that_the_terminal_lacks(self, encoding, tmp_path):
        cache = tmp_path / "\u732b"  # which "cache" names
        env = {**os.environ, "PYTHONIOENCODING": encoding, "TLH_CACHE": str(cache)}
        command = (sys.executable, "-m", "tlhelpers.cli", "cache")
        done = subprocess.run(command, env=env, capture_output=True)
        assert (done.returncode, done.stderr) == (0, b"")
        assert b"\\u732b" in done.stdout
