"""The command line: arguments, exit status, and what it prints."""

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from drawn_folder import draw_folder

import tlhelpers
from tlhelpers import cli, runtime
from tlhelpers.cli import main
from tlhelpers.data.augmentation import CHANGES, Augmentation
from tlhelpers.experiments import field, study
from tlhelpers.experiments.records import updating
from tlhelpers.workflow import train as training
from tlhelpers.workflow.export import missing_for

COMMANDS = ("doctor", "cache", "fetch", "run", "train", "predict", "record", "study")


def leaves(arguments):
    """Run a command that ends by itself, and return its exit status."""
    with pytest.raises(SystemExit) as left:
        main(arguments)
    return left.value.code


def test_help(capsys):
    assert leaves(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(command in text for command in COMMANDS)
    for command in COMMANDS:
        assert leaves([command, "--help"]) == 0
    assert leaves(["--version"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"tlhelpers {tlhelpers.__version__}"


def test_python_runs_the_package():
    command = [sys.executable, "-m", "tlhelpers", "--version"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout == f"tlhelpers {tlhelpers.__version__}\n"
    assert subprocess.run([*command[:3], "dance"], capture_output=True).returncode == 2


@pytest.mark.parametrize(
    "arguments", [[], ["dance"], ["doctor", "--loud"], ["run"], ["run", "05", "--tier", "middle"]]
)
def test_wrong_arguments(arguments, capsys):
    assert leaves(arguments) == 2
    assert "usage: tlhelpers" in capsys.readouterr().err


def test_the_console_script_starts_nothing_heavy():
    script = Path(sys.executable).parent / "tlhelpers"
    command = [script] if script.exists() else [sys.executable, "-m", "tlhelpers.cli"]
    done = subprocess.run([*command, "record", "--list"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "photographs: " in done.stdout


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ValueError("an unknown stage"), 1),
        (OSError("the disk is full"), 1),
        (RuntimeError("it cannot be had"), 1),
        (ModuleNotFoundError("No module named 'nbclient'"), 1),
    ],
)
def test_errors_are_said_in_one_line(error, status, monkeypatch, capsys):
    def fail(options):
        raise error

    monkeypatch.setattr(cli, "_doctor", fail)
    assert main(["doctor"]) == status
    assert capsys.readouterr().err == f"tlhelpers: {error}\n"


@pytest.mark.parametrize(
    ("command", "truth"),
    [
        (["doctor"], "Interrupted.\n"),
        (["fetch"], "Files that were whole are kept"),
        (["run", "05"], "Nothing was written"),
        (["record", "digits"], "Each finished result is recorded"),
        (["study"], "Each finished result is recorded"),
    ],
)
def test_interrupted(command, truth, monkeypatch, capsys):
    def interrupt(options):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, f"_{command[0]}", interrupt)
    assert main(command) == 130
    assert truth in capsys.readouterr().err


class TestFetch:
    @pytest.fixture
    def mirror(self, tmp_path, monkeypatch):
        folder = tmp_path / "mirror"
        folder.mkdir()
        sums = ""
        for name in ("mnist.npz", "cifar10.zip"):
            (folder / name).write_text(f"stands in for {name}")
            sums += f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n"
        (folder / "SHA256SUMS").write_text(sums)
        monkeypatch.setenv("TLH_MIRROR", str(folder))
        return folder

    def test_a_mirror_of_a_mirror(self, mirror, tmp_path, capsys):
        to = tmp_path / "copy"
        assert main(["fetch", "mnist.npz", "cifar10.zip", "--to", str(to)]) == 0
        assert f"export TLH_MIRROR={to}" in capsys.readouterr().out
        assert {file.name for file in to.iterdir()} - {".SHA256SUMS.lock"} == {
            file.name for file in mirror.iterdir()
        }
        assert (to / "mnist.npz").read_bytes() == (mirror / "mnist.npz").read_bytes()
        assert main(["fetch", "mnist.npz", "--to", str(to)]) == 0
        assert "already there  mnist.npz" in capsys.readouterr().out

    def test_what_cannot_be_had(self, mirror, tmp_path, capsys):
        to = tmp_path / "copy"
        assert main(["fetch", "mnist.npz", "other.zip", "--to", str(to)]) == 1
        text = capsys.readouterr().out
        assert "Not fetched: other.zip. Repeat the command" in text
        assert (to / "mnist.npz").is_file()

    def test_where_a_file_is(self, mirror, capsys):
        assert main(["fetch", "mnist.npz"]) == 0
        assert capsys.readouterr().out == f"mnist.npz: {mirror / 'mnist.npz'}\n"

    def test_all_that_the_mirror_has(self, mirror, tmp_path, capsys):
        assert main(["fetch"]) == 0
        names = ("cifar10.zip", "mnist.npz")
        assert capsys.readouterr().out == "".join(f"{name}: {mirror / name}\n" for name in names)
        assert main(["fetch", "--to", str(tmp_path / "copy")]) == 0
        assert (tmp_path / "copy" / "cifar10.zip").is_file()

    def test_one_that_fails_does_not_stop_the_others(self, mirror, capsys):
        (mirror / "cifar10.zip").write_text("damaged")
        assert main(["fetch", "cifar10.zip", "mnist.npz"]) == 1
        said = capsys.readouterr()
        assert f"mnist.npz: {mirror / 'mnist.npz'}" in said.out
        assert "Not fetched: cifar10.zip." in said.out
        assert "missing, unreadable or damaged" in said.err

    @pytest.mark.parametrize("to", ["", " "])
    def test_a_folder_without_a_name(self, mirror, to, capsys, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        before = sorted(tmp_path.rglob("*"))
        assert main(["fetch", "mnist.npz", "--to", to]) == 1
        said = capsys.readouterr()
        assert f"must be a folder with a name. Received: {to!r}" in said.err
        assert "complete" not in said.out
        assert sorted(tmp_path.rglob("*")) == before

    def test_a_folder_that_is_a_file(self, mirror, tmp_path, capsys):
        (tmp_path / "file").write_text("mine")
        assert main(["fetch", "mnist.npz", "--to", str(tmp_path / "file")]) == 1
        assert "The mirror must be writable. Received" in capsys.readouterr().err
        assert (tmp_path / "file").read_text() == "mine"

    def test_an_unknown_file(self, tmp_path, monkeypatch, capsys):
        monkeypatch.delenv("TLH_MIRROR", raising=False)
        assert main(["fetch", "cats.zip", "--to", str(tmp_path / "new")]) == 1
        assert "Unknown file. Received: 'cats.zip'" in capsys.readouterr().err
        assert not (tmp_path / "new").exists()


class TestRecord:
    @pytest.fixture(autouse=True)
    def no_setup(self, monkeypatch):
        monkeypatch.setattr("tlhelpers.runtime.setup", lambda **chosen: None)

    def test_list(self, capsys):
        for arguments in (["record"], ["record", "--list"]):
            assert main(arguments) == 0
            lines = capsys.readouterr().out.splitlines()
            assert [line.split(":")[0] for line in lines] == list(field.EXPERIMENTS)
        assert "mobilenet_v2, vgg16, small_resnet; 20, 100, 500, 1000 labels" in lines[0]

    def test_options_are_passed_on_and_results_counted(self, monkeypatch, capsys, tmp_path):
        asked = []

        def run(name, folder, **chosen):
            asked.append((name, folder, chosen))
            plan = field.choose(name, **chosen)[:2]
            with updating(folder / f"{name}.json") as record:
                rows = [{**settings, "test": 0.912, "seconds": 12.6} for settings in plan]
                record["results"] += rows
            yield from rows

        monkeypatch.setattr(field, "run_experiment", run)
        options = ["--backbones", "vgg16", "--methods", "frozen", "tuned"]
        options += ["--labels", "20", "100", "--seeds", "2"]
        assert main(["record", "photographs", *options, "--to", str(tmp_path)]) == 0
        chosen = {
            "backbones": ["vgg16"],
            "methods": ["frozen", "tuned"],
            "labels": [20, 100],
            "seeds": 2,
        }
        assert asked == [("photographs", tmp_path, chosen)]
        lines = capsys.readouterr().out.splitlines()
        assert lines[0] == (
            "photographs: 20 labels per class, seed 0, frozen vgg16: test 91.2% in 13 s"
        )
        path = tmp_path / "photographs.json"
        assert lines[2].startswith(f"Recorded 2 new results in {path}, which holds 2 of the 12 ")
        assert "Another process" in lines[2]

    def test_without_network_or_mirror(self, monkeypatch, capsys, tmp_path):
        """The message names the file, the place, and both ways out."""

        monkeypatch.setattr(runtime, "_chosen_tier", None)
        monkeypatch.delenv("TLH_MIRROR", raising=False)
        monkeypatch.setenv("TLH_CACHE", str(tmp_path / "cache"))
        for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
            monkeypatch.setenv(name, "http://127.0.0.1:9")
        assert main(["record", "photographs", "--seeds", "1", "--to", str(tmp_path / "to")]) == 1
        said = capsys.readouterr().err
        for part in ("cats_and_dogs_filtered.zip", "https://", "TLH_MIRROR", "TLH_TIER=embedded"):
            assert part in said
        assert not (tmp_path / "to" / "photographs.json").exists()


class TestStudy:
    @staticmethod
    def asked(monkeypatch, arguments):
        asked = []

        def run(part):
            def rows(folder, **chosen):
                asked.append((part, folder, chosen))
                yield {
                    "target": part,
                    "labels": 20,
                    "seed": 0,
                    "method": "frozen",
                    "test": 0.9,
                    "seconds": 2.4,
                }

            return rows

        monkeypatch.setattr("tlhelpers.runtime.setup", lambda **chosen: None)
        monkeypatch.setattr(study, "run_study", run("study"))
        monkeypatch.setattr(study, "run_sweep", run("sweep"))
        assert main(["study", *arguments]) == 0
        return asked

    def test_everything_unless_told(self, monkeypatch, capsys, tmp_path):
        both = self.asked(monkeypatch, ["--to", str(tmp_path)])
        usual = {"labels": study.LABELS, "seeds": study.SEEDS, "methods": study.METHODS}
        assert both == [
            ("study", tmp_path, {"targets": list(study.TARGETS), **usual}),
            ("sweep", tmp_path, usual),
        ]
        lines = capsys.readouterr().out.splitlines()
        assert lines[0] == "study: 20 labels per class, seed 0, frozen: test 90.0% in 2 s"
        assert lines[-1] == f"Recorded 2 new results in {tmp_path}."

    def test_a_part(self, monkeypatch, tmp_path):
        chosen = ["--targets", "mnist", "--labels", "5", "--seeds", "2", "--methods", "matched"]
        ((part, _, settings),) = self.asked(monkeypatch, [*chosen, "--to", str(tmp_path)])
        assert part == "study"
        assert settings == {"targets": ["mnist"], "labels": [5], "seeds": 2, "methods": ["matched"]}


class TestRun:
    @pytest.fixture
    def book(self, tmp_path, monkeypatch):
        folder = tmp_path / "book"
        folder.mkdir()
        (folder / "_toc.yml").write_text("format: jb-book\n")
        for name in ("05_cats", "06_cifar", "06_more"):
            source = 'os.environ.get("TLH_BACKBONE", "vgg16")' if name == "05_cats" else ""
            cells = [{"cell_type": "code", "source": [source]}]
            (folder / f"{name}.ipynb").write_text(json.dumps({"cells": cells}))
        monkeypatch.chdir(tmp_path)
        return folder

    @pytest.fixture
    def executed(self, monkeypatch):
        from types import SimpleNamespace

        calls = []

        def execute(chapter, to, *, cwd, env):
            calls.append((chapter, to, cwd, env))
            return SimpleNamespace(name=chapter.stem, seconds=61.2, peak_memory_mb=1536, path=to)

        monkeypatch.setattr("tlhelpers.book.notebooks.execute", execute)
        return calls

    def test_a_chapter_by_its_number(self, book, executed, capsys, monkeypatch):
        monkeypatch.delenv("TLH_MIRROR", raising=False)
        assert main(["run", "05"]) == 0
        ((chapter, to, _, env),) = executed
        assert chapter.resolve() == book / "05_cats.ipynb"
        assert to == Path("results/05_cats.ipynb")
        assert env == {"TLH_LIVE": "0"}
        assert "05_cats took 61 s and 1.5 GiB." in capsys.readouterr().out

    def test_options_reach_the_chapter(self, book, executed):
        options = ["--tier", "real", "--backbone", "mobilenet_v2", "--cut", "block_9"]
        assert main(["run", "05", *options, "--to", "out"]) == 0
        ((_, to, _, env),) = executed
        assert to == Path("out/05_cats.ipynb")
        assert env["TLH_TIER"] == "real"
        assert (env["TLH_BACKBONE"], env["TLH_CUT"]) == ("mobilenet_v2", "block_9")

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["05", "--tier", "real", "--backbone", "nosuch"], "vgg16_mini, .*Received: 'nosuch'"),
            (["05", "--tier", "real", "--cut", "nosuch"], "A stage of vgg16 .*Received: 'nosuch'"),
            (["05", "--backbone", "vgg16"], "add --tier real"),
            (["06_more", "--tier", "real", "--cut", "block3_pool"], "06_more, which has none"),
        ],
    )
    def test_a_network_that_does_not_exist_or_is_not_read(
        self, options, message, book, executed, capsys, monkeypatch
    ):
        monkeypatch.delenv("TLH_TIER", raising=False)
        monkeypatch.setattr(runtime, "_chosen_tier", None)
        assert main(["run", *options]) == 1
        assert re.search(message, capsys.readouterr().err)
        assert executed == []

    def test_a_notebook_by_its_path(self, book, executed, tmp_path):
        assert main(["run", "book/06_cifar.ipynb"]) == 0
        assert executed[0][0] == Path("book/06_cifar.ipynb")

    def test_two_that_fit_and_none(self, book, executed, capsys):
        assert main(["run", "06"]) == 1
        assert "'06', which fits 06_cifar, 06_more" in capsys.readouterr().err
        assert main(["run", "13"]) == 1
        assert "starts with '13'" in capsys.readouterr().err
        assert executed == []


