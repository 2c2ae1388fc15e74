"""Backbones: every row of the table builds, is cut where it says, and is fed as it was trained."""

import hashlib
import subprocess
import sys
from dataclasses import replace

import keras
import numpy as np
import pytest
from toys import published_weights, random_images, small_backbone

from tlhelpers import load_backbone, runtime
from tlhelpers.data.downloads import DownloadError
from tlhelpers.models.backbones import ARCHITECTURES, CAFFE, MINUS_ONE_TO_ONE, Backbone

# Map size at 64 pixels and channels at the end of each stage, from the papers' tables.
STAGES = {
    "vgg16_mini": [(32, 16), (16, 32), (8, 64), (4, 128), (2, 128)],
    "vgg16": [(32, 64), (16, 128), (8, 256), (4, 512), (2, 512)],
    "mobilenet_v2": [(16, 24), (8, 32), (4, 64), (4, 96), (2, 160), (2, 320), (2, 1280)],
    "resnet50": [(16, 64), (16, 256), (8, 512), (4, 1024), (2, 2048)],
    "efficientnet_v2_b0": [(16, 32), (8, 48), (4, 96), (4, 112), (2, 192), (2, 1280)],
    "convnext_tiny": [(8, 192), (4, 384), (2, 768), (2, 768)],
}


def preprocess_mini(images):
    """What the network was trained on: about zero mean and unit variance."""
    return (images.astype("float32") - 127.5) / 63.75


def keras_preprocessing(name):
    module = {
        "vgg16": keras.applications.vgg16,
        "mobilenet_v2": keras.applications.mobilenet_v2,
        "resnet50": keras.applications.resnet50,
        "efficientnet_v2_b0": keras.applications.efficientnet_v2,
        "convnext_tiny": keras.applications.convnext,
    }[name]
    return module.preprocess_input


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch):
    monkeypatch.setattr(runtime, "_chosen_tier", None)


@pytest.fixture
def no_mirror(monkeypatch):
    monkeypatch.delenv("TLH_MIRROR", raising=False)


QUICK = ("vgg16_mini", "vgg16", "mobilenet_v2")


@pytest.fixture(
    scope="module",
    params=[x if x in QUICK else pytest.param(x, marks=pytest.mark.slow) for x in ARCHITECTURES],
)
def base(request):
    return load_backbone(request.param, 64, weights=None)


class TestEveryRow:
    def test_stages(self, base):
        assert base.stages == tuple(ARCHITECTURES[base.name].stages)
        found = [base.cut(stage).model.output_shape for stage in base.stages]
        assert found == [(None, size, size, c) for size, c in STAGES[base.name]]
        assert base.cut(base.stages[1]).stages == base.stages[:2]
        assert base.weights == "random"
        assert base.input_size == 64

    def test_cut_and_after_make_the_whole(self, base):
        images = base.preprocess(np.float32(random_images(2, 64)))
        whole = np.asarray(base.model(images, training=False))
        assert np.isfinite(whole).all()
        assert whole.std() > 0
        for stage in {base.stages[0], base.stages[-2]}:
            start = base.cut(stage).model(images, training=False)
            found = base.after(stage)(start, training=False)
            np.testing.assert_allclose(found, whole, rtol=1e-5, atol=1e-5 * np.abs(whole).max())

    def test_preprocessing_is_the_publishers(self, base):
        images = random_images(2, 64)
        if base.name == "vgg16_mini":
            expected = preprocess_mini(images)
        else:
            expected = keras_preprocessing(base.name)(images.astype("float32"))
        for given in (images, images.astype("float32")):
            found = np.asarray(base.preprocess(given))
            assert found.dtype == np.float32
            np.testing.assert_allclose(found, expected, atol=1e-4)

    def test_networks_that_preprocess_inside(self, base):
        inside = [
            layer
            for layer in base.model.layers
            if isinstance(layer, (keras.layers.Rescaling, keras.layers.Normalization))
        ]
        leaves_as_it_is = np.array_equal(
            base.preprocess(np.ones((1, 64, 64, 3))), np.ones((1, 64, 64, 3))
        )
        assert bool(inside) == leaves_as_it_is

    def test_the_table_names_what_can_be_fetched(self, base):
        from tlhelpers.data.downloads import FILES

        row = ARCHITECTURES[base.name]
        if base.name != "vgg16_mini":
            assert row.weights in FILES


