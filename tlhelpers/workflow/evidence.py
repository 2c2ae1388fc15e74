"""What the report says, measured: scores, calibration, labels, what more data or other pictures do."""

from dataclasses import asdict
from typing import Any

import numpy as np

from tlhelpers.data.audit import printable
from tlhelpers.data.augmentation import Augmentation
from tlhelpers.data.splits import Split
from tlhelpers.evaluation.scores import (
    balanced_accuracy,
    majority_accuracy,
    reliability,
)
from tlhelpers.models.backbones import Backbone
from tlhelpers.transfer.heads import fit_head
from tlhelpers.transfer.recipes import class_weights
from tlhelpers.workflow.alterations import ALTERATIONS, Altered
from tlhelpers.workflow.audit import pixel_features
from tlhelpers.workflow.choose import Choice, Features, choose, predict_unseen
from tlhelpers.workflow.judge import (
    balanced,
    by_class,
    coverage_curve,
    doubtful_labels,
    gain,
    gap_by_chance,
    share,
)
from tlhelpers.workflow.learn import Learned
from tlhelpers.workflow.split import FOLDS, REPEATS, Pictures, folds
from tlhelpers.workflow.strangers import Familiar, auroc, learn_familiar

SHARES = (1 / 8, 1 / 4, 1 / 2, 1.0)
"""Shares of the labels at which the learning curve is drawn."""

DRAWS = 3
"""Draws of each share."""

ALTERED = 120
"""Judged images that are altered."""

STRANGERS = 60
"""Strange pictures of each kind."""


def floors(pictures: Pictures, sums: np.ndarray, seed: int) -> dict[str, Any]:
    """Score the commonest class, and a linear model of the pixels."""
    labels, groups, pool, judged = (
        pictures.labels,
        pictures.groups,
        pictures.pool,
        pictures.judged,
    )
    floors: dict[str, Any] = {"majority": majority_accuracy(labels[pool], labels[judged])}
    own = {"pixels": pixel_features(sums[pool])}
    if pictures.held_out:
        made = choose(own, labels[pool], groups[pool], seed, 3)
        head = fit_head(own["pixels"], labels[pool], made.inverse_penalty, overwrite=True)
        given = head.probabilities(pixel_features(sums[judged]))
        right = given.argmax(axis=1) == labels[judged]
    else:
        right = predict_unseen(own, labels, groups, seed, repeats=1).right
    return {**floors, "pixels": share(right, groups[judged])}


def scratch(
    base: Backbone, pictures: Pictures, seed: int, augmentation: Augmentation
) -> dict[str, Any]:
    """Train the same network from random weights, and score it on the test split."""
    from tlhelpers.transfer.methods import from_scratch

    run = from_scratch(base, pictures.data, augmentation=augmentation, seed=seed)
    score = share(run.right("test"), pictures.groups[pictures.split_of == 2])
    return {"accuracy": score, "seconds": run.seconds}


def score_images(learned: Learned, frozen: Learned, pictures: Pictures) -> dict[str, Any]:
    """Score the judged images: in all, by class, and which class is taken for which."""
    labels, groups = pictures.labels[pictures.judged], pictures.groups[pictures.judged]
    predicted = learned.raw.argmax(axis=1)
    names = pictures.data.class_names
    confusion = np.zeros((len(names), len(names)), int)
    np.add.at(confusion, (labels, predicted), 1)
    counts = np.bincount(pictures.labels[pictures.pool], minlength=len(names))
    plain = None
    if class_weights(counts.tolist(), "auto"):
        plain = _plain_fit(frozen, pictures)
    return {
        "held_out": pictures.held_out,
        "covers": _covers(pictures),
        "accuracy": share(learned.right, groups),
        # As the accuracy: the mean over the repeats, not that of their averaged predictions.
        "balanced": balanced(learned.right, labels, groups),
        "repeats": learned.notes.get("repeats", []),
        "pool": frozen.notes.get("pool"),
        "everywhere": learned.notes.get("everywhere") if learned is frozen else None,
        "by_class": by_class(predicted, labels, names, groups),
        "confusion": confusion.tolist(),
        "without_weights": plain,
    }


def _covers(pictures: Pictures) -> str:
    """Say what the interval covers."""
    together = len(np.unique(pictures.groups[pictures.judged])) < len(pictures.judged)
    what = "images, or groups of them that belong together," if together else "images"
    if pictures.held_out:
        return (
            f"The interval covers which {what} happened to be in the test split. It does not cover "
            "training: with other training images the same recipe may score outside it."
        )
    return (
        f"Too few images for a test split of their own, so each was predicted by a model fitted on "
        f"others ({FOLDS} folds, {REPEATS} times; stage and penalty chosen anew in each). The "
        f"interval covers which {what} happened to be in the folder; models of a fold share most of "
        "their training images, so it may be somewhat too narrow. The model that was saved is fitted "
        "on all images."
    )


