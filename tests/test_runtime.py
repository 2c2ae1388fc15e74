"""The environment: tiers, folders, devices, precision, seeds, and a quiet start."""

import os
import platform
import random
import subprocess
import sys
import types
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from tlhelpers import runtime
from tlhelpers.transfer.training import Batches


@pytest.fixture(autouse=True)
def as_new(monkeypatch):
    """Undo what setup chooses for the whole process."""
    for name, value in (
        ("chosen_tier", None),
        ("is_own_choice", False),
        ("has_fallen_back", False),
    ):
        monkeypatch.setattr(runtime, f"_{name}", value)
    monkeypatch.setattr(runtime, "_is_deterministic", False)
    monkeypatch.delenv("TLH_TIER", raising=False)
    policy, calls = keras.config.dtype_policy(), []
    monkeypatch.setattr(
        tf.config.experimental, "enable_op_determinism", lambda: calls.append("deterministic")
    )
    yield calls
    keras.config.set_dtype_policy(policy)


class TestTier:
    def test_embedded_unless_told(self, monkeypatch):
        assert runtime.tier() == "embedded"
        monkeypatch.setenv("TLH_TIER", "")
        assert runtime.tier() == "embedded"
        monkeypatch.setenv("TLH_TIER", "real")
        assert runtime.tier() == "real"

    def test_setup_comes_before_the_variable(self, monkeypatch, capsys):
        monkeypatch.setenv("TLH_TIER", "real")
        assert runtime.setup(tier="embedded").tier == "embedded"
        assert runtime.tier() == "embedded"
        assert runtime.setup().tier == "real"
        assert runtime.tier() == "real"

    @pytest.mark.parametrize("sign", ["module", "variable"])
    def test_real_in_colab_unless_told(self, monkeypatch, sign):
        if sign == "module":
            monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
        else:
            monkeypatch.setenv("COLAB_RELEASE_TAG", "release-colab_20260201")
        assert runtime.tier() == "real"
        assert runtime.may_fall_back()
        assert runtime.setup().tier == "real"
        assert runtime.may_fall_back()
        assert runtime.setup(tier="real").tier == "real"
        assert not runtime.may_fall_back()
        assert runtime.setup(tier="embedded").tier == "embedded"
        monkeypatch.setenv("TLH_TIER", "embedded")
        assert runtime.setup().tier == "embedded"

    def test_after_a_failure_colab_stays_embedded_until_begun_anew(self, monkeypatch):
        monkeypatch.setenv("COLAB_RELEASE_TAG", "release-colab_20260201")
        assert runtime.fall_back()
        assert runtime.setup().tier == "embedded"
        runtime.begin_anew()
        assert runtime.setup().tier == "real"
        assert not runtime.fall_back()

    def test_unknown(self, monkeypatch):
        with pytest.raises(ValueError, match=r"'embedded'.*or 'real'.*Received: 'imaginary'"):
            runtime.setup(tier="imaginary")
        monkeypatch.setenv("TLH_TIER", "Real")
        with pytest.raises(ValueError, match="Received: 'Real'"):
            runtime.tier()
        with pytest.raises(ValueError, match="Received: 'Real'"):
            runtime.setup()


