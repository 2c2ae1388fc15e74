"""The house: imports go one way between the rooms, and no two modules import each other."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in (ROOT / "tlhelpers").rglob("*.py")
)
KERAS_FIRST = {"tlhelpers.transfer.training", "tlhelpers.experiments.pretrain"}


def lint(folder):
    """Hold the package in a folder to the contracts of its pyproject.toml."""
    script = (
        "import sys; sys.path[0] = '.'; from importlinter.cli import lint_imports_command as c; c()"
    )
    command = [sys.executable, "-c", script, "--no-logo", "--no-cache"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def test_imports_keep_to_the_rooms():
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout
    assert " 0 broken" in done.stdout


AGAINST = (  # a module, and what it must not import: what lies above, beside, or imports it
    ("data/jpeg", "tlhelpers.transfer.runs"),
    ("evaluation/scores", "tlhelpers.data.splits"),
    ("data/images", "tlhelpers.data.splits"),
)


def test_an_import_against_the_rule_is_found(tmp_path):
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    sources = shutil.ignore_patterns("__pycache__", "weights")
    shutil.copytree(ROOT / "tlhelpers", tmp_path / "tlhelpers", ignore=sources)
    for module, imported in AGAINST:
        with (tmp_path / "tlhelpers" / f"{module}.py").open("a", encoding="utf-8") as file:
            file.write(f"\nimport {imported}\n")
    done = lint(tmp_path)
    assert done.returncode == 1
    assert re.search("go one way.* BROKEN", done.stdout)
    assert re.search("import each other.* BROKEN", done.stdout)
    for module, imported in AGAINST[:2]:
        assert f"tlhelpers.{module.replace('/', '.')} -> {imported}" in done.stdout
    assert re.search(r"\.(images -> \.splits|splits -> \.images)", done.stdout)


@pytest.mark.slow
def test_each_module_can_be_the_first_to_be_imported():
    light = [name for name in MODULES if name not in KERAS_FIRST]
    script = (
        "import importlib, sys\n"
        f"for name in {light}:\n"
        "    for loaded in [m for m in sys.modules if m.split('.')[0] == 'tlhelpers']:\n"
        "        del sys.modules[loaded]\n"
        "    importlib.import_module(name)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
