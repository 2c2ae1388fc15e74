"""Right answers in several types, and usual mistakes with a word of their hint."""

import numpy as np

CASES = {
    "15-1": (
        [58.862856, 59, 58.9, "58.8629", np.float64(58.8628)],
        {14.715714: "bytes", 58862856: "million", 470.902848: "bits", 56.13609: "million"},
    ),
    "15-2": (
        [0.25, "25%", np.float32(0.25)],
        {4: "times", 0.75: "saved", 25: "share"},
    ),
    "15-3": (
        [0.7257, "72.6%", np.float64(0.72571)],
        {0.245: "probability", 0.2743: "other", 0.98: "even", 0.99999999: "multiplied"},
    ),
}