class TestSetup:
    def test_one_line(self, capsys):
        found = runtime.setup(seed=3)
        lines = capsys.readouterr().out.splitlines()
        assert lines == [str(found)]
        for part in ("embedded tier", "float32", "seed 3", f"keras {keras.__version__}"):
            assert part in lines[0]
        assert f"tensorflow {tf.__version__}" in lines[0]

    def test_seeds(self, capsys):
        """Of Keras what training draws by: older releases do not reset its generator."""
        drawn = []
        for seed in (5, 5, 6):
            runtime.setup(seed=seed)
            kernel = keras.ops.convert_to_numpy(keras.initializers.GlorotUniform()((3, 3)))
            drawn.append((random.random(), np.random.rand(), float(kernel.sum())))
        assert drawn[0] == drawn[1]
        assert all(a != b for a, b in zip(drawn[0], drawn[2], strict=True))

    def test_determinism_where_it_costs_little(self, capsys, as_new, monkeypatch):
        runtime.setup(deterministic=False)
        assert as_new == []
        monkeypatch.setattr(runtime, "has_gpu", lambda: False)
        runtime.setup()
        assert as_new == ["deterministic"]
        monkeypatch.setattr(runtime, "has_gpu", lambda: True)
        monkeypatch.setattr(runtime, "describe_device", lambda: ("a GPU", 6.0))
        runtime.setup()
        assert as_new == ["deterministic"]
        runtime.setup(deterministic=True)
        assert as_new == ["deterministic"] * 2

    def test_determinism_that_cannot_be_turned_off_is_said(self, capsys):
        runtime.setup(deterministic=True)
        assert len(capsys.readouterr().out.splitlines()) == 1
        runtime.setup(deterministic=False)
        _, note = capsys.readouterr().out.splitlines()
        assert "stays deterministic" in note
        assert "restart the kernel" in note

    @pytest.mark.parametrize(
        ("wrong", "error", "message"),
        [
            ({"seed": -1}, ValueError, r"between 0 and 2\*\*32 - 1. Received: -1"),
            ({"seed": 2**32}, ValueError, "Received: 4294967296"),
            ({"seed": 1.5}, TypeError, "must be an integer. Received: 1.5"),
            ({"seed": "0"}, TypeError, "must be an integer. Received: '0'"),
            ({"precision": "half"}, ValueError, "one of float32, mixed.*Received: 'half'"),
            ({"tier": ""}, ValueError, "Received: ''"),
        ],
    )
    def test_what_makes_no_sense_is_refused_before_anything_changes(
        self, wrong, error, message, capsys
    ):
        runtime.setup(seed=np.uint32(2**32 - 1))
        drawn = np.random.get_state()[1].copy()
        with pytest.raises(error, match=message):
            runtime.setup(**wrong)
        np.testing.assert_array_equal(np.random.get_state()[1], drawn)

    @pytest.mark.parametrize(
        ("name", "left"),
        [("image_data_format", "channels_first"), ("floatx", "float16"), ("epsilon", 1e-3)],
    )
    def test_settings_left_in_keras_are_put_back_and_said(self, name, left, capsys):
        usual = getattr(keras.config, name)()
        getattr(keras.config, f"set_{name}")(left)
        try:
            runtime.setup()
            assert getattr(keras.config, name)() == usual
        finally:
            getattr(keras.config, f"set_{name}")(usual)
        _, note = capsys.readouterr().out.splitlines()
        assert f"{name} was {left}" in note
        assert f"it is {usual} now" in note

    @pytest.mark.parametrize(("chosen", "left"), [("3", "3"), (None, "1")])
    def test_the_number_of_threads_is_the_users(self, monkeypatch, capsys, chosen, left):
        """For SciPy's library too, which may be loaded later and reads the variable."""
        monkeypatch.setenv("OPENBLAS_NUM_THREADS", "2")  # put back at the end
        monkeypatch.delenv("OPENBLAS_NUM_THREADS")
        if chosen:
            monkeypatch.setenv("OPENBLAS_NUM_THREADS", chosen)
        runtime.setup()
        assert os.environ["OPENBLAS_NUM_THREADS"] == left

    def test_precision_can_be_chosen(self, capsys):
        assert runtime.setup(precision="mixed_bfloat16").precision == "mixed_bfloat16"
        assert keras.config.dtype_policy().name == "mixed_bfloat16"
        assert "mixed_bfloat16" in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("capability", "policy"),
        [
            (0.0, "float32"),
            (6.1, "float32"),
            (7.0, "mixed_float16"),
            (7.5, "mixed_float16"),
            (8.0, "mixed_bfloat16"),
            (9.0, "mixed_bfloat16"),
        ],
    )
    def test_half_precision_only_where_it_is_fast(self, monkeypatch, capsys, capability, policy):
        monkeypatch.setattr(runtime, "describe_device", lambda: ("a GPU", capability))
        found = runtime.setup(deterministic=False)
        assert found.precision == policy
        assert found.device == "a GPU"

    def test_memory_grows_on_every_gpu(self, monkeypatch, capsys):
        grown = []
        monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["gpu 0", "gpu 1"])
        monkeypatch.setattr(
            tf.config.experimental, "set_memory_growth", lambda gpu, on: grown.append((gpu, on))
        )
        runtime._grow_gpu_memory()
        assert grown == [("gpu 0", True), ("gpu 1", True)]

    def test_too_late_for_memory_growth(self, monkeypatch):
        def refuse(gpu, on):
            raise RuntimeError("Physical devices cannot be modified after being initialized")

        monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["gpu 0"])
        monkeypatch.setattr(tf.config.experimental, "set_memory_growth", refuse)
        with pytest.raises(RuntimeError, match=r"Restart the kernel and call tl.setup\(\)"):
            runtime.setup()

    @pytest.mark.parametrize(("gpu", "steps"), [(False, 1), (True, 8)])
    def test_several_steps_at_once_only_on_a_gpu(self, monkeypatch, gpu, steps):
        monkeypatch.setattr(runtime, "has_gpu", lambda: gpu)
        assert runtime.steps_per_execution() == steps


def start(script, **variables):
    """Run a script in a new process; a variable given as None is unset."""
    env = {key: value for key, value in (os.environ | variables).items() if value is not None}
    return subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True)


SETUP = "import tlhelpers as tl; tl.setup()"


