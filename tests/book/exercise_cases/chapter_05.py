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
        [(0.3, 0.0516, 0.5484), np.array([0.3, 0.0516, 0.5484]), (0.3, 0.052, 0.548)],
        {
            (0.003, 0.0005, 0.0055): "points",
            (0.3, -1.17, 1.77): "differences first",
            (0.3, 0.187, 0.413): "1.96",
        },
    ),
    "05-4": (
        [{f"block{i}_pool": np.float32(0.5 + i / 20) for i in range(1, 6)}],
        {},
    ),
}
