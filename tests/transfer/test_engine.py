"""The engines of frozen networks: the same features, told apart, and chosen by a rule."""

import subprocess
import sys

import keras
import numpy as np
import pytest
from toys import random_split

from tlhelpers.models.backbones import load_backbone
from tlhelpers.transfer import engine
from tlhelpers.transfer.engine import (
    IN_FLIGHT,
    SMALLEST,
    ExportFailedError,
    choose_engine,
    forward_pass,
)
from tlhelpers.transfer.features import extract_features, pooled_features


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TLH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "features"


@pytest.fixture
def installed(monkeypatch):
    """Set whether OpenVINO is installed."""

    def set_to(there):
        monkeypatch.setattr(
            engine.importlib.util, "find_spec", lambda _: object() if there else None
        )

    return set_to


@pytest.fixture(scope="module")
def base():
    return load_backbone("mobilenet_v2", SMALLEST, cut="block_2", weights=None)


class TestChosen:
    def test_auto_takes_openvino_where_it_is_installed_and_pays(self, installed, monkeypatch):
        installed(True)
        assert choose_engine("auto", SMALLEST) == "openvino"
        assert choose_engine("auto", SMALLEST - 1) == "keras"
        monkeypatch.setattr(engine, "has_gpu", lambda: True)
        assert choose_engine("auto", 224) == "keras"

    def test_auto_takes_keras_where_it_is_not(self, installed):
        installed(False)
        assert choose_engine("auto", 224) == "keras"

    def test_auto_keeps_keras_in_another_precision(self, installed):
        installed(True)
        keras.config.set_dtype_policy("mixed_bfloat16")
        try:
            assert choose_engine("auto", 224) == "keras"
        finally:
            keras.config.set_dtype_policy("float32")

    def test_bfloat16_takes_openvino_at_any_size(self, installed):
        installed(True)
        assert choose_engine("auto", 32, "bfloat16") == "openvino"

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (("tensorflow", 64), "engine is 'auto', 'keras' or 'openvino'. Received: 'tensorflow'"),
            (("auto", 64, "int8"), "precision is 'float32' or 'bfloat16'. Received: 'int8'"),
            (("keras", 64, "bfloat16"), "engine='openvino' for bfloat16"),
        ],
    )
    def test_what_does_not_exist(self, options, message):
        with pytest.raises(ValueError, match=message):
            choose_engine(*options)

    @pytest.mark.parametrize("options", [("openvino", 64), ("auto", 64, "bfloat16")])
    def test_what_is_not_installed(self, installed, options):
        installed(False)
        with pytest.raises(ModuleNotFoundError, match=r"pip install \"tlhelpers\[fast\]\""):
            choose_engine(*options)


class TestOpenVINO:
    @pytest.fixture(autouse=True)
    def needed(self):
        pytest.importorskip("openvino", reason="the extra tlhelpers[fast] is not installed")

    def test_the_same_features(self, base, cache):
        split = random_split(IN_FLIGHT + 3, size=SMALLEST)
        theirs = extract_features(base, split, engine="openvino")
        ours = extract_features(base, split, engine="keras")
        spread = np.ptp(ours, axis=0).max()
        assert spread > 1e-4
        np.testing.assert_allclose(theirs, ours, rtol=0, atol=1e-3 * spread)

    def test_an_image_gives_the_same_in_any_company(self, base, cache, tmp_path, monkeypatch):
        split = random_split(IN_FLIGHT + 3, size=SMALLEST)
        whole = extract_features(base, split, engine="openvino")
        monkeypatch.setenv("TLH_CACHE", str(tmp_path / "other"))
        alone = extract_features(base, split.take([5]), engine="openvino")
        np.testing.assert_array_equal(alone[0], whole[5])

    @pytest.mark.slow
    def test_engines_and_precisions_are_filed_apart(self, base, cache):
        split = random_split(2, size=SMALLEST)
        extract_features(base, split, engine="openvino")
        extract_features(base, split, engine="keras")
        openvino = pytest.importorskip("openvino")
        able = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if able:
            extract_features(base, split, engine="openvino", precision="bfloat16")
        assert len([path for path in cache.iterdir() if path.is_dir()]) == 2 + able

    def test_bfloat16_is_refused_where_that_is_lacking(self, base, monkeypatch):
        openvino = pytest.importorskip("openvino")
        monkeypatch.setattr(openvino.Core, "get_property", lambda *_: ["FP32"])
        with pytest.raises(ValueError, match="Received: one without; pass precision='float32'"):
            forward_pass(base.model, "openvino", "bfloat16")

    @pytest.mark.slow
    def test_several_outputs(self):
        images = keras.Input((32, 32, 3))
        model = keras.Model(images, [keras.ops.mean(images, (1, 2)), keras.ops.max(images, (1, 2))])
        pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
        mean, most = forward_pass(model, "openvino")(pixels)
        np.testing.assert_allclose(mean, pixels.mean((1, 2)), rtol=1e-5)
        np.testing.assert_array_equal(most, pixels.max((1, 2)))

    @pytest.mark.slow
    def test_a_network_that_goes_right_after_its_last_batch_ends(self):
        """Python gives its lock away every ten seconds: threads that wait for it are met by then."""
        code = (
            "import sys, keras, numpy as np; sys.setswitchinterval(10)\n"
            "from tlhelpers.transfer.engine import forward_pass\n"
            "images = keras.Input((32, 32, 3))\n"
            "model = keras.Model(images, keras.ops.mean(images, (1, 2)))\n"
            "for _ in range(3):\n"
            "    forward_pass(model, 'openvino')(np.zeros((20, 32, 32, 3), np.uint8))\n"
        )
        subprocess.run([sys.executable, "-c", code], check=True, timeout=120)

    @pytest.mark.slow
    def test_floats_are_refused(self):
        model = pooled_features(load_backbone("vgg16_mini", 32, cut="block1_pool"))
        with pytest.raises(TypeError, match="takes uint8 images"):
            forward_pass(model, "openvino")(np.zeros((1, 32, 32, 3), np.float32))


class TestWhatCannotBeExported:
    @pytest.fixture
    def failing(self, installed, monkeypatch):
        installed(True)

        def fail(*_):
            raise ExportFailedError("NotImplementedError: no such layer")

        monkeypatch.setattr(engine, "_openvino", fail)

    @pytest.fixture
    def base(self, base):
        """Give a network that nothing was compiled for yet."""
        return base.copy()

    def test_keras_runs_it_and_that_is_said(self, base, cache, failing, capsys):
        split = random_split(2, size=SMALLEST)
        found = extract_features(base, split)
        assert "so Keras does (NotImplementedError: no such layer)" in capsys.readouterr().out
        np.testing.assert_array_equal(found, extract_features(base, split, engine="keras"))

    def test_where_it_was_asked_for_that_is_an_error(self, base, cache, failing):
        with pytest.raises(ExportFailedError, match="no such layer"):
            extract_features(base, random_split(2, size=SMALLEST), engine="openvino")
