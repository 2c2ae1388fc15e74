"""What the report says of more labels is what its curve shows."""

from types import SimpleNamespace

import numpy as np
import pytest

from tlhelpers.workflow.choose import Choice
from tlhelpers.workflow.evidence import learning_curve


def test_the_last_doubling_is_that_of_the_curve():
    """Of all draws of half the labels, not of the first."""
    rng = np.random.default_rng(0)
    labels = np.arange(240) % 2
    x = (rng.normal(0, 1, (240, 40)) + 0.4 * (2 * labels - 1)[:, None] / 2).astype("float32")
    pictures = SimpleNamespace(
        labels=labels,
        groups=np.arange(240) // 2,
        held_out=True,
        pool=np.arange(60),
        judged=np.arange(60, 240),
        data=SimpleNamespace(class_names=("cat", "dog")),
    )
    learned = SimpleNamespace(features={"x": x}, choice=Choice("x", 0.1, {}))
    found = learning_curve(learned, pictures, seed=0)
    half, whole = found["points"][-2:]
    assert half["least"] < half["most"]
    assert found["gain"] == pytest.approx(whole["accuracy"] - half["accuracy"])
    assert found["low"] < found["gain"] < found["high"]
