"""Recorded features: what real networks make of real images, computed once, small enough to ship.

A pack is a feature store that travels: a folder with ``about.json`` (where the images are from, which
networks saw them, and the digest of each file), ``images.npz`` (a label and a digest for each image)
and a file for each network with, for every stage, the map averaged over its places, eight bits a
number.
"""

import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from tlhelpers.files import recorded_places

HOW_TO_GET_PIXELS = (
    "For pixels and any network use the real tier, which downloads them: TLH_TIER=real, or "
    "tl.setup(tier='real')."
)

DRAWN_INSTEAD = {"cats_dogs": "pets", "cifar10": "objects"}
"""Drawn data sets with pixels, for those that come as recorded features."""


class NotRecordedError(ValueError):
    """Something was asked for that recorded features can't give; the message says how to get it."""


class NotAtHand:
    """Stands where a Keras model would be; any use of it says how to get the model."""

    def __init__(self, what: str) -> None:
        """Name what is missing, such as ``"mobilenet_v2's weights"``."""
        self._what = what

    def __getattr__(self, name: str) -> Any:
        """Refuse, but for what Python itself looks for."""
        if name.startswith("__"):
            raise AttributeError(name)
        raise self.refusal()

    def __call__(self, *_: Any, **__: Any) -> Any:
        """Refuse."""
        raise self.refusal()

    def refusal(self) -> NotRecordedError:
        """Return the error that says so."""
        return NotRecordedError(
            f"The embedded tier holds recorded features, not {self._what}. {HOW_TO_GET_PIXELS}"
        )


@dataclass(frozen=True)
class Quantised:
    """Numbers in eight bits: ``codes * scale + offset``, with a scale and an offset per channel.

    Attributes:
        codes: uint8 ``[n, c]``.
        scale: float32 ``[c]``, above 0.
        offset: float32 ``[c]``.
    """

    codes: np.ndarray
    scale: np.ndarray
    offset: np.ndarray

    def numbers(self, rows: Sequence[int] | np.ndarray | slice = slice(None)) -> np.ndarray:
        """Return some rows as float32 ``[k, c]``."""
        return self.codes[rows].astype(np.float32) * self.scale + self.offset


def prepared(preprocessing: str, shift: str | None) -> str:
    """Say how images were prepared, the look they were given before included.

    Example:
        >>> prepared("mean=(0, 0, 0)", "blur")
        'blur; mean=(0, 0, 0)'
    """
    return f"{shift}; {preprocessing}" if shift else preprocessing


@dataclass(frozen=True)
class RecordedNetwork:
    """A network whose features a pack holds.

    Attributes:
        backbone: Its name in the table of architectures, or ``"pixels"``.
        weights: Which weights it had: ``"pretrained"``, or another name such as ``"edges"``.
        input_size: Width and height in pixels in which it saw the images.
        preprocessing: How images were prepared, in words; two networks that differ in it differ.
        stages: Its stages, from input to output.
        channels: Channels of each stage.
        digests: SHA-256 of its weights up to the end of each stage.
        file: Name of the features' file in the pack's folder.
        source: Name of the weights' file, or of how they were made.
    """

    backbone: str
    weights: str
    input_size: int
    preprocessing: str
    stages: tuple[str, ...]
    channels: tuple[int, ...]
    digests: tuple[str, ...]
    file: str
    source: str


