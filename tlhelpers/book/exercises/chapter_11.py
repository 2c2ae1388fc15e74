"""Chapter 11: an overlap of boxes, an average precision, what pooling forgets."""

from tlhelpers.book.exercises.judging import Exercise, near, number

EXERCISES: tuple[Exercise, ...] = (
    # 60 in both, 100 + 120 - 60 in either.
    Exercise(
        read=number,
        right=near(0.375, 0.01),
        praise="right: it looks close, and would not count as found at 0.5.",
        hint="Width times height of what both cover, over the area that either covers.",
        mistakes=(
            (near(60 / 220, 0.01), "What both cover is counted twice in the sum of the areas."),
            (near(0.6, 0.01), "That is the share of the first box alone."),
            (near(0.5, 0.01), "That is the share of the second box alone."),
        ),
    ),
    # 1/1 at the first object, 2/3 at the second, of three.
    Exercise(
        read=number,
        right=near(5 / 9, 0.01),
        praise="right. The object that was never found costs a third.",
        hint="Sort by confidence; at each object found, take the best precision from there on; "
        "divide by all objects.",
        mistakes=(
            (near(5 / 6, 0.01), "Divide by all objects, those that were missed included."),
            (near(0.5, 0.01), "That is the precision of all answers; sort them by confidence."),
            (near(2 / 3, 0.01), "That is the recall."),
        ),
    ),
    # 100 images: the map's intersection over union less the pooled one's, in points.
    Exercise(
        read=number,
        right=lambda gain: 5 <= gain <= 11 or 0.05 <= gain <= 0.11,
        praise="as measured. Was your guess nearer to 0?",
        hint='Subtract the mean of place["pretrained", "pooled", 100] from that of '
        '"places kept", in points.',
        mistakes=((lambda gain: gain < 0, "The other way round: what does keeping places gain?"),),
    ),
)
