"""Right answers in several types, and usual mistakes with a word of their hint."""

import numpy as np

CASES = {
    "05-1": (
        [131_585, 131_585.0, np.int64(131_585), "131,585", np.array([131_585])],
        {6_423_041: "Flatten", 131_328: "first Dense", 131_584: "bias"},
    ),
    "05-2": (
        [(-103.939, -116.779, 131.32), np.array([-103.939, -116.779, 131.32], "float32")],
        {(131.32, -116.779, -103.939): "first channel", (0.0, 0.0, 1.0): "small"},
    ),
    "05-3": (
        [1825, 1824.76, 1800, "1,825"],
        {475: "1.96", 9604: "50 %", 456: "half"},
    ),
    "05-4": (
        [{f"block{i}_pool": np.float32(0.5 + i / 20) for i in range(1, 6)}],
        {},
    ),
}
