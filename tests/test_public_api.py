"""The public interface: quick to import, whole, documented, and without bad habits."""

import ast
import doctest
import functools
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from drawn_folder import draw_folder

import tlhelpers
from tlhelpers import runtime

PACKAGE = Path(tlhelpers.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
MODULES = [
    ".".join(("tlhelpers", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(
        ".__init__"
    )
    for path in FILES
]
HEAVY = ("tensorflow", "keras", "matplotlib", "pandas", "sklearn", "scipy", "IPython")

# Modules whose examples train something: `make check` leaves them out.
SLOW = {
    "tlhelpers.book.doctor",
    "tlhelpers.evaluation.comparison",
    "tlhelpers.experiments.source_accuracy",
    "tlhelpers.transfer.methods",
    "tlhelpers.transfer.runs",
    "tlhelpers.workflow.predict",
}
# Public names whose examples take hours: these are shown and not run.
HOURS = {"run_experiment", "run_study", "run_sweep"}


def in_a_new_process(script):
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def functions():
    """Every public function and class that a module of the package defines."""
    for name in MODULES:
        module = importlib.import_module(name)
        for attribute, value in vars(module).items():
            if attribute.startswith("_") or getattr(value, "__module__", None) != name:
                continue
            if inspect.isfunction(value) or inspect.isclass(value):
                yield f"{name}.{attribute}", value


def test_importing_starts_nothing_heavy():
    script = f"import sys, tlhelpers; print(*(m for m in {HEAVY} if m in sys.modules))"
    assert in_a_new_process(script) == []


def test_data_needs_no_network_library():
    """Splits, folders and intervals are plain NumPy and Pillow; so is listing experiments."""
    script = (
        "import sys, tlhelpers as tl\n"
        "tl.Split, tl.Dataset, tl.load_dataset, tl.load_folder, tl.Run, tl.claim, tl.check\n"
        "tl.recipes, tl.field, tl.load_backbone, tl.extract_features\n"
        f"print(*(m for m in {HEAVY[:5]} if m in sys.modules))"
    )
    assert in_a_new_process(script) == []


def test_every_public_name_is_there():
    assert set(tlhelpers.__all__) <= set(dir(tlhelpers))
    for name in tlhelpers.__all__:
        assert getattr(tlhelpers, name) is not None
    with pytest.raises(AttributeError, match=r"no attribute 'load_data'. Public names: Backbone"):
        tlhelpers.load_data  # noqa: B018


def test_the_names_that_are_fixed():
    named = [
        "setup",
        "load_dataset",
        "load_folder",
        "load_backbone",
        "extract_features",
        "feature_transfer",
        "model_transfer",
        "from_scratch",
        "compare",
        "claim",
        "check",
        "Dataset",
        "Backbone",
        "Run",
        "worlds",
        "recipes",
    ]
    assert set(named) <= set(tlhelpers.__all__)


def parameters(function):
    names = [name for name in inspect.signature(function).parameters if name not in ("self", "cls")]
    return [name for name in names if not name.startswith("_")]


@pytest.mark.parametrize("name", [n for n in tlhelpers.__all__ if n != "worlds"])
def test_public_names_are_documented(name):
    value = getattr(tlhelpers, name)
    text = inspect.getdoc(value)
    assert text
    if inspect.isfunction(value):
        if parameters(value):
            assert "Args:" in text
            for parameter in parameters(value):
                assert re.search(rf"^\s+\*{{0,2}}{parameter}:", text, re.M), parameter
        returned = inspect.signature(value).return_annotation
        assert ("Returns:" in text) == (returned not in (None, "None"))
        assert "Example:" in text
    elif inspect.isclass(value):
        assert "Attributes:" in text or "Args:" in text


def test_every_default_is_told():
    untold = []
    for name, value in functions():
        text = inspect.getdoc(value) or ""
        if not inspect.isfunction(value) or "Args:" not in text:
            continue
        told = text.split("Args:")[1]
        for parameter in inspect.signature(value).parameters.values():
            if parameter.default is inspect.Parameter.empty:
                continue
            part = re.search(rf"^ +{parameter.name}:(.*?)(?=^ {{0,4}}\w+:|\Z)", told, re.M | re.S)
            if part is None or "efault" not in part[1]:
                untold.append(f"{name}: {parameter.name}")
    assert untold == []


def test_every_public_name_has_an_example_that_is_run():
    public = {name: getattr(tlhelpers, name) for name in tlhelpers.__all__}
    for module in [value for value in public.values() if inspect.ismodule(value)]:
        public |= {name: value for name, value in vars(module).items() if name in HOURS}
    lacking = []
    for name, value in public.items():
        if inspect.isfunction(value) or inspect.isclass(value):
            members = vars(value).values() if inspect.isclass(value) else ()
            texts = [inspect.getdoc(one) or "" for one in (value, *members)]
            examples = [one for text in texts for one in doctest.DocTestParser().get_examples(text)]
            if not examples or any(doctest.SKIP in one.options for one in examples):
                lacking.append(name)
    assert set(lacking) <= HOURS


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in MODULES]
)
def test_examples_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if name == "tlhelpers.data.folders":  # its example reads photographs of the reader's own
        draw_folder(tmp_path / "photos", 30, classes=("cats", "dogs"))
        (tmp_path / "photos/cats/a.jpg").write_bytes(b"\xff\xd8\xff\xe0 torn")
        (tmp_path / "photos/dogs/notes.txt").write_text("No image.")
    monkeypatch.setattr(runtime, "_chosen_tier", None)
    if name == "tlhelpers.transfer.recipes":  # its example shows how long batches are elsewhere
        monkeypatch.setattr("tlhelpers.transfer.recipes.MOST_AT_ONCE", 512)
    module = importlib.import_module(name)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    names = {**vars(module), "np": np}
    for test in doctest.DocTestFinder(exclude_empty=True).find(module, globs=names):
        assert runner.run(test).failed == 0, test.name


@functools.cache
def trees():
    return [(path, ast.parse(path.read_text("utf-8"))) for path in FILES]


def test_no_pickle():
    for path, tree in trees():
        imported = {
            alias.name.split(".")[0]
            for node in ast.walk(tree)
            if isinstance(node, ast.Import)
            for alias in node.names
        }
        assert not imported & {"pickle", "dill", "joblib", "cloudpickle"}, path
        assert "allow_pickle=True" not in path.read_text("utf-8"), path


def test_no_unfinished_function():
    for path, tree in trees():
        protocols = {
            id(part)
            for node in ast.walk(tree)
            if isinstance(node, ast.ClassDef) and "Protocol" in map(ast.unparse, node.bases)
            for part in node.body
        }
        for node in ast.walk(tree):
            if not isinstance(node, ast.FunctionDef) or id(node) in protocols:
                continue
            if node.name == "_apply_weight_decay":  # a hook of Keras's that is to do nothing
                continue
            docstring = ast.get_docstring(node) is not None
            assert len(node.body) > docstring, f"{path.name}: {node.name}"
            raised = [ast.unparse(part) for part in ast.walk(node) if isinstance(part, ast.Raise)]
            assert not any("NotImplementedError" in one for one in raised), node.name
