"""Rows of features on disk, each filed under its image's digest, and checked when it is read."""

import contextlib
import hashlib
import json
import os
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tlhelpers.files import cache_folder, check_room, locked, plain_disk_errors, write_atomically

# Raised when features are computed or stored in another way, so that old entries are not used.
FORMAT = 3

# One entry of the index: whose row it is, which row, the row's checksum, and the entry's own.
RECORD = np.dtype([("digest", "V32"), ("row", "<u8"), ("check", "<u4"), ("own", "<u4")])

ANNOUNCED_BYTES = 1_000_000_000
"""What takes more room than this is announced before it is written."""


class FeatureStore:
    """Rows of features on disk, in a folder named after what they are.

    Two files grow side by side: ``rows.bin`` with the features, and ``index.bin`` with a record for
    each row. A batch's features are on disk before its records, so whatever the index names is
    whole. What ``rows.bin`` holds is never changed or cut off, since other processes may have it
    mapped: a row that was damaged is appended once more.
    """

    def __init__(self, description: dict[str, Any]) -> None:
        """Name the folder after a description, which has ``shape`` and ``dtype`` of a row."""
        self.text = json.dumps(description, sort_keys=True, indent=1)
        self.key = hashlib.sha256(self.text.encode()).digest()
        name = f"{description['backbone']}-{self.key.hex()[:24]}"
        self.folder = cache_folder() / "features" / name
        self.shape = tuple(description["shape"])
        self.dtype = np.dtype(description["dtype"])
        self.row_bytes = int(np.prod(self.shape)) * self.dtype.itemsize
        self.rows, self.index = self.folder / "rows.bin", self.folder / "index.bin"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the store's lock; its folder and files are made when missing."""
        with plain_disk_errors("Features", self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        with locked(self.folder / "lock"):
            with plain_disk_errors("Features", self.folder):
                about = self.folder / "about.json"
                for file in (about, self.rows, self.index):
                    if file.exists() and not file.is_file():
                        raise OSError(
                            f"Stored features must be regular files. Received: {file}, which is "
                            "something else; remove it, and they are computed again."
                        )
                if not about.exists() or about.read_bytes() != self.text.encode():
                    write_atomically(about, self.text)
                os.utime(about)  # when it was last used
                self.rows.touch()
                self.index.touch()
            yield

    def open(self) -> np.ndarray:
        """Return an entry for each image filed, in the order of their digests.

        Entries that are damaged, or were left unfinished, are dropped.
        """
        content, size = memoryview(self.index.read_bytes()), RECORD.itemsize
        count = len(content) // size
        ends = range(size, count * size + 1, size)
        checks = (zlib.crc32(content[end - size : end - 4]) for end in ends)
        filed = np.frombuffer(content[: count * size], RECORD)
        filed = filed[filed["own"] == np.fromiter(checks, np.uint32, count)]
        if len(filed) < count:
            print(f"{count - len(filed):,} of {count:,} entries in {self.index} are damaged.")
        if filed.nbytes < len(content):
            write_atomically(self.index, filed.tobytes())
        filed = filed[filed["row"] < self.rows.stat().st_size // self.row_bytes]
        # Of two for one image, the later counts.
        return filed[::-1][np.unique(_comparable(filed[::-1]), return_index=True)[1]]

    def damaged(self, filed: np.ndarray) -> np.ndarray:
        """Mark the entries whose rows are not what was filed under them."""
        if not len(filed):
            return np.zeros(0, bool)
        content = np.memmap(self.rows, np.uint8, "r").data
        size = self.row_bytes
        found = (
            self._check(content[row * size : (row + 1) * size], digest) != check
            for digest, row, check, _ in (entry.item() for entry in filed)
        )
        return np.fromiter(found, bool, len(filed))

    def make_room(self, count: int) -> None:
        """Say that many rows are about to be written, and refuse where the disk has no room.

        Raises:
            OSError: If the disk is too full.
        """
        size, what = count * (self.row_bytes + RECORD.itemsize), f"Features of {count:,} images"
        check_room(what, self.folder, size)
        if size > ANNOUNCED_BYTES:
            print(
                f"{what}, {size / 1e9:.1f} GB, are written to {self.folder}. TLH_CACHE names "
                "another place; `tlhelpers cache clear` removes stored features."
            )

    def append(self, features: np.ndarray, digests: Sequence[bytes]) -> None:
        """Add rows, then their records, each forced to disk.

        Raises:
            ValueError: If a feature is not a finite number of the store's dtype.
        """
        with np.errstate(over="ignore"):
            rows = np.ascontiguousarray(features, self.dtype)
        if not np.isfinite(rows).all():
            raise ValueError(
                f"Features must be finite {self.dtype} numbers. Received: infinite or undefined "
                "ones; check the backbone's weights, or pass dtype='float32'."
            )
        with plain_disk_errors("Features", self.folder, rows.nbytes):
            # A batch that an interrupted run left unfinished is filled up and passed over.
            first = -(-self.rows.stat().st_size // self.row_bytes)
            gap = bytes(first * self.row_bytes - self.rows.stat().st_size)
            _append(self.rows, gap + rows.tobytes())
            places = range(first, first + len(rows))
            entries = zip(digests, places, map(self._check, rows, digests), strict=True)
            _append(self.index, b"".join(_entry(*entry) for entry in entries))

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Return these rows, without copying where they lie one after the other."""
        if not len(rows):
            return np.empty((0, *self.shape), self.dtype)
        rows = rows.astype(np.int64)
        shape = (int(rows.max()) + 1, *self.shape)
        everything = np.memmap(self.rows, self.dtype, "r", shape=shape)
        if (np.diff(rows) == 1).all():
            return everything[rows[0] : rows[0] + len(rows)]
        picked = np.asarray(everything[rows])
        picked.flags.writeable = False
        return picked

    def _check(self, row: Any, digest: bytes) -> int:
        """Return the checksum of a row, of the image it is of, and of the store it belongs to."""
        return zlib.crc32(row, zlib.crc32(self.key + digest))


def find(filed: np.ndarray, digests: Sequence[bytes]) -> np.ndarray:
    """Return the place of each digest among what :meth:`FeatureStore.open` gave, or -1."""
    if not len(filed):
        return np.full(len(digests), -1)
    known, wanted = _comparable(filed), np.array(digests, "S32")
    place = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
    return np.where(known[place] == wanted, place, -1)


def _comparable(filed: np.ndarray) -> np.ndarray:
    """Return digests as strings of bytes, which NumPy sorts."""
    return np.ascontiguousarray(filed["digest"]).view("S32")


def _entry(digest: bytes, row: int, check: int) -> bytes:
    """Make an entry of the index, with its own checksum at its end."""
    start = digest + row.to_bytes(8, "little") + check.to_bytes(4, "little")
    return start + zlib.crc32(start).to_bytes(4, "little")


def _append(path: Path, content: bytes) -> None:
    """Append to a file and force it to disk."""
    with path.open("ab") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
