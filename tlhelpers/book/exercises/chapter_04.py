"""Chapter 4: Kendall's τ, points lost by a choice, what a source adds, and probes by stage."""

from collections.abc import Callable

import numpy as np

from tlhelpers.book.exercises.judging import (
    Exercise,
    near,
    number,
    numbers,
    points,
    scores_by_stage,
)


def both(first: float, second: float) -> Callable[[list[float]], bool]:
    """Return a test of two numbers in points, or of the same as shares."""
    return lambda v: any(np.allclose(np.array(v) * k, (first, second), atol=0.01) for k in (1, 100))


EXERCISES: tuple[Exercise, ...] = (
    # Two of ten pairs are in the wrong order.
    Exercise(
        read=number,
        right=near(0.6, 0.01),
        praise="right: eight pairs agree, two don't.",
        hint="Count the pairs of networks that both rankings put in the same order, and the others.",
        mistakes=(
            (
                near(0.8, 0.01),
                "That is the share of pairs that agree; a pair that does not counts −1.",
            ),
            (near(-0.6, 0.01), "The sign is turned round: most pairs agree."),
            (near(0.5438, 0.005), "That is the weighted τ; here all pairs count alike."),
        ),
    ),
    Exercise(
        read=number,
        right=points(4, 0.01),
        praise="right: τ says nothing of it; had the best reached 99 %, τ would be "
        "the same, and 11 points lost.",
        hint="Which network has the highest score, and how much better is the best one?",
        mistakes=(
            (near(0, 1e-9), "The highest score is not the best network's."),
            (
                points(-4, 0.01),
                "A loss of so many points: give it as a positive number.",
            ),
            (near(0.4, 0.01), "That is a difference of scores, or close to one; take accuracies."),
        ),
    ),
    # 71 - 66 and 80 - 84.
    Exercise(
        read=numbers(2),
        right=both(5, -4),
        praise="right: this source helps frozen and hurts fine-tuned.",
        hint="For each learner, subtract what it reaches without the source: frozen random weights "
        "for a frozen base, training from scratch for one that is fine-tuned.",
        mistakes=(
            (
                both(-13, -4),
                "From scratch is another learner than a frozen base: compare it with frozen random "
                "weights, or freezing itself is counted.",
            ),
            (both(-5, 4), "With the source minus without it: mind the sign."),
            (both(5, 9), "What is the fine-tuned network without its source?"),
        ),
    ),
    Exercise(
        read=scores_by_stage,
        right=lambda s: (
            len(s) == 5
            and max(s, key=lambda stage: s[stage]) == "block4_pool"
            and 0.6 <= s["block4_pool"] <= 0.8
        ),
        praise="right: after training on edges the best cut is no longer the last.",
        hint="Call probe_stages with stages_of(sources['ImageNet, then edges'], data), data and "
        "counts=(50,); its first array says which photographs are right: average over draws and photographs.",
        mistakes=(
            (lambda s: len(s) != 5, "One entry for each of the five stages, please."),
            (lambda s: max(s.values()) > 0.85, "That is ImageNet's; which weights are probed?"),
            (lambda s: len(set(s.values())) == 1, "All are the same: is the stage passed on?"),
        ),
    ),
)