def _plain_fit(learned: Learned, pictures: Pictures) -> dict[str, float] | None:
    """Score a head without class weights on the same images, by accuracy and balanced accuracy."""
    x, labels, c = learned.features[learned.choice.stage], pictures.labels, learned.choice
    predicted = np.zeros(len(labels), int)
    for fit, held in _pairs(pictures, 0):
        head = fit_head(x[fit], labels[fit], c.inverse_penalty, balanced=False, overwrite=True)
        predicted[held] = head.probabilities(x[held]).argmax(axis=1)
    found, truth = predicted[pictures.judged], labels[pictures.judged]
    return {"accuracy": float((found == truth).mean()), "balanced": balanced_accuracy(found, truth)}


def _pairs(pictures: Pictures, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return rows to fit on and to judge by: pool and test, or folds."""
    if pictures.held_out:
        return [(pictures.pool, pictures.judged)]
    return list(folds(pictures.labels, pictures.groups, seed))


def calibration(learned: Learned, pictures: Pictures) -> dict[str, Any]:
    """Compare confidence and accuracy, before and after tempering; say what "unsure" costs."""
    labels = pictures.labels[pictures.judged]
    found: dict[str, Any] = {"temperature": learned.temperature}
    for name, p in (("before", learned.raw), ("after", learned.probabilities)):
        found[name] = asdict(reliability(p, labels))
    found["by_chance"] = gap_by_chance(learned.probabilities)
    right = learned.probabilities.argmax(axis=1) == labels
    answered = learned.probabilities.max(axis=1) >= learned.threshold
    found["threshold"] = learned.threshold
    found["wanted_error"] = learned.notes["wanted_error"]
    found["answered"] = float(answered.mean())
    found["error_of_answered"] = share(~right[answered], pictures.groups[pictures.judged][answered])
    found["coverage"] = coverage_curve(learned.probabilities, right)
    return found


def label_check(
    features: Features, pictures: Pictures, choice: Choice, seed: int
) -> dict[str, Any]:
    """Rank the images whose label to check; a second fit leaves out what the first one doubted."""
    labels, groups = pictures.labels, pictures.groups
    first = predict_unseen(features, labels, groups, seed, choice=choice, repeats=1)
    usable = np.ones(len(labels), bool)
    usable[doubtful_labels(first.probabilities, labels)] = False
    p = first.probabilities
    if min(len(np.unique(groups[usable & (labels == one)])) for one in np.unique(labels)) > FOLDS:
        again = predict_unseen(
            features, labels, groups, seed + 1, choice=choice, usable=usable, repeats=1
        )
        p = (p + again.probabilities) / 2
    names, files = pictures.data.class_names, pictures.names
    rows = [
        {
            "row": int(row),
            "file": printable(files[row]),
            "given": names[labels[row]],
            "suggested": names[p[row].argmax()],
            "probability_of_given": float(p[row, labels[row]]),
        }
        for row in doubtful_labels(p, labels)
    ]
    return {"n": len(labels), "rows": rows}


def mistakes(learned: Learned, pictures: Pictures) -> list[dict[str, Any]]:
    """List the judged images that were named wrongly, the surest first."""
    labels, names = pictures.labels[pictures.judged], pictures.data.class_names
    p = learned.probabilities
    wrong = np.flatnonzero(learned.raw.argmax(axis=1) != labels)
    files = pictures.names
    return [
        {
            "row": int(pictures.judged[place]),
            "file": printable(files[pictures.judged[place]]),
            "label": names[labels[place]],
            "answer": names[p[place].argmax()],
            "probability": float(p[place].max()),
        }
        for place in wrong[np.argsort(-p[wrong].max(axis=1), kind="stable")]
    ]


def learning_curve(learned: Learned, pictures: Pictures, seed: int) -> dict[str, Any]:
    """Fit the head on shares of the labels, and compare half of them with all."""
    x, labels, groups = (
        learned.features[learned.choice.stage],
        pictures.labels,
        pictures.groups,
    )
    points, rights = [], {}
    for part in SHARES:
        draws, sizes = [], []
        for draw in range(DRAWS if part < 1 else 1):
            right = np.full(len(labels), np.nan)
            for fit, held in _pairs(pictures, seed):
                some = _share_of_groups(fit, groups, part, seed + draw)
                if len(np.unique(labels[some])) < len(pictures.data.class_names):
                    continue
                penalty = learned.choice.inverse_penalty
                head = fit_head(x[some], labels[some], penalty, overwrite=True)
                right[held] = head.probabilities(x[held]).argmax(axis=1) == labels[held]
                sizes.append(len(some))
            if not np.isnan(right[pictures.judged]).any():
                draws.append(right[pictures.judged])
        if draws:
            means = [float(one.mean()) for one in draws]
            point = {"labels": round(float(np.mean(sizes))), "accuracy": float(np.mean(means))}
            points.append({**point, "least": min(means), "most": max(means)})
            rights[part] = np.mean(draws, axis=0)
    if 0.5 not in rights or 1.0 not in rights:
        return {"points": points, "gain": None}
    last = gain(rights[0.5], rights[1.0], groups[pictures.judged])
    return {"points": points, "gain": last.difference, "low": last.low, "high": last.high}


def _share_of_groups(rows: np.ndarray, groups: np.ndarray, part: float, seed: int) -> np.ndarray:
    """Return rows of a share of the groups, drawn at random; smaller draws lie in larger ones."""
    if part == 1:
        return rows
    numbers = np.unique(groups[rows])
    taken = np.random.default_rng(seed).permutation(numbers)[: max(1, round(part * len(numbers)))]
    return rows[np.isin(groups[rows], taken)]


def naive_split(
    features: Features, pictures: Pictures, choice: Choice, seed: int
) -> dict[str, float] | None:
    """Cross-validate with what belongs together torn apart, and kept together."""
    labels, groups = pictures.labels, pictures.groups
    several = np.bincount(groups)[groups] > 1
    if several.mean() < 0.02:
        return None
    torn, whole = (
        predict_unseen(features, labels, numbers, seed, choice=choice, repeats=1).right
        for numbers in (np.arange(len(labels)), groups)
    )
    return {
        "share": float(several.mean()),
        "torn": float(torn.mean()),
        "whole": float(whole.mean()),
        "torn_copies": float(torn[several].mean()),
        "whole_copies": float(whole[several].mean()),
        "n_copies": int(several.sum()),
    }


def alterations(learned: Learned, pictures: Pictures, seed: int) -> dict[str, Any]:
    """Predict altered versions of some judged images."""
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.permutation(pictures.judged)[:ALTERED])
    labels, groups = pictures.labels[rows], pictures.groups[rows]
    plain = learned.predict({name: x[rows] for name, x in learned.features.items()}, rows)
    before = plain.argmax(axis=1)
    found = []
    for name in ALTERATIONS:
        after = learned.predict(learned.read(Altered(pictures, rows, name)), rows).argmax(axis=1)
        found.append(
            {
                "what": name,
                "accuracy": share(after == labels, groups),
                "changed": float((after != before).mean()),
            }
        )
    return {"n": len(rows), "plain": share(before == labels, groups), "rows": found}


def strange_pictures(
    learned: Learned, pictures: Pictures, seed: int
) -> tuple[Familiar, dict[str, Any]]:
    """Measure how well strange pictures are told by their distance."""
    from tlhelpers import worlds

    stage, groups, labels = learned.choice.stage, pictures.groups, pictures.labels
    x, size = learned.features[stage], learned.base.input_size
    noise = np.random.default_rng(seed).integers(0, 256, (STRANGERS, size, size, 3), np.uint8)
    drawn = {
        "drawn animals": worlds.pets(n=STRANGERS, seed=seed, image_size=size).images,
        "drawn things": worlds.objects(n=STRANGERS, seed=seed, image_size=size).images,
        "drawn patterns": worlds.formulas(n=STRANGERS, seed=seed, image_size=size).images,
        "noise": noise,
    }
    strange = {
        name: learned.read(Split.from_arrays(images, np.zeros(len(images), int), ["none"]))[stage]
        for name, images in drawn.items()
    }
    rows: list[dict[str, Any]] = []
    pairs = _pairs(pictures, seed)
    knowing = [learn_familiar(x[fit], groups[fit], seed) for fit, _ in pairs]
    own = [known.distances(x[held]) for known, (_, held) in zip(knowing, pairs, strict=True)]
    beyond = [near > known.limit for near, known in zip(own, knowing, strict=True)]
    for name, features in strange.items():
        far = [known.distances(features) for known in knowing]
        found = [d > known.limit for d, known in zip(far, knowing, strict=True)]
        area = float(np.mean([auroc(a, b) for a, b in zip(own, far, strict=True)]))
        rows.append(
            {"what": name, "n": len(features), "auroc": area, "told": float(np.mean(found))}
        )
    areas = []
    for label in range(min(10, len(pictures.data.class_names))):
        fit, held = pairs[0]
        known = learn_familiar(
            x[fit[labels[fit] != label]], groups[fit[labels[fit] != label]], seed
        )
        near, far_class = (held[labels[held] != label], held[labels[held] == label])
        if len(near) and len(far_class):
            areas.append(auroc(known.distances(x[near]), known.distances(x[far_class])))
    if areas:
        what = "a class of this folder that was left out (mean over classes)"
        rows.append({"what": what, "n": None, "auroc": float(np.mean(areas)), "told": None})
    familiar = learn_familiar(x[pictures.pool], groups[pictures.pool], seed)
    return familiar, {"rows": rows, "own_called_unknown": float(np.concatenate(beyond).mean())}
