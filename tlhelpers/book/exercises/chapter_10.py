"""Chapter 10: a reversed gradient, MMD by hand, Bayes' rule with other frequencies, few target images."""

from tlhelpers.book.exercises.judging import Exercise, near, number, scores_by_stage

EXERCISES: tuple[Exercise, ...] = (
    # 0.2 - 0.5 * 0.6
    Exercise(
        read=number,
        right=near(-0.1, 1e-6),
        praise="right: the two heads pull this unit in opposite directions, and the domain's wins.",
        hint="Gradients of the two losses add up; one of them passes the reversal first.",
        mistakes=(
            (near(0.5, 1e-6), "That is without the reversal's minus."),
            (near(-0.4, 1e-6), "The reversal also multiplies by its strength."),
            (near(-0.3, 1e-6), "That is the domain head's part; the class head has one too."),
        ),
    ),
    # Means of exp(-(a - b)^2): 0.68394 in the source and in the target, 0.43852 between them.
    Exercise(
        read=number,
        right=near(0.490843, 1e-3),
        praise="right. The chapter's code gives the same for these four numbers and this kernel.",
        hint="Average the kernel over all four pairs in the source, in the target, and between them.",
        mistakes=(
            (near(0.700602, 1e-3), "That is its root; give the square."),
            (near(0.245421, 1e-3), "The mean between the domains is taken off twice."),
            (near(-0.141278, 1e-3), "Here a number is paired with itself, too."),
        ),
    ),
    # 0.6 * 0.25 / 0.75 = 0.2 against 0.4 * 0.75 / 0.25 = 1.2
    Exercise(
        read=number,
        right=near(1 / 7, 5e-3),
        praise="right: where three of four were dogs, 0.6 for the dog is less than that share: the "
        "photograph itself speaks for a cat.",
        hint="Multiply each class's probability by its new share over its old one, and normalise.",
        mistakes=(
            (near(0.2, 1e-3), "The two products must be normalised to sum to one."),
            (near(1 / 3, 1e-3), "The source's shares have to be divided out."),
            (
                near(0.931034, 1e-3),
                "It was trained where most are dogs, and is used where few are.",
            ),
            (near(6 / 7, 1e-3), "That is the cat's."),
        ),
    ),
    # Right / all of the target's test images, for each count; judged by its form alone.
    Exercise(
        read=scores_by_stage,
        right=lambda s: len(s) >= 3 and len(set(s.values())) > 1,
        praise="these look measured. The first rows are all of one class: not more of them are wanted, "
        "but mixed ones.",
        hint="For each count, take that many rows of the unlabelled target's features for the mean.",
        mistakes=(
            (lambda s: len(s) < 3, "One entry for each of the three counts, please."),
            (
                lambda s: len(set(s.values())) == 1,
                "All are the same: does each mean have its own rows?",
            ),
        ),
    ),
)
