"""What ``tlhelpers train`` finds of faults that were planted among real photographs."""

import csv
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tlhelpers.files import cache_folder, write_atomically
from tlhelpers.runtime import setup

WRONG_LABELS = 40
COPIES = 200
RARE = 20
STRANGERS = 300


def record_planted(to: str | Path, *, work: str | Path | None = None) -> dict[str, Any]:
    """Train on 2,000 photographs, plain and with planted faults, and record what was found.

    Needs the real tier: photographs, CIFAR-10, MNIST and ImageNet weights. Once interrupted, it
    goes on with the folder it was at.

    Args:
        to: The JSON file.
        work: Folder for photographs and results. Defaults to ``planted`` in the cache.

    Returns:
        What was recorded: figures, each with its n.

    Example:
        >>> record_planted("planted.json")  # doctest: +SKIP
    """
    from tlhelpers.data.downloads import fetch
    from tlhelpers.data.published import load_photographs
    from tlhelpers.workflow.train import train_folder

    setup(tier="real", precision="float32")
    files = load_photographs(fetch("cats_and_dogs_filtered.zip"))
    pets = {kind: files[f"train/{kind}"] for kind in ("cats", "dogs")}
    unseen = {kind: files[f"validation/{kind}"] for kind in ("cats", "dogs")}
    root = Path(work or cache_folder() / "planted")
    names = ("plain", "wrong", "copies", "rare")
    for name in names:
        shutil.rmtree(root / name, ignore_errors=True)
    place_files(root / "plain", pets)
    wrong = plant_wrong_labels(root / "wrong", pets, WRONG_LABELS)
    copies = plant_copies(root / "copies", pets, COPIES)
    place_files(root / "rare", {"cats": pets["cats"], "dogs": pets["dogs"][::RARE]})
    cards = {}
    for name in names:
        out = root / f"{name} results"
        formats = None if name == "plain" else ()
        train_folder(root / name, out, backbone="mobilenet_v2", minutes=0, formats=formats)
        cards[name] = json.loads((out / "card.json").read_text("utf-8"))
    results = root / "plain results"
    found = {
        "plain": _plain(cards["plain"]),
        "unseen": _unseen(results, unseen),
        "wrong_labels": _wrong_labels(root / "wrong results", wrong, cards["wrong"]),
        "copies": _copies(cards["copies"], copies),
        "rare": _rare(cards["rare"]),
        "strangers": _strangers(results, unseen),
        "versions": cards["plain"]["versions"],
        "machine": cards["plain"]["machine"],
    }
    write_atomically(to, json.dumps(found, indent=1) + "\n")
    return found


def place_files(root: Path, files: Mapping[str, Sequence[Path]]) -> None:
    """Copy files into folders: class to files."""
    for name, paths in files.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for path in paths:
            shutil.copy(path, root / name / path.name)


