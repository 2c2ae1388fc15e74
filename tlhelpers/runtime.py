"""Prepare the process for a chapter: devices, precision, seeds, memory, folders and the tier."""

import contextlib
import ctypes
import functools
import logging
import operator
import os
import platform
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

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


TIERS = ("embedded", "real")
BACKENDS = ("tensorflow", "jax")
PRECISIONS = ("float32", "mixed_float16", "mixed_bfloat16", "float16", "bfloat16", "float64")

KERAS_SETTINGS = {"image_data_format": "channels_last", "floatx": "float32", "epsilon": 1e-7}
"""What the package and its recorded results take for granted; ``keras.json`` may say otherwise."""

_chosen_tier: str | None = None
_is_own_choice = False  # whether the tier was chosen by setup(tier=…) or TLH_TIER
_has_fallen_back = False  # whether the real tier, only a default, could not be had
_is_deterministic = False


@dataclass(frozen=True)
class Runtime:
    """What :func:`setup` found and chose.

    Attributes:
        tier: ``"embedded"`` or ``"real"``.
        backend: Keras's backend, such as ``"tensorflow"`` or ``"jax"``.
        device: What computes, such as ``"CPU, 2 cores"`` or the GPU's name.
        has_gpu: Whether a GPU will be used.
        precision: Keras's global dtype policy, such as ``"float32"``.
        seed: The seed that was set.
        versions: Version of each package that decides the numbers.
    """

    tier: str
    backend: str
    device: str
    has_gpu: bool
    precision: str
    seed: int
    versions: dict[str, str]

    def __str__(self) -> str:
        """Give the one line that :func:`setup` prints."""
        versions = " · ".join(f"{name} {number}" for name, number in self.versions.items())
        return (
            f"{self.tier} tier · {self.device} · {self.precision} · seed {self.seed} · {versions}"
        )


def peak_memory_gibibytes() -> float:
    """Return the most memory this process has held so far.

    Returns:
        GiB; NaN on Windows, which keeps no such figure in Python's standard library.

    Example:
        >>> peak_memory_gibibytes() != 0
        True
    """
    # Not getrusage first: on Linux a new process begins with the peak of the one it is from.
    high_water = high_water_mark()
    if high_water is not None:
        return high_water
    try:
        import resource
    except ImportError:
        return float("nan")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts in KiB, macOS in bytes.
    return peak / 2**30 if sys.platform == "darwin" else peak / 2**20


def high_water_mark(process: int | str = "self") -> float | None:
    """Read from Linux's ``/proc`` the most memory a process has held.

    Returns:
        GiB, or None where the system keeps no such figure.

    Example:
        >>> high_water_mark(-1) is None
        True
    """
    status = Path(f"/proc/{process}/status")
    line = re.search(r"VmHWM:\s+(\d+) kB", status.read_text()) if status.exists() else None
    return int(line[1]) / 2**20 if line else None


def check_tier(name: str) -> str:
    """Return ``name`` if it is a tier.

    Raises:
        ValueError: If it is neither.

    Example:
        >>> check_tier("embedded")
        'embedded'
    """
    if name not in TIERS:
        raise ValueError(
            f"The tier must be 'embedded' (nothing is downloaded) or 'real'. Received: {name!r}."
        )
    return name


def in_colab() -> bool:
    """Tell whether this process runs in Google Colab, as its variables or its module tell.

    Example:
        >>> in_colab() in (True, False)
        True
    """
    return "google.colab" in sys.modules or "COLAB_RELEASE_TAG" in os.environ


def _default_tier() -> str:
    """Return the tier where nobody chose one: the real one in Colab, where there is internet."""
    return "real" if in_colab() and not _has_fallen_back else "embedded"


def may_fall_back() -> bool:
    """Tell whether the real tier is in force, and only because it is Colab's default."""
    chosen = _is_own_choice if _chosen_tier else bool(os.environ.get("TLH_TIER"))
    return tier() == "real" and not chosen


