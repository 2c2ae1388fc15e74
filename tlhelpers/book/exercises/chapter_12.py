"""Chapter 12: noise against labels, what privacy promises, LoRA's parameters, FGSM on a linear head."""

from tlhelpers.book.exercises.judging import Exercise, near, number

EXERCISES: tuple[Exercise, ...] = (
    # 800 / 20
    Exercise(
        read=number,
        right=near(40, 1e-6),
        praise="right: so the photographs that protect one another are those of other people.",
        hint="Noise is added once per step to the sum of the gradients. What is the sum divided by?",
        mistakes=(
            (
                near(40**0.5, 0.01),
                "The root would be for noise on each photograph; here it is added to their sum.",
            ),
            (near(1 / 40, 1e-6), "Give the factor by which it shrinks, above 1."),
            (near(1, 1e-6), "On the sum it stays the same; look at the mean."),
        ),
    ),
    # e * 0.02 + 0.00001
    Exercise(
        read=number,
        right=near(0.0543756, 0.005),
        praise="right: whatever the attack, and whatever its author knows.",
        hint="The definition bounds members found by those wrongly accused.",
        mistakes=(
            (near(0.02, 0.005), "That is ε = 0: the factor is the exponential of ε."),
            (near(0.02001, 1e-4), "That is ε = 0: the factor is the exponential of ε."),
            (near(5.43756, 0.005), "Give a share between 0 and 1, or text with a % sign."),
        ),
    ),
    # 3 * 3 * 512 * 4 + 4 * 512
    Exercise(
        read=number,
        right=near(20480, 1e-9),
        praise="right: less than a hundredth of the kernel.",
        hint="Count both factors, and every number in their shapes.",
        mistakes=(
            (near(2359296, 1e-9), "That is the kernel, which stays as it is."),
            (near(4096, 1e-9), "The first factor sees 3 × 3 places, too."),
            (near(18432, 1e-9), "That is one factor of two."),
            (near(2048, 1e-9), "That is one factor of two."),
        ),
    ),
    # 0.1 * (1 + 2 + 0.5)
    Exercise(
        read=number,
        right=lambda value: near(0.35, 0.005)(abs(value)),
        praise="right: with many inputs this sum grows, while each change stays invisible.",
        hint="Each input moves in the direction that hurts. What does it contribute?",
        mistakes=(
            (
                lambda v: near(0.2291, 0.01)(abs(v)),
                "That is for a change of bounded length; here each input has a bound of its own.",
            ),
            (
                lambda v: near(0.05, 0.01)(abs(v)),
                "The inputs need not all move the same way: look at the signs.",
            ),
            (
                lambda v: near(3.5, 0.005)(abs(v)),
                "That is the norm; each change is a tenth of it.",
            ),
        ),
    ),
)
