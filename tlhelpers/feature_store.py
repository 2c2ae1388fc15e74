"""Features on disk, each filed under its image's digest, safe from interruption and company."""

import hashlib
import json
import os
from pathlib import Path

import numpy as np
from filelock import AcquireReturnProxy, FileLock, Timeout

from tlhelpers.environment import cache_folder

DIGEST_BYTES = 32


class FeatureStore:
    """Rows of features on disk, each filed under the digest of its image; rows are only appended.

    Two files grow side by side: ``rows.bin`` with the features, and ``index.bin`` with the digests.
    A batch's features are on disk before its digests, so whatever the index names is whole.
    """

    def __init__(self, description: dict[str, object], shape: tuple[int, ...], dtype: str) -> None:
        """Name the folder after the description; nothing is read yet."""
        text = json.dumps(description, sort_keys=True, indent=1)
        key = hashlib.sha256(text.encode()).hexdigest()[:24]
        self.folder = cache_folder() / "features" / f"{description['backbone']}-{key}"
        self.folder.mkdir(parents=True, exist_ok=True)
        about = self.folder / "about.json"
        if not about.exists():
            about.write_text(text, encoding="utf-8")
        self.shape = shape
        self.dtype = np.dtype(dtype)
        self.row_bytes = int(np.prod(shape)) * self.dtype.itemsize

    def locked(self) -> AcquireReturnProxy:
        """Acquire the lock, to be released at the end of a with block; say so if it takes long."""
        lock = FileLock(self.folder / "lock")
        try:
            return lock.acquire(timeout=2)
        except Timeout:
            print(f"Waiting for another process that extracts the same features ({self.folder}).")
            return lock.acquire()

    def open(self) -> dict[bytes, int]:
        """Drop what an interrupted run left unfinished, and return the row of each digest."""
        rows, index = self._path("rows.bin"), self._path("index.bin")
        count = min(rows.stat().st_size // self.row_bytes, index.stat().st_size // DIGEST_BYTES)
        os.truncate(rows, count * self.row_bytes)
        os.truncate(index, count * DIGEST_BYTES)
        listed = index.read_bytes()
        return {listed[i * DIGEST_BYTES : (i + 1) * DIGEST_BYTES]: i for i in range(count)}

    def append(self, features: np.ndarray, digests: list[bytes]) -> None:
        """Add rows, then their digests, each forced to disk.

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
        self._append("rows.bin", rows.tobytes())
        self._append("index.bin", b"".join(digests))

    def read(self, rows: list[int]) -> np.ndarray:
        """Return these rows, without copying where they lie one after the other."""
        if not rows:
            return np.empty((0, *self.shape), self.dtype)
        everything = np.memmap(
            self._path("rows.bin"), self.dtype, "r", shape=(max(rows) + 1, *self.shape)
        )
        if rows == list(range(rows[0], rows[0] + len(rows))):
            return everything[rows[0] : rows[0] + len(rows)]
        picked = np.asarray(everything[rows])
        picked.flags.writeable = False
        return picked

    def _append(self, name: str, content: bytes) -> None:
        """Append to a file and force it to disk."""
        with self._path(name).open("ab") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())

    def _path(self, name: str) -> Path:
        """Return a file of the store, made if missing."""
        path = self.folder / name
        path.touch(exist_ok=True)
        return path
