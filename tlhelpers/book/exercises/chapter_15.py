"""Chapter 15: bytes of a network with a new head, of eight bits, and what a temperature does."""

from tlhelpers.book.exercises.judging import Exercise, near, number

EXERCISES: tuple[Exercise, ...] = (
    # 4 * (14714688 + 512 * 2 + 2) / 1e6
    Exercise(
        read=number,
        right=near(58.862856, 2.5e-3),
        praise="right: the head is four kilobytes of it. Transfer made nothing smaller.",
        hint="Count the parameters, head and its biases included; how many bytes has each?",
        mistakes=(
            (near(14.715714, 1e-4), "These are the parameters; how many bytes has each?"),
            (near(58862856, 1e-4), "Give megabytes, of a million bytes each."),
            (near(470.902848, 1e-4), "These are bits."),
            (near(56.1360893, 1e-4), "A megabyte is a million bytes here."),
        ),
    ),
    # 8 / 32
    Exercise(
        read=number,
        right=near(0.25, 1e-9),
        praise="right; scales for each channel and the graph itself take a little more.",
        hint="Compare the bits of one number before and after.",
        mistakes=(
            (near(4, 1e-9), "That is by how many times it shrinks; what share is left?"),
            (near(0.75, 1e-9), "That is what is saved; what share is left?"),
            (near(25, 1e-9), "Give a share between 0 and 1, or text with a % sign."),
        ),
    ),
    # sigmoid(log(0.98 / 0.02) / 4)
    Exercise(
        read=number,
        right=near(0.7257, 0.002),
        praise="right: nearer to even, so that the student sees how far from certain the teacher is.",
        hint="Turn the probability into a margin, divide that, and turn it back.",
        mistakes=(
            (near(0.245, 0.002), "The margin is divided, not the probability."),
            (near(0.2743, 0.002), "That is the other class."),
            (near(0.98, 1e-6), "A temperature above 1 brings it nearer to even."),
            (near(1, 1e-4), "The margin is divided, not multiplied."),
        ),
    ),
)
