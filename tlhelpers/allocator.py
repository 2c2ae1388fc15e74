"""Let the C library keep the memory that a training step frees, for the next step."""

import ctypes
import os
import platform

# Parameters of mallopt(3), from glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4

KEPT_FREE = 2**30
"""Bytes of freed memory at the heap's end beyond which the rest goes back to the system."""


def keep_freed_memory() -> bool:
    """Keep freed memory in the process instead of handing it back after every step.

    glibc gives each large buffer a mapping of its own, or one at the heap's end, and may return it
    to the system as soon as it is freed. Work on pictures frees its large buffers after every step
    and asks for them again in the next, and each time the system has to clear all their pages. How
    much that costs depends on the machine and on what the process did before: drawing pictures
    after a training took four to five times as long, training itself up to twice as long on one
    virtual machine and no longer on another (``make bench ONLY=allocator``). The price is memory
    that other programs can't have until this process ends. Results are the same to the bit.

    Nothing is changed where the C library is not glibc, or where a ``MALLOC_`` variable or
    ``GLIBC_TUNABLES`` says that the user has chosen.

    Returns:
        Whether it was done.

    Example:
        >>> keep_freed_memory() in (True, False)
        True
    """
    chosen = [name for name in os.environ if name.startswith("MALLOC_") or name == "GLIBC_TUNABLES"]
    if chosen or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    mallopt.argtypes, mallopt.restype = (ctypes.c_int, ctypes.c_int), ctypes.c_int
    return all([mallopt(_M_TRIM_THRESHOLD, KEPT_FREE), mallopt(_M_MMAP_MAX, 0)])
