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
    "02-3": (
        [(-0.3348, 0.2447, 0.09), np.array([-0.33475904, 0.24472847, 0.09003057])],
        {(0.665, 0.245, 0.09): "subtracted", (0.335, -0.245, -0.09): "sign"},
    ),
    "02-4": (
        [{f"stage{i}": np.float32(0.9 + i / 50) for i in range(1, 5)}],
        {},
    ),
}
