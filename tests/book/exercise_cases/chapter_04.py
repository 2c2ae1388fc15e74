"""Right answers in several types, and usual mistakes with a word of their hint."""

import numpy as np

CASES = {
    "04-1": (
        [-0.5623, -0.562, np.float32(-0.56234), "-0.5623", np.array([-0.5623])],
        {0.5623: "sign", -0.8113: "bits", -0.6931: "alone", -1.1247: "Average"},
    ),
    "04-2": (
        [-1.609, -1.6094379, np.float64(-1.6094), "-1.61"],
        {1.609: "log", -2.322: "bits", -4.997: "target", 0.0: "certain"},
    ),
    "04-3": (
        [0.6, np.float32(0.6), "0.6", "60%", 6 / 10],
        {0.8: "share", -0.6: "sign", 0.5438: "weighted"},
    ),
    "04-4": (
        [{f"block{i}_pool": np.float32(0.5 + i / 20) for i in range(1, 6)}],
        {},
    ),
}
