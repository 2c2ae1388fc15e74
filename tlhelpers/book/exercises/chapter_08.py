"""Chapter 8: an interval, a paired test, a temperature, and copies that straddle folds."""

from tlhelpers.book.exercises.judging import Exercise, near, number

EXERCISES: tuple[Exercise, ...] = (
    Exercise(
        read=number,
        right=near(0.786398, 5e-3),
        praise="right: about eleven points below the score, and under six above it: it is lopsided.",
        hint="Wilson's interval for 45 successes in 50 trials has two ends; give the lower, 0 to 1.",
        mistakes=(
            (near(0.956524, 3e-3), "That is where it ends."),
            (
                near(0.816846, 5e-3),
                "That is p − 1.96 √(p(1 − p)/n), which is too narrow near 1; take Wilson's.",
            ),
            (near(78.6398, 5e-3), "As a share, 0 to 1, please."),
        ),
    ),
    Exercise(
        read=number,
        right=near(0.022645, 0.03),
        praise="right: the other 956 images say nothing about which model is better.",
        hint="Only disagreements count. If the models are equally good, each of them is a coin toss.",
        mistakes=(
            (near(0.011323, 0.03), "That is one-sided: 14 to 30 would have been as surprising."),
            (near(0.016, 1e-3), "That is the difference in accuracy, not its p-value."),
            (
                lambda p: 0.014 <= p <= 0.0162 or 0.0230 < p <= 0.0245,
                "That is the chi-squared approximation; the exact test is a binomial one.",
            ),
        ),
    ),
    Exercise(
        read=number,
        right=near(0.786986, 5e-3),
        praise="right: it was surer than 96 % before, and its answer is the same.",
        hint="Divide the logits by T, then take the softmax; give the largest probability.",
        mistakes=(
            (near(0.964664, 3e-3), "That is without the temperature."),
            (near(0.999329, 5e-4), "The logits are divided by T, not multiplied."),
            (near(0.482332, 3e-3), "The logits are divided by T, not the probability."),
        ),
    ),
    Exercise(
        read=number,
        right=lambda v: 0.15 <= v <= 0.35 or 15 <= v <= 35,
        praise="right: nearly every photograph meets a copy of itself. Draw folds of photographs "
        "first, and repeat afterwards.",
        hint="Cross-validate on the repeated rows; fit to the rows without repeats, and score on all "
        "photographs that are not among them; subtract.",
        mistakes=(
            (lambda v: 0.93 <= v <= 1, "That is what it seems to have; what has it on others?"),
            (lambda v: 0.6 <= v < 0.93, "That is what it has; what did it seem to have?"),
            (
                lambda v: abs(v) < 0.1,
                "Were the rows repeated before the folds were drawn, and the folds shuffled?",
            ),
        ),
    ),
)