def begin_anew() -> None:
    """Forget what :func:`setup` chose, and that the real tier could not be had."""
    global _chosen_tier, _has_fallen_back
    _chosen_tier, _has_fallen_back = None, False


def begin_real() -> None:
    """Note that this session, whose tier nobody chose, has something of the real one."""
    global _chosen_tier, _is_own_choice
    _chosen_tier, _is_own_choice = "real", False


def fall_back() -> bool:
    """Go on in the embedded tier; return whether nothing had counted on the real one before."""
    global _chosen_tier, _is_own_choice, _has_fallen_back
    fresh = _chosen_tier is None
    _chosen_tier, _is_own_choice, _has_fallen_back = "embedded", False, True
    return fresh


def tier() -> str:
    """Return the tier in force: the one given to :func:`setup`, else ``TLH_TIER``, else the default.

    The default is ``"real"`` in Google Colab, and ``"embedded"`` elsewhere.

    Raises:
        ValueError: If ``TLH_TIER`` is neither.

    Example:
        >>> tier() in ("embedded", "real")
        True
    """
    return _chosen_tier or check_tier(os.environ.get("TLH_TIER") or _default_tier())


def installed_version(package: str) -> str | None:
    """Return the installed version of a package, or None.

    Example:
        >>> installed_version("numpy") is not None
        True
    """
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def check_backend() -> None:
    """Import Keras; refuse a backend that the package does not support.

    Raises:
        ValueError: If the backend is neither TensorFlow nor JAX.
        ImportError: If it is not installed.

    Example:
        >>> check_backend()
    """
    from_variable = os.environ.get("KERAS_BACKEND")
    named = f"KERAS_BACKEND={from_variable}" if from_variable else 'keras.json\'s "backend"'
    advice = "Set the environment variable KERAS_BACKEND=tensorflow and start Python anew."
    backend = from_variable
    try:
        if backend is None or backend in BACKENDS:
            import keras

            backend = keras.backend.backend()
    except ImportError as error:
        raise ImportError(f"Keras could not start, by {named}: {error}. {advice}") from None
    if backend not in BACKENDS:
        raise ValueError(
            f"Keras's backend must be {' or '.join(BACKENDS)}. Received: {backend!r}, from {named}. "
            f"{advice}"
        )


def start_keras() -> list[str]:
    """Import Keras on a backend that the package supports, and put its settings in order.

    Returns:
        A sentence for each setting that was not as the package needs it, and is now.

    Raises:
        ValueError: If the backend is neither TensorFlow nor JAX.
        ImportError: If it is not installed.

    Example:
        >>> start_keras()
        []
    """
    check_backend()
    import keras

    notes = []
    for name, needed in KERAS_SETTINGS.items():
        found = getattr(keras.config, name)()
        if found != needed:
            getattr(keras.config, f"set_{name}")(needed)
            notes.append(f"Keras's {name} was {found}, as keras.json has it; it is {needed} now.")
    return notes


def say(text: str) -> None:
    """Print a text to any stream; what its encoding lacks is escaped, then and later.

    Example:
        >>> say("embedded tier")
        embedded tier
    """
    accept_any_character()
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    if "·".encode(encoding, "replace") == b"?":
        text = text.replace(" · ", " | ")
    print(text)


def accept_any_character() -> None:
    """Let the output streams escape a character that their encoding lacks, instead of failing.

    Example:
        >>> accept_any_character()
    """
    for stream in (sys.stdout, sys.stderr):
        if getattr(stream, "errors", None) == "strict" and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def has_gpu() -> bool:
    """Tell whether Keras's backend sees a GPU.

    Example:
        >>> has_gpu() in (True, False)
        True
    """
    import keras

    if keras.backend.backend() == "jax":
        # Keras 3.15 asks JAX for its GPUs, and JAX raises where it has none.
        import jax

        return jax.default_backend() == "gpu"
    return bool(keras.distribution.list_devices("gpu"))


