"""Freed memory is kept, where the C library is glibc and the user has not chosen otherwise."""

import os
import platform
import subprocess
import sys

import pytest

from tlhelpers.runtime import keep_freed_memory

# Each round writes to 64 MB of new memory and frees them.
ROUNDS = """
import resource
from tlhelpers.runtime import keep_freed_memory
done, many = keep_freed_memory(), 64_000_000
b"x" * many
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    b"x" * many
print(done, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(**variables):
    own = {name: value for name, value in os.environ.items() if "MALLOC_" not in name}
    done = subprocess.run(
        [sys.executable, "-c", ROUNDS],
        env={**own, **variables},
        check=True,
        capture_output=True,
        text=True,
    )
    kept, faults = done.stdout.split()
    return kept == "True", int(faults)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="this is a setting of glibc's")
def test_memory_that_was_freed_is_not_asked_for_again():
    kept, faults = page_faults()
    usual, many = page_faults(GLIBC_TUNABLES="")
    assert kept
    assert not usual
    assert faults < many / 10


@pytest.mark.parametrize("name", ["MALLOC_ARENA_MAX", "GLIBC_TUNABLES"])
def test_a_choice_of_the_users_stands(monkeypatch, name):
    monkeypatch.setenv(name, "1")
    assert keep_freed_memory() is False


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert keep_freed_memory() is False
