"""Chapter 5: the head, the preprocessing, an interval over draws, and where to cut."""

from tlhelpers.book.exercises.judging import Exercise, near, number, numbers, scores_by_stage

EXERCISES: tuple[Exercise, ...] = (
    # Dense(256) and Dense(1) on 512 pooled channels.
    Exercise(
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
    Exercise(
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
    # Paired differences of 0.3, 0.4 and 0.2 points: Student's t with two degrees of freedom.
    Exercise(
        read=numbers(3),
        right=lambda v: all(
            near(target, 0.02)(x) for target, x in zip((0.3, 0.0516, 0.5484), v, strict=True)
        ),
        praise="right. All three draws share the 1,000 test photographs: three more of them right "
        "could be luck with those, and this interval does not say so.",
        hint="Subtract draw by draw, then take mean_interval of the three differences.",
        mistakes=(
            (lambda v: max(map(abs, v)) < 0.02, "In points, please: hundredths, not shares."),
            (
                lambda v: near(0.3, 0.02)(v[0]) and v[1] < 0,
                "The draws are the same on both sides: take differences first.",
            ),
            (
                lambda v: near(0.3, 0.02)(v[0]) and near(0.187, 0.02)(v[1]),
                "With three draws, Student's t is far from 1.96.",
            ),
        ),
    ),
    Exercise(
        read=scores_by_stage,
        right=lambda s: len(s) >= 5 and len(set(s.values())) > 1,
        praise="these look measured. Which cut would you keep, and by how much does it win?",
        hint="For each stage, take features of the forty with vgg16.cut(stage), and answers by "
        "cross_val_predict with the chapter's linear head.",
        mistakes=(
            (lambda s: len(s) < 5, "One entry for every stage in base.stages, please."),
            (lambda s: len(set(s.values())) == 1, "All five are the same: was the base cut?"),
        ),
    ),
)
