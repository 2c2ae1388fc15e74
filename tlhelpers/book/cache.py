"""What lies in the cache: how large it is, whether stored features are whole, and their removal."""

import contextlib
import json
import shutil
import time
from pathlib import Path

from filelock import FileLock, Timeout

from tlhelpers.files import cache_place
from tlhelpers.transfer.store import FeatureStore


def stores() -> list[Path]:
    """Return the folder of each feature store in the cache, of whatever version."""
    found = cache_place().glob("features/*/about.json")
    return sorted(about.parent for about in found if about.is_file())


def verify(folder: Path) -> tuple[int, int] | None:
    """Check every row of a store.

    Args:
        folder: One of :func:`stores`.

    Returns:
        How many rows it holds, and how many of them are damaged; None for a store of another
        version of this package, or one whose description is damaged.

    Example:
        >>> [verify(folder) for folder in stores()]  # doctest: +SKIP
        [(2000, 0)]
    """
    try:
        store = FeatureStore(json.loads((folder / "about.json").read_text("utf-8")))
    except (ValueError, KeyError, TypeError):
        return None
    if store.folder != folder:
        return None
    with store.locked():
        filed = store.open()
        return len(filed), int(store.damaged(filed).sum())


def clear(older_than: float = 0.0) -> int:
    """Remove stored features from the cache; they are computed again when they are needed.

    Stores that another process is writing to, or that are another user's, are left alone.

    Args:
        older_than: Only those not used for this many days. Defaults to 0: all.

    Returns:
        Bytes freed.

    Raises:
        ValueError: If the number of days is below 0, or none.

    Example:
        >>> clear(older_than=30)  # doctest: +SKIP
        1204224
    """
    if not older_than >= 0:
        raise ValueError(f"older_than must be a number of days, 0 or more. Received: {older_than}.")
    freed = 0
    for folder in stores():
        if time.time() - (folder / "about.json").stat().st_mtime < older_than * 86_400:
            continue
        with contextlib.suppress(Timeout, PermissionError), FileLock(folder / "lock", timeout=0):
            before = sum(size_by_kind(folder).values())
            shutil.rmtree(folder, ignore_errors=True)
            freed += before - sum(size_by_kind(folder).values())
    return freed


def size_by_kind(folder: Path) -> dict[str, int]:
    """Return the bytes of files in a folder, by the name of what they lie in there.

    Args:
        folder: Such as the cache's.

    Returns:
        Bytes by name, the largest first.

    Example:
        >>> size_by_kind(Path("no such folder"))
        {}
    """
    sizes: dict[str, int] = {}
    for file in folder.rglob("*"):
        with contextlib.suppress(OSError):  # another process may remove it meanwhile
            if file.is_file() and not file.is_symlink():
                kind = file.relative_to(folder).parts[0]
                sizes[kind] = sizes.get(kind, 0) + file.stat().st_size
    return dict(sorted(sizes.items(), key=lambda item: -item[1]))
