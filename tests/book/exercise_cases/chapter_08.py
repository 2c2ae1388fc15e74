"""Right answers in several types, and usual mistakes with a word of their hint."""

import numpy as np

CASES = {
    "08-1": (
        [0.786, 0.7864, np.float64(0.786398), "78.6%"],
        {0.9565: "ends", 0.8168: "narrow", 78.64: "share"},
    ),
    "08-2": (
        [0.0226, 0.02264, np.array([0.022645]), "0.0226"],
        {0.0113: "one-sided", 0.016: "difference", 0.0159: "binomial", 0.0237: "binomial"},
    ),
    "08-3": (
        [0.79, 0.787, np.float32(0.786986), "78.7%"],
        {0.9647: "without", 0.9993: "multiplied", 0.4823: "not the probability"},
    ),
    "08-4": (
        [0.25, np.float64(0.22), "25%", 25],
        {1.0: "on others", 0.75: "seem", 0.02: "before the folds"},
    ),
}
