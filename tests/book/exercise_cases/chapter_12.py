"""Right answers in several types, and usual mistakes with a word of their hint."""

import numpy as np

CASES = {
    "12-1": (
        [40, "40", np.float64(40.0)],
        {6.3246: "root", 0.025: "shrinks", 1: "mean"},
    ),
    "12-2": (
        [0.05438, "5.44%", np.float32(0.0543756)],
        {0.02: "exponential", 0.02001: "exponential", 5.4376: "share"},
    ),
    "12-3": (
        [20480, "20,480", np.int64(20480)],
        {2359296: "kernel", 4096: "places", 18432: "factor", 2048: "factor"},
    ),
    "12-4": (
        [0.35, -0.35, np.float32(0.35)],
        {0.2291: "length", 0.05: "signs", 3.5: "tenth"},
    ),
}
