"""From a folder of photographs to a model, its exports and a report."""

import contextlib
import hashlib
import json
import os
import platform
import signal
import threading
import time
import types
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from tlhelpers.data.audit import printable
from tlhelpers.data.augmentation import Augmentation
from tlhelpers.data.downloads import FILES, digest_of
from tlhelpers.data.folders import load_folder
from tlhelpers.data.groups import Groups
from tlhelpers.data.images import check_fit
from tlhelpers.files import cache_folder, write_atomically
from tlhelpers.models.backbones import Backbone
from tlhelpers.runtime import (
    describe_device,
    installed_version,
    peak_memory_gibibytes,
    usable_cores,
)
from tlhelpers.transfer.features import pooled_features
from tlhelpers.transfer.runs import Run, card_path
from tlhelpers.workflow import evidence, results
from tlhelpers.workflow.audit import Fault, as_csv, find_faults
from tlhelpers.workflow.choose import STAGES_TRIED, stage_reader
from tlhelpers.workflow.export import FILES as EXPORTED
from tlhelpers.workflow.export import ExportError, Proof, check_formats, export, missing_for
from tlhelpers.workflow.judge import as_plain
from tlhelpers.workflow.learn import Learned, fine_tune, learn, load_network
from tlhelpers.workflow.predict import check_answers
from tlhelpers.workflow.report import headline, often_unsure, write_report
from tlhelpers.workflow.split import Pictures, gather
from tlhelpers.workflow.strangers import Familiar

DEFAULT_FORMATS = ("litert", "onnx")
"""What is written beside the Keras file, where what it needs is installed."""

PACKAGES = ("tlhelpers", "keras", "tensorflow", "scikit-learn", "numpy", "pillow")


def train_folder(
    photos: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    classes: Sequence[str] | None = None,
    groups: Groups | None = None,
    fit: str = "crop",
    backbone: str | None = None,
    minutes: float = 10.0,
    scratch: bool = False,
    formats: tuple[str, ...] | None = None,
    wanted_error: float | None = None,
    augmentation: Augmentation | None = None,
    seed: int = 0,
) -> Path:
    """Train on a folder of class folders, and write model, exports and report.

    Call :func:`tlhelpers.setup` first, with ``tier="real"`` for ImageNet weights. Nothing in the
    folder is changed. Features are kept in the cache, so an interrupted training
    resumes, and the results of an unchanged folder are not computed twice.

    Args:
        photos: Class folders, as for :func:`tlhelpers.load_folder`.
        out: Where the results go: a new folder, or that of an earlier training.
        classes: Names of the class folders, as for :func:`tlhelpers.load_folder`. Defaults to all.
        groups: What belongs together, as there. Defaults to none.
        fit: How pictures become square, as there. Defaults to ``"crop"``.
        backbone: Name of the network. Defaults to the best of those whose weights are at hand.
        minutes: Time for everything; fine-tuning is tried only where it fits in. Defaults to 10.
        scratch: Whether to train the same network from random weights too, however long it takes.
            Defaults to False.
        formats: Of "litert", "onnx" and "openvino". Defaults to the first two, where what they need
            is installed.
        wanted_error: Share of wrong answers, above 0 and below 1, that the threshold for "unsure"
            aims at. Defaults to half of what answering everything would give.
        augmentation: How the views that fine-tuning and ``scratch`` make may differ from the
            photographs. Defaults to ``Augmentation()``.
        seed: Seed of splits and folds. Defaults to 0.

    Returns:
        The path of the report.

    Raises:
        FileExistsError: If ``out`` holds files of somebody else's.
        PermissionError: If ``out`` or the cache folder can't be written to.
        RuntimeError: If another training is writing to ``out``.
        ValueError: If an argument or the folder can't be used; the message says why.
        tlhelpers.data.downloads.DownloadError: If the network's weights can't be had.
        tlhelpers.workflow.export.ExportError: If a format of ``formats`` can't be written, or
            disagrees with the model. Without ``formats`` it is left out, and the report says why.

    Example:
        >>> train_folder("photos", "results")  # doctest: +SKIP
        PosixPath('results/report.html')
    """
    photos, out = Path(photos).expanduser(), Path(out).expanduser()
    if wanted_error is not None and not 0 < wanted_error < 1:
        raise ValueError(f"A wanted error rate lies between 0 and 1. Received: {wanted_error}.")
    if not minutes >= 0:
        raise ValueError(f"minutes must be 0 or more. Received: {minutes}.")
    check_formats(list(formats or ()))
    check_fit(fit)
    cache_folder()  # where features are kept: tried before all photographs are looked at
    settings = {
        "classes": classes if classes is None or isinstance(classes, str) else list(classes),
        "fit": fit,
        "minutes": minutes,
        "scratch": scratch,
        "formats": formats,
        "wanted_error": wanted_error,
        "augmentation": asdict(augmentation or Augmentation()),
        "seed": seed,
    }
    with results.claim(out, photos) as noted:
        return _train(photos, out, noted, groups, backbone, settings)