@pytest.mark.parametrize("backend", ["torch", "numpy", "nonsense"])
def test_a_backend_that_is_not_supported_is_refused(backend):
    done = start(SETUP, KERAS_BACKEND=backend)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("ValueError: Keras's backend must be tensorflow or jax. Received: ")
    assert f"'{backend}', from KERAS_BACKEND={backend}" in last
    assert "KERAS_BACKEND=tensorflow" in last


@pytest.mark.parametrize("call", ["load_backbone('vgg16_mini', 64)", "load_run('a.keras')"])
def test_so_it_is_without_setup(call):
    done = start(f"import tlhelpers as tl; tl.{call}", KERAS_BACKEND="torch")
    last = done.stderr.splitlines()[-1]
    assert last.startswith("ValueError: Keras's backend must be tensorflow or jax. Received: 'tor")


@pytest.mark.parametrize("backend", [pytest.param("numpy", marks=pytest.mark.slow), "torch"])
def test_so_is_one_that_keras_json_names(backend, tmp_path):
    (tmp_path / "keras.json").write_text(f'{{"backend": "{backend}"}}')
    done = start(SETUP, KERAS_BACKEND=None, KERAS_HOME=str(tmp_path))
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    # What such a backend needs may be missing, and then Keras can't be imported at all.
    assert last.startswith(("ValueError: Keras's backend must", "ImportError: Keras could not"))
    assert "keras.json" in last
    assert "KERAS_BACKEND=tensorflow" in last


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_any_output_stream_will_do(encoding):
    """A chapter's other lines too, once setup has printed its own."""
    script = (
        "from tlhelpers.runtime import say\n"
        "say('embedded tier · CPU')\nprint('✓ M\u00fcller → 山')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"},
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr.decode()
    line, other = done.stdout.decode(encoding).splitlines()
    assert line.startswith("embedded tier | CPU" if encoding == "ascii" else "embedded tier · CPU")
    assert ("山" if encoding == "utf-8" else r"\u5c71") in other
    assert ("ü" if encoding != "ascii" else r"\xfc") in other


def test_versions():
    assert runtime.installed_version("keras") == keras.__version__
    assert runtime.installed_version("no-such-package") is None


class TestQuietStderr:
    def test_holds_back(self, capfd):
        with runtime.quiet_stderr():
            os.write(2, b"noise from C++\n")
        os.write(2, b"afterwards\n")
        assert capfd.readouterr().err == "afterwards\n"

    def test_shows_it_when_something_fails(self, capfd):
        def fail():
            with runtime.quiet_stderr():
                os.write(2, b"the reason\n")
                raise ImportError("it does not start")

        with pytest.raises(ImportError, match="does not start"):
            fail()
        os.write(2, b"afterwards\n")
        assert capfd.readouterr().err == "the reason\nafterwards\n"

    def test_can_be_turned_off(self, capfd, monkeypatch):
        monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")
        with runtime.quiet_stderr():
            os.write(2, b"wanted\n")
        assert capfd.readouterr().err == "wanted\n"


FIRST_CELL = """
import os
import numpy
from threadpoolctl import threadpool_info, threadpool_limits
threadpool_limits(3)  # as on three cores
import tlhelpers as tl
tl.setup(seed=1)
import tensorflow as tf
tf.constant(1.0) + 1
from tensorflow.python.framework.test_util import IsMklEnabled
print(IsMklEnabled())
import scipy.linalg
print(os.environ["OPENBLAS_NUM_THREADS"], {lib["num_threads"] for lib in threadpool_info() if lib["internal_api"] == "openblas"})
"""
X86 = platform.machine().lower() in ("x86_64", "amd64")


@pytest.mark.slow
def test_a_quiet_first_cell_turns_one_dnn_on_and_threads_of_linear_algebra_off():
    """In a process of its own, since TensorFlow decides and speaks when it is first imported."""
    as_set = ("TF_CPP_MIN_LOG_LEVEL", "TF_ENABLE_ONEDNN_OPTS", "OPENBLAS_NUM_THREADS")
    done = start(FIRST_CELL, **dict.fromkeys(as_set))
    assert done.returncode == 0, done.stderr
    line, one_dnn, threads = done.stdout.splitlines()
    assert line.startswith("embedded tier · ")
    assert one_dnn == str(X86)
    assert threads in ("1 {1}", "1 set()")  # NumPy may have another library
    assert done.stderr == ""


def test_one_dnn_is_off_where_the_user_turned_it_off():
    source = "import os, tlhelpers; print(os.environ['TF_ENABLE_ONEDNN_OPTS'])"
    assert start(source, TF_ENABLE_ONEDNN_OPTS="0").stdout == "0\n"


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_a_new_process_does_not_inherit_its_parents_peak_of_memory():
    held = np.ones(400 * 2**20, np.uint8)
    source = "from tlhelpers.runtime import peak_memory_gibibytes as peak; print(peak())"
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True)
    assert 0 < float(done.stdout) < 0.35 < held.nbytes / 2**30


