"""Chapter 4: conditional entropy, what LEEP can't see, Kendall's τ, and probes with few labels."""

from tlhelpers.book.exercises.judging import Exercise, near, number, scores_by_stage

EXERCISES: dict[str, Exercise] = {
    # 0.75 ln 0.75 + 0.25 ln 0.25
    "04-1": Exercise(
        read=number,
        right=near(-0.5623, 0.003),
        praise="right: knowing the source's class removes only a part of the entropy, 0.693.",
        hint="Within one source class three quarters of the images are of one target class. NCE is "
        "minus the entropy of that split, in nats, averaged over the source's classes.",
        mistakes=(
            (near(0.5623, 0.003), "That is the entropy; NCE has the other sign."),
            (near(-0.8113, 0.003), "That is in bits; take the natural logarithm."),
            (near(-0.6931, 0.003), "That is what the labels alone leave open, without the source."),
            (near(-1.1247, 0.003), "Average over the source's classes; don't add them."),
        ),
    ),
    # ln(1/5)
    "04-2": Exercise(
        read=number,
        right=near(-1.6094, 0.003),
        praise="right: minus the labels' entropy, the lowest it can be for such labels.",
        hint="If all images get the same probabilities, P(y | z) is the same for all z. Which is it?",
        mistakes=(
            (near(1.6094, 0.003), "A log probability is not above 0."),
            (near(-2.3219, 0.003), "That is in bits; take the natural logarithm."),
            (near(-4.9972, 0.003), "It is the target's classes that count, not the source's."),
            (near(0.0, 1e-6), "That would be a source that tells the classes for certain."),
        ),
    ),
    # Two of ten pairs are in the wrong order.
    "04-3": Exercise(
        read=number,
        right=near(0.6, 0.01),
        praise="right: eight pairs agree, two don't.",
        hint="Count the pairs of networks that both rankings put in the same order, and the others.",
        mistakes=(
            (
                near(0.8, 0.01),
                "That is the share of pairs that agree; a pair that does not counts −1.",
            ),
            (near(-0.6, 0.01), "The sign is turned round: most pairs agree."),
            (near(0.5438, 0.005), "That is the weighted τ; here all pairs count alike."),
        ),
    ),
    "04-4": Exercise(
        read=scores_by_stage,
        right=lambda s: len(s) >= 5 and len(set(s.values())) > 1,
        praise="these look measured. Which block is best, and would one draw have told?",
        hint="Call probe_target for each of the five stages and several seeds, and average; give "
        "one accuracy for each stage.",
        mistakes=(
            (lambda s: len(s) < 5, "One entry for each of the five stages, please."),
            (lambda s: len(set(s.values())) == 1, "All are the same: is the stage passed on?"),
        ),
    ),
}
