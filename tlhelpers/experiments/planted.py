"""What ``tlhelpers train`` finds of faults that were planted among real photographs."""

import csv
import json
import shutil
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sklearn.neighbors import KNeighborsClassifier

from tlhelpers.data.splits import Split
from tlhelpers.experiments import by_hand
from tlhelpers.files import cache_folder, write_atomically
from tlhelpers.models.backbones import load_backbone
from tlhelpers.runtime import setup
from tlhelpers.transfer.heads import fit_head
from tlhelpers.workflow.choose import STAGES_TRIED, stage_reader
from tlhelpers.workflow.judge import as_plain, share

Files = Mapping[str, Sequence[Path]]
"""Files by class."""

NETWORK = "mobilenet_v2"
WRONG_LABELS = 40
COPIES = 200
RARE = 20
STRANGERS = 300


def record_planted(to: str | Path, *, work: str | Path | None = None) -> dict[str, Any]:
    """Train on 2,000 photographs, plain and with planted faults, and record what was found.

    Needs the real tier: photographs, CIFAR-10, MNIST and ImageNet weights. Each part is recorded as
    soon as it is there; an interrupted recording resumes. Seconds and memory are those of a first
    training only if the cache holds no features of the photographs yet.

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

    setup(tier="real", precision="float32")
    files = load_photographs(fetch("cats_and_dogs_filtered.zip"))
    pets = {kind: files[f"train/{kind}"] for kind in ("cats", "dogs")}
    unseen = {kind: files[f"validation/{kind}"] for kind in ("cats", "dogs")}
    root = Path(work or cache_folder() / "planted")
    parts = {
        "plain": lambda: _plain(root, pets),
        "by_hand": lambda: _by_hand(root, pets, unseen),
        "unseen": lambda: _unseen(root / "plain results", unseen),
        "wrong_labels": lambda: _wrong_labels(root, pets),
        "copies": lambda: _copies(root, pets),
        "rare": lambda: _rare(root, pets, unseen),
        "strangers": lambda: _strangers(root / "plain results", unseen),
    }
    path = Path(to)
    found = json.loads(path.read_text("utf-8")) if path.exists() else {}
    for name, part in parts.items():
        if name not in found:
            found[name] = as_plain(part())
            write_atomically(path, json.dumps(found, indent=1) + "\n")
    return found


def train_card(root: Path, name: str, formats: tuple[str, ...] | None = ()) -> dict[str, Any]:
    """Train on a folder below ``root`` with frozen features, and return what was noted."""
    from tlhelpers.workflow.train import train_folder

    out = root / f"{name} results"
    train_folder(root / name, out, backbone=NETWORK, minutes=0, formats=formats)
    return json.loads((out / "card.json").read_text("utf-8"))


def place_files(root: Path, files: Files) -> None:
    """Copy files into folders: class to files."""
    for name, paths in files.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for path in paths:
            shutil.copy(path, root / name / path.name)


def plant_wrong_labels(root: Path, files: Files, n: int, seed: int = 0) -> set[str]:
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


def plant_copies(root: Path, files: Files, n: int, seed: int = 0) -> dict[str, str]:
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


def _plain(root: Path, pets: Files) -> dict[str, Any]:
    """Pick what it cost, what it scored, and how exports agree."""
    place_files(root / "plain", pets)
    begun = time.process_time()
    card = train_card(root, "plain", None)
    score = card["score"]
    keys = ("seconds", "peak_memory_gib", "floors", "exports", "learning_curve", "alterations")
    return {
        "n": card["data"]["n"],
        "accuracy": score["accuracy"],
        "pool": score["pool"],
        "stage": card["network"]["stage"],
        "processor_seconds": round(time.process_time() - begun, 1),
        **{key: card[key] for key in (*keys, "versions", "machine")},
    }


def _by_hand(root: Path, pets: Files, unseen: Files) -> dict[str, Any]:
    """Run the scripts that somebody would write instead, and count their lines."""
    from tlhelpers.data.downloads import FILES, fetch
    from tlhelpers.models.backbones import ARCHITECTURES

    place_files(root / "plain", pets)
    place_files(root / "unseen", unseen)
    weights = str(fetch(FILES[ARCHITECTURES[NETWORK].weights].name))
    found: dict[str, Any] = {"n": sum(map(len, unseen.values()))}
    for script in (by_hand.scikit_learn, by_hand.keras_guide):
        begun, cpu = time.perf_counter(), time.process_time()
        estimate, accuracy = script(root / "plain", root / "unseen", weights)
        found[script.__name__] = {
            "estimate": estimate,
            "accuracy": accuracy,
            "seconds": round(time.perf_counter() - begun, 1),
            "processor_seconds": round(time.process_time() - cpu, 1),
            "lines": by_hand.lines_of(script),
        }
    return found


def _unseen(out: Path, files: Files) -> dict[str, Any]:
    """Predict photographs that were in no folder."""
    from tlhelpers.workflow.predict import load_run

    cpu = time.process_time()
    run = load_run(out / "model.keras")
    rows = [(name, *row) for name, paths in files.items() for row in run.answers(list(paths))]
    answered = [(name, answer) for name, _, answer, _, _ in rows if answer in files]
    meant = [name == answer or note.endswith(f" {name}") for name, _, answer, _, note in rows]
    return {
        "n": len(rows),
        "accuracy": share(np.array(meant)),
        "answered": len(answered),
        "accuracy_of_answered": share(np.array([name == answer for name, answer in answered])),
        "answers": Counter(str(answer) for _, _, answer, _, _ in rows),
        "processor_seconds": round(time.process_time() - cpu, 1),
    }


def _wrong_labels(root: Path, pets: Files) -> dict[str, Any]:
    """Count the planted labels among the first of the list."""
    shutil.rmtree(root / "wrong", ignore_errors=True)
    planted = plant_wrong_labels(root / "wrong", pets, WRONG_LABELS)
    card = train_card(root, "wrong")
    with (root / "wrong results/labels_to_check.csv").open(encoding="utf-8") as file:
        hits = [row["file"] in planted for row in csv.DictReader(file)]
    return {
        "n": card["data"]["n"],
        "planted": len(planted),
        "in_as_many_first": sum(hits[: len(planted)]),
        "listed": len(hits),
        "in_all_listed": sum(hits),
        "found_among": np.cumsum(hits[: 3 * len(planted)]),
        "accuracy": card["score"]["accuracy"],
    }


def _copies(root: Path, pets: Files) -> dict[str, Any]:
    """Count the copies that were found, and score with them in training and without."""
    planted = plant_copies(root / "copies", pets, COPIES)
    card = train_card(root, "copies")
    found = found_copies(card["data"], planted)
    trained = sorted((root / "copies/train").glob("*/*"))
    test = sorted((root / "copies/test").glob("*/*"))
    x, y = _features(trained, card), _labels(trained, card)
    seen, truth = _features(test, card), _labels(test, card)
    names = [path.relative_to(root / "copies").as_posix() for path in trained]
    own = np.array([name not in planted for name in names])
    twice = np.isin(
        [path.relative_to(root / "copies").as_posix() for path in test], list(planted.values())
    )
    for name, kept in (("with_copies", np.ones(len(own), bool)), ("without", own)):
        head = fit_head(x[kept], y[kept], card["choice"]["inverse_penalty"])
        nearest = KNeighborsClassifier(1, metric="cosine").fit(x[kept], y[kept])
        answers = {
            "head": head.probabilities(seen).argmax(axis=1),
            "nearest_neighbour": nearest.predict(seen),
        }
        found[name] = {
            method: {"all": share(given == truth), "copied": share((given == truth)[twice])}
            for method, given in answers.items()
        }
    return found


def found_copies(data: Mapping[str, Any], planted: Mapping[str, str]) -> dict[str, Any]:
    """Count the planted copies that were found to belong to their originals, and other pairs.

    Args:
        data: What a training's card says of the folder.
        planted: The path of each copy below the folder, to that of its original.

    Returns:
        Their number, how many were found and left out of training, and the groups of files that
        were found beyond those that were planted.
    """
    groups = [set(one["files"]) for one in data["faults"] if one["kind"] == "near-copies"]
    known = set(planted) | set(planted.values())
    left = [one["files"][0] for one in data["faults"] if one["kind"].startswith("leak")]
    return {
        "n": data["n"],
        "planted": len(planted),
        "found": sum(any({copy, of} <= group for group in groups) for copy, of in planted.items()),
        "left_out": sum(name in planted for name in left),
        "others": [sorted(group) for group in groups if len(group - known) > 1],
    }


def _rare(root: Path, pets: Files, unseen: Files) -> dict[str, Any]:
    """Score with class weights and without, on as many unseen images of both classes."""
    place_files(root / "rare", {"cats": pets["cats"], "dogs": pets["dogs"][::RARE]})
    card = train_card(root, "rare")
    trained = sorted((root / "rare").glob("*/*"))
    test = [path for paths in unseen.values() for path in paths]
    x, y = _features(trained, card), _labels(trained, card)
    seen, truth = _features(test, card), _labels(test, card)
    found: dict[str, Any] = {
        "counts": np.bincount(y),
        "n": len(truth),
        "judged": card["score"]["accuracy"]["n"],
        "judged_balanced": card["score"]["balanced"]["value"],
        "judged_by_class": card["score"]["by_class"],
    }
    for name, balanced in (("weighted", True), ("plain_fit", False)):
        head = fit_head(x, y, card["choice"]["inverse_penalty"], balanced=balanced)
        right = head.probabilities(seen).argmax(axis=1) == truth
        found[name] = {
            "balanced": share(right),
            "cats": share(right[truth == 0]),
            "dogs": share(right[truth == 1]),
        }
    return found


def _features(paths: Sequence[Path], card: Mapping[str, Any]) -> np.ndarray:
    """Extract what the head of a training is fitted on."""
    base = load_backbone(NETWORK, card["network"]["input_size"])
    images = Split.from_paths(
        paths, _labels(paths, card), card["classes"], image_size=base.input_size
    )
    return stage_reader(base, base.stages[-STAGES_TRIED:])(images)[card["network"]["stage"]]


def _labels(paths: Sequence[Path], card: Mapping[str, Any]) -> np.ndarray:
    """Return labels by the folder that a file lies in."""
    return np.array([card["classes"].index(path.parent.name) for path in paths])


def _strangers(out: Path, files: Files) -> dict[str, Any]:
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


if __name__ == "__main__":
    record_planted(sys.argv[1] if sys.argv[1:] else "book/_data/workflow/photographs.json")
