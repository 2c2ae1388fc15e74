"""Right answers in several types, and usual mistakes with a word of their hint."""

import numpy as np

CASES = {
    "17-1": (
        [5 / 7, "71.4%", np.float32(0.7143)],
        {0.75: "second", 0.5: "turned", 1.25: "alone", 71.43: "share"},
    ),
    "17-2": (
        [0.88, "87%", np.float64(0.895)],
        {88: "share", 0.96: "random", 0.6: "No way"},
    ),
    "17-3": (
        [65.67, "65.3", np.float32(65.5)],
        {0.0655: "thousand", 4.9: "each side", 3940: "seconds", 0.3333: "own"},
    ),
    "17-4": (
        [0.1, "10%", np.float64(0.1)],
        {0.9: "without", 0.09: "All of", 0: "Some", 10: "share"},
    ),
}
