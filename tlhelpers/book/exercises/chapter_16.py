"""Chapter 16: naming groups, a zero's turns, a contrastive loss at chance, and two captions."""

from tlhelpers.book.exercises.judging import Exercise, near, number

EXERCISES: tuple[Exercise, ...] = (
    # (20 + 6 + 19) / 100, of groups × classes [[20, 5, 5], [18, 6, 6], [2, 19, 19]]
    Exercise(
        read=number,
        right=near(0.45, 1e-3),
        praise="right: two of the three groups would rather have had the same name.",
        hint="Give each group another name, so that the named counts add up to as many as can be.",
        mistakes=(
            (near(0.57, 1e-3), "Two groups got the same name."),
            (near(0.42, 1e-3), "Another way of naming gets more right."),
            (near(45, 1e-3), "Give a share between 0 and 1, or text with a % sign."),
        ),
    ),
    # two turns of four look alike, and so do the other two
    Exercise(
        read=number,
        right=near(0.5, 1e-6),
        praise="right: upright or on its side can be told, which of the two ends is up can not.",
        hint="Which of the four turned pictures look the same?",
        mistakes=(
            (near(0.25, 1e-6), "That is guessing among all; can upright be told from lying?"),
            (near(1, 1e-6), "Turned by a half it is the same picture: what could tell them apart?"),
            (near(0.75, 1e-6), "How many pairs of turned pictures look the same?"),
            (near(50, 1e-6), "Give a share between 0 and 1, or text with a % sign."),
        ),
    ),
    # log(128)
    Exercise(
        read=number,
        right=near(4.852, 0.001),
        praise="right: below it, partners are given more than 1 in 128, in the geometric mean.",
        hint="It is a classification among as many as there are images in the batch.",
        mistakes=(
            (near(2.303, 0.001), "The classes are the images of the batch, not the digits."),
            (near(48.52, 0.001), "Equal cosines stay equal when all are divided."),
            (near(7.0, 0.001), "The loss takes the natural logarithm."),
            (near(9.704, 0.001), "Both directions are averaged, not added."),
        ),
    ),
    # 1 / (1 + exp(-(0.9 - 0.7) / 0.1))
    Exercise(
        read=number,
        right=near(0.8808, 0.001),
        praise="right: a small difference of cosines, and a rather sure answer.",
        hint="Divide both cosines by the temperature, and take the softmax of the two.",
        mistakes=(
            (near(0.5498, 0.001), "Divide by the temperature first."),
            (near(0.1192, 0.001), "That is the other caption's."),
            (near(0.5625, 0.001), "Cosines are no probabilities; take the softmax."),
            (near(0.505, 0.001), "Divide by the temperature, do not multiply."),
        ),
    ),
)
