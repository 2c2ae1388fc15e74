"""Right answers in several types, and usual mistakes with a word of their hint."""

import numpy as np

CASES = {
    "13-1": (
        [0.744, 0.7438, np.float64(0.743788), "74.4%"],
        {0.861: "independent", 0.9654: "upper", 0.7926: "Wilson", 74.38: "share"},
    ),
    "13-2": (
        [0.833, 5 / 6, np.float64(0.8333), "83.3%"],
        {0.95: "caught", 0.0475: "all", 0.9896: "half", 0.1667: "no strangers", 83.3: "share"},
    ),
    "13-3": ([8, np.int64(8), 8.0], {4: "first mistake", 10: "all ten", 9: "first nine"}),
}