class Pack:
    """The recorded features of one data set; files are read when they are first needed.

    Attributes:
        name: The data set's name.
        about: Where the images are from: ``source`` (name, origin, digest, licence, note),
            ``class_names``, and versions of what computed.
        networks: The networks that saw the images.
        labels: int64 ``[n]``.
        is_test: bool ``[n]``: whether an image belongs to the test split.
    """

    def __init__(self, folder: Path) -> None:
        """Read what is in a pack's folder.

        Raises:
            ValueError: If a file is missing or damaged.
        """
        self.folder = folder
        with _whole(folder / "about.json"):
            self.about: dict[str, Any] = json.loads((folder / "about.json").read_text("utf-8"))
            self.name: str = self.about["name"]
            self._files: dict[str, str] = dict(self.about["files"])
            self.networks = tuple(
                RecordedNetwork(**{key: _frozen(value) for key, value in row.items()})
                for row in self.about["networks"]
            )
            lacking = {"class_names", "source"} - self.about.keys()
            lacking |= {"images.npz", *(one.file for one in self.networks)} - self._files.keys()
            if lacking:
                raise ValueError(f"no {', '.join(sorted(lacking))} in it")
        with _arrays(folder / "images.npz", self._files["images.npz"]) as stored:
            self.labels = stored["labels"].astype(np.int64)
            self.is_test = stored["is_test"]
            self._digests = [digest.tobytes() for digest in stored["digests"]]
        self._row_of = {digest: row for row, digest in enumerate(self._digests)}

    def digests(self) -> list[bytes]:
        """Return the SHA-256 of each image."""
        return list(self._digests)

    def verify(self) -> None:
        """Check every file of the pack.

        Raises:
            ValueError: If one is missing or damaged.
        """
        for name, digest in self._files.items():
            with _arrays(self.folder / name, digest):
                pass

    def find(
        self, backbone: str, input_size: int, stage: str, digest: str, preprocessing: str
    ) -> RecordedNetwork:
        """Return the network that is the same up to the end of a stage.

        Returns:
            One of :attr:`networks`.

        Raises:
            NotRecordedError: If there is none.
        """
        wanted = (backbone, input_size, preprocessing, digest)
        for one in self.networks:
            held = dict(zip(one.stages, one.digests, strict=True)).get(stage)
            if (one.backbone, one.input_size, one.preprocessing, held) == wanted:
                return one
        known = ", ".join(
            f"{one.backbone} at {one.input_size} px ({one.weights})" for one in self.networks
        )
        raise NotRecordedError(
            f"Recorded features of {self.name} are of {known}, each with its own preprocessing or as "
            f"its file says. Received: another network, size, weights or shift, {backbone} at "
            f"{input_size} px up to {stage}, images prepared by {preprocessing}. {HOW_TO_GET_PIXELS}"
        )

    def features(
        self, network: RecordedNetwork, stage: str, digests: Sequence[bytes]
    ) -> np.ndarray:
        """Return the features of some images.

        Returns:
            float32 ``[k, c]``, in the order of the digests.

        Raises:
            NotRecordedError: If an image is not in the pack, or this network has not seen it.
            ValueError: If the network's file is missing or damaged.
        """
        rows, quantised = _read(self.folder / network.file, self._files[network.file], stage)
        place_of = {int(row): place for place, row in enumerate(rows)}
        try:
            places = [place_of[self._row_of[digest]] for digest in digests]
        except KeyError:
            raise NotRecordedError(
                f"Recorded features are of {len(rows):,} images of {self.name}. Received: others. "
                f"{HOW_TO_GET_PIXELS}"
            ) from None
        return quantised.numbers(places)


def load_pack(name: str) -> Pack:
    """Read the pack of a data set.

    Args:
        name: The data set's name, such as ``"cats_dogs"``.

    Returns:
        The pack.

    Raises:
        FileNotFoundError: If there is none.

    Example:
        >>> load_pack("cats_dogs").labels.shape
        (3000,)
    """
    places = recorded_places("features")
    for place in places:
        if (place / name / "about.json").is_file():
            return _open(place / name)
    raise FileNotFoundError(
        f"Recorded features of {name} are read from {' or '.join(map(str, places))}. Received: "
        f"no such folder; record them with: tlhelpers record features {name}"
    )


def packs() -> list[Pack]:
    """Return all packs that are at hand, in order of their names.

    Example:
        >>> "cats_dogs" in [pack.name for pack in packs()]
        True
    """
    places = recorded_places("features")
    found = {folder.parent.name for place in places for folder in place.glob("*/about.json")}
    return [load_pack(name) for name in sorted(found)]


def find_network(backbone: str, input_size: int, weights: str) -> RecordedNetwork | None:
    """Look for a network in all packs.

    Returns:
        The network, or None.

    Example:
        >>> find_network("mobilenet_v2", 224, "pretrained").stages[-1]
        'out_relu'
    """
    wanted = (backbone, input_size, weights)
    every = [one for pack in packs() for one in pack.networks]
    return next(
        (one for one in every if (one.backbone, one.input_size, one.weights) == wanted), None
    )


_open = lru_cache(maxsize=8)(Pack)


@contextmanager
def _whole(path: Path) -> Iterator[None]:
    """Say which file of a pack is missing or damaged, and how to get it again."""
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        missing = isinstance(error, FileNotFoundError)
        raise ValueError(
            f"Recorded features must be as they were recorded. Received: {path}, which is "
            f"{'missing' if missing else f'damaged ({type(error).__name__}: {error})'}. Get it again "
            "with the project (git restore book/_data/features), or remove its folder and record it: "
            f"tlhelpers record features {path.parent.name}"
        ) from None


@contextmanager
def _arrays(path: Path, digest: str) -> Iterator[Any]:
    """Open a file of arrays once its SHA-256 is found to be right."""
    with _whole(path):
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != digest:
            raise ValueError("not of the digest that about.json says")
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            yield stored


@lru_cache(maxsize=16)
def _read(path: Path, digest: str, stage: str) -> tuple[np.ndarray, Quantised]:
    """Read one stage of a network: the images' rows in the pack, and their features."""
    with _arrays(path, digest) as stored:
        parts = (stored[f"{stage}/{part}"] for part in ("codes", "scale", "offset"))
        codes, scale, offset = parts
        if codes.shape[1] != len(stored["rows"]):
            raise ValueError(f"features of {codes.shape[1]:,} images at {stage}, not of its own")
        return stored["rows"], Quantised(np.ascontiguousarray(codes.T), scale, offset)


def _frozen(value: Any) -> Any:
    """Turn JSON's lists into tuples."""
    return tuple(value) if isinstance(value, list) else value
