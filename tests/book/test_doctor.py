"""The doctor: true statements, useful advice, and the right exit status."""

import os
import re
import shutil
import subprocess
import sys
from importlib import metadata

import pytest

from tlhelpers import runtime
from tlhelpers.book import doctor
from tlhelpers.cli import main
from tlhelpers.data import packs


@pytest.fixture(autouse=True)
def plain(monkeypatch):
    monkeypatch.setattr(runtime, "_chosen_tier", None)
    for name in ("TLH_TIER", "TLH_MIRROR"):
        monkeypatch.delenv(name, raising=False)


def findings(capsys):
    return capsys.readouterr().out.splitlines()


def test_all_is_well(capsys):
    assert main(["doctor"]) == 0
    *lines, last = findings(capsys)
    assert last == "Everything a chapter needs is here."
    assert all(line.split()[0] in ("ok", "note") for line in lines)
    text = "\n".join(lines)
    for part in (
        f"Python: {sys.version_info.major}.{sys.version_info.minor}",
        f"tensorflow: {metadata.version('tensorflow')}",
        "Keras on tensorflow",
        "tier: embedded",
        "mirror: none set",
        f"cache: {os.environ['TLH_CACHE']}",
        "vgg16_mini: ",
    ):
        assert part in text


def test_a_cache_that_cannot_be_written(capsys, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("TLH_CACHE", str(tmp_path / "file" / "cache"))
    assert main(["doctor"]) == 1
    *lines, last = findings(capsys)
    (wrong,) = [line for line in lines if line.startswith("wrong")]
    assert wrong.startswith("wrong  cache: ")
    assert str(tmp_path / "file" / "cache") in wrong
    assert "Set TLH_CACHE" in wrong
    assert last == "To put right before a chapter can run: cache."


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere"
)
def test_a_read_only_cache(capsys, monkeypatch, tmp_path):
    tmp_path.chmod(0o500)
    monkeypatch.setenv("TLH_CACHE", str(tmp_path))
    try:
        assert main(["doctor"]) == 1
    finally:
        tmp_path.chmod(0o700)
    assert "Set TLH_CACHE" in capsys.readouterr().out


def test_little_room_is_worth_a_note(capsys, monkeypatch):
    monkeypatch.setattr(doctor, "MIN_FREE_GIGABYTES", 1e9)
    assert main(["doctor"]) == 0
    (note,) = [line for line in findings(capsys) if line.lstrip().startswith("note")]
    assert "TLH_CACHE" in note


def test_an_unknown_tier(capsys, monkeypatch):
    monkeypatch.setenv("TLH_TIER", "imaginary")
    assert main(["doctor"]) == 1
    assert "wrong  tier: The tier must be 'embedded'" in capsys.readouterr().out


