"""Recordings and sentences as numbers, small enough to ship: pictures of sound, words as codes.

What makes them from the published files is here too: ``python -m tlhelpers.experiments.inputs``
writes both packs, with their provenance, under ``book/_data/inputs``.
"""

import hashlib
import io
import json
import wave
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tlhelpers.data.archives import open_archive
from tlhelpers.data.downloads import digest_of, fetch
from tlhelpers.data.splits import Source
from tlhelpers.files import recorded_places, write_atomically

BANDS, FRAMES, WINDOW, HOP, RATE = 32, 32, 256, 64, 8000
"""A picture's size; a window's length and the step to the next, in samples; samples a second."""

RANGE, LEVELS = 10.0, 15
"""How far below a recording's loudest band a picture reaches, in nats of power, and its shades."""

CODES, COMMON = 2**14, 3
"""Codes that words may have, and in how many sentences a word must stand to have one."""


@dataclass(frozen=True)
class SpokenDigits:
    """Recordings of spoken digits as pictures.

    Attributes:
        pictures: float32 ``[n, 32, 32]``, 0 to 1: time downwards, pitch to the right.
        digits: int64 ``[n]``, 0 to 9.
        speakers: int64 ``[n]``, places in ``names``.
        takes: int64 ``[n]``, which of a speaker's recordings of the digit.
        names: The speakers.
        source: Where the recordings are from.
    """

    pictures: np.ndarray
    digits: np.ndarray
    speakers: np.ndarray
    takes: np.ndarray
    names: tuple[str, ...]
    source: Source


@dataclass(frozen=True)
class Sentences:
    """Sentences as codes of their words, in no order.

    Attributes:
        words: For each sentence the codes of its words, ascending, uint16; two words may share one.
        labels: int64 ``[n]``, 1 where the review is favourable.
        source: Where the sentences are from.
    """

    words: tuple[np.ndarray, ...]
    labels: np.ndarray
    source: Source


def mel_filters(bands: int = BANDS, window: int = WINDOW, rate: int = RATE) -> np.ndarray:
    """Return triangles that are evenly spaced in mel, overlapping by half.

    Mel is 2595 log10(1 + f / 700) (O'Shaughnessy 1987, Speech Communication).

    Args:
        bands: Number of triangles. Defaults to 32.
        window: Samples in a window. Defaults to 256.
        rate: Samples a second. Defaults to 8000.

    Returns:
        float64 ``[window // 2 + 1, bands]``, 0 to 1.

    Example:
        >>> mel_filters().shape
        (129, 32)
    """
    highest = 2595 * np.log10(1 + rate / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, highest, bands + 2) / 2595) - 1)
    f = np.arange(window // 2 + 1)[:, None] * rate / window
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    return np.clip(np.minimum((f - low) / (centre - low), (high - f) / (high - centre)), 0, None)


def log_mel(samples: np.ndarray, bands: int = BANDS) -> np.ndarray:
    """Return the log of the power in each mel band, window by window.

    Args:
        samples: ``[n]``, −1 to 1, at 8,000 a second, at least one window of 256.
        bands: Number of bands. Defaults to 32.

    Returns:
        float64 ``[1 + (n - 256) // 64, bands]``, in nats.

    Example:
        >>> log_mel(np.zeros(8000)).shape
        (122, 32)
    """
    frames = np.lib.stride_tricks.sliding_window_view(samples, WINDOW)[::HOP]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)
    power = np.abs(np.fft.rfft(frames * hann)) ** 2
    return np.log(power @ mel_filters(bands) + 1e-6)


