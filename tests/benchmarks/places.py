"""Folders for measurements that must not find what an earlier one left."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def empty_cache() -> Iterator[None]:
    """Let extracted features go to a new folder that is removed at the end."""
    before = os.environ.get("TLH_CACHE")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TLH_CACHE"] = folder
        try:
            yield
        finally:
            os.environ.pop("TLH_CACHE")
            if before is not None:
                os.environ["TLH_CACHE"] = before
