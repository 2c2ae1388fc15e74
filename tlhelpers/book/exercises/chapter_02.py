"""Chapter 2: parameters, steps, which score to report, and folds that follow the writers."""

from collections.abc import Callable

from tlhelpers.book.exercises.judging import Exercise, near, number


def _percent(points: int) -> Callable[[float], bool]:
    """Return a test of whether a number is this percentage, as such or as a share."""
    return lambda v: min(abs(v - points), abs(100 * v - points)) < 1e-4


EXERCISES: tuple[Exercise, ...] = (
    Exercise(
        read=number,
        right=near(266_610, 1e-9),
        praise="right: nearly all of them join the pixels to the first hidden layer.",
        hint="Three layers have parameters. Each has inputs × units weights, and one bias per unit.",
        mistakes=(
            (near(266_200, 1e-9), "These are the weights; every unit has a bias as well."),
            (near(235_500, 1e-9), "That is the first hidden layer alone."),
            (near(265_600, 1e-9), "The two hidden layers are right; the output layer is missing."),
        ),
    ),
    Exercise(
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
    Exercise(
        read=number,
        right=_percent(94),
        praise="right: the test accuracy of the model that validation chose, and no other.",
        hint="Validation chooses the model; the test split judges that one.",
        mistakes=(
            (_percent(97), "That score made the choice, so it flatters it."),
            (_percent(96), "The test split would have chosen here; it may only judge."),
        ),
    ),
    Exercise(
        read=number,
        right=near(0.98120078, 5e-4),
        praise="right: higher, since there is more to train on, and less of each writer is left out.",
        hint="Pass KFold(13) as cv to cross_val_score, without shuffling, and take the mean.",
        mistakes=(
            (near(0.987, 1.5e-3), "These folds were shuffled: leave the file's order."),
            (near(0.95964, 5e-4), "That is for quarters; KFold(13) holds out thirteenths."),
        ),
    ),
)
