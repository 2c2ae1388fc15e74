"""Right answers in several types, and usual mistakes with a word of their hint."""

import numpy as np

CASES = {
    "02-1": (
        [266_610, 266_610.0, np.int64(266_610), "266,610"],
        {266_200: "bias", 235_500: "first hidden", 265_600: "output layer"},
    ),
    "02-2": (
        [3910, 3910.0, "3,910", np.array([3910])],
        {4690: "held out", 391: "one epoch", 3906.25: "smaller", 3900: "smaller"},
    ),
    "02-3": ([94, 0.94, "94%", np.float32(94)], {97: "flatters", 96: "judge", 0.97: "flatters"}),
    "02-4": (
        [0.9812, "98.12%", np.float64(0.98120078)],
        {0.9874692: "shuffled", 0.986814: "shuffled", 0.9596429: "quarters"},
    ),
}
