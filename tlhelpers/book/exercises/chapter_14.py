"""Chapter 14: windows of a second, what a random split claims, a day between two known ones."""

from tlhelpers.book.exercises.judging import Exercise, near, number

EXERCISES: tuple[Exercise, ...] = (
    # 1 + (8000 - 256) // 64
    Exercise(
        read=number,
        right=lambda v: v == 122,
        praise="right: the last window ends with the last samples.",
        hint="The first window takes 256 samples; each further one needs 64 more.",
        mistakes=(
            (lambda v: v == 121, "Count the first window too."),
            (lambda v: v == 125, "Near the end, windows no longer fit."),
            (lambda v: v == 31, "The step is 64, so windows overlap."),
        ),
    ),
    # 100 * (mean in shuffled folds - mean by speaker); judged by its size.
    Exercise(
        read=number,
        right=lambda v: 18 <= v <= 60 or 0.18 <= v <= 0.6,
        praise="as measured: with any other of a speaker's recordings at hand, a neighbour is near.",
        hint="Mean accuracy in shuffled folds less mean accuracy by speaker, in points.",
        mistakes=(
            (lambda v: v < 0, "At random first, less by speaker."),
            (
                lambda v: v > 80 or 0.8 < v <= 1,
                "That looks like an accuracy; the difference of the two is asked.",
            ),
        ),
    ),
    # sqrt(2 / 4): half the difference of two independent steps.
    Exercise(
        read=number,
        right=near(0.5**0.5, 0.01),
        praise="right: below 1, which no forecast can reach.",
        hint="The error is half the difference of two steps that have nothing to do with each other.",
        mistakes=(
            (near(2**0.5, 0.01), "That is the difference of two steps; the mean takes half of it."),
            (near(0.5, 0.01), "That is the variance; take its root."),
            (near(1.0, 0.01), "That is the error of guessing the day before."),
        ),
    ),
)
