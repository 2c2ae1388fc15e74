"""Chapter 13: an interval by groups, what "unknown" is worth, and how many answers to give."""

from tlhelpers.book.exercises.judging import Exercise, near, number

EXERCISES: tuple[Exercise, ...] = (
    # wilson_interval(27, 30)[0]
    Exercise(
        read=number,
        right=near(0.743788, 5e-3),
        praise="right: ten pictures of a tree say little more than one.",
        hint="If the tree is the unit, there are 30 trials; how many of them succeeded?",
        mistakes=(
            (near(0.860957, 3e-3), "That counts 300 independent pictures; there are 30 trees."),
            (near(0.965405, 3e-3), "That is the upper end."),
            (near(0.792646, 3e-3), "That is p − 1.96 √(p(1 − p)/n); take Wilson's."),
            (near(74.3788, 5e-3), "As a share, 0 to 1, please."),
        ),
    ),
    # 0.05 * 0.95 / (0.05 * 0.95 + 0.95 * 0.01)
    Exercise(
        read=number,
        right=near(0.833333, 5e-3),
        praise="right: one in six pictures that are called unknown is one of your own.",
        hint="Of 10,000 pictures, how many strangers are called unknown, and how many others?",
        mistakes=(
            (near(0.95, 1e-3), "That is the share of the strangers that is caught."),
            (near(0.0475, 1e-3), "That is the share of all pictures; of those called unknown?"),
            (near(0.989583, 1e-3), "Strangers are 5 % of the pictures, not half of them."),
            (near(0.166667, 5e-3), "That is the share that are no strangers."),
            (near(83.3333, 5e-3), "As a share, 0 to 1, please."),
        ),
    ),
    # The largest n of which at most n / 8 are wrong, surest first.
    Exercise(
        read=number,
        right=near(8, 1e-6),
        praise="right: the fifth answer is wrong, but by the eighth it is one in eight.",
        hint="Count wrong answers among the surest 1, 2, … 10; the largest number that fits counts.",
        mistakes=(
            (near(4, 1e-6), "One in eight may be wrong; go on after the first mistake."),
            (near(10, 1e-6), "Of all ten, two are wrong."),
            (near(9, 1e-6), "Of the first nine, two are wrong."),
        ),
    ),
)
