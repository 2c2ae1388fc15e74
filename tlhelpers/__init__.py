"""Helpers for *Transfer Learning in Practice*.

Names are loaded on first use, so ``import tlhelpers as tl`` stays fast and does
not start TensorFlow before :func:`setup` has configured it.

Example:
    >>> import tlhelpers as tl
    >>> data = tl.load_dataset("cats_dogs", tier="embedded", n=40)
    >>> data.class_names
    ('cat', 'dog')
"""

import os
import platform
from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# TensorFlow reads these when it is imported, so they are set before. A value the user chose is kept.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# TensorFlow has oneDNN's operations built in, and on by itself only where the processor has
# AVX-512 VNNI or the like (release notes of 2.9). They train faster on older processors too
# (make bench ONLY=onednn). On ARM they are experimental, and left as they are.
if platform.machine().lower() in ("x86_64", "amd64"):
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

_HOME = {
    "setup": "environment",
    "Dataset": "splits",
    "Split": "splits",
    "load_dataset": "datasets",
    "load_folder": "folders",
    "Backbone": "backbones",
    "load_backbone": "backbones",
    "extract_features": "features",
    "feature_transfer": "transfer",
    "model_transfer": "transfer",
    "from_scratch": "transfer",
    "Run": "runs",
    "compare": "comparison",
    "claim": "claims",
    "check": "checks",
    "glue": "prose",
}
_MODULES = {
    "curves",
    "field",
    "losses",
    "plots",
    "recipes",
    "similarity",
    "study",
    "widgets",
    "worlds",
}

__all__ = [
    "Backbone",
    "Dataset",
    "Run",
    "Split",
    "check",
    "claim",
    "compare",
    "curves",
    "extract_features",
    "feature_transfer",
    "field",
    "from_scratch",
    "glue",
    "load_backbone",
    "load_dataset",
    "load_folder",
    "losses",
    "model_transfer",
    "plots",
    "recipes",
    "setup",
    "similarity",
    "study",
    "widgets",
    "worlds",
]

if TYPE_CHECKING:
    from tlhelpers import curves, field, losses, plots, recipes, similarity, study, widgets, worlds
    from tlhelpers.backbones import Backbone, load_backbone
    from tlhelpers.checks import check
    from tlhelpers.claims import claim
    from tlhelpers.comparison import compare
    from tlhelpers.datasets import load_dataset
    from tlhelpers.environment import setup
    from tlhelpers.features import extract_features
    from tlhelpers.folders import load_folder
    from tlhelpers.prose import glue
    from tlhelpers.runs import Run
    from tlhelpers.splits import Dataset, Split
    from tlhelpers.transfer import feature_transfer, from_scratch, model_transfer


def __getattr__(name: str) -> Any:
    """Import a public name from the module that defines it, the first time it is asked for."""
    if name in _MODULES:
        return import_module(f"tlhelpers.{name}")
    if name in _HOME:
        value = getattr(import_module(f"tlhelpers.{_HOME[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(
        f"module 'tlhelpers' has no attribute {name!r}. Public names: {', '.join(sorted(__all__))}."
    )


def __dir__() -> list[str]:
    """List the public names."""
    return sorted([*__all__, "__version__"])
