"""Right answers in several types, and usual mistakes with a word of their hint."""

import numpy as np

CASES = {
    "04-1": (
        [0.6, np.float32(0.6), "0.6", "60%", 6 / 10],
        {0.8: "share", -0.6: "sign", 0.5438: "weighted"},
    ),
    "04-2": (
        [4, 4.0, 0.04, "4", np.float32(4)],
        {0: "highest", -4: "positive", 0.4: "accuracies"},
    ),
    "04-3": (
        [[5, -4], (0.05, -0.04), np.array([5.0, -4.0])],
        {(-13, -4): "freezing", (-5, 4): "sign", (5, 9): "without"},
    ),
    "04-4": (
        [{f"block{i}_pool": value for i, value in enumerate((0.58, 0.6, 0.65, 0.69, 0.63), 1)}],
        {},
    ),
}
