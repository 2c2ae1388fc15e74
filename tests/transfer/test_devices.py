"""Several devices and another backend: the same losses as TensorFlow on one processor."""

import importlib.util
import json
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

# One batch an epoch: backends and strategies draw the order of batches differently.
TRAIN = """
import json, sys
import tlhelpers as tl
missing = []
for devices in (["CPU:0", "CPU:7"], ["GPU:7", "TPU:7"]):
    try:
        tl.setup(devices=devices)
    except ValueError as error:
        missing.append(str(error))
rt = tl.setup(seed=0, devices={devices})
data = tl.load_dataset("pets", image_size=32, n_train=60, n_test=30)
base = tl.load_backbone("vgg16_mini", 32, cut="block2_pool")
recipe = tl.recipes.Training(epochs=4, batch_size=len(data.train), learning_rate=1e-4, dropout=0)
frozen = tl.feature_transfer(base, data)
tuned = tl.model_transfer(base, data, start=frozen, recipe=recipe)
found = {{"missing": missing, "device": rt.device, "tuned": tuned.history["loss"]}}
if {whole}:
    found["scratch"] = tl.from_scratch(base, data, recipe=recipe).history["loss"]
    found["frozen"] = frozen.test.accuracy
    path = sys.argv[1]
    tuned.save(path)
    import keras
    again = keras.models.load_model(path)
    few = data.test.load(range(8))
    same = abs(again.predict(few, verbose=0) - tuned.model.predict(few, verbose=0)).max()
    found["reloaded"] = float(same)
print(json.dumps(found))
"""
TWO_LOGICAL_PROCESSORS = """
import tensorflow as tf
one = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(one, [tf.config.LogicalDeviceConfiguration()] * 2)
"""


def run(folder, source, **environment):
    """Run a script in a process of its own and return the JSON of its last line."""
    env = {**os.environ, "TLH_CACHE": str(folder), **environment}
    done = subprocess.run(
        [sys.executable, "-c", source, str(folder / "tuned.keras")],
        env=env,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def on_one(tmp_path_factory):
    """What TensorFlow finds on one processor."""
    return run(tmp_path_factory.mktemp("one"), TRAIN.format(devices="()", whole=True))


def check_missing(messages):
    """Each names the devices there are and those that are not."""
    one, other = messages
    assert one.startswith("devices must name some of CPU:0")
    assert one.endswith("Received: CPU:7.")
    assert other.endswith("Received: GPU:7, TPU:7.")


def test_a_device_that_is_not_there_is_named(on_one):
    check_missing(on_one["missing"])


def test_two_devices_train_as_one_does(tmp_path, on_one):
    source = TWO_LOGICAL_PROCESSORS + TRAIN.format(devices='("CPU:0", "CPU:1")', whole=True)
    on_two = run(tmp_path, source)
    assert "2 devices a batch" in on_two["device"]
    assert "devices" not in on_one["device"]
    for name in ("scratch", "tuned"):
        assert on_two[name] == pytest.approx(on_one[name], abs=1e-4)
    assert on_one["scratch"][-1] < on_one["scratch"][0]  # it did learn
    assert on_two["reloaded"] < 1e-5


@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="JAX is not installed")
def test_jax_trains_as_tensorflow_does(tmp_path, on_one):
    on_jax = run(tmp_path, TRAIN.format(devices="()", whole=True), KERAS_BACKEND="jax")
    check_missing(on_jax["missing"])
    assert on_jax["frozen"] == pytest.approx(on_one["frozen"], abs=0.04)
    # Random weights are drawn by the backend, so only what starts from stored ones is compared.
    assert on_jax["tuned"] == pytest.approx(on_one["tuned"], abs=1e-3)
    assert on_jax["scratch"][-1] < on_jax["scratch"][0]
    assert on_jax["reloaded"] < 1e-5


@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="JAX is not installed")
def test_jax_shares_a_batch_between_two_devices(tmp_path, on_one):
    on_two = run(
        tmp_path,
        TRAIN.format(devices='("cpu:0", "cpu:1")', whole=False),
        KERAS_BACKEND="jax",
        XLA_FLAGS="--xla_force_host_platform_device_count=2",
    )
    assert on_two["tuned"] == pytest.approx(on_one["tuned"], abs=1e-3)
