"""Right answers in several types, and usual mistakes with a word of their hint."""

import numpy as np

from tlhelpers.book.exercises.chapter_07 import deepest

CASES = {
    "07-1": (
        [50_692 / 61_706, np.float32(0.8215), "82%", "82.2 %", 0.82],
        {0.6: "stages", 50_692: "share", 50_692 / 60_856: "head", 60_856 / 61_706: "fourth"},
    ),
    "07-2": (
        [(10, -12.5), np.array([0, -4.2]), [np.float32(5), 7]],
        {(10, 0.12): "points", (5, 84): "accuracy"},
    ),
    "07-3": (
        [-0.04878, np.float32(-0.0488), "-0.0488", np.array([-0.04878])],
        {
            0: "velocity",
            0.04878: "sign",
            -0.0542: "first step",
            -0.06: "shrinks",
            -0.18: "three steps",
            -0.01458: "third",
        },
    ),
    "07-4": (
        [deepest(), float(deepest()), str(deepest())],
        {deepest() + 1: "holds 0", deepest() - 1: "further"},
    ),
}
