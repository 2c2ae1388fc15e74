"""The model card of `vgg16_mini`: what its weights were made from, and what they give.

`python -m tlhelpers.model_card` measures transfer to the two embedded target worlds and
writes the card anew. Every number in it comes from the JSON record beside the weights.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import numpy as np

from tlhelpers.vgg16_mini import WEIGHTS_FILE

TARGETS = {"cats_dogs": "cats and dogs, 64 px", "cifar10": "ten kinds of things, 32 px"}
WAYS = {"scratch": "from scratch", "frozen": "frozen", "tuned": "fine-tuned"}


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that no reader ever sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_bytes(content)
    os.replace(part, path)


def measure_transfer(labels: int = 20, seeds: int = 3) -> dict[str, dict[str, list[float]]]:
    """Measure {scratch, frozen, tuned} on the embedded targets, as the book does.

    Args:
        labels: Training labels a class. Defaults to 20.
        seeds: Seeds 0 to `seeds` - 1 of the labelled images and of training. Defaults to 3.

    Returns:
        Test accuracy of each seed, by target and way.
    """
    import tlhelpers as tl

    result: dict[str, dict[str, list[float]]] = {}
    for name in TARGETS:
        result[name] = {way: [] for way in WAYS}
        for seed in range(seeds):
            data = tl.load_dataset(name, tier="embedded").few(labels, seed=seed)
            base = tl.load_backbone("vgg16_mini", input_size=data.image_size)
            frozen = tl.feature_transfer(base, data, seed=seed)
            runs = {
                "scratch": tl.from_scratch(base, data, seed=seed),
                "frozen": frozen,
                "tuned": tl.model_transfer(base, data, start=frozen, seed=seed),
            }
            for way, run in runs.items():
                result[name][way].append(round(run.test.accuracy, 4))
            print(name, seed, {way: result[name][way][-1] for way in WAYS}, flush=True)
    return result


def write_card(weights: Path = WEIGHTS_FILE) -> Path:
    """Write the card beside the weights.

    Args:
        weights: The .npz file; its record is the .json of the same name, and trials are
            read from `tried.json` in the same folder. Defaults to the shipped weights.

    Returns:
        The card's path.

    Raises:
        FileNotFoundError: If there is no record.
    """
    source = weights.with_suffix(".json")
    if not source.exists():
        raise FileNotFoundError(
            f"There is no record at {source}. Run `python -m tlhelpers.pretrain` to make one."
        )
    record = json.loads(source.read_text(encoding="utf-8"))
    tried_path = weights.with_name("tried.json")
    tried = json.loads(tried_path.read_text(encoding="utf-8")) if tried_path.exists() else []
    card = weights.with_suffix(".md")
    write_atomically(card, _card(record, tried).encode())
    return card


def _card(record: dict, tried: list[dict[str, str]]) -> str:
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
        f"`python -m tlhelpers.pretrain --steps {settings['steps']} --images "
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
    if "transfer" in record:
        lines += _transfer_lines(record["transfer"])
    lines += [
        "",
        "## Limits",
        "",
        "The network has seen no photograph. The formulas draw no cat, no dog and none of the ten",
        "things, but at relatedness 1 they share a vocabulary of parts with them on purpose:",
        "pointed and hanging protrusions, discs with slits, boxes beside rings, striped surfaces,",
        "the same backgrounds and light. Parts are combined at random, so now and then a blob with",
        "two points and two slits looks like a cat's face; its label is the blob's. On drawn worlds",
        "the network therefore transfers far better than it can be expected to on photographs, for",
        "which networks trained on photographs are the right source. Weights made again on another",
        "processor differ in their last digits, and so, slightly, do the accuracies.",
    ]
    if tried:
        lines += ["", "## What was tried", "", "| trial | outcome |", "| --- | --- |"]
        lines += [f"| {trial['trial']} | {trial['outcome']} |" for trial in tried]
    return "\n".join(lines) + "\n"


def _transfer_lines(transfer: dict) -> list[str]:
    """The table of measured transfer."""
    lines = [
        "",
        "## Measured transfer",
        "",
        f"Test accuracy with {transfer['labels']} labels a class, in percent: mean over seeds "
        "(lowest to highest).",
        "",
        "| target | " + " | ".join(WAYS.values()) + " |",
        "| --- " * (len(WAYS) + 1) + "|",
    ]
    for name, ways in transfer["accuracy"].items():
        cells = [
            f"{100 * np.mean(ways[way]):.1f} ({100 * min(ways[way]):.1f} to "
            f"{100 * max(ways[way]):.1f})"
            for way in WAYS
        ]
        lines.append(f"| {TARGETS[name]} | " + " | ".join(cells) + " |")
    return lines


def main(arguments: list[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m tlhelpers.model_card", description=__doc__)
    parser.add_argument("--labels", type=int, default=20, help="training labels a class")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only-write", action="store_true", help="measure nothing")
    chosen = parser.parse_args(arguments)
    if not chosen.only_write:
        source = WEIGHTS_FILE.with_suffix(".json")
        accuracy = measure_transfer(chosen.labels, chosen.seeds)
        # Read after measuring: the record of weights trained meanwhile must not be lost.
        record = json.loads(source.read_text(encoding="utf-8"))
        record["transfer"] = {"labels": chosen.labels, "accuracy": accuracy}
        write_atomically(source, (json.dumps(record, indent=1) + "\n").encode())
    print(write_card())


if __name__ == "__main__":
    main()
