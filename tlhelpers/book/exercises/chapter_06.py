"""Chapter 6: multiply-adds, the size of a head, the cost of tuning, and cuts by picture size."""

from tlhelpers.book.exercises.judging import Exercise, near, number, scores_by_stage

EXERCISES: dict[str, Exercise] = {
    # 8 * 8 places, 3 * 3 * 128 inputs of a window, 256 channels
    "06-1": Exercise(
        read=number,
        right=near(18_874_368, 1e-3),
        praise="right: half the width, twice the channels: as much as block2_conv1.",
        hint="Places of the output × numbers under one kernel × channels. How many poolings come "
        "before this layer?",
        mistakes=(
            (near(37_748_736, 1e-3), "These are floating-point operations, two to a multiply-add."),
            (near(294_912, 1e-3), "That is one place, or the number of weights."),
            (near(301_989_888, 1e-3), "The map is no longer 32 pixels wide: what did poolings do?"),
            (near(75_497_472, 1e-3), "One pooling has been counted; there are more before it."),
            (near(2_097_152, 1e-3), "A kernel covers nine places of its input."),
        ),
    ),
    # 3 * 3 * 512 * 10 + 10
    "06-2": Exercise(
        read=number,
        right=near(46_090, 1e-9),
        praise="right: nine places with 512 channels each, and a bias for each class.",
        hint="What is the output's shape after five halvings? Then inputs × classes, and biases.",
        mistakes=(
            (near(46_080, 1e-9), "These are the weights; every class has a bias as well."),
            (near(5130, 1e-9), "That is for a single place, as at 32 pixels."),
            (near(15_370, 1e-9), "The map has a height and a width."),
        ),
    ),
    # 20 * (1 + 2)
    "06-3": Exercise(
        read=number,
        right=near(60, 1e-9),
        praise="right, and only the head's own fit comes on top of the one pass.",
        hint="Count passes: how many forward ones does a picture's features cost once, and what "
        "does one epoch of tuning cost in the same unit?",
        mistakes=(
            (near(20, 1e-9), "These are the forward passes; tuning goes backward as well."),
            (near(40, 1e-9), "That is the backward part, or a backward pass as dear as a forward."),
        ),
    ),
    "06-4": Exercise(
        read=scores_by_stage,
        right=lambda s: len(s) >= 3 and len(set(s.values())) > 1,
        praise="these look measured. Is the best stage the one that was best at 32 pixels?",
        hint="Resize the draw, load the network for that size, cut it at each stage, and give one "
        "accuracy for each.",
        mistakes=(
            (lambda s: len(s) < 3, "One entry for each stage, please."),
            (lambda s: len(set(s.values())) == 1, "All are the same: is the network cut anew?"),
        ),
    ),
}