def plant_wrong_labels(
    root: Path, files: Mapping[str, Sequence[Path]], n: int, seed: int = 0
) -> set[str]:
    """Copy files into class folders, n of them into another class's.

    Args:
        root: Folder to write.
        files: The files of each class.
        n: Wrong labels, the same number in each class.
        seed: Which files. Defaults to 0.

    Returns:
        The misplaced files' paths below the folder.
    """
    rng = np.random.default_rng(seed)
    names = list(files)
    place_files(root, files)
    moved = set()
    for number, name in enumerate(names):
        other = names[(number + 1) % len(names)]
        for row in rng.permutation(len(files[name]))[: n // len(names)]:
            path = root / name / files[name][row].name
            path.rename(root / other / path.name)
            moved.add(f"{other}/{path.name}")
    return moved


def plant_copies(
    root: Path, files: Mapping[str, Sequence[Path]], n: int, seed: int = 0
) -> dict[str, str]:
    """Write folders train and test, and n altered copies of test images into train.

    A fifth each: at 60 % of the size, as JPEG of quality 25, cropped by 3 % on each side, mirrored,
    and mirrored at 80 % and quality 60.

    Args:
        root: Folder to write.
        files: The files of each class; a fifth becomes test.
        n: Copies, the same number in each class.
        seed: Which files. Defaults to 0.

    Returns:
        The path of each copy below the folder, to that of its original.
    """
    rng = np.random.default_rng(seed)
    planted = {}
    for name, paths in files.items():
        order = [paths[row] for row in rng.permutation(len(paths))]
        cut = len(order) // 5
        place_files(root / "test", {name: order[:cut]})
        place_files(root / "train", {name: order[cut:]})
        for number, path in enumerate(order[: n // len(files)]):
            copy = f"train/{name}/copy-{number % 5}-{path.stem}.jpg"
            image, quality = _altered(Image.open(path).convert("RGB"), number % 5)
            image.save(root / copy, quality=quality)
            planted[copy] = f"test/{name}/{path.name}"
    return planted


def _altered(image: Image.Image, how: int) -> tuple[Image.Image, int]:
    """Return an altered image and the JPEG quality to store it with."""
    width, height = image.size
    mirrored = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if how == 0:
        return image.resize((int(0.6 * width), int(0.6 * height))), 90
    if how == 1:
        return image, 25
    if how == 2:
        edge = int(0.03 * width), int(0.03 * height)
        return image.crop((*edge, width - edge[0], height - edge[1])), 85
    if how == 3:
        return mirrored, 85
    return mirrored.resize((int(0.8 * width), int(0.8 * height))), 60


def _plain(card: dict[str, Any]) -> dict[str, Any]:
    """Pick what it cost, what it scored, and how exports agree."""
    score = card["score"]
    keys = ("seconds", "peak_memory_gib", "floors", "exports", "learning_curve", "alterations")
    return {
        "n": card["data"]["n"],
        "accuracy": score["accuracy"],
        "pool": score["pool"],
        "stage": card["network"]["stage"],
        **{key: card[key] for key in keys},
    }


def _wrong_labels(out: Path, planted: set[str], card: dict[str, Any]) -> dict[str, Any]:
    """Count the planted labels among the first of the list."""
    with (out / "labels_to_check.csv").open(encoding="utf-8") as file:
        listed = [row["file"] for row in csv.DictReader(file)]
    first = sum(name in planted for name in listed[: len(planted)])
    return {
        "n": card["data"]["n"],
        "planted": len(planted),
        "in_as_many_first": first,
        "listed": len(listed),
        "in_all_listed": sum(name in planted for name in listed),
        "accuracy": card["score"]["accuracy"],
    }


def _copies(card: dict[str, Any], planted: dict[str, str]) -> dict[str, Any]:
    """Count the planted copies that were found to belong to their originals, and other pairs."""
    faults = card["data"]["faults"]
    groups = [set(one["files"]) for one in faults if one["kind"] == "near-copies"]
    found = sum(any({copy, of} <= group for group in groups) for copy, of in planted.items())
    known = set(planted) | set(planted.values())
    left = sum(one["files"][0] in planted for one in faults if one["kind"].startswith("leak"))
    others = [sorted(group) for group in groups if len(group - known) > 1]
    return {
        "n": card["data"]["n"],
        "planted": len(planted),
        "found": found,
        "left_out": left,
        "others": others,
    }


def _rare(card: dict[str, Any]) -> dict[str, Any]:
    """Pick the scores with class weights, and without."""
    return {
        "n": card["data"]["n"],
        "judged": card["score"]["accuracy"]["n"],
        "balanced": card["score"]["balanced"],
        "plain_fit": card["score"]["without_weights"],
        "by_class": card["score"]["by_class"],
    }


def _unseen(out: Path, files: Mapping[str, Sequence[Path]]) -> dict[str, Any]:
    """Predict photographs that were in no folder."""
    from tlhelpers.workflow.predict import load_run

    answers: dict[str, int] = {}
    right = n = 0
    run = load_run(out / "model.keras")
    for name, paths in files.items():
        for _, answer, _, note in run.answers(list(paths)):
            n += 1
            right += answer == name or (
                answer in ("unsure", "unknown") and note.endswith(f" {name}")
            )
            answers[str(answer)] = answers.get(str(answer), 0) + 1
    return {"n": n, "accuracy": right / n, "answers": answers}


def _strangers(out: Path, files: Mapping[str, Sequence[Path]]) -> dict[str, Any]:
    """Measure how well drawn pets, trucks and digits are told from photographs never seen."""
    from tlhelpers import worlds
    from tlhelpers.data.datasets import load_dataset
    from tlhelpers.data.downloads import fetch
    from tlhelpers.data.images import read_image, resize_image
    from tlhelpers.workflow.predict import load_run
    from tlhelpers.workflow.strangers import auroc

    run = load_run(out / "model.keras")
    limit = run.familiar.limit if run.familiar else 0.0
    cifar10 = load_dataset("cifar10", tier="real")
    trucks = np.flatnonzero(cifar10.test.labels == cifar10.class_names.index("truck"))
    with np.load(fetch("mnist.npz")) as held:
        digits = held["x_test"][:STRANGERS]
    size = run.model.input_shape[1]
    strange = {
        "drawn pets": worlds.pets(n=STRANGERS, seed=1, image_size=size).images,
        "CIFAR-10 trucks": cifar10.test.load(trucks[:STRANGERS], size),
        "MNIST digits": np.stack([resize_image(np.stack([d] * 3, axis=-1), size) for d in digits]),
    }
    paths = [path for some in files.values() for path in some]
    own = run.distances(np.stack([read_image(path, size) for path in paths]))
    found: dict[str, Any] = {
        "own": len(own),
        "own_called_unknown": float((own > limit).mean()),
    }
    for name, images in strange.items():
        far = run.distances(images)
        told = float((far > limit).mean())
        found[name] = {"n": len(far), "auroc": auroc(own, far), "called_unknown": told}
    return found
