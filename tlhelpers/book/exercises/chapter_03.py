"""Chapter 3: a loss in nats, gradients with respect to logits, and where L2-SP ends."""

import math
from collections.abc import Callable

import numpy as np

from tlhelpers.book.exercises.judging import Exercise, near, number, numbers


def _close(*targets: float) -> Callable[[list[float]], bool]:
    """Return a test of whether a list of numbers is the target, to within 0.002."""
    return lambda v: bool(np.allclose(v, targets, rtol=0, atol=0.002))


EXERCISES: tuple[Exercise, ...] = (
    # -log(1/10), in nats.
    Exercise(
        read=number,
        right=near(math.log(10), 0.002),
        praise="right: the natural logarithm of the number of classes.",
        hint="Only the true class's probability counts: minus its natural logarithm.",
        mistakes=(
            (near(math.log2(10), 0.002), "Those are bits; Keras and this book use natural logs."),
            (near(1, 0.002), "That is a logarithm to base ten; take the natural one."),
            (near(-math.log(10), 0.002), "Mind the sign: a loss of this kind is never below zero."),
            (near(0.1, 0.002), "That is the probability. Which loss does it give?"),
        ),
    ),
    # p = (1, 2, 5) / 8, minus one for the second class.
    Exercise(
        read=numbers(3),
        right=_close(0.125, -0.75, 0.625),
        praise="right: predicted minus true, and the three sum to zero.",
        hint="The exponentials are whole numbers; divide them by their sum, and subtract the label.",
        mistakes=(
            (_close(-0.125, 0.75, -0.625), "That is true minus predicted: the way downhill."),
            (_close(0.125, 0.25, 0.625), "Those are the probabilities. What is still missing?"),
            (lambda v: abs(sum(v)) > 0.01, "The three parts of this gradient must sum to zero."),
        ),
    ),
    # (w - 3) + alpha (w - 1) = 0.
    Exercise(
        read=number,
        right=near(1.5, 1e-3),
        praise="right: a weighted mean of the two optima, nearer to the source's.",
        hint="Add the penalty, and set the derivative of the sum to zero.",
        mistakes=(
            (near(0.75, 1e-3), "That is weight decay, towards zero; L2-SP pulls to the source."),
            (near(3, 1e-3), "That is the target's optimum, without the penalty."),
            (near(1, 1e-3), "That is the start. The target's loss pulls away from it."),
            (near(2.5, 1e-3), "α multiplies the penalty, not the target's loss."),
        ),
    ),
    # (diag(p) - p pT) 2 (p - y).
    Exercise(
        read=numbers(3),
        right=_close(-0.2396, -0.0860, 0.3256),
        praise="right, and it too sums to zero: shifting all logits changes no probability.",
        hint="Multiply the derivative by the probabilities with the softmax's Jacobian, "
        "diag(p) − p pᵀ; or use numerical().",
        mistakes=(
            (
                _close(-0.91, 0.245, 0.665),
                "That is cross-entropy's gradient; this is another loss.",
            ),
            (
                _close(-1.82, 0.489, 1.33),
                "That is with respect to the probabilities; go on to the logits.",
            ),
            (lambda v: abs(sum(v)) > 0.01, "Shifting all logits changes nothing: the sum is zero."),
        ),
    ),
)
