"""The model card of ``vgg16_mini``: what its weights were made from, and what they give.

``python -m tlhelpers.experiments.model_card`` writes the card anew. Every number in it comes from the JSON record
beside the weights, and from the controlled study's records.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from tlhelpers.files import write_atomically
from tlhelpers.models.vgg16_mini import WEIGHTS_FILE

if TYPE_CHECKING:
    import pandas

TARGETS = {
    "pets": "cats and dogs, drawn, 64 px",
    "objects": "ten kinds of things, drawn, 32 px",
    "photographs": "cats and dogs, photographs, 64 px",
    "cifar10": "CIFAR-10, 32 px",
    "mnist": "MNIST, 32 px",
}
WAYS = {"scratch": "from scratch", "frozen": "frozen", "tuned": "fine-tuned"}
LABELS = (20, 100, 500)


def write_card(weights: Path = WEIGHTS_FILE, results: pandas.DataFrame | None = None) -> Path:
    """Write the card beside the weights.

    Args:
        weights: The .npz file; its record is the .json of the same name, and trials are
            read from ``tried.json`` in the same folder. Defaults to the shipped weights.
        results: What :func:`tlhelpers.experiments.study.table` gives, from runs with these weights. Defaults
            to None: the card then says nothing about transfer.

    Returns:
        The card's path.

    Raises:
        FileNotFoundError: If there is no record.
    """
    source = weights.with_suffix(".json")
    if not source.exists():
        raise FileNotFoundError(
            f"There is no record at {source}. Run `python -m tlhelpers.experiments.pretrain` to make one."
        )
    record = json.loads(source.read_text(encoding="utf-8"))
    tried_path = weights.with_name("tried.json")
    tried = json.loads(tried_path.read_text(encoding="utf-8")) if tried_path.exists() else []
    card = weights.with_suffix(".md")
    write_atomically(card, _card(record, tried, results))
    return card


def _card(record: dict, tried: list[dict[str, str]], results: pandas.DataFrame | None) -> str:
    """The card's text."""
    settings, accuracy = record["settings"], record["source_accuracy"]
    heads = list(accuracy["64 px"])
    precision = "bfloat16 convolutions" if settings["bfloat16"] else "float32"
    lines = [
        "# vgg16_mini",
        "",
        "VGG16's thirteen convolutions at a quarter of the width, without BatchNorm, trained on",
        "images drawn by formulas. Input: RGB, (image - 127.5) / 63.75, any size from 32 px.",
        "",
        f"- Parameters: {record['parameters']:,}; file: {record['bytes']:,} bytes, half precision",
        f"- SHA-256: `{record['sha256']}`",
        f"- Data: {settings['images']:,} images of `worlds.formulas` (seed {settings['seed']}, "
        f"relatedness {settings['relatedness']:g}, difficulty {settings['difficulty']:g}), 148 classes of forms and five further labels",
        f"- Training: {settings['steps']:,} pairs of AdamW updates, {settings['batch']} images at "
        f"64 px and {2 * settings['batch']} at 32 px each; learning rate "
        f"{settings['learning_rate']:g}, weight decay {settings['weight_decay']:g}, label "
        f"smoothing {settings['smoothing']:g}, {precision}",
        f"- Time: {record['seconds'] / 60:.1f} minutes on {record['processor']['cores']} cores "
        f"({record['processor']['machine']})",
        "- Versions: " + ", ".join(f"{name} {v}" for name, v in record["versions"].items()),
        "- Again: "
        f"`python -m tlhelpers.experiments.pretrain --steps {settings['steps']} --images "
        f"{settings['images']} --seed {settings['seed']}`",
        "",
        "## Source accuracy",
        "",
        f"On {settings['held_out']:,} held-out images of another seed, in percent.",
        "",
        "| size | " + " | ".join(head.replace("_", " ") for head in heads) + " |",
        "| --- " * (len(heads) + 1) + "|",
    ]
    for size, figures in accuracy.items():
        cells = " | ".join(f"{100 * figures[head]:.1f}" for head in heads)
        lines.append(f"| {size} | {cells} |")
    if results is not None:
        lines += _transfer_lines(results)
    lines += [
        "",
        "## Limits",
        "",
        "The network has seen no photograph. The formulas draw no cat, no dog and none of the ten",
        "things, but at relatedness 1 they share a vocabulary of parts with them on purpose:",
        "pointed and hanging protrusions, discs with slits, boxes beside rings, striped surfaces,",
        "the same backgrounds and light. Parts are combined at random, so now and then a blob with",
        "two points and two slits looks like a cat's face; its label is the blob's. On drawn worlds",
        "the network therefore transfers far better than on photographs, for which networks trained",
        "on photographs are the right source. Weights made again differ, since rounding errors grow",
        "in training: source accuracies by half a point, transfers by several points (see below).",
        "The ranges above are over draws of the target, with this one network.",
    ]
    if tried:
        lines += ["", "## What was tried", "", "| trial | outcome |", "| --- | --- |"]
        lines += [f"| {trial['trial']} | {trial['outcome']} |" for trial in tried]
    return "\n".join(lines) + "\n"


def _transfer_lines(results: pandas.DataFrame) -> list[str]:
    """The table of measured transfer."""
    lines = [
        "",
        "## Measured transfer",
        "",
        "Test accuracy in percent, by labelled images a class: mean over seeds (lowest to highest).",
        "Learning rate, length and augmentation of the baseline from scratch were tuned for each",
        "target, those of the transfers were not. `make study` continues the study.",
        "",
        "| target | labels | seeds | " + " | ".join(WAYS.values()) + " |",
        "| --- " * (len(WAYS) + 3) + "|",
    ]
    unchanged = results[results["relatedness"].isna() | (results["relatedness"] == 1)]
    for name, title in TARGETS.items():
        for labels in LABELS:
            part = unchanged[(unchanged["target"] == name) & (unchanged["labels"] == labels)]
            scores = [100 * part[part["method"] == way]["test"] for way in WAYS]
            if all(map(len, scores)):
                seeds = min(map(len, scores))
                ranges = [f" ({one.min():.1f} to {one.max():.1f})" for one in scores]
                cells = [
                    f"{one.mean():.1f}{of if seeds > 1 else ''}"
                    for one, of in zip(scores, ranges, strict=True)
                ]
                lines.append(f"| {title} | {labels} | {seeds} | " + " | ".join(cells) + " |")
    return lines


if __name__ == "__main__":
    from tlhelpers.experiments.study import table

    print(write_card(results=table()))