# Freed memory. Each round writes to 64 MB of new memory and frees them.
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


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="this is a setting of glibc's")
def test_memory_that_was_freed_is_not_asked_for_again():
    unset = {name: None for name in os.environ if "MALLOC_" in name}
    kept, faults = start(ROUNDS, **unset, GLIBC_TUNABLES=None).stdout.split()
    usual, many = start(ROUNDS, **unset, GLIBC_TUNABLES="").stdout.split()
    assert (kept, usual) == ("True", "False")
    assert int(faults) < int(many) / 10


@pytest.mark.parametrize("name", ["MALLOC_ARENA_MAX", "GLIBC_TUNABLES"])
def test_a_choice_of_the_users_stands(monkeypatch, name):
    monkeypatch.setenv(name, "1")
    assert runtime.keep_freed_memory() is False


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert runtime.keep_freed_memory() is False


@pytest.fixture
def read(monkeypatch):
    """Whether each pipeline that is read is autotuned: True, False, or None where nothing says so."""
    runtime.setup(seed=0, tier="embedded")
    seen, begin = [], tf.data.Dataset.__iter__

    def note(dataset):
        """Note it, and begin."""
        seen.append(dataset.options().autotune.enabled)
        return begin(dataset)

    monkeypatch.setattr(tf.data.Dataset, "__iter__", note)
    return seen


@pytest.fixture
def small_head():
    """A compiled network, 8 rows of inputs, and their labels."""
    model = keras.Sequential([keras.layers.Dense(2)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model, np.zeros((8, 2), np.float32), np.zeros(8, int)


needs_tensorflow = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="tf.data feeds TensorFlow"
)


@needs_tensorflow
def test_keras_waits_for_no_autotuning_after_an_epoch(read, small_head):
    model, x, y = small_head
    model.fit(x, y, epochs=2, validation_data=(x, y), verbose=0)
    model.fit(Batches(lambda rows, epoch: x[rows], y, 4, seed=0), verbose=0)
    model.evaluate(x, y, verbose=0)
    model.predict(x, verbose=0)
    assert len(read) >= 6
    assert set(read) == {False}


@needs_tensorflow
def test_a_pipeline_of_the_users_own_is_left_as_it_is(read, small_head):
    model, x, y = small_head
    asked, pipeline = tf.data.Options(), tf.data.Dataset.from_tensor_slices((x, y)).batch(4)
    asked.autotune.enabled = True
    model.fit(pipeline.with_options(asked), shuffle=False, verbose=0)
    assert set(read) == {True}
    read.clear()
    model.fit(pipeline, shuffle=False, verbose=0)
    assert set(read) == {None}


@needs_tensorflow
def test_pipelines_are_left_untuned_once():
    from keras.src.backend.tensorflow.trainer import TFEpochIterator

    runtime.leave_pipelines_untuned()
    before = TFEpochIterator.__init__
    runtime.leave_pipelines_untuned()
    assert TFEpochIterator.__init__ is before


THREADS = """
import os
import numpy
import scipy.linalg
from threadpoolctl import threadpool_info, threadpool_limits

def threads():
    return {lib["num_threads"] for lib in threadpool_info() if lib["internal_api"] == "openblas"}

from tlhelpers.runtime import one_thread_of_openblas
before = threads()
with one_thread_of_openblas():
    within = threads()
after = threads()
print(before, within, after, sep=";")
"""


def test_the_limit_of_threads_finds_scipys_library():
    """In a process of its own: here, other tests have loaded it. On one core, no count tells."""
    source = (
        "import sys; from tlhelpers.runtime import one_thread_of_openblas; "
        "import threadpoolctl as t; real = t.ThreadpoolController; "
        "t.ThreadpoolController = lambda: print('scipy.linalg' in sys.modules) or real(); "
        "one_thread_of_openblas()"
    )
    assert start(source).stdout == "True\n"


@pytest.mark.parametrize("wanted", ["", "3"])
def test_linear_algebra_takes_one_thread_unless_told(wanted):
    env = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    if wanted:
        env["OPENBLAS_NUM_THREADS"] = wanted
    code = THREADS.replace("before =", "threadpool_limits(3)\nbefore =")  # as on three cores
    printed = subprocess.run(
        [sys.executable, "-c", code], env=env, check=True, capture_output=True, text=True
    ).stdout
    before, within, after = printed.splitlines()[-1].split(";")
    if before == "set()":
        pytest.skip("NumPy was built with another library for linear algebra.")
    assert before == after == "{3}"
    assert within == ("{3}" if wanted else "{1}")
