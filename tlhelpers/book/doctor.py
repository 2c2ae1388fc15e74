"""Examine the environment a chapter will run in, and say what to do about what is wrong."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

MIN_FREE_GIGABYTES = 2.0


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        state: ``"ok"``, ``"note"`` (works, but worth knowing) or ``"wrong"``.
        subject: What was looked at.
        detail: What was found, and what to do about it.
    """

    state: str
    subject: str
    detail: str

    def __str__(self) -> str:
        """Write the finding as one line."""
        return f"{self.state:>5}  {self.subject}: {self.detail}"


def examine(deep: bool = False) -> list[Finding]:
    """Look at Python, packages, devices, tier, mirror, cache and the weights that ship.

    Nothing is downloaded, and nothing is changed.

    Args:
        deep: Whether to check every stored feature too. Defaults to False.

    Returns:
        The findings. The environment is fit for use when none is ``"wrong"``.

    Example:
        >>> all(f.state in ("ok", "note", "wrong") for f in examine())
        True
    """
    looks: list[Callable[[], list[Finding]]] = [
        _python,
        _packages,
        _devices,
        _tier,
        _mirror,
        _cache,
        _weights,
        _packs,
        *([_features] if deep else []),
    ]
    return [finding for look in looks for finding in look()]


def _python() -> list[Finding]:
    """Check Python's version."""
    from packaging.specifiers import SpecifierSet

    found = ".".join(map(str, sys.version_info[:3]))
    try:
        wanted = metadata.metadata("tlhelpers")["Requires-Python"]
    except metadata.PackageNotFoundError:
        wanted = ""
    if not SpecifierSet(wanted).contains(found):
        return [Finding("wrong", "Python", f"{found}; the book needs {wanted}")]
    return [Finding("ok", "Python", found)]


def _packages() -> list[Finding]:
    """Check that each requirement is installed in a version that fits."""
    from packaging.requirements import Requirement

    try:
        declared = metadata.requires("tlhelpers") or []
    except metadata.PackageNotFoundError:
        return [Finding("wrong", "tlhelpers", "not installed; run: pip install -e . in its folder")]
    findings = []
    for requirement in map(Requirement, declared):
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            found = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            advice = f'not installed; run: pip install "{requirement}"'
            findings.append(Finding("wrong", requirement.name, advice))
            continue
        if requirement.specifier.contains(found, prereleases=True):
            findings.append(Finding("ok", requirement.name, found))
        else:
            advice = f'{found}; run: pip install "{requirement}"'
            findings.append(Finding("wrong", requirement.name, advice))
    return findings


def _devices() -> list[Finding]:
    """Check that Keras's backend starts, and name what it computes on; and what keeps a GPU out."""
    from tlhelpers.runtime import describe_device, has_gpu, quiet_stderr, start_keras

    try:
        with quiet_stderr():
            notes = start_keras()
            import keras

            device, _ = describe_device()
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        return [Finding("wrong", "Keras", f"does not start: {reason}")]
    backend = keras.backend.backend()
    findings = [Finding("note", "Keras", note) for note in notes]
    findings.append(Finding("ok", "device", f"{device}, with Keras on {backend}"))
    if not has_gpu() and _nvidia_gpu_present():
        reason = _why_no_gpu(backend)
        advice = f"an NVIDIA GPU is there and {backend} does not use it: {reason}"
        findings.append(Finding("note", "GPU", advice))
    return findings


def _nvidia_gpu_present() -> bool:
    """Tell whether this machine has an NVIDIA GPU with a driver, whatever the backend says."""
    return shutil.which("nvidia-smi") is not None or Path("/dev/nvidiactl").exists()


