"""Right answers in several types, and usual mistakes with a word of their hint."""

import numpy as np

CASES = {
    "14-1": ([122, "122", np.int64(122)], {121: "first", 125: "fit", 31: "overlap"}),
    "14-2": ([26.0, 0.26, np.float64(25)], {-26: "first", 97: "accuracy"}),
    "14-3": ([0.7071, "70.7%", np.sqrt(0.5)], {1.4142: "half", 0.5: "root", 1.0: "day before"}),
}
