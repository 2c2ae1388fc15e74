"""Right answers in several types, and usual mistakes with a word of their hint."""

import math

import numpy as np

CASES = {
    "03-1": (
        [math.log(10), 2.3026, "2.303", np.float32(2.302585)],
        {math.log2(10): "bits", 1.0: "base ten", -2.302585: "sign", "10%": "probability"},
    ),
    "03-2": (
        [(0.125, -0.75, 0.625), np.array([[0.125, -0.75, 0.625]], "float32")],
        {(-0.125, 0.75, -0.625): "downhill", (0.125, 0.25, 0.625): "missing", (1, 2, 5): "sum"},
    ),
    "03-3": (
        [1.5, "1.5", np.array([1.5])],
        {0.75: "decay", 3: "without", 1.0: "start", 2.5: "multiplies"},
    ),
    "03-4": (
        [(-0.2395681, -0.0860387, 0.3256068), np.array([-0.24, -0.086, 0.326])],
        {
            (-0.91, 0.2447, 0.6652): "cross-entropy",
            (-1.82, 0.4895, 1.3305): "respect to the prob",
            (1, 1, 1): "zero",
        },
    ),
}
