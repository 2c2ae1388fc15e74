"""Right answers in several types, and usual mistakes with a word of their hint."""

import numpy as np

CASES = {
    "11-1": ([0.375, "37.5%", np.float32(0.375)], {60 / 220: "twice", 0.6: "first", 0.5: "second"}),
    "11-2": ([5 / 9, "0.556", np.float64(0.5556)], {5 / 6: "missed", 0.5: "sort", 2 / 3: "recall"}),
    "11-3": ([7.6, 0.076, np.float32(8)], {-7.6: "other way"}),
}
