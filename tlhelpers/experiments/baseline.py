"""Choose the from-scratch baseline's recipe on validation images: a weak baseline proves nothing."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tlhelpers.data.augmentation import Augmentation
from tlhelpers.transfer import recipes
from tlhelpers.transfer.recipes import Training

if TYPE_CHECKING:
    from tlhelpers.data.splits import Dataset, Split
    from tlhelpers.models.backbones import Backbone

RATES = (3e-4, 1e-3, 3e-3)
"""Peak learning rates that are tried."""

VARIATIONS: tuple[dict[str, Any], ...] = ({"length": 0.5}, {"augmented": False}, {"length": 2.0})
"""What is tried at the best of the rates: half the epochs, no augmentation, twice the epochs."""

LONGEST = 4.0
"""Share of the recipe's epochs up to which the length is doubled, as long as doubling it helps."""


def next_trial(
    tried: Sequence[Mapping[str, Any]], rates: Sequence[float] = RATES
) -> dict[str, Any] | None:
    """Say what is to be tried next: each rate, each variation of the best, then longer training.

    Args:
        tried: Trials that are done, in their order: the settings below and ``validation``.
        rates: Peak learning rates. Defaults to 0.0003, 0.001 and 0.003.

    Returns:
        ``learning_rate``, ``length`` (share of the recipe's epochs) and ``augmented``; or None if
        all has been tried.

    Example:
        >>> next_trial([])
        {'learning_rate': 0.0003, 'length': 1.0, 'augmented': True}
    """
    place = len(tried)
    usual = {"length": 1.0, "augmented": True}
    if place < len(rates):
        return {"learning_rate": rates[place], **usual}
    if place < len(rates) + len(VARIATIONS):
        rate = _best(tried[: len(rates)])["learning_rate"]
        return {"learning_rate": rate, **usual, **VARIATIONS[place - len(rates)]}
    last = dict(tried[-1])
    longer = 2 * last["length"]
    if last == _best(tried) and longer <= LONGEST:
        return {key: last[key] for key in ("learning_rate", *usual)} | {"length": longer}
    return None


def baseline_trials(
    base: "Backbone",
    data: "Dataset",
    validation: "Split",
    *,
    rates: Sequence[float] = RATES,
    augmentation: Augmentation | None = None,
    seed: int = 0,
    tried: Sequence[Mapping[str, Any]] = (),
) -> Iterator[dict[str, Any]]:
    """Train from scratch with each setting that :func:`next_trial` asks for.

    Args:
        base: The backbone whose architecture is trained.
        data: Labelled images to train on.
        validation: Images to choose by: more than the few of ``data``, which would choose by luck.
        rates: Peak learning rates. Defaults to 0.0003, 0.001 and 0.003.
        augmentation: How training views may differ from the images. Defaults to ``Augmentation()``.
        seed: Seed of weights, order and augmentation. Defaults to 0.
        tried: Trials that are done already. Defaults to none.

    Yields:
        Each further trial: its settings and ``validation`` (accuracy, 0 to 1).

    Example:
        >>> next(baseline_trials(base, few, data.validation))["length"]  # doctest: +SKIP
        1.0
    """
    from tlhelpers.transfer import methods
    from tlhelpers.transfer.runs import predict_images

    done = [dict(trial) for trial in tried]
    while (trial := next_trial(done, rates)) is not None:
        run = methods.from_scratch(
            base,
            data,
            recipe=_varied(trial, data, base),
            augmentation=augmentation,
            seed=seed,
        )
        guesses = predict_images(run.model, validation).argmax(axis=1)
        trial["validation"] = round(float((guesses == validation.labels).mean()), 4)
        done.append(trial)
        yield trial


def baseline_recipe(
    tried: Sequence[Mapping[str, Any]], data: "Dataset", base: "Backbone"
) -> Training:
    """Return the recipe of the best trial, for some labelled images.

    Args:
        tried: What :func:`baseline_trials` gave.
        data: The labelled images to train on: their number decides the epochs.
        base: The backbone whose architecture is trained.

    Returns:
        The recipe.

    Raises:
        ValueError: If nothing was tried.

    Example:
        >>> import tlhelpers as tl
        >>> data = tl.load_dataset("pets", n_train=40)
        >>> base = tl.load_backbone("vgg16_mini", data.image_size, weights=None)
        >>> trial = {"learning_rate": 3e-3, "length": 0.5, "augmented": True, "validation": 0.7}
        >>> baseline_recipe([trial], data, base).learning_rate
        0.003
    """
    if not tried:
        raise ValueError(
            "The baseline's recipe is chosen among trials. Received: none; run baseline_trials."
        )
    return _varied(_best(tried), data, base)


def _best(tried: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return the trial with the highest validation accuracy, the first of several."""
    return max(tried, key=lambda trial: trial["validation"])


def _varied(trial: Mapping[str, Any], data: "Dataset", base: "Backbone") -> Training:
    """Return the usual recipe with a trial's changes."""
    usual = recipes.from_scratch(len(data.train))
    return replace(
        usual,
        learning_rate=trial["learning_rate"],
        epochs=max(1, round(usual.epochs * trial["length"])),
        views=usual.views if trial["augmented"] else 0,
    )