def _why_no_gpu(backend: str) -> str:
    """Start the backend in a process that holds nothing back, and return what it says of GPUs."""
    start = {
        "tensorflow": "import tensorflow as tf; tf.config.list_physical_devices('GPU')",
        "jax": "import jax; jax.devices()",
    }[backend]
    loud = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "0"}
    try:
        started = subprocess.run(
            [sys.executable, "-c", start], env=loud, capture_output=True, text=True, timeout=300
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    said = [
        line for line in started.stderr.splitlines() if re.search("gpu|cuda|dlopen", line, re.I)
    ]
    # A line begins with its level, time and place in the source: "W0000 00:00:17... gpu.cc:23] ".
    told = dict.fromkeys(re.sub(r"^.*?\.(cc|py):\d+\] ", "", line) for line in said)
    return " ".join(told) or "it gives no reason"


def _tier() -> list[Finding]:
    """Check TLH_TIER."""
    from tlhelpers.runtime import tier

    try:
        return [Finding("ok", "tier", tier())]
    except ValueError as error:
        return [Finding("wrong", "tier", str(error))]


def _mirror() -> list[Finding]:
    """Check that the mirror can be read, where one is set."""
    from tlhelpers.data.downloads import mirror, mirror_names

    if mirror() is None:
        return [Finding("ok", "mirror", "none set; the real tier downloads from the publishers")]
    try:
        names = mirror_names() or frozenset()
    except Exception as error:
        return [Finding("wrong", "mirror", str(error))]
    return [Finding("ok", "mirror", f"{mirror()}, which lists {len(names)} files")]


def _cache() -> list[Finding]:
    """Check that the cache folder can be written to and has room."""
    from tlhelpers.book.cache import size_by_kind
    from tlhelpers.files import cache_folder

    try:
        folder = cache_folder()
    except PermissionError as error:
        return [Finding("wrong", "cache", str(error))]
    free = shutil.disk_usage(folder).free / 1e9
    sizes = [f"{kind} {size / 1e9:.1f}" for kind, size in size_by_kind(folder).items()]
    detail = f"{folder}, {free:.0f} GB free; GB used: {', '.join(sizes) or 'none'}"
    if free < MIN_FREE_GIGABYTES:
        advice = f"; the real tier wants {MIN_FREE_GIGABYTES:.0f} GB: set TLH_CACHE to another disk"
        return [Finding("note", "cache", detail + advice)]
    return [Finding("ok", "cache", detail)]


def _weights() -> list[Finding]:
    """Check the digest of the weights that ship with the package."""
    from tlhelpers.models.vgg16_mini import read_weights

    try:
        parameters = sum(array.size for array in read_weights().values())
    except (OSError, ValueError) as error:
        return [Finding("wrong", "vgg16_mini", f"{error} Reinstall tlhelpers.")]
    return [Finding("ok", "vgg16_mini", f"{parameters:,} weights with the right digest")]


def _packs() -> list[Finding]:
    """Check the digests of the recorded features."""
    from tlhelpers.data.packs import packs

    try:
        found = packs()
        for pack in found:
            pack.verify()
    except ValueError as error:
        return [Finding("wrong", "recorded features", str(error))]
    return [Finding("ok", "recorded features", ", ".join(pack.name for pack in found) or "none")]


def _features() -> list[Finding]:
    """Check every row of every feature store."""
    from tlhelpers.book.cache import stores, verify

    findings, rows, old = [], 0, 0
    for folder in stores():
        try:
            checked = verify(folder)
        except OSError as error:
            findings.append(Finding("note", "features", str(error)))
            continue
        if checked is None:
            old += 1
            continue
        rows += checked[0]
        if checked[1]:
            advice = "they are computed again when they are needed"
            detail = f"{checked[1]:,} of {checked[0]:,} rows in {folder} are damaged; {advice}"
            findings.append(Finding("note", "features", detail))
    unused = f"; {old} stores of other versions, see tlhelpers cache clear" if old else ""
    return [*findings, Finding("ok", "features", f"{rows:,} rows were checked{unused}")]


def report(findings: list[Finding]) -> int:
    """Print findings and what they amount to.

    Args:
        findings: From :func:`examine`.

    Returns:
        Exit status: 1 if something is wrong, else 0.

    Example:
        >>> report([Finding("ok", "Python", "3.12.1")])
           ok  Python: 3.12.1
        Everything a chapter needs is here.
        0
    """
    for finding in findings:
        print(finding)
    wrong = [finding.subject for finding in findings if finding.state == "wrong"]
    if wrong:
        print(f"To put right before a chapter can run: {', '.join(wrong)}.")
        return 1
    print("Everything a chapter needs is here.")
    return 0