def steps_per_execution() -> int:
    """Return how many batches to hand to the device at once, for ``model.compile``.

    Between batches Keras spends a millisecond or two in Python (measured with Keras 3.15), in which
    a GPU has nothing to do. On a CPU, where a step takes far longer, the gain was within the spread
    of repeats (the book's page of measurements), so it is one there.

    Returns:
        8 where there is a GPU, else 1.

    Example:
        >>> steps_per_execution() in (1, 8)
        True
    """
    return 8 if has_gpu() else 1


def one_thread_of_openblas() -> contextlib.AbstractContextManager[Any]:
    """Let OpenBLAS compute with one thread, until a ``with`` block ends, or from now on.

    Problems of this size lose by its threads: with two, a logistic regression on 1,000 to 10,000
    images took 2 to 6 times as long (OpenBLAS 0.3.31 on two cores; the book's page of measurements
    has the table). Sums are then rounded alike on machines with any number of cores, too.
    ``OPENBLAS_NUM_THREADS`` in the environment is left as it is.

    Returns:
        What puts the number back at the end of its ``with`` block.

    Example:
        >>> from sklearn.linear_model import LogisticRegression
        >>> with one_thread_of_openblas():
        ...     head = LogisticRegression().fit([[0.0], [1.0]], [0, 1])
    """
    import scipy.linalg  # noqa: F401 (SciPy has an OpenBLAS of its own, which must be there)
    from threadpoolctl import ThreadpoolController

    wanted = None if "OPENBLAS_NUM_THREADS" in os.environ else 1
    return ThreadpoolController().select(internal_api="openblas").limit(limits=wanted)


def leave_pipelines_untuned() -> None:
    """Turn off tf.data's autotuning in the pipelines that Keras makes of arrays and PyDatasets.

    A thread of TensorFlow's looks at a pipeline that is read, after 20, 40, 80, … ms, each time
    twice as late. Keras reads a new iterator in each epoch, and when the old one goes, TensorFlow
    (2.21, ``Model::OptimizeLoop``) wakes that thread a moment before it marks the work as called
    off: the thread may find nothing changed and sleep on, and ``fit`` waits for its next look, for
    up to as long as the epoch took. With one core that is what happens at almost every epoch's end;
    with two, when both are busy (``make bench ONLY=waiting``). Results are the same to the bit.

    A ``tf.data.Dataset`` of the user's own is left as it is: there autotuning also lets a plain
    ``map`` use several threads. So are the pipelines of several devices, and everything where Keras
    keeps its pipeline elsewhere than Keras 3.15 does.

    Example:
        >>> leave_pipelines_untuned()
    """
    import tensorflow as tf

    try:
        from keras.src.backend.tensorflow.trainer import TFEpochIterator
        from keras.src.trainers.data_adapters.tf_dataset_adapter import TFDatasetAdapter
    except ImportError:
        return
    prepare = TFEpochIterator.__init__
    if getattr(prepare, "is_untuned", False):
        return

    @functools.wraps(prepare)
    def prepare_untuned(self: Any, *args: Any, **kwargs: Any) -> None:
        """Prepare a pipeline, and leave it untuned if it is of Keras's making."""
        prepare(self, *args, **kwargs)
        pipeline = getattr(self, "_distributed_dataset", None)
        is_users = isinstance(getattr(self, "data_adapter", None), TFDatasetAdapter)
        if isinstance(pipeline, tf.data.Dataset) and not is_users:
            untuned = tf.data.Options()
            untuned.autotune.enabled = False
            self._distributed_dataset = pipeline.with_options(untuned)

    prepare_untuned.is_untuned = True  # type: ignore[attr-defined]
    TFEpochIterator.__init__ = prepare_untuned


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Hold back what C++ code writes to the error stream, and show it if the block fails.

    TensorFlow 2.21 logs its start before it has read ``TF_CPP_MIN_LOG_LEVEL``, so only the file
    descriptor itself can be silenced.
    """
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL") == "0":
        yield
        return
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as held_back:
        os.dup2(held_back.fileno(), 2)
        try:
            yield
        except BaseException:
            held_back.seek(0)
            os.write(kept, held_back.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def _grow_gpu_memory() -> None:
    """Let TensorFlow take GPU memory as it needs it, instead of all of it at once."""
    import tensorflow as tf

    for gpu in tf.config.list_physical_devices("GPU"):
        try:
            tf.config.experimental.set_memory_growth(gpu, True)
        except RuntimeError:
            raise RuntimeError(
                "GPU memory growth must be set before TensorFlow first uses the GPU, and it has been "
                "used already. Restart the kernel and call tl.setup() in the first cell."
            ) from None


def describe_device() -> tuple[str, float]:
    """Return the computing device's name and its CUDA compute capability (0 without one)."""
    import keras

    if not has_gpu():
        cores = usable_cores()
        return f"CPU, {cores} core{'' if cores == 1 else 's'}", 0.0
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        details = tf.config.experimental.get_device_details(
            tf.config.list_physical_devices("GPU")[0]
        )
        major, minor = details.get("compute_capability", (0, 0))
        return details.get("device_name", "GPU"), major + minor / 10
    import jax

    device = jax.devices()[0]
    return device.device_kind, float(getattr(device, "compute_capability", 0) or 0)


