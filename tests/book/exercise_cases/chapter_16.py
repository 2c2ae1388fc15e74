"""Right answers in several types, and usual mistakes with a word of their hint."""

import numpy as np

CASES = {
    "16-1": (
        [0.45, "45%", np.float32(0.45)],
        {0.57: "same name", 0.42: "more", 45: "share"},
    ),
    "16-2": (
        [0.5, "50%", np.float64(0.5)],
        {0.25: "guessing", 1: "half", 0.75: "pairs", 50: "share"},
    ),
    "16-3": (
        [4.852, "4.8520", np.log(128)],
        {2.3026: "digits", 48.52: "Equal", 7.0: "natural", 9.704: "averaged"},
    ),
    "16-4": (
        [0.8808, "88.1%", np.float64(0.88079)],
        {0.5498: "temperature", 0.1192: "other", 0.5625: "softmax", 0.505: "multiply"},
    ),
}
