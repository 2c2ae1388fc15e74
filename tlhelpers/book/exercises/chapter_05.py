"""Chapter 5: the head, the preprocessing, intervals, and where to cut."""

from tlhelpers.book.exercises.judging import Exercise, near, number, numbers, scores_by_stage

EXERCISES: dict[str, Exercise] = {
    # Dense(256) and Dense(1) on 512 pooled channels.
    "05-1": Exercise(
        read=number,
        right=near(512 * 256 + 256 + 256 + 1, 1e-9),
        praise="right: pooling leaves a fiftieth of what Flatten needs.",
        hint="Pooling leaves one number a channel. A Dense layer has inputs × units weights, and "
        "one bias a unit; the head has two of them.",
        mistakes=(
            (near(6_423_041, 1e-9), "That is the head on Flatten; pool first."),
            (near(512 * 256 + 256, 1e-9), "That is the first Dense layer; the head has two."),
            (near(512 * 256 + 256, 0.01), "Close: count one bias for every unit of both layers."),
        ),
    ),
    # A pure red pixel, after VGG16's own preprocessing: blue, green, red, minus their means.
    "05-2": Exercise(
        read=numbers(3),
        right=lambda v: all(
            near(target, 0.001)(x)
            for target, x in zip((-103.939, -116.779, 131.32), v, strict=True)
        ),
        praise="right: blue first, each minus its mean, and nothing is divided.",
        hint="Two things happen: the channels change places, then each loses its own mean.",
        mistakes=(
            (lambda v: v[0] > v[2], "Is red still the first channel where the network looks?"),
            (lambda v: max(map(abs, v)) <= 1.01, "VGG16 was not trained on numbers this small."),
        ),
    ),
    # Half-width of a 95 % interval at accuracy 0.95: 1.96 sqrt(0.95 * 0.05 / n) = 0.01.
    "05-3": Exercise(
        read=number,
        right=near(1825, 0.04),
        praise="right: an interval narrows with the square root of n.",
        hint="The interval's half-width is about 1.96 standard errors, and the standard error of a "
        "proportion p is √(p(1 − p)/n). Solve for n.",
        mistakes=(
            (
                near(465, 0.03),
                "95 % takes 1.96 standard errors, and ± 1 point is half of the interval.",
            ),
            (near(9604, 0.04), "That is for an accuracy of 50 %, the worst case; here it is 95 %."),
        ),
    ),
    "05-4": Exercise(
        read=scores_by_stage,
        right=lambda s: len(s) >= 5 and len(set(s.values())) > 1,
        praise="these look measured. Which cut would you keep, and by how much does it win?",
        hint="Load the backbone with cut=stage for each of its five stages, fit a head on the "
        "frozen features, and collect run.validation.accuracy.",
        mistakes=(
            (lambda s: len(s) < 5, "One entry for every stage in base.stages, please."),
            (lambda s: len(set(s.values())) == 1, "All five are the same: is cut= passed on?"),
        ),
    ),
}