def _train(
    photos: Path,
    out: Path,
    noted: dict[str, Any],
    groups: Groups | None,
    backbone: str | None,
    settings: dict[str, Any],
) -> Path:
    """Train as :func:`train_folder` does, once the folder for the results is held."""
    started = time.perf_counter()
    formats, seed = settings["formats"], settings["seed"]
    minutes, wanted_error = settings["minutes"], settings["wanted_error"]
    augmentation = Augmentation(**settings["augmentation"])
    base = load_network(backbone)
    data = load_folder(
        photos,
        classes=settings["classes"],
        groups=groups,
        image_size=base.input_size,
        fit=settings["fit"],
        augmentation=augmentation,
        seed=seed,
    )
    check_answers(data.class_names)
    pictures = gather(data, groups)
    wanted = formats
    if wanted is None:
        wanted = tuple(name for name in DEFAULT_FORMATS if not missing_for(name))
    settings = {
        "backbone": base.name,
        "weights": base.weights_digest(),
        **settings,
        "groups": _about_groups(groups),
        "formats": list(wanted),
    }
    versions = {name: installed_version(name) for name in PACKAGES}
    key = _key(pictures, settings, versions)
    report = out / "report.html"
    # A default format may have been left out there; one that is asked for may not.
    asked = {EXPORTED[name] for name in formats or ()}
    if results.is_whole(out, noted, key) and asked <= noted["files"].keys():
        print(f"Nothing has changed since {report} was written.")
        return report

    def says(what: str) -> None:
        """Print what was done, and when."""
        print(f"{time.perf_counter() - started:6.1f} s  {what}", flush=True)

    faults, sums = find_faults(data, pictures)
    says(f"looked at {len(pictures):,} images")
    read = stage_reader(base, base.stages[-STAGES_TRIED:])
    features = read(pictures)
    says("features extracted")
    frozen = learn(base, read, features, pictures, wanted_error, seed)
    says(f"stage {frozen.choice.stage} chosen by cross-validation")
    left = 60 * minutes - (time.perf_counter() - started)
    tuning, learned = fine_tune(frozen, pictures, wanted_error, left, seed, augmentation)
    if tuning["tried"]:
        says(f"fine-tuned, and {'kept' if tuning['kept'] else 'not kept'}")
    card: dict[str, Any] = {
        "made_by": "tlhelpers train",
        "key": key,
        "folder": printable(photos.resolve().name),
        "classes": list(data.class_names),
        "settings": settings,
        "versions": versions,
        "machine": {
            "device": describe_device()[0],
            "cores": usable_cores(),
            "system": platform.platform(),
        },
        "network": _about_network(learned, base),
        "choice": asdict(frozen.choice),
        "fine_tuning": tuning,
        "data": _about_data(pictures, faults),
        "score": evidence.score_images(learned, frozen, pictures),
        "floors": evidence.floors(pictures, sums, seed),
        "scratch": (
            evidence.scratch(base, pictures, seed, augmentation) if settings["scratch"] else None
        ),
        "calibration": evidence.calibration(learned, pictures),
        "labels": evidence.label_check(features, pictures, frozen.choice, seed),
        "mistakes": evidence.mistakes(learned, pictures),
        "learning_curve": evidence.learning_curve(frozen, pictures, seed),
        "naive_split": evidence.naive_split(features, pictures, frozen.choice, seed),
    }
    says("scores, labels, learning curve and copies judged")
    card["alterations"] = evidence.alterations(learned, pictures, seed)
    familiar, card["strangers"] = evidence.strange_pictures(learned, pictures, seed)
    says("altered and strange pictures tried")
    with results.making(out) as made:
        with _interruptible():  # converters catch what they did not expect
            _save(made, learned, pictures, familiar)
            proofs, left_out = _export(made, learned, pictures, wanted, formats is not None)
        says(f"exported, and proven on {len(pictures.judged):,} images")
        card["exports"] = [asdict(proof) for proof in proofs]
        for name in DEFAULT_FORMATS if formats is None else ():
            if missing := missing_for(name):
                left_out[name] = f"it needs {', '.join(missing)}"
        card["not_exported"] = left_out
        card["seconds"] = round(time.perf_counter() - started, 1)
        card["peak_memory_gib"] = round(peak_memory_gibibytes(), 2)
        plain = as_plain(card)
        tables = {
            "audit.csv": as_csv(faults),
            "labels_to_check.csv": _labels_csv(plain["labels"]["rows"]),
            "card.json": json.dumps(plain, indent=1, ensure_ascii=False),
        }
        for name, text in tables.items():
            write_atomically(made / name, text)
        write_report(made / report.name, plain, pictures)
        for name in results.finish(out, made, noted, key):
            print(f"A file that was edited since it was written is kept as {out / name}.")
    for line in (headline(plain), often_unsure(plain), f"The report is {report}."):
        if line:
            print(line)
    return report


