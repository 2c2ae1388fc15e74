"""Right answers in several types, and usual mistakes with a word of their hint."""

import numpy as np

CASES = {
    "07-1": (
        [50_692 / 61_706, np.float32(0.8215), "82%", "82.2 %", 0.82],
        {0.6: "stages", 50_692: "share", 50_692 / 60_856: "head", 60_856 / 61_706: "fourth"},
    ),
    "07-2": (
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
    "07-3": (
        [0.002, -0.002, np.float32(0.001999), "0.002"],
        {2.1e-5: "gradient descent", 0.001: "two"},
    ),
    "07-4": (
        [(845, 425), np.array([845, 425]), [845.0, 425.0]],
        {(840, 420): "bias", (425, 845): "other way", (850, 425): "not two"},
    ),
    "07-5": (
        [{0: 0.91, 2: np.float32(0.93), 4: 0.6}, {"0": 0.9, "2": 0.92, "4": 0.5}],
        {},
    ),
}
