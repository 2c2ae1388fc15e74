"""The study's other half: source networks of growing relatedness, each transferred to one target."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tlhelpers.study import LABELS, SEEDS, SWEEP_NAME, Target, load_target, run_missing

RELATEDNESS = (0.0, 0.25, 0.5, 0.75, 1.0)

SOURCE_IMAGES, SOURCE_STEPS = 20_000, 1_000
"""Images and steps for each source network of the sweep: a tenth of the shipped one's steps."""

TARGET = Target("cats_dogs", "embedded", 32, {"n": 1000})


def run_sweep(
    folder: str | os.PathLike[str],
    *,
    labels: Sequence[int] = LABELS,
    seeds: int = SEEDS,
    cache: str | os.PathLike[str] | None = None,
) -> Iterator[dict[str, Any]]:
    """Pre-train one network at each relatedness of the source, and transfer each to drawn pets.

    Args:
        folder: Folder of the JSON file.
        labels: Labelled images a class. Defaults to 5, 20, 100 and 500.
        seeds: Number of seeds. Defaults to 5.
        cache: Folder for the source networks. Defaults to the cache folder.

    Yields:
        Each new result.

    Example:
        >>> next(run_sweep("results", labels=[5], seeds=1))["relatedness"]  # doctest: +SKIP
        0.0
    """
    from tlhelpers.backbones import load_backbone
    from tlhelpers.environment import cache_folder

    place = Path(cache) if cache else cache_folder()
    path = Path(folder) / f"{SWEEP_NAME}.json"
    bases = {
        related: load_backbone("vgg16_mini", TARGET.image_size, weights=_source(related, place))
        for related in RELATEDNESS
    }
    for seed in range(seeds):
        data = load_target(TARGET, seed)
        for n in labels:
            few = data.few(n, seed=seed)
            yield from run_missing(
                path, TARGET, bases[1.0], few, n, seed, ["scratch"], {"relatedness": None}
            )
            for related, base in bases.items():
                yield from run_missing(
                    path, TARGET, base, few, n, seed, ("frozen", "tuned"), {"relatedness": related}
                )


def _source(relatedness: float, folder: Path) -> Path:
    """Pre-train a network on formulas of some relatedness, unless the folder has it."""
    from tlhelpers.multitask import Settings
    from tlhelpers.pretrain import has_fast_bfloat16, save, train

    path = folder / f"study-source-{relatedness:.2f}.npz"
    if not path.exists():
        settings = Settings(
            images=SOURCE_IMAGES,
            steps=SOURCE_STEPS,
            relatedness=relatedness,
            bfloat16=has_fast_bfloat16(),
        )
        trainer, record = train(settings, cache=folder)
        save(trainer, record, path)
    return path