def test_preprocessing_tells_red_from_blue():
    red, blue = np.zeros((2, 1, 8, 8, 3))
    red[..., 0] = blue[..., 2] = 255
    base = load_backbone("vgg16", 32, weights=None, cut="block1_pool")
    assert base.preprocessing == CAFFE
    assert float(base.preprocess(red)[0, 0, 0, 2]) == pytest.approx(255 - 123.68)
    assert float(base.preprocess(blue)[0, 0, 0, 0]) == pytest.approx(255 - 103.939)


def test_preprocessing_stays_in_single_precision():
    policy = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy("mixed_bfloat16")
        base = small_backbone(cut="block1_pool")
        assert base.preprocess(random_images(1)).dtype == "float32"
    finally:
        keras.config.set_dtype_policy(policy)


def test_a_network_on_raw_images():
    base = small_backbone(cut="block2_pool")
    images = random_images(3)
    expected = base.model(preprocess_mini(images))
    found = base.on_raw_images()(images)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_a_saved_model_needs_no_tlhelpers(tmp_path):
    """Preprocessing with flipped channels included, and under Keras's safe loading."""
    images, expected = random_images(2, 64), {}
    for name, cut in (("vgg16_mini", None), ("vgg16", "block1_pool"), ("mobilenet_v2", "block_2")):
        model = load_backbone(name, 64, cut=cut, weights=None).on_raw_images()
        model.save(tmp_path / f"{name}.keras")
        expected[name] = np.asarray(model(images))
    np.save(tmp_path / "images.npy", images)
    script = (
        "import sys, keras, numpy as np\n"
        "for name in sys.argv[1:]:\n"
        "    model = keras.models.load_model(name + '.keras')\n"
        "    np.save(name + '.npy', np.asarray(model(np.load('images.npy'))))\n"
        "print('tlhelpers' in sys.modules)\n"
    )
    command = [sys.executable, "-c", script, *expected]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["False"]
    for name, wanted in expected.items():
        found = np.load(tmp_path / f"{name}.npy")
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5 * np.abs(wanted).max())


class TestCopies:
    def test_a_copy_is_independent(self):
        base = small_backbone(cut="block1_pool")
        before = base.weights_digest()
        copy = base.copy()
        assert copy.weights_digest() == before
        kernel = copy.model.get_layer("block1_conv1").kernel
        kernel.assign(0 * kernel)
        assert base.weights_digest() == before != copy.weights_digest()

    def test_copies_are_trainable(self):
        base = small_backbone(cut="block2_pool")
        base.model.get_layer("block1_conv1").trainable = False
        for copy in (base.copy(), base.with_random_weights()):
            assert len(copy.model.trainable_variables) == 8

    def test_random_weights_are_drawn_as_he_did(self):
        base = load_backbone("vgg16", 32, weights=None, cut="block3_pool")
        before = base.weights_digest()
        fresh = base.with_random_weights(seed=3)
        for layer in fresh.model.layers:
            if isinstance(layer, keras.layers.Conv2D):
                kernel = layer.kernel.numpy()
                expected = np.sqrt(2 / (9 * kernel.shape[2]))
                assert kernel.std() == pytest.approx(expected, rel=0.08)
                assert not layer.bias.numpy().any()
        assert fresh.weights == "random"
        assert base.weights_digest() == before

    @pytest.mark.parametrize(
        ("name", "cut"),
        [
            ("vgg16_mini", "block3_pool"),
            pytest.param("mobilenet_v2", "block_5", marks=pytest.mark.slow),
        ],
    )
    def test_random_weights_are_seeded(self, name, cut):
        base = load_backbone(name, 32, weights=None, cut=cut)
        digests = [base.with_random_weights(seed).weights_digest() for seed in (0, 0, 1)]
        assert digests[0] == digests[1] != digests[2]

    def test_batch_normalization_starts_afresh(self):
        base = load_backbone("mobilenet_v2", 32, weights=None, cut="block_2")
        layer = base.model.get_layer("bn_Conv1")
        layer.moving_mean.assign(layer.moving_mean + 5)
        assert not base.with_random_weights().model.get_layer("bn_Conv1").moving_mean.numpy().any()


