"""What is wrong with a folder's pictures, by file name, beyond what reading them tells."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tlhelpers.data.audit import printable
from tlhelpers.data.inspection import THUMB, inspect_images
from tlhelpers.data.splits import Dataset
from tlhelpers.workflow.split import Pictures

TINY = 64
"""Shorter side (pixels) below which a photograph has little to show."""

PLAIN = 4.0
"""Standard deviation of a thumbnail's values, of 256 levels, below which there is nothing to see."""


@dataclass(frozen=True)
class Fault:
    """One thing to look at.

    Attributes:
        kind: What is wrong, in the words of the report.
        files: Path of each file below the folder.
        detail: The reason or figure.
    """

    kind: str
    files: tuple[str, ...]
    detail: str = ""


def find_faults(data: Dataset, pictures: Pictures) -> tuple[list[Fault], np.ndarray]:
    """Look for files left out, tiny and plain pictures, copies, and one picture in two classes.

    Nothing is deleted or changed.

    Args:
        data: What :func:`tlhelpers.load_folder` gave.
        pictures: Its images in one order.

    Returns:
        The faults, and the images' :func:`pixel_sums`, which take half the room of thumbnails.
    """
    audit = data.audit
    if audit is None:
        return [], pixel_sums(np.zeros((0, THUMB, THUMB, 3), np.uint8))

    def names(paths: tuple[Path, ...]) -> tuple[str, ...]:
        """Name files below the folder."""
        return tuple(audit.shown(path) for path in paths)

    torn = "belongs together with"
    found = [
        Fault(
            "leak between splits" if reason.startswith(torn) else "left out", names((path,)), reason
        )
        for path, reason in audit.skipped
    ]
    found += [Fault("in several classes", names(group)) for group in audit.several_classes]
    found += [Fault("stored more than once", names(group)) for group in audit.copies]
    found += [Fault("near-copies", names(group)) for group in audit.near_copies]
    with inspect_images(pictures.paths, audit.folder) as (_, facts, on_disk):
        spread = np.empty(len(facts))
        sums = np.empty((len(facts), 3 * (THUMB // 2) ** 2), np.uint16)
        # A few at a time, since NumPy takes each value in eight bytes.
        for rows in np.array_split(np.arange(len(facts)), 1 + len(facts) // 128):
            thumbs = on_disk[rows]
            spread[rows] = thumbs.reshape(len(thumbs), -1).std(axis=1)
            sums[rows] = pixel_sums(thumbs)
    shorter = np.minimum(facts["width"], facts["height"])
    for row, name in enumerate(map(printable, pictures.names)):
        if shorter[row] < TINY:
            size = f"{facts['width'][row]} x {facts['height'][row]} pixels"
            found.append(Fault("tiny", (name,), size))
        if spread[row] < PLAIN:
            found.append(Fault("nearly uniform", (name,), f"{spread[row]:.1f} of 256 levels"))
    return found, sums


def pixel_sums(thumbs: np.ndarray) -> np.ndarray:
    """Return sums of four pixels, ``uint16 [n, 768]``, of thumbnails ``uint8 [n, 32, 32, 3]``."""
    half = THUMB // 2
    fours = thumbs.reshape(len(thumbs), half, 2, half, 2, 3)
    return fours.sum(axis=(2, 4), dtype=np.uint16).reshape(len(thumbs), -1)


def pixel_features(sums: np.ndarray) -> np.ndarray:
    """Describe images by their pixels alone, 16 x 16 of them: the floor for any network.

    Args:
        sums: Of :func:`pixel_sums`.

    Returns:
        float32 ``[n, 768]``, 0 to 1.
    """
    means = sums.astype(np.float32)
    means /= 4
    means /= 255
    return means


def as_csv(faults: list[Fault]) -> str:
    """Write the faults as a table: kind, detail, and a column of files."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["kind", "detail", "files"])
    writer.writerows((fault.kind, fault.detail, *fault.files) for fault in faults)
    return text.getvalue()
