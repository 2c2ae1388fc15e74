"""Right answers in several types, and usual mistakes with a word of their hint."""

import numpy as np

CASES = {
    "06-1": (
        ["scratch", " Scratch", np.str_("scratch")],
        {"frozen": "flatten", "tuned": "starts high"},
    ),
    "06-2": (
        [46_090, 46_090.0, np.float64(46_090), "46,090"],
        {46_080: "bias", 5130: "single place", 15_370: "height"},
    ),
    "06-3": ([60, 60.0, np.array([60])], {20: "backward", 40: "backward part"}),
    "06-4": (
        [{f"block{i}_pool": np.float32(0.4 + i / 20) for i in range(1, 6)}],
        {},
    ),
}