class TestFromModel:
    def branched(self):
        """conv1 → conv2 → conv3 with a connection around conv2."""
        image = keras.Input((16, 16, 3))
        convs = [keras.layers.Conv2D(3, 3, padding="same", name=f"conv{i}") for i in (1, 2, 3)]
        x = convs[0](image)
        return keras.Model(image, convs[2](keras.layers.Add(name="sum")([x, convs[1](x)])))

    def test_it_ends_at_the_last_stage(self):
        base = Backbone.from_model(self.branched(), None, {"a": "conv1", "b": "sum"}, name="mine")
        assert [layer.name for layer in base.model.layers[1:]] == ["conv1", "conv2", "sum"]
        assert (base.stages, base.name, base.source) == (("a", "b"), "mine", "unknown")
        assert base.cut("a").stages == ("a",)
        images = random_images(2, 16).astype("float32")
        whole = base.after("a")(base.cut("a").model(images))
        np.testing.assert_allclose(whole, base.model(images), rtol=1e-5, atol=1e-3)
        assert Backbone.from_model(self.branched(), CAFFE).stages == ("output",)

    @pytest.mark.parametrize("stages", [{"a": "conv2", "b": "conv3"}, {"a": "sum", "b": "conv1"}])
    def test_where_it_cannot_be_cut(self, stages):
        with pytest.raises(
            ValueError, match=r"everything behind it hangs on.*Received: 'a', which"
        ):
            Backbone.from_model(self.branched(), None, stages)

    def test_no_such_layer(self):
        with pytest.raises(ValueError, match=r"conv1, conv2, sum, conv3. Received: conv9\."):
            Backbone.from_model(self.branched(), None, {"a": "conv1", "b": "conv9"})

    @pytest.mark.parametrize(
        "layers",
        [
            [keras.layers.Conv2D(3, 3)],
            [keras.Input((None, None, 3)), keras.layers.Conv2D(3, 3)],
            [keras.Input((16, 12, 3)), keras.layers.Conv2D(3, 3)],
            [keras.Input((16, 16, 1)), keras.layers.Conv2D(3, 3)],
            [keras.Input((16, 16, 3)), keras.layers.Flatten()],
        ],
        ids=["not built", "any size", "not square", "grey", "no map"],
    )
    def test_what_is_no_backbone(self, layers):
        with pytest.raises(ValueError, match=r"images \[n, s, s, 3\] of one size.*Received: seq"):
            Backbone.from_model(keras.Sequential(layers, name="seq"), None)

    def test_load_backbone_points_here(self):
        with pytest.raises(ValueError, match=r"model of your own there is Backbone\.from_model"):
            load_backbone(self.branched())


class TestErrors:
    def test_unknown_name(self):
        with pytest.raises(ValueError, match=r"one of vgg16_mini, vgg16, .*Received: 'vgg19'"):
            load_backbone("vgg19", weights=None)

    def test_unknown_stage(self):
        with pytest.raises(ValueError, match=r"block5_pool. Received: 'block6_pool'"):
            load_backbone("vgg16_mini", 32, cut="block6_pool", weights=None)
        base = small_backbone(cut="block2_pool")
        for method in (base.cut, base.after):
            with pytest.raises(ValueError, match="Received: 'block3_pool'"):
                method("block3_pool")
        with pytest.raises(ValueError, match="Only a stage before the last"):
            base.after("block2_pool")

    def test_too_small(self):
        with pytest.raises(ValueError, match=r"at least 32 pixels.*input_size=31"):
            load_backbone("vgg16", 31, weights=None)

    def test_the_embedded_tier_downloads_nothing(self, no_mirror, monkeypatch):
        monkeypatch.delenv("TLH_TIER", raising=False)
        with pytest.raises(ValueError, match='"vgg16_mini", or choose the real tier'):
            load_backbone("mobilenet_v2", 32)

    def test_missing_file(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"'pretrained', None, for.*none.h5, where"):
            load_backbone("vgg16_mini", 32, weights=tmp_path / "none.h5")

    def test_scaled_random_weights_are_for_chains(self):
        with pytest.raises(
            ValueError, match=r"vgg16_mini are\. Received: 'resnet50'; weights=None"
        ):
            load_backbone("resnet50", 32, weights="random")

    @pytest.mark.filterwarnings("ignore:Skipping nested container")
    def test_weights_of_another_network(self, tmp_path):
        path = tmp_path / "short.weights.h5"
        small_backbone(cut="block1_pool").model.save_weights(path)
        with pytest.raises(ValueError, match=r"weights of vgg16_mini as cut at block2_pool.*short"):
            load_backbone("vgg16_mini", 32, cut="block2_pool", weights=path)

    @pytest.mark.parametrize("name", ["notes.txt", "torn.weights.h5"])
    def test_a_file_that_holds_no_weights(self, tmp_path, name):
        (tmp_path / name).write_text("not weights")
        with pytest.raises(ValueError, match=f"must hold the weights of vgg16_mini.*{name}"):
            load_backbone("vgg16_mini", 32, cut="block1_pool", weights=tmp_path / name)