@pytest.mark.slow
def test_train_and_predict_a_folder(tmp_path, capsys):
    draw_folder(tmp_path / "photos", 40)
    out, answers = tmp_path / "results", tmp_path / "answers.csv"
    arguments = ["--backbone", "vgg16_mini", "--minutes", "0", "--export"]
    missing = [name for name in ("litert", "onnx") if missing_for(name)]
    if missing:
        asked = main(["train", str(tmp_path / "photos"), "--out", str(out), *arguments, *missing])
        assert asked == 1
        assert 'pip install "tlhelpers[export]"' in capsys.readouterr().err
        assert not out.exists()
    assert main(["train", str(tmp_path / "photos"), "--out", str(out), *arguments[:-1]]) == 0
    printed = capsys.readouterr().out
    assert re.search(
        r"%\) right on 40 photographs predicted by models that never saw them", printed
    )
    model = str(out / "model.keras")
    assert main(["predict", model, str(tmp_path / "photos"), "--csv", str(answers)]) == 0
    assert "40 files: " in capsys.readouterr().out
    assert len(answers.read_text().splitlines()) == 41
    assert main(["predict", model, str(tmp_path / "none"), "--csv", str(answers)]) == 1
    one = next((tmp_path / "photos").rglob("*.png"))
    command = [sys.executable, "-m", "tlhelpers", "predict", model, one, "--csv", answers]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("1 file: ")
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("left_out", "augmentation"),
    [
        ([], Augmentation()),
        (["--no-augment", "flip", "shift"], Augmentation(flip=False, shift=0)),
        (["--no-augment", *CHANGES], Augmentation(False, 0, 0, 0, 0)),
    ],
)
def test_changes_that_would_alter_a_label_are_left_out(monkeypatch, left_out, augmentation):
    given = []
    monkeypatch.setattr(runtime, "setup", lambda *a, **k: None)
    monkeypatch.setattr(training, "train_folder", lambda *a, **k: given.append(k))
    assert main(["train", "photos", "--out", "results", *left_out]) == 0
    assert [one["augmentation"] for one in given] == [augmentation]


def test_a_change_that_no_view_makes_is_refused(capsys):
    assert leaves(["train", "photos", "--out", "results", "--no-augment", "flip", "mirror"]) == 2
    assert re.search("--no-augment: invalid choice: 'mirror'.*flip", capsys.readouterr().err)


def test_predict_knows_the_home_folder_where_the_shell_does_not(tmp_path, monkeypatch, capsys):
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    assert main(["predict", "~/a.keras", "~/new", "--csv", "~/answers.csv"]) == 1
    assert f"there is no {tmp_path / 'a.keras'}" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["predict", "a.keras", "new", "--csv", ""])
    assert "name is needed" in capsys.readouterr().err


def test_results_are_not_written_over_somebody_elses(tmp_path, capsys):
    draw_folder(tmp_path / "photos", 10)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/chapter.txt").write_text("mine")
    assert main(["train", str(tmp_path / "photos"), "--out", str(tmp_path / "thesis")]) == 1
    assert "holds other files; nothing was changed" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "thesis").iterdir()] == ["chapter.txt"]