def usable_cores() -> int:
    """Count the processors this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _share_batches(devices: Sequence[str]) -> None:
    """Let several devices compute each batch together, from here on."""
    import keras

    listed = keras.distribution.list_devices
    # Without a kind, Keras names no processor where there is a GPU; TensorFlow shares with either.
    kinds = (None,) if keras.backend.backend() == "jax" else ("cpu", "gpu", "tpu")
    present = [name.upper() for kind in kinds for name in listed(kind)]
    missing = sorted({name for name in devices if name.upper() not in present})
    if missing:
        raise ValueError(
            f"devices must name some of {', '.join(present)}. Received: {', '.join(missing)}."
        )
    if keras.backend.backend() == "jax":
        names = [name.lower() for name in devices]
        keras.distribution.set_distribution(keras.distribution.DataParallel(devices=names))
    else:
        import tensorflow as tf

        tf.distribute.experimental_set_strategy(tf.distribute.MirroredStrategy(list(devices)))


def _choose_precision(compute_capability: float) -> str:
    """Choose half precision only where the GPU computes in it faster.

    Tensor cores came with compute capability 7.0, and bfloat16, which needs no loss scaling,
    with 8.0 (NVIDIA, *CUDA C++ Programming Guide*, "Compute Capabilities").
    """
    if compute_capability >= 8.0:
        return "mixed_bfloat16"
    return "mixed_float16" if compute_capability >= 7.0 else "float32"


def setup(
    seed: int = 0,
    *,
    tier: str | None = None,
    precision: str | None = None,
    deterministic: bool | None = None,
    devices: Sequence[str] = (),
) -> Runtime:
    """Prepare this process for training and print one line that says what was chosen.

    Call it in the first cell, before TensorFlow is imported. It quietens TensorFlow's C++ log, turns
    on oneDNN's faster operations on an x86 processor (unless ``TF_ENABLE_ONEDNN_OPTS`` is set),
    lets GPU memory grow, keeps freed memory for the next step
    (:func:`tlhelpers.runtime.keep_freed_memory`), gives linear algebra one thread
    (:func:`tlhelpers.runtime.one_thread_of_openblas`), spares Keras a wait after each epoch
    (:func:`tlhelpers.runtime.leave_pipelines_untuned`), picks the numeric precision, and seeds Python,
    NumPy and Keras. Settings of ``keras.json`` that the package can't work with are put back, and
    a line says so.

    On one machine the same seed gives the same bits in every process. Features and
    :func:`~tlhelpers.feature_transfer` give them with any number of threads too;
    :func:`~tlhelpers.model_transfer` and :func:`~tlhelpers.from_scratch` do not: with another number
    of threads sums are rounded in another order, and training carries that on (with 20 labels per
    class 84.0 against 80.5 % were seen, with 1 thread and with 2).

    Args:
        seed: Seed of every random generator, 0 to 2**32 - 1. Defaults to 0.
        tier: ``"embedded"`` (nothing is downloaded) or ``"real"``. Defaults to the environment
            variable ``TLH_TIER``, else ``"real"`` in Google Colab and ``"embedded"`` elsewhere; see
            :func:`tlhelpers.choose_tier`.
        precision: A Keras dtype policy, such as ``"float32"`` or ``"mixed_bfloat16"``. Defaults to
            mixed precision on GPUs with tensor cores and ``"float32"`` elsewhere.
        deterministic: Whether TensorFlow may use only operations that give the same bits in every
            run. Once True, it stays so until the process ends. Defaults to True on a CPU, where it
            costs little, and False on a GPU.
        devices: Devices that share every training batch, such as ``("GPU:0", "GPU:1")``; each
            holds a copy of the network. Defaults to the backend's first.

    Returns:
        What was found and chosen.

    Raises:
        ValueError: If the tier, the precision or a device is unknown, the seed is out of range, or
            Keras's backend is neither TensorFlow nor JAX.
        TypeError: If the seed is not an integer.
        ImportError: If the backend is not installed.
        RuntimeError: If TensorFlow has already taken the GPU's memory.

    Example:
        >>> rt = setup(seed=0, tier="embedded")  # doctest: +ELLIPSIS
        embedded tier · ...
        >>> rt.seed
        0
    """
    global _chosen_tier, _is_own_choice, _is_deterministic
    named = os.environ.get("TLH_TIER") if tier is None else tier
    chosen = check_tier(_default_tier() if tier is None and not named else str(named))
    seed = check_seed(seed)
    if precision is not None and precision not in PRECISIONS:
        raise ValueError(
            f"precision must be one of {', '.join(PRECISIONS)}. Received: {precision!r}."
        )
    devices = [devices] if isinstance(devices, str) else list(devices)
    keep_freed_memory()
    one_thread_of_openblas()
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # SciPy has its own, which may load later
    with quiet_stderr():
        notes = start_keras()
        import keras

        backend = keras.backend.backend()
        if backend == "tensorflow":
            import absl.logging

            absl.logging.set_verbosity(absl.logging.ERROR)
            logging.getLogger("tensorflow").setLevel(logging.ERROR)
            _grow_gpu_memory()
            leave_pipelines_untuned()
        if devices:
            _share_batches(devices)
        device, compute_capability = describe_device()
        if len(devices) > 1:
            device = f"{device}, {len(devices)} devices a batch"
        policy = precision or _choose_precision(compute_capability)
        keras.config.set_dtype_policy(policy)
        keras.utils.set_random_seed(seed)  # imports TensorFlow on any backend
    if deterministic is None:
        deterministic = not has_gpu()
    if backend == "tensorflow" and deterministic:
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
        _is_deterministic = True
    elif _is_deterministic:
        notes.append(
            "TensorFlow stays deterministic, as an earlier setup() made it: "
            "only a new process (in a notebook: restart the kernel) turns that off."
        )
    _chosen_tier, _is_own_choice = chosen, bool(named)
    names = {
        name: installed_version(name) or "not installed" for name in (backend, "keras", "tlhelpers")
    }
    runtime = Runtime(chosen, backend, device, has_gpu(), policy, seed, names)
    say("\n".join([str(runtime), *notes]))
    return runtime


def as_integer(name: str, value: int) -> int:
    """Return a whole number.

    Raises:
        TypeError: If it is not an integer.

    Example:
        >>> as_integer("n", 3)
        3
    """
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer. Received: {value!r}.") from None


def check_seed(seed: int) -> int:
    """Return a seed that Python's, NumPy's and Keras's generators take.

    Raises:
        TypeError: If it is not an integer: without one, each run would draw others.
        ValueError: If it is out of range.

    Example:
        >>> check_seed(3)
        3
    """
    number = as_integer("The seed", seed)
    if not 0 <= number < 2**32:
        raise ValueError(f"The seed must lie between 0 and 2**32 - 1. Received: {number}.")
    return number
