"""The project's own files: they agree with each other, and what they promise exists."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

import tlhelpers

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "book" / "_data"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CONFIG = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
ADDRESS = re.compile(r"(?:github\.com|github)/([\w.-]+/transfer-learning-in-practice)")

needs_bash = pytest.mark.skipif(
    sys.platform == "win32" or shutil.which("bash") is None, reason="needs bash"
)


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


def workflow(name):
    return yaml.safe_load(read(f".github/workflows/{name}.yml"))


def steps(name):
    return [step for job in workflow(name)["jobs"].values() for step in job["steps"]]


def requirements():
    lines = [line.split("#")[0].strip() for line in read("requirements.txt").splitlines()]
    return {found.name: found for found in map(Requirement, filter(None, lines))}


def declared():
    extras = PROJECT["optional-dependencies"]
    return [*PROJECT["dependencies"], *extras["book"], *extras["export"], *extras["test"]]


def targets():
    return set(re.findall(r"^([a-z]+):", read("Makefile"), flags=re.M))


def test_versions_agree():
    assert PROJECT["version"] == tlhelpers.__version__
    assert yaml.safe_load(read("CITATION.cff"))["version"] == tlhelpers.__version__


def test_what_pyproject_asks_for_is_tested_in_a_closed_range():
    tested = requirements()
    for line in declared():
        assert Requirement(line).name in tested, line
    for name, requirement in tested.items():
        operators = {part.operator for part in requirement.specifier}
        assert operators == {">=", "<"}, name


def test_the_package_puts_no_upper_bound_on_what_colab_has_loaded():
    for line in PROJECT["dependencies"]:
        assert {part.operator for part in Requirement(line).specifier} == {">="}, line


def test_the_installed_versions_are_within_the_tested_ranges():
    from importlib.metadata import PackageNotFoundError, version

    for name, requirement in requirements().items():
        try:
            installed = version(name)
        except PackageNotFoundError:
            continue
        assert requirement.specifier.contains(installed, prereleases=True), f"{name} {installed}"


def test_the_documents_name_only_targets_and_commands_that_exist():
    for name in ("README.md", "CONTRIBUTING.md"):
        code = "\n".join(re.findall(r"`+(?:sh\n)?([^`]+)`+", read(name)))
        named = set(re.findall(r"\bmake ([a-z]+)", code))
        assert named <= targets(), name
        for path in re.findall(r"\]\(([\w./-]+)\)", read(name)):
            assert (ROOT / path).exists(), path
    assert {"book", "test"} <= set(re.findall(r"^make (\w+)", read("README.md"), flags=re.M))


def test_every_target_sets_itself_up():
    """In a fresh clone any target may be the first: all but clean build on the installation."""
    rules = re.findall(r"^([a-z]+): *(.*)$", read("Makefile"), flags=re.M)
    set_up = {"$(INSTALLED)"}
    for target, needed in rules:
        if set_up & set(needed.split()):
            set_up.add(target)
    assert targets() - set_up == {"clean"}


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_a_python_that_does_not_fit_is_refused_before_anything_is_installed(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "requirements.txt").touch()
    (tmp_path / "pyproject.toml").touch()
    old = tmp_path / "oldpython"
    run = (
        f'"{sys.executable}" -c "import sys; sys.version_info = (3, 9, 0); exec(sys.argv[1])" "$2"'
    )
    old.write_text(f"#!/bin/sh\n{run}\n", encoding="utf-8")
    old.chmod(0o755)
    env = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    command = ["make", "lint", f"PYTHON={old}"]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode != 0
    assert "Python 3.11, 3.12 or 3.13 is needed" in done.stderr
    assert "3.9" in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_one_address_everywhere():
    address = CONFIG["repository"]["url"].removeprefix("https://github.com/")
    files = [*ROOT.glob("*.md"), *ROOT.glob("*.toml"), *ROOT.glob("*.cff")]
    files += [*(ROOT / "book").glob("*.md"), *(ROOT / "book").glob("*.ipynb")]
    files += (ROOT / "tlhelpers").rglob("*.py")
    for path in files:
        found = {one.removesuffix(".git") for one in ADDRESS.findall(path.read_text("utf-8"))}
        assert found <= {address}, path


def test_continuous_integration_covers_the_supported_pythons():
    supported = {
        line.rsplit(" ", 1)[1] for line in PROJECT["classifiers"] if "Python :: 3." in line
    }
    assert set(workflow("ci")["jobs"]["test"]["strategy"]["matrix"]["python"]) == supported
    assert "schedule" in workflow("ci")[True]  # YAML 1.1 reads the key `on` as true


@pytest.mark.parametrize("name", ["ci", "pages"])
def test_actions_are_pinned(name):
    used = [step["uses"] for step in steps(name) if "uses" in step]
    assert used
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@v\d+", action) for action in used)


@pytest.mark.parametrize("name", ["ci", "pages"])
def test_workflows_name_only_what_exists(name):
    commands = "\n".join(step.get("run", "") for step in steps(name))
    assert set(re.findall(r"\bmake ([a-z]+)", commands)) <= targets()
    for path in re.findall(r"\b(?:tests/|\.ci/)[\w./]+", commands):
        assert (ROOT / path).exists(), path


@needs_bash
@pytest.mark.parametrize(("owner", "status"), [("OWNER", 1), ("someone", 0)])
def test_publishing_refuses_the_placeholder(tmp_path, owner, status):
    (refusal,) = [step for step in steps("pages") if step.get("name", "").startswith("refuse")]
    config = re.sub(r"github\.com/[^/]+/", f"github.com/{owner}/", read("_config.yml"))
    (tmp_path / "_config.yml").write_text(config, encoding="utf-8")
    done = subprocess.run(
        ["bash", "-e", "-c", refusal["run"]], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == status
    assert ("placeholder" in done.stdout) == (status == 1)


@needs_bash
def test_ci_runs_the_test_command_of_the_readme():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert subprocess.run(["bash", "-n", script]).returncode == 0
    assert script.read_text(encoding="utf-8").rstrip().endswith("make test")


@pytest.mark.slow
def test_the_installed_package_is_whole_and_brings_the_recorded_results(tmp_path):
    wheel = [sys.executable, "-m", "pip", "wheel", ".", "--no-deps", "--quiet"]
    copy = tmp_path / "sources"
    kept = ("tlhelpers", "book/_data", "pyproject.toml", "README.md", "LICENSE")
    for name in kept:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        copy_one = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy_one(ROOT / name, copy / name)
    built = subprocess.run(
        [*wheel, "--wheel-dir", tmp_path], cwd=copy, capture_output=True, text=True
    )
    if "No matching distribution" in built.stderr or "No module named pip" in built.stderr:
        pytest.skip("building a wheel needs pip and a package index")
    assert built.returncode == 0, built.stderr
    (path,) = tmp_path.glob("*.whl")
    held = set(zipfile.ZipFile(path).namelist())
    sources = {file.relative_to(ROOT).as_posix() for file in (ROOT / "tlhelpers").rglob("*.py")}
    assert sources <= held, "name the folder under [tool.setuptools] packages"
    records = (file for kind in ("field", "study") for file in (DATA / kind).glob("*.json"))
    assert {f"tlhelpers/recorded/{file.relative_to(DATA).as_posix()}" for file in records} <= held
    assert {"tlhelpers/py.typed", "tlhelpers/models/weights/vgg16_mini.npz"} <= held
