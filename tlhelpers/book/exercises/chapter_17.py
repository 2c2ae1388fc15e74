"""Chapter 17: heat of a small map, edges as an explanation, passes of occlusion, a triggered test set."""

from tlhelpers.book.exercises.judging import Exercise, near, number

EXERCISES: tuple[Exercise, ...] = (
    # 0.5 * [[1, 0], [0, 3]] - 0.25 * [[0, 2], [1, 1]] = [[0.5, -0.5], [-0.25, 1.25]]; 1.25 of 1.75
    Exercise(
        read=number,
        right=near(1.25 / 1.75, 0.002),
        praise="right: what speaks against the class is no heat, and it still lowered this place.",
        hint="Weigh both channels, add them place by place, cut off what is negative, then divide.",
        mistakes=(
            (near(0.75, 0.002), "The second channel counts too, with its negative weight."),
            (near(0.5, 0.002), "What is negative is cut off, not turned round."),
            (near(1.25, 0.002), "Divide by the heat alone, without what is negative."),
            (near(71.43, 0.002), "Give a share between 0 and 1, or text with a % sign."),
        ),
    ),
    # recorded: the mean over draws of the accuracy with the ten cells covered that have most edges
    Exercise(
        read=number,
        right=lambda value: abs(value - 0.88) <= 0.025,
        praise="right: holes where most edges are cost answers, with no network asked.",
        hint="It lies between random cells and the class activation map; then ask the record.",
        mistakes=(
            (
                lambda value: 1 < value <= 100,
                "Give a share between 0 and 1, or text with a % sign.",
            ),
            (
                lambda value: 0.9 <= value <= 1,
                "That much is left by cells at random; edges find more.",
            ),
            (lambda value: 0 <= value < 0.85, "No way of naming cells takes as much as that."),
        ),
    ),
    # (14 * 14 + 1) passes of 20 ms, a thousand times
    Exercise(
        read=number,
        right=near(65.5, 0.01),
        praise="right: a gradient would have taken one pass each way.",
        hint="One pass for each cell, and one for the whole photograph.",
        mistakes=(
            (near(0.0655, 0.01), "That is one photograph; there are a thousand."),
            (near(4.83, 0.04), "There are 14 cells along each side."),
            (near(3930, 0.01), "That is in seconds."),
            (near(0.333, 0.01), "Each cell needs a pass of its own."),
        ),
    ),
    # all go to one class, which is right for a tenth of them
    Exercise(
        read=number,
        right=near(0.1, 1e-3),
        praise="right: the tenth that is of that class anyway.",
        hint="All pictures get one answer. For which of them is it right?",
        mistakes=(
            (near(0.9, 1e-3), "That is without the trigger."),
            (near(0.09, 1e-3), "All of that class are answered right, by the trigger."),
            (near(0, 1e-3), "Some pictures are of the class that all are sent to."),
            (near(10, 1e-3), "Give a share between 0 and 1, or text with a % sign."),
        ),
    ),
)
