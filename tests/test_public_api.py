"""The public interface: quick to import, whole, documented, and without bad habits."""

import ast
import doctest
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tlhelpers

PACKAGE = Path(tlhelpers.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
MODULES = [
    ".".join(("tlhelpers", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(
        ".__init__"
    )
    for path in FILES
]
HEAVY = ("tensorflow", "keras", "matplotlib", "pandas", "sklearn", "scipy", "IPython")

# Modules that are longer, each for one idea that would not be clearer in two.
LONG = {"splits.py", "files.py", "transfer.py", "environment.py", "backbones.py"}
MOST_LINES = 320

# Public functions that show no example: methods read with their class, functions whose example
# would need files, a trained run or another process, and Keras's own hooks.
WITHOUT_EXAMPLE = re.compile(
    r"""tlhelpers\.(
      archives | catalogue | chapters | cifar10 | cli | datasets | execution | files | folders | images
    | pretrain | multitask | model_card | initialisation | vgg16_mini | worlds(\.\w+)? | sampling
    | plots | runs | training | exercises | field | doctor
    )\.|
    features\.pool$ | curves\.(draw_curves|live_curves)$ | environment\.(describe_device|usable_cores|quiet_stderr)$
    """,
    re.X,
)
PURE = (
    "recipes", "intervals", "calibration", "claims", "heads", "comparison", "checks", "augmentation",
    "curves", "plots", "splits", "prose",
)  # fmt: skip


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
    assert sorted(tlhelpers.__all__) == tlhelpers.__all__
    assert set(tlhelpers.__all__) <= set(dir(tlhelpers))
    for name in tlhelpers.__all__:
        assert getattr(tlhelpers, name) is not None
    with pytest.raises(AttributeError, match=r"no attribute 'load_data'. Public names: Backbone"):
        tlhelpers.load_data  # noqa: B018


def test_the_names_that_are_fixed():
    named = ["setup", "load_dataset", "load_folder", "load_backbone", "extract_features", "feature_transfer", "model_transfer", "from_scratch", "compare", "claim", "check", "Dataset", "Backbone", "Run", "worlds", "recipes"]
    assert set(named) <= set(tlhelpers.__all__)


def parameters(function):
    names = [name for name in inspect.signature(function).parameters if name not in ("self", "cls")]
    return [name for name in names if not name.startswith("_")]


@pytest.mark.parametrize("name", [n for n in tlhelpers.__all__ if n != "worlds"])
def test_public_names_are_documented(name):
    value = getattr(tlhelpers, name)
    text = inspect.getdoc(value)
    assert text
    assert len(text.splitlines()[0]) <= 120
    assert text.splitlines()[0].rstrip().endswith((".", ":"))
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
    for name, value in functions():
        text = inspect.getdoc(value) or ""
        if not inspect.isfunction(value) or "Args:" not in text:
            continue
        told = text.split("Args:")[1]
        for parameter in inspect.signature(value).parameters.values():
            if parameter.default is not inspect.Parameter.empty:
                part = re.search(
                    rf"^\s+{parameter.name}:(.*?)(?=^\s{{0,4}}\w+:|\Z)", told, re.M | re.S
                )
                assert part, f"{name}: {parameter.name}"


def test_every_public_function_says_what_it_does():
    for name, value in functions():
        own = value.__doc__ or ""
        assert own.strip(), name
        if inspect.isclass(value):
            for method, function in vars(value).items():
                if inspect.isfunction(function) and not method.startswith("_"):
                    assert (inspect.getdoc(function) or "").strip(), f"{name}.{method}"


def test_functions_show_an_example():
    missing = [
        name
        for name, value in functions()
        if inspect.isfunction(value)
        and ">>>" not in (value.__doc__ or "")
        and not WITHOUT_EXAMPLE.search(name)
    ]
    assert missing == []


@pytest.mark.parametrize("module", PURE)
def test_examples_of_quick_modules_run(module):
    found = importlib.import_module(f"tlhelpers.{module}")
    # A data set or a network in an example makes it slow: those are run by the slower tests.
    finder = doctest.DocTestFinder(exclude_empty=True)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    tests = finder.find(found, globs={**vars(found), "np": np})
    quick = [test for test in tests if test.examples and "load_dataset" not in test.docstring]
    assert quick
    for test in quick:
        assert runner.run(test).failed == 0, test.name


def trees():
    return [(path, ast.parse(path.read_text("utf-8"))) for path in FILES]


def test_no_assert():
    """Python drops them under -O, and they tell a user nothing."""
    found = [
        f"{path.name}:{node.lineno}"
        for path, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Assert)
    ]
    assert found == []


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
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                body = [
                    part
                    for part in node.body
                    if not (isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant))
                ]
                is_protocol = not body and node.name in ("__len__", "load", "digests")
                assert body or is_protocol, f"{path.name}: {node.name}"
                raised = [n for n in ast.walk(node) if isinstance(n, ast.Raise)]
                assert not any("NotImplementedError" in ast.dump(n) for n in raised), node.name


def test_modules_are_short():
    lengths = {path.name: len(path.read_text("utf-8").splitlines()) for path in FILES}
    assert {name for name, lines in lengths.items() if lines > MOST_LINES} <= LONG
    assert max(lengths.values()) < 600


def test_every_module_says_what_it_is():
    for path, tree in trees():
        assert ast.get_docstring(tree), path


def test_no_circular_import():
    """Each module can be the first to be imported."""
    script = "import sys, importlib; importlib.import_module(sys.argv[1])"
    light = [name for name in MODULES if name.rsplit(".", 1)[-1] not in NEED_KERAS]
    for name in light:
        done = subprocess.run([sys.executable, "-c", script, name], capture_output=True, text=True)
        assert done.returncode == 0, f"{name}: {done.stderr}"


NEED_KERAS = {"training", "pretrain", "multitask"}
