"""The network at hand, a test folder that decides nothing, and fine-tuning kept on evidence."""

from dataclasses import asdict

import numpy as np
import pytest
from drawn_folder import draw_folder

import tlhelpers as tl
from tlhelpers.data.augmentation import Augmentation
from tlhelpers.data.downloads import DownloadError
from tlhelpers.evaluation.scores import Difference
from tlhelpers.transfer import recipes
from tlhelpers.workflow import learn as learning
from tlhelpers.workflow.choose import stage_reader
from tlhelpers.workflow.learn import fine_tune, learn, load_network, networks_at_hand
from tlhelpers.workflow.split import gather


def test_the_drawn_network_is_never_taken_quietly(own_cache, tmp_path, monkeypatch):
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    (mirror / "SHA256SUMS").write_text("")
    monkeypatch.setenv("TLH_MIRROR", str(mirror))
    monkeypatch.setattr("tlhelpers.runtime._chosen_tier", "real")
    assert networks_at_hand() == []
    with pytest.raises(DownloadError, match="never taken unless --backbone names it"):
        load_network()


def test_recorded_features_do_not_pass_for_weights(own_cache, monkeypatch):
    monkeypatch.setattr("tlhelpers.runtime._chosen_tier", "embedded")
    with pytest.raises(ValueError, match="ImageNet weights are needed"):
        load_network("mobilenet_v2")


def test_the_best_of_those_at_hand_is_taken(own_cache, monkeypatch, tmp_path):
    assert networks_at_hand() == []
    for shelf, name in (
        ("a", "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"),
        ("b", "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5"),
    ):
        (own_cache / "files" / shelf).mkdir(parents=True)
        (own_cache / "files" / shelf / name).touch()
    assert networks_at_hand() == ["mobilenet_v2", "vgg16"]


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    """Drawn pets with a test folder of their own, learnt from by a frozen network."""
    root = tmp_path_factory.mktemp("photos")
    draw_folder(root / "train", 40)
    draw_folder(root / "test", 12, seed=5)
    pictures = gather(tl.load_folder(root, image_size=64))
    base = tl.load_backbone("vgg16_mini", 64)
    read = stage_reader(base, base.stages[-2:])
    return pictures, learn(base, read, read(pictures), pictures, 0.05, seed=0)


def test_the_test_folder_decides_nothing(judged):
    pictures, learned = judged
    x = {name: values.copy() for name, values in learned.features.items()}
    for values in x.values():
        values[pictures.judged] += 100
    again = learn(learned.base, learned.read, x, pictures, 0.05, seed=0)
    assert again.choice == learned.choice
    assert again.threshold == learned.threshold
    assert again.temperature == learned.temperature
    np.testing.assert_array_equal(again.head.kernel, learned.head.kernel)


def test_what_is_shipped_gives_the_judged_probabilities(judged):
    pictures, learned = judged
    rows = pictures.judged
    given = learned.head.probabilities(learned.features[learned.choice.stage][rows])
    np.testing.assert_allclose(given, learned.probabilities, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("low", [-0.01, 0.01])
def test_fine_tuning_is_kept_only_where_validation_says_so(judged, monkeypatch, low):
    pictures, learned = judged
    monkeypatch.setattr(learning, "gain", lambda a, b, groups: Difference(0.02, low, 0.03, len(a)))
    monkeypatch.setattr(recipes, "fine_tuning", lambda *a, **k: recipes.Training(1, 16, 1e-3))
    chosen = Augmentation(flip=False)
    about, shipped = fine_tune(learned, pictures, 0.05, 1e6, seed=0, augmentation=chosen)
    assert about["tried"]
    assert about["kept"] == (low > 0)
    assert about["n"] == (pictures.split_of == 1).sum()
    if low < 0:
        assert shipped is learned
        return
    assert shipped.config["augmentation"] == asdict(chosen)
    assert shipped.base.weights_digest() != learned.base.weights_digest()
    rows = pictures.judged
    given = shipped.head.probabilities(shipped.features[shipped.choice.stage][rows])
    np.testing.assert_allclose(given, shipped.probabilities, atol=1e-5)
    before = shipped.features[shipped.choice.stage][rows]
    fresh = shipped.read(pictures.data.test)[shipped.choice.stage]
    np.testing.assert_allclose(before, fresh, atol=1e-5)


def test_fine_tuning_that_does_not_fit_in_is_not_begun(judged, monkeypatch):
    pictures, learned = judged
    monkeypatch.setattr(learning, "_seconds_an_image", lambda *a: 10.0)
    about, shipped = fine_tune(learned, pictures, 0.05, 60.0, seed=0)
    assert not about["tried"]
    assert "minutes here, and 1.0 were left" in about["why"]
    assert shipped is learned