def test_weights_from_a_file(tmp_path):
    path = tmp_path / "mine.weights.h5"
    saved = small_backbone(cut="block2_pool").with_random_weights(seed=7)
    saved.model.save_weights(path)
    loaded = load_backbone("vgg16_mini", 32, cut="block2_pool", weights=path)
    assert loaded.weights_digest() == saved.weights_digest()
    assert loaded.weights == "mine.weights.h5"


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    monkeypatch.setenv("TLH_MIRROR", str(tmp_path))
    return tmp_path


def list_digests(folder):
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
        for path in folder.glob("*.h5")
    ]
    (folder / "SHA256SUMS").write_text("".join(lines))


class TestMirror:
    @pytest.mark.slow
    def test_whole_weights_are_cut(self, mirror):
        name = ARCHITECTURES["mobilenet_v2"].weights
        published = load_backbone("mobilenet_v2", 32, weights=None)
        published_weights(published.model, mirror / name)
        list_digests(mirror)
        cut = load_backbone("mobilenet_v2", 64, cut="block_9")
        assert cut.weights == name
        assert cut.weights_digest() == published.cut("block_9").weights_digest()

    def test_what_the_mirror_has_not(self, mirror):
        list_digests(mirror)
        with pytest.raises(DownloadError, match=r"resnet50.*mirror"):
            load_backbone("resnet50", 32)


@pytest.mark.mirror
def test_real_vgg16_up_to_its_third_block():
    base = load_backbone("vgg16", 32, cut="block3_pool")
    kernel, bias = base.model.get_layer("block1_conv1").get_weights()
    # ImageNet's first filters: known to the published digits.
    assert kernel.shape == (3, 3, 3, 64)
    assert kernel[0, 0, 0, 0] == pytest.approx(0.42947057, abs=1e-6)
    assert bias[0] == pytest.approx(0.73429835, abs=1e-6)


@pytest.mark.mirror
@pytest.mark.slow
def test_real_mobilenet_v2_at_any_size():
    digests = {load_backbone("mobilenet_v2", size).weights_digest() for size in (64, 96)}
    assert len(digests) == 1
    base = load_backbone("mobilenet_v2", 96)
    assert base.weights != "random"
    # Trained filters see structure: a picture and its negative don't look the same.
    images = np.zeros((2, 96, 96, 3), np.float32)
    images[0, 32:64, 32:64] = 255
    images[1] = 255 - images[0]
    maps = np.asarray(base.on_raw_images()(images)).mean(axis=(1, 2))
    assert np.isfinite(maps).all()
    assert np.corrcoef(maps)[0, 1] < 0.9


def test_the_shipped_weights():
    base = load_backbone("vgg16_mini", 32)
    assert isinstance(base, Backbone)
    assert base.weights == "vgg16_mini.npz"
    assert base.weights_digest() != small_backbone().weights_digest()
    cut = load_backbone("vgg16_mini", 48, cut="block3_pool")
    assert cut.weights_digest() == base.cut("block3_pool").weights_digest()


def test_preprocessing_is_part_of_the_backbone():
    base = small_backbone(cut="block1_pool")
    other = replace(base, preprocessing=MINUS_ONE_TO_ONE)
    images = random_images(1)
    assert not np.allclose(base.on_raw_images()(images), other.on_raw_images()(images))