def picture(samples: np.ndarray) -> np.ndarray:
    """Make a picture of one second around the middle of a recording.

    Args:
        samples: ``[n]``, −1 to 1, at 8,000 a second.

    Returns:
        uint8 ``[32, 32]``, 0 to 15: 15 for the loudest band, 0 for ten nats of power below it.

    Example:
        >>> int(picture(np.sin(np.arange(4000))).max())
        15
    """
    samples = np.pad(samples, (0, max(0, WINDOW - len(samples))))
    sound = log_mel(samples)
    levels = np.clip((sound - sound.max()) / RANGE + 1, 0, 1)
    long = FRAMES * 4  # of 8 ms: a second and a little
    spare = max(0, len(levels) - long) // 2
    levels = levels[spare : spare + long]
    before = (long - len(levels)) // 2
    levels = np.pad(levels, ((before, long - len(levels) - before), (0, 0)))
    return np.rint(levels.reshape(FRAMES, 4, BANDS).mean(axis=1) * LEVELS).astype(np.uint8)


def spoken_digits(folder: str | Path | None = None) -> SpokenDigits:
    """Read the pictures of the Free Spoken Digit Dataset's 3,000 recordings.

    Args:
        folder: Folder of the packs. Defaults to the book's, or what was installed.

    Returns:
        The pictures, and what each shows.

    Raises:
        FileNotFoundError: If the pack is missing.
        ValueError: If it is not as it was written.

    Example:
        >>> spoken_digits().pictures.shape  # doctest: +SKIP
        (3000, 32, 32)
    """
    arrays, about = _read("spoken_digits", folder)
    packed = arrays["pictures"]
    shades = np.stack([packed >> 4, packed & 15], axis=-1).reshape(len(packed), FRAMES, BANDS)
    return SpokenDigits(
        shades.astype(np.float32) / LEVELS,
        arrays["digits"].astype(np.int64),
        arrays["speakers"].astype(np.int64),
        arrays["takes"].astype(np.int64),
        tuple(about["speakers"]),
        Source(**about["source"]),
    )


def sentences(folder: str | Path | None = None) -> Sentences:
    """Read the sentences of film reviews as codes of their words.

    Args:
        folder: Folder of the packs. Defaults to the book's, or what was installed.

    Returns:
        The sentences, favourable ones first.

    Raises:
        FileNotFoundError: If the pack is missing.
        ValueError: If it is not as it was written.

    Example:
        >>> len(sentences().words)  # doctest: +SKIP
        10662
    """
    arrays, about = _read("sentences", folder)
    words = np.split(arrays["codes"], np.cumsum(arrays["lengths"].astype(np.int64))[:-1])
    return Sentences(tuple(words), arrays["labels"].astype(np.int64), Source(**about["source"]))


def read_recordings(archive: Path) -> list[tuple[str, int, int, np.ndarray]]:
    """Read speaker, digit, number and samples of each recording.

    Args:
        archive: ``free_spoken_digits.zip``.

    Returns:
        One tuple for each, sorted; samples are float64 from −1 to 1.
    """
    found = []
    with open_archive(archive, r"free_spoken_digits/\d_[a-z]+_\d+\.wav") as (zipped, members):
        for member in members:
            digit, speaker, take = Path(member.filename).stem.split("_")
            with wave.open(io.BytesIO(zipped.read(member))) as sound:
                samples = np.frombuffer(sound.readframes(sound.getnframes()), "<i2") / 32768
            found.append((speaker, int(digit), int(take), samples))
    return sorted(found, key=lambda one: one[:3])


def read_sentences(archive: Path) -> tuple[list[str], np.ndarray]:
    """Read the sentences, favourable ones first, and 1 for each of those, 0 for the others.

    Args:
        archive: ``rt_polarity.zip``.

    Returns:
        The sentences in lower case with spaces between words, and their labels.
    """
    with open_archive(archive, r"rt_polarity/(pos|neg)\.txt") as (zipped, _):
        parts = [zipped.read(f"rt_polarity/{kind}.txt").decode("utf-8") for kind in ("pos", "neg")]
    lines = [part.splitlines() for part in parts]
    return lines[0] + lines[1], np.repeat([1, 0], [len(part) for part in lines])


