"""Right answers in several types, and usual mistakes with a word of their hint."""

import numpy as np

from tlhelpers.book.exercises.chapter_09 import outside

FOUND = sorted(outside())

CASES = {
    "09-1": (
        [0.0008, "0.08%", np.float64(0.00079968)],
        {0.8: "learning rate", 0.9992: "left", 0.08: "share"},
    ),
    "09-2": (
        [-0.2417, "-0.242", np.float32(-0.0024166)],
        {0.1235: "Student", -1.776: "root", 2.2417: "upper", -0.1105: "ddof"},
    ),
    "09-3": (
        [FOUND, set(FOUND), ", ".join(FOUND), np.array(FOUND)],
        {(*FOUND, "dropout"): "holds 0", ("other order",): "nothing"},
    ),
    "09-4": (
        [{str(share): np.float32(0.8 + share / 100) for share in (0.2, 0.5, 0.8)}],
        {},
    ),
}
