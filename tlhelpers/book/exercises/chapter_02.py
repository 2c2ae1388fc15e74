"""Chapter 2: parameters, steps, the gradient of softmax with cross-entropy, and probes by layer."""

from tlhelpers.book.exercises.judging import Exercise, near, number, numbers, scores_by_stage

_GRADIENT = (-0.33475904, 0.24472847, 0.09003057)
"""Softmax of (2, 1, 0), minus (1, 0, 0)."""


def _all_near(target: tuple[float, ...], values: list[float]) -> bool:
    """Tell whether numbers agree to about two digits."""
    return all(abs(a - b) <= 0.006 for a, b in zip(target, values, strict=True))


EXERCISES: dict[str, Exercise] = {
    # 785 * 300 + 301 * 100 + 101 * 10
    "02-1": Exercise(
        read=number,
        right=near(266_610, 1e-9),
        praise="right: nearly all of them join the pixels to the first hidden layer.",
        hint="Three layers have parameters. Each has inputs × units weights, and one bias a unit.",
        mistakes=(
            (near(266_200, 1e-9), "These are the weights; every unit has a bias as well."),
            (near(235_500, 1e-9), "That is the first hidden layer alone."),
            (near(265_600, 1e-9), "The two hidden layers are right; the output layer is missing."),
        ),
    ),
    # 10 * ceil(50000 / 128)
    "02-2": Exercise(
        read=number,
        right=near(3910, 1e-9),
        praise="right: once a step, and the smaller last batch is a step too.",
        hint="The optimiser changes the parameters once a step. Only training digits make steps.",
        mistakes=(
            (near(4690, 1e-9), "Digits held out for validation are not trained on."),
            (near(391, 1e-9), "That is one epoch."),
            (near(3906, 3e-4), "The last batch of each epoch is smaller, but it is a step."),
            (near(3900, 1e-9), "The last batch of each epoch is smaller, but it is a step."),
        ),
    ),
    "02-3": Exercise(
        read=numbers(3),
        right=lambda v: _all_near(_GRADIENT, v),
        praise="right: the three sum to zero, and a step downhill raises the true class.",
        hint="Compute the softmax, and subtract the truth as a one-hot vector.",
        mistakes=(
            (
                lambda v: _all_near((0.66524096, 0.24472847, 0.09003057), v),
                "These are the probabilities; the truth has to be subtracted.",
            ),
            (
                lambda v: _all_near(_GRADIENT, [-x for x in v]),
                "The sign is turned round: a step against the gradient must raise the true class.",
            ),
        ),
    ),
    "02-4": Exercise(
        read=scores_by_stage,
        right=lambda s: len(s) >= 4 and len(set(s.values())) > 1,
        praise="these look measured. How much does each stage add, and does the last one add any?",
        hint="Make a model from LeNet-5's input to the layer's output, flatten what it predicts, and "
        "fit a linear model to it; give one accuracy for each of the four layers.",
        mistakes=(
            (lambda s: len(s) < 4, "One entry for each of the four layers, please."),
            (lambda s: len(set(s.values())) == 1, "All are the same: is each layer cut anew?"),
        ),
    ),
}