def word_code(word: str) -> int:
    """Return a word's code, the same on each machine: from 0 to 16,383.

    Args:
        word: The word.

    Example:
        >>> word_code("film") == word_code("film")
        True
    """
    return int.from_bytes(hashlib.sha256(word.encode("utf-8")).digest()[:2], "big") % CODES


def write_spoken_digits(folder: Path) -> Path:
    """Make the pack of pictures from the recordings.

    Args:
        folder: Where to write it.

    Returns:
        The file with the arrays.
    """
    archive = fetch("free_spoken_digits.zip")
    found = read_recordings(archive)
    names = sorted({speaker for speaker, *_ in found})
    shades = np.stack([picture(samples) for *_, samples in found]).reshape(len(found), -1, 2)
    source = Source(
        "Free Spoken Digit Dataset",
        "github.com/Jakobovski/free-spoken-digit-dataset",
        digest_of(archive),
        "CC BY-SA 4.0",
        "32 mel bands by 32 steps of 32 ms, in 16 shades; no sound can be made of them",
    )
    arrays = {
        "pictures": (shades[..., 0] << 4 | shades[..., 1]),
        "digits": np.array([digit for _, digit, *_ in found], np.uint8),
        "speakers": np.array([names.index(speaker) for speaker, *_ in found], np.uint8),
        "takes": np.array([take for _, _, take, _ in found], np.uint8),
    }
    return _write("spoken_digits", folder, arrays, {"speakers": names, "source": asdict(source)})


def write_sentences(folder: Path) -> Path:
    """Make the pack of word codes from the sentences.

    Args:
        folder: Where to write it.

    Returns:
        The file with the arrays.
    """
    archive = fetch("rt_polarity.zip")
    texts, labels = read_sentences(archive)
    split = [text.split() for text in texts]
    counts: dict[str, int] = {}
    for words in split:
        for word in set(words):
            counts[word] = counts.get(word, 0) + 1
    codes = [sorted(word_code(w) for w in words if counts[w] >= COMMON) for words in split]
    source = Source(
        "sentence polarity dataset v1.0",
        "www.cs.cornell.edu/people/pabo/movie-review-data",
        digest_of(archive),
        "none stated; cite Pang and Lee (2005)",
        "each sentence as hashes of its words, in ascending order; the text can't be made of them",
    )
    arrays: dict[str, np.ndarray] = {
        "codes": np.concatenate(codes).astype(np.uint16),
        "lengths": np.array([len(one) for one in codes], np.uint16),
        "labels": labels.astype(np.uint8),
    }
    return _write("sentences", folder, arrays, {"source": asdict(source)})


def _write(name: str, folder: Path, arrays: dict[str, np.ndarray], about: dict[str, Any]) -> Path:
    """Write a pack: arrays, and beside them what they are and their digest."""
    folder.mkdir(parents=True, exist_ok=True)
    whole = io.BytesIO()
    np.savez_compressed(whole, **arrays)  # type: ignore[arg-type]
    path = folder / f"{name}.npz"
    write_atomically(path, whole.getvalue())
    about = {"sha256": hashlib.sha256(whole.getvalue()).hexdigest(), **about}
    write_atomically(folder / f"{name}.json", json.dumps(about, indent=1) + "\n")
    return path


def _read(name: str, folder: str | Path | None) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read a pack after checking its digest."""
    places = [Path(folder)] if folder else recorded_places("inputs")
    place = next((one for one in places if (one / f"{name}.npz").is_file()), places[-1])
    about = json.loads((place / f"{name}.json").read_text("utf-8"))
    content = (place / f"{name}.npz").read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if digest != about["sha256"]:
        raise ValueError(
            f"{name}.npz must be as it was written, with the SHA-256 {about['sha256']}. Received: "
            f"{digest}, in {place}. Install the package again, or put a copy back."
        )
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return dict(arrays), about


if __name__ == "__main__":
    here = Path("book/_data/inputs")
    for written in (write_spoken_digits(here), write_sentences(here)):
        print(f"{written}: {written.stat().st_size / 1e3:.0f} kB")
