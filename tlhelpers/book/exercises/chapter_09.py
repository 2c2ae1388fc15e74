"""Chapter 9: what decay does in all steps, an interval over draws, what the record shows."""

from typing import Any

import numpy as np

from tlhelpers.book.exercises.judging import Exercise, near, number, points, scores_by_stage


def names(answer: Any) -> set[str]:
    """Read some changes of the record.

    Args:
        answer: A list, tuple, set or array of names, or one text with commas.

    Returns:
        The names as the record has them.

    Raises:
        TypeError: If it is something else, or empty.
        ValueError: If a name is none of the record's.

    Example:
        >>> sorted(names(["dropout", "MIXUP"]))
        ['dropout', 'mixup']
    """
    from tlhelpers.experiments.field.remedies import CHANGES

    known = {change.casefold(): change for change in CHANGES if change != "base"}
    if isinstance(answer, str):
        answer = answer.split(",")
    given = (
        [str(name).strip() for name in answer]
        if isinstance(answer, list | tuple | set | np.ndarray)
        else []
    )
    if not given:
        raise TypeError("the answer is a list of names of changes.")
    unknown = [name for name in given if name.casefold() not in known]
    if unknown:
        raise ValueError(
            f"no change is called {unknown[0]!r}: they are {', '.join(known.values())}."
        )
    return {known[name.casefold()] for name in given}


def outside() -> set[str]:
    """Return the changes whose interval excludes 0 with 20 labels per class, yardsticks included.

    Example:
        >>> "other order" in outside()
        False
    """
    from tlhelpers.evaluation.scores import difference_over_draws
    from tlhelpers.experiments.field import load

    right: dict[str, list[np.ndarray]] = {}
    rows = [row for row in load("remedies")["results"] if row["labels"] == 20]
    for row in sorted(rows, key=lambda row: row["seed"]):
        bits = np.unpackbits(np.frombuffer(bytes.fromhex(row["right"]), np.uint8))
        right.setdefault(row["method"], []).append(bits[: row["n_test"]].astype(bool))
    base = np.array(right.pop("base"))
    gains = {name: difference_over_draws(base, np.array(each)) for name, each in right.items()}
    return {name for name, gain in gains.items() if gain.low > 0 or gain.high < 0}


EXERCISES: tuple[Exercise, ...] = (
    # 1 - (1 - 0.001 * 0.004) ** 200
    Exercise(
        read=number,
        right=near(0.00079968, 0.01),
        praise="right: less than a thousandth. It is a regulariser in name only.",
        hint="Each step multiplies a weight by one less rate times decay. Take all 200 steps.",
        mistakes=(
            (
                lambda v: near(0.8, 0.02)(v) or near(0.5514, 0.02)(v),
                "AdamW multiplies the decay by the learning rate.",
            ),
            (near(0.9992, 1e-4), "That is what is left; how much is gone?"),
            (near(0.079968, 0.01), "Give a share between 0 and 1, or text with a % sign."),
        ),
    ),
    # Mean 1, standard deviation 1, t = 2.776, five draws.
    Exercise(
        read=number,
        right=points(-0.2417, 0.02),
        praise="right: it includes 0, so these five draws carry no verb.",
        hint="Mean minus Student's t for four degrees of freedom times the standard error.",
        mistakes=(
            (
                points(0.1235, 0.02),
                "1.96 is for many draws; with five, take Student's t.",
            ),
            (
                points(-1.7764, 0.02),
                "Divide the standard deviation by the root of the number of draws.",
            ),
            (
                points(2.2417, 0.02),
                "That is the upper end.",
            ),
            (
                points(-0.1105, 0.02),
                "Take the standard deviation with n − 1 (ddof=1).",
            ),
        ),
    ),
    # Those whose interval, over draws and test images, ends below 0 or begins above.
    Exercise(
        read=names,
        right=lambda given: given == outside(),
        praise="right. The others may do something, but these draws don't show it.",
        hint="Of each change, look at both ends of its interval in gain.",
        mistakes=(
            (
                lambda given: given < outside(),
                "These exclude 0, and so do others: look at losses as well as gains.",
            ),
            (lambda given: given > outside(), "The interval of at least one of these holds 0."),
            (lambda given: "other order" in given, "That one changed nothing."),
        ),
    ),
    # Right / all of the validation photographs, at each strength; judged by its form alone.
    Exercise(
        read=scores_by_stage,
        right=lambda s: len(s) >= 3 and len(set(s.values())) > 1,
        praise="these look measured. Is the best of them better by more than two draws can tell?",
        hint="Call validated(n=100, passes=passes, dropout=…) for each strength.",
        mistakes=(
            (lambda s: len(s) < 3, "One entry for each of the three strengths, please."),
            (
                lambda s: len(set(s.values())) == 1,
                "All are the same: does each call have a strength of its own?",
            ),
        ),
    ),
)
