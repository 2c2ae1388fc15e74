"""Right answers in several types, and usual mistakes with a word of their hint."""

import numpy as np

a, b = np.array([0.0, 1.0]), np.array([1.0, 2.0])


def kernel(x, y):
    return np.exp(-((x[:, None] - y) ** 2)).mean()


MMD = kernel(a, a) + kernel(b, b) - 2 * kernel(a, b)

CASES = {
    "10-1": (
        [-0.1, "-0.1", np.float32(0.2 - 0.5 * 0.6)],
        {0.5: "minus", -0.4: "strength", -0.3: "class head"},
    ),
    "10-2": (
        [MMD, "0.4908", np.float32(MMD)],
        {float(np.sqrt(MMD)): "root", -0.1413: "itself", MMD / 2: "twice"},
    ),
    "10-3": (
        [0.2 / 1.4, "14.3%", np.float64(1 / 7)],
        {0.2: "normalised", 1 / 3: "divided", 6 / 7: "cat"},
    ),
    "10-4": (
        [{"10": 0.80, "50": 0.83, "200": np.float32(0.84)}],
        {},
    ),
}