def _labels_csv(rows: list[dict[str, Any]]) -> str:
    """Write the images whose label to check as a table."""
    import pandas

    table = pandas.DataFrame(rows, columns=["file", "given", "suggested", "probability_of_given"])
    return table.to_csv(index=False, float_format="%.4f", lineterminator="\n")


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C end a block at its end at the latest, also where a library in it catches that."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return
    asked = []

    def note(number: int, frame: types.FrameType | None) -> None:
        """Remember that it was asked for, and do what would have been done."""
        asked.append(number)
        before(number, frame)

    signal.signal(signal.SIGINT, note)
    try:
        yield
    except Exception as error:
        if asked:  # a library made an error of its own of it
            raise KeyboardInterrupt from error
        raise
    finally:
        signal.signal(signal.SIGINT, before)
    if asked:
        raise KeyboardInterrupt


def _save(out: Path, learned: Learned, pictures: Pictures, familiar: Familiar) -> None:
    """Save the model with its card, and what it knows."""
    import keras

    pooled = pooled_features(learned.base)
    model = keras.Model(pooled.input, learned.head.as_layer()(pooled.outputs[0]), name="classifier")
    run = Run("classifier", model, pictures.data, {}, 0.0, learned.config, learned.base)
    path = out / EXPORTED["keras"]
    beside = card_path(path)
    known = out / "model.familiar.npz"
    digest = familiar.save(known)
    run.save(path, threshold=learned.threshold)
    card = json.loads(beside.read_text("utf-8"))
    card["familiar"] = {"file": known.name, "sha256": digest}
    write_atomically(beside, json.dumps(card, indent=1))


def _export(
    out: Path, learned: Learned, pictures: Pictures, formats: tuple[str, ...], asked: bool
) -> tuple[list[Proof], dict[str, str]]:
    """Export, and run each file on every judged image; leave out what fails and was not asked for."""
    import keras

    model = keras.models.load_model(out / EXPORTED["keras"], compile=False)
    rows = pictures.judged
    expected = learned.head.probabilities(learned.features[learned.choice.stage][rows])
    split = pictures.data.train
    names = pictures.data.class_names
    proofs, left_out = [], {}
    for name in ("keras", *formats):
        try:
            proof = export(
                model, name, out, names, pictures, expected, rows, split.fit, split.grey_range
            )
            proofs.append(proof)
        except ExportError as error:
            if asked or name == "keras":
                raise
            left_out[name] = str(error)
            print(f"{name} was left out: {error}", flush=True)
    return proofs, left_out


def _about_network(learned: Learned, base: Backbone) -> dict[str, Any]:
    """Say which network it is, and under which licence its weights are."""
    file = FILES.get(base.weights)
    return {
        "name": base.name,
        "file": base.weights,
        "sha256": base.weights_digest(),
        "source": base.source,
        "paper": base.paper,
        "licence": file.licence if file else "MIT (this project)",
        "input_size": base.input_size,
        "stage": learned.choice.stage,
        "parameters": int(learned.base.model.count_params() + learned.head.kernel.size),
    }


def _about_data(pictures: Pictures, faults: list[Fault]) -> dict[str, Any]:
    """Say what the folder holds, and how its pictures were read and kept together."""
    audit, train = pictures.data.audit, pictures.data.train
    return {
        "n": len(pictures),
        "digest": pictures.data.source.digest,
        "counts": dict(audit.counts) if audit else {},
        "split_folders": {k: list(v) for k, v in audit.split_folders.items()} if audit else {},
        "groups": audit.groups if audit else 0,
        "fit": train.fit,
        "cut": audit.cut if audit else 0.0,
        "grey_range": train.grey_range,
        "torn": audit.torn if audit else 0,
        "notes": list(audit.notes) if audit else [],
        "summary": Counter(fault.kind for fault in faults),
        "faults": [asdict(fault) for fault in faults],
    }


def _about_groups(groups: Groups | None) -> dict[str, Any] | None:
    """Say by what pictures were said to belong together, so that it can be known again."""
    if groups is None:
        return None
    if isinstance(groups, Mapping):
        pairs = sorted((str(key), str(value)) for key, value in groups.items())
        return {"sha256": hashlib.sha256(json.dumps(pairs).encode()).hexdigest()}
    if isinstance(groups, str) and not groups.lower().endswith(".csv"):
        return {"pattern": printable(groups)}
    path = Path(groups).expanduser()
    return {"file": printable(path.name), "sha256": digest_of(path).removeprefix("sha256:")}


def _key(pictures: Pictures, settings: dict[str, Any], versions: dict[str, Any]) -> str:
    """Digest all that decides the results, and what the audit lists beside them."""
    audit = pictures.data.audit
    skipped = [(audit.shown(path), reason) for path, reason in audit.skipped] if audit else []
    total = hashlib.sha256(json.dumps([settings, versions, pictures.names, skipped]).encode())
    for digest in pictures.digests():
        total.update(digest)
    for array in (pictures.labels, pictures.groups, pictures.split_of):
        total.update(np.asarray(array, np.int64).tobytes())
    return total.hexdigest()
