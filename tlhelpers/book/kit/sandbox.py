"""Where students' code runs: a process of its own, with no network and little to write to.

On Linux, where namespaces may be made, the kernel sees to it: no network, every file system read-only
but for a small one in memory, the class's folder out of sight, no privilege left. Everywhere, a hook
in Python refuses sockets, other programs, and files elsewhere; that stops accidents and what is tried
in passing, but neither somebody who calls the system through ctypes nor what libraries write in C.
"""

import contextlib
import functools
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SCRIPT = """
set -e
work=$1
mount -t tmpfs -o size=512m tmpfs "$work"
shift
while [ "$1" != -- ]; do mount -t tmpfs -o ro,size=4k tmpfs "$1"; shift; done
shift
cut -d ' ' -f 5 /proc/self/mountinfo | while read -r place; do
  [ "$place" = "$work" ] || mount -o remount,bind,ro "$place" 2>/dev/null || :
done
cd "$work"
exec setpriv --bounding-set=-all --inh-caps=-all --no-new-privs "$@"
"""
NAMESPACES = (
    *("setpriv", "--pdeathsig", "KILL"),  # with the grader ends what it started
    *("unshare", "--user", "--map-root-user", "--mount", "--net", "--pid", "--ipc", "--fork"),
    *("--kill-child", "--mount-proc", "sh", "-c", SCRIPT, "sh"),
)


def command(work: str | Path, hidden: Sequence[str | Path], program: Sequence[str]) -> list[str]:
    """Return a command line that runs a program apart from everything, as far as this system can.

    Args:
        work: An empty folder, the only one that can be written to.
        hidden: Folders that must not be seen.
        program: The program and its arguments.

    Returns:
        The command line: the program alone where there are no namespaces.

    Example:
        >>> command("/tmp/work", [], ["true"])[-1]
        'true'
    """
    if not has_namespaces():
        return list(program)
    return [*NAMESPACES, str(work), *map(str, hidden), "--", *program]


@functools.cache
def has_namespaces() -> bool:
    """Tell whether the kernel keeps a process apart here, by trying it.

    Example:
        >>> has_namespaces() in (True, False)
        True
    """
    if sys.platform != "linux":
        return False
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(OSError):
        work, beside = Path(folder, "work"), Path(folder, "beside")
        work.mkdir()
        tried = f'touch "{work}/own" && ! touch "{beside}"'
        line = [*NAMESPACES, str(work), "--", "sh", "-c", tried]
        done = subprocess.run(line, capture_output=True, timeout=20, env=_bare())
        return done.returncode == 0 and not beside.exists()
    return False


def _bare() -> dict[str, str]:
    """Return the few settings of this process that the other one needs."""
    kept = ("PATH", "PYTHONPATH", "LANG", "LC_ALL", "SYSTEMROOT", "VIRTUAL_ENV")
    return {name: os.environ[name] for name in kept if name in os.environ} | {"HOME": "/"}


def environment(work: str | Path) -> dict[str, str]:
    """Return the settings for students' code: nothing of this process's but paths.

    Args:
        work: The folder it may write to.

    Returns:
        Environment variables.

    Example:
        >>> environment("/tmp/work")["TLH_TIER"]
        'embedded'
    """
    work = str(work)
    return _bare() | {
        "HOME": work,
        "TMPDIR": work,
        "TLH_CACHE": work,
        "TLH_TIER": "embedded",
        "TLH_LIVE": "0",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "MPLBACKEND": "agg",
        "PYTHONHASHSEED": "0",
        "PYTHONSAFEPATH": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "JOBLIB_MULTIPROCESSING": "0",
    }


def limit(memory_gb: float, cpu_seconds: float) -> None:
    """Bound what this process may use, for good: memory, processor time, 64 MB for a file.

    Args:
        memory_gb: Address space in GB.
        cpu_seconds: Processor seconds of all threads.

    Example:
        >>> limit(4, 60)  # doctest: +SKIP
    """
    with contextlib.suppress(ImportError):  # Windows has none
        import resource

        for kind, most in (
            (resource.RLIMIT_AS, memory_gb * 1e9),
            (resource.RLIMIT_CPU, cpu_seconds),
            (resource.RLIMIT_FSIZE, 64e6),
            (resource.RLIMIT_CORE, 0),
        ):
            with contextlib.suppress(ValueError, OSError):  # lower already
                resource.setrlimit(kind, (int(most), int(most)))


NETWORK = ("socket.connect", "socket.bind", "socket.sendto", "socket.getaddrinfo")
PROGRAMS = (
    *("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork"),
    *("os.forkpty", "os.kill", "os.killpg"),
)
CHANGES = (
    *("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate"),
    *("os.chmod", "os.chown", "os.utime", "shutil.rmtree", "shutil.move", "sqlite3.connect"),
)
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


NO_PROGRAM = "No other program is started or ended while a notebook is graded."


def guard(work: str | Path, hidden: Sequence[str | Path]) -> None:
    """Refuse, from now on, this Python the network, other programs and files elsewhere.

    Args:
        work: The folder it may write to.
        hidden: Folders it must not read.

    Example:
        >>> guard("/tmp/work", [])  # doctest: +SKIP
    """
    own = os.path.realpath(work)
    secret = [os.path.realpath(folder) for folder in hidden]

    def inside(path: str, folder: str) -> bool:
        """Tell whether a path is a folder or lies in it."""
        return path == folder or path.startswith(folder + os.sep)

    def watch(event: str, given: tuple[Any, ...]) -> None:
        """Raise where something is not allowed."""
        if event in NETWORK:
            raise PermissionError("There is no network while a notebook is graded.")
        if event in PROGRAMS:
            raise PermissionError(NO_PROGRAM)
        if event != "open" and event not in CHANGES:
            return
        writes = event != "open" or bool((given[2] or 0) & WRITING)
        by_descriptor = event == "open" and given[1] is None  # a folder's serves to write in it
        paths = given[:1] if event == "open" else given[:2]
        for path in paths:
            if not isinstance(path, str | bytes | os.PathLike):
                continue
            place = os.path.realpath(os.fsdecode(path))
            if any(inside(place, folder) for folder in secret):
                raise PermissionError("The class's files are out of reach of a notebook.")
            writes = writes or (by_descriptor and os.path.isdir(place))
            if writes and not inside(place, own) and place != os.devnull:
                raise PermissionError("A notebook that is graded writes to its own folder only.")

    def refuse(*_: Any) -> int:
        """Start nothing."""
        raise PermissionError(NO_PROGRAM)

    with contextlib.suppress(ImportError):  # multiprocessing starts programs by it, unannounced
        import _posixsubprocess

        setattr(_posixsubprocess, "fork_exec", refuse)  # noqa: B010
    sys.addaudithook(watch)