def test_a_mirror(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("TLH_MIRROR", str(tmp_path))
    assert main(["doctor"]) == 1
    assert "wrong  mirror: TLH_MIRROR must name" in capsys.readouterr().out
    (tmp_path / "SHA256SUMS").write_text("0" * 64 + "  mnist.npz\n")
    assert main(["doctor"]) == 0
    assert f"mirror: {tmp_path}, which lists 1 files" in capsys.readouterr().out


def test_damaged_weights(capsys, monkeypatch, tmp_path):
    from tlhelpers.models import vgg16_mini

    shipped = vgg16_mini.WEIGHTS_FILE
    damaged = tmp_path / shipped.name
    damaged.write_bytes(shipped.read_bytes()[:-1])
    damaged.with_suffix(".json").write_bytes(shipped.with_suffix(".json").read_bytes())
    monkeypatch.setattr(vgg16_mini, "WEIGHTS_FILE", damaged)
    assert main(["doctor"]) == 1
    assert "wrong  vgg16_mini: " in capsys.readouterr().out


def test_a_damaged_pack_is_found(capsys, monkeypatch, tmp_path):
    shutil.copytree(packs.recorded_places("features")[1] / "cifar10", tmp_path / "cifar10")
    monkeypatch.setattr(packs, "recorded_places", lambda kind: [tmp_path])
    assert main(["doctor"]) == 0
    assert "ok  recorded features: cifar10" in capsys.readouterr().out
    (tmp_path / "cifar10" / "pixels-32.npz").write_bytes(b"no features")
    assert main(["doctor"]) == 1
    assert re.search(
        r"wrong  recorded features: .*pixels-32.npz, which is", capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ("found", "advice"),
    [("1.0", '1.0; run: pip install "keras>='), (None, 'not installed; run: pip install "keras>=')],
)
def test_packages_too_old_or_missing(capsys, monkeypatch, found, advice):
    version = metadata.version

    def pretend(name):
        if name != "keras":
            return version(name)
        if found is None:
            raise metadata.PackageNotFoundError(name)
        return found

    monkeypatch.setattr(metadata, "version", pretend)
    assert main(["doctor"]) == 1
    assert f"wrong  keras: {advice}" in capsys.readouterr().out


def test_python_too_old(capsys, monkeypatch):
    monkeypatch.setattr(doctor.sys, "version_info", (3, 9, 1))
    assert doctor._python()[0].state == "wrong"
    assert "3.9.1; the book needs >=3.11" in str(doctor._python()[0])


def test_tlhelpers_itself_not_installed(monkeypatch):
    def none(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", none)
    (finding,) = doctor._packages()
    assert (finding.state, finding.subject) == ("wrong", "tlhelpers")
    assert "pip install -e ." in finding.detail


MISSING = """
import importlib.metadata, sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "tensorflow":
            raise ModuleNotFoundError("No module named 'tensorflow'", name=name)

version = importlib.metadata.version

def without(name):
    if name == "tensorflow":
        raise importlib.metadata.PackageNotFoundError(name)
    return version(name)

sys.meta_path.insert(0, Missing())
importlib.metadata.version = without
from tlhelpers.cli import main
sys.exit(main(["doctor"]))
"""


@pytest.mark.slow
def test_without_tensorflow():
    done = subprocess.run([sys.executable, "-c", MISSING], capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert 'wrong  tensorflow: not installed; run: pip install "tensorflow>=' in done.stdout
    assert "wrong  Keras: does not start" in done.stdout
    assert "To put right before a chapter can run: tensorflow, Keras." in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_settings_left_in_keras_are_worth_a_note(monkeypatch):
    monkeypatch.setattr("tlhelpers.runtime.start_keras", lambda: ["floatx was float16."])
    assert str(doctor._devices()[0]) == " note  Keras: floatx was float16."


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
@pytest.mark.slow
def test_why_a_gpu_is_not_used_is_shown(backend, monkeypatch):
    """The log level that keeps a first cell quiet also hides the reason."""
    pytest.importorskip(backend)
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    monkeypatch.setattr("tlhelpers.runtime.has_gpu", lambda: False)
    monkeypatch.setattr("tlhelpers.runtime.describe_device", lambda: ("CPU", 0.0))
    monkeypatch.setattr("keras.backend.backend", lambda: backend)
    monkeypatch.setattr(doctor, "_nvidia_gpu_present", lambda: True)
    *_, finding = doctor._devices()
    assert (finding.state, finding.subject) == ("note", "GPU")
    assert f"an NVIDIA GPU is there and {backend} does not use it: " in finding.detail
    if backend == "tensorflow":  # JAX says something only where it sees the GPU
        assert re.search("cuda", finding.detail, re.I)


def test_a_machine_without_a_gpu_has_no_note_on_it(monkeypatch):
    monkeypatch.setattr(doctor, "_nvidia_gpu_present", lambda: False)
    monkeypatch.setattr("tlhelpers.runtime.has_gpu", lambda: False)
    assert [finding.subject for finding in doctor._devices()] == ["device"]
