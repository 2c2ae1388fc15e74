"""Helpers for *Transfer Learning in Practice*.

Names are loaded on first use, so ``import tlhelpers as tl`` stays fast and does
not start TensorFlow before :func:`setup` has configured it.

Example:
    >>> import tlhelpers as tl
    >>> data = tl.load_dataset("pets", n_train=40)
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
    "setup": "runtime",
    "Dataset": "data.splits",
    "Split": "data.splits",
    "load_dataset": "data.datasets",
    "load_folder": "data.folders",
    "read_image": "data.images",
    "Backbone": "models.backbones",
    "load_backbone": "models.backbones",
    "choose_tier": "models.needs",
    "extract_features": "transfer.features",
    "pixel_scores": "transfer.features",
    "feature_transfer": "transfer.methods",
    "model_transfer": "transfer.methods",
    "from_scratch": "transfer.methods",
    "Run": "transfer.runs",
    "load_run": "workflow.predict",
    "compare": "evaluation.comparison",
    "claim": "book.prose",
    "check": "book.checks",
    "glue": "book.prose",
}
_MODULES = {
    "curves": "evaluation.plots",
    "field": "experiments.field",
    "plots": "evaluation.plots",
    "recipes": "transfer.recipes",
    "similarity": "evaluation.similarity",
    "study": "experiments.study",
    "widgets": "book.widgets",
    "worlds": "worlds",
}

__all__ = [
    "Backbone",
    "Dataset",
    "Run",
    "Split",
    "check",
    "choose_tier",
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
    "load_run",
    "model_transfer",
    "pixel_scores",
    "plots",
    "read_image",
    "recipes",
    "setup",
    "similarity",
    "study",
    "widgets",
    "worlds",
]

if TYPE_CHECKING:
    from tlhelpers import worlds
    from tlhelpers.book import widgets
    from tlhelpers.book.checks import check
    from tlhelpers.book.prose import claim, glue
    from tlhelpers.data.datasets import load_dataset
    from tlhelpers.data.folders import load_folder
    from tlhelpers.data.images import read_image
    from tlhelpers.data.splits import Dataset, Split
    from tlhelpers.evaluation import plots, similarity
    from tlhelpers.evaluation import plots as curves
    from tlhelpers.evaluation.comparison import compare
    from tlhelpers.experiments import field, study
    from tlhelpers.models.backbones import Backbone, load_backbone
    from tlhelpers.models.needs import choose_tier
    from tlhelpers.runtime import setup
    from tlhelpers.transfer import recipes
    from tlhelpers.transfer.features import extract_features, pixel_scores
    from tlhelpers.transfer.methods import feature_transfer, from_scratch, model_transfer
    from tlhelpers.transfer.runs import Run
    from tlhelpers.workflow.predict import load_run


def __getattr__(name: str) -> Any:
    """Import a public name from the module that defines it, the first time it is asked for."""
    if name in _MODULES:
        return import_module(f"tlhelpers.{_MODULES[name]}")
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
