"""Right answers in several types, and usual mistakes with a word of their hint."""

import numpy as np

CASES = {
    "01-1": (
        [
            ["both", "domain", "task", "neither"],
            ("Both", "domain ", "task", "NEITHER"),
            "both, domain, task, neither",
            np.array(["both", "domain", "task", "neither"]),
        ],
        {
            ("both", "domain", "task", "domain"): "chance",
            ("both", "domain", "both", "neither"): "scan",
            ("both", "task", "task", "neither"): "favourable",
            ("domain", "domain", "task", "neither"): "labels",
        },
    ),
    "01-2": (
        [["feature", "instance", "parameter"], "feature, instance, parameter"],
        {
            ("feature", "feature", "parameter"): "old pictures",
            ("parameter", "instance", "parameter"): "no weight",
            ("feature", "instance", "feature"): "representation",
        },
    ),
    "01-3": (
        [-4, -4.0, "-4", np.float64(-0.04), "-4%"],
        {4: "sign", 0.04: "sign", -5.63: "share"},
    ),
    "01-4": (
        [0.69, "69 %", np.float32(0.7)],
        {69: "share", 0.967: "whole network", 0.5: "chance"},
    ),
    "01-5": (
        [
            ["pets", "cifar10", "mnist", "photographs"],
            "photographs, Pets, CIFAR10, mnist",
            np.array(["mnist", "pets", "cifar10", "photographs"]),
        ],
        {
            ("pets", "cifar10", "mnist", "photographs", "objects"): "above zero",
            ("cifar10", "mnist", "photographs"): "few",
            ("pets", "cifar10", "mnist"): "by little",
        },
    ),
}
