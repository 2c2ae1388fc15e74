"""Chapter 7: parameters by stage, momentum under a mask, Adam made anew, branches, frozen stages."""

from tlhelpers.book.exercises.judging import Exercise, near, number, numbers, scores_by_stage


def _are(first: float, second: float, values: list[float]) -> bool:
    """Tell whether two counts are these."""
    return abs(values[0] - first) < 0.5 and abs(values[1] - second) < 0.5


EXERCISES: dict[str, Exercise] = {
    # (156 + 2416 + 48120) / 61706
    "07-1": Exercise(
        read=number,
        right=lambda v: abs(v - 50_692 / 61_706) <= 0.006 or abs(v - 82.15) <= 0.6,
        praise="right: three stages of five, and more than four fifths of the parameters.",
        hint="Add up the parameters of the stages that are copied, and divide by those of all five.",
        mistakes=(
            (near(0.6, 1e-3), "That is the share of the stages; they differ in size."),
            (near(50_692, 1e-9), "These are the parameters copied; which share of all are they?"),
            (near(50_692 / 60_856, 2e-3), "The head belongs to the network, too."),
            (near(60_856 / 61_706, 2e-3), "The fourth stage is not copied."),
        ),
    ),
    # -0.02 * (0.9 + 0.81 + 0.729)
    "07-2": Exercise(
        read=number,
        right=near(-0.04878, 0.01),
        praise="right: the gradient is masked, the velocity isn't.",
        hint="With a gradient of zero the velocity still is multiplied by 0.9 and added, three times.",
        mistakes=(
            (lambda v: abs(v) < 1e-9, "The gradient is masked, but the velocity is still there."),
            (near(0.04878, 0.01), "The size is right; look at the sign of the velocity."),
            (
                near(-0.0542, 0.01),
                "The velocity shrinks before it is added, in the first step too.",
            ),
            (near(-0.06, 0.01), "The velocity shrinks from step to step."),
            (near(-0.18, 0.01), "That is the way it goes in the end; three steps were asked for."),
            (near(-0.01458, 0.01), "That is the third step alone."),
        ),
    ),
    "07-3": Exercise(
        read=number,
        right=lambda v: abs(abs(v) - 0.002) <= 2e-5,
        praise="right: only the sign of a gradient is left.",
        hint="In Adam's first step both running means come from one gradient. What is their ratio?",
        mistakes=(
            (
                lambda v: abs(abs(v) - 2.1e-5) <= 1e-6,
                "That is gradient descent. Adam divides by the gradient's own size.",
            ),
            (lambda v: abs(abs(v) - 0.001) <= 1e-5, "That is one step; there are two."),
        ),
    ),
    # (168 + 1) * 5, (84 + 1) * 5
    "07-4": Exercise(
        read=numbers(2),
        right=lambda v: _are(845, 425, v),
        praise="right: averaging keeps the number of features, concatenation adds them up.",
        hint="A dense head has one weight for each feature and class, and one bias for each class.",
        mistakes=(
            (lambda v: _are(840, 420, v), "These are the weights; each class has a bias as well."),
            (lambda v: _are(425, 845, v), "The other way round: which of the two is longer?"),
            (lambda v: _are(850, 425, v), "One head has one bias for each class, not two."),
        ),
    ),
    "07-5": Exercise(
        read=scores_by_stage,
        right=lambda s: len(s) >= 3 and len(set(s.values())) > 1,
        praise="these look measured. How do they compare with four stages copied?",
        hint="Call run with 10 labels, seed 0, five stages copied, and each number of frozen stages; "
        "then score the weights it returns on the held-back digits.",
        mistakes=(
            (lambda s: len(s) < 3, "One entry for each of the three numbers, please."),
            (
                lambda s: len(set(s.values())) == 1,
                "All are the same: is each run with its own mask?",
            ),
        ),
    ),
}
