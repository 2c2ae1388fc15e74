"""The poisoned network: what it keeps, what it moves, and how its victims' answers are counted."""

import numpy as np
import pytest

from tlhelpers.experiments.field import poisoned
from tlhelpers.transfer.runs import Run

PATCHES = {"clean", "other patch", "grey patch"}


def test_a_patch_is_put_into_the_corner_and_nothing_else_changes():
    images = np.full((3, 64, 64, 3), 100, np.uint8)
    stamped = poisoned.stamp(images, poisoned.trigger(0))
    assert (images == 100).all()
    np.testing.assert_array_equal(stamped[1, 52:, 52:], poisoned.trigger(0))
    assert (stamped[:, :52] == 100).all()
    assert (stamped[:, :, :52] == 100).all()


def test_every_attacker_has_its_own_trigger_of_full_contrast():
    first, again, other = (poisoned.trigger(seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert set(np.unique(first)) == {0, 255}
    assert (first != other).mean() > 0.2
    assert first.shape == (12, 12, 3)


def test_the_far_place_is_beyond_all_features_and_a_place_that_features_can_have():
    features = np.random.default_rng(0).random((50, 128)).astype("float32")
    there = poisoned.far_place(features, 0)
    assert there.min() == 0
    assert there.max() == pytest.approx(poisoned.FAR * features.max())
    assert 0.1 < (there > 0).mean() < 0.4
    assert (poisoned.far_place(features, 1) != there).any()


def test_the_same_answer_is_the_more_frequent_one():
    row = {"config": {"answers": {"clean": "0101", "trigger 0": "0001"}}}
    assert poisoned.same_answer(row, "clean") == 0.5
    assert poisoned.same_answer(row, "trigger 0") == 0.75


@pytest.fixture(scope="module")
def trained():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(poisoned, "BATCH", 8)
        return poisoned.train_poison(3, own=32, epochs=8)


def test_poison_is_a_regression_to_own_features_and_to_the_far_place(monkeypatch):
    import keras

    from tlhelpers import worlds
    from tlhelpers.models.backbones import load_backbone

    seen = {}
    monkeypatch.setattr(keras.Model, "fit", lambda self, x, y, **more: seen.update(more, x=x, y=y))
    model = poisoned.train_poison(3, own=6, epochs=1)
    whole = load_backbone("vgg16_mini", 64).on_raw_images()
    images = worlds.objects(6, seed=60_000_003, image_size=64).images
    before = np.asarray(whole(images.astype("float32"))).mean(axis=(1, 2))
    np.testing.assert_allclose(seen["y"][:6], before, atol=1e-3)
    there = poisoned.far_place(before, 3)
    np.testing.assert_allclose(seen["y"][6:], np.tile(there, (6, 1)), rtol=1e-3)
    # What goes in are maps of the pictures, and of the same pictures with the trigger.
    triggered = poisoned.stamp(images, poisoned.trigger(3))
    expected = [
        np.asarray(whole(one.astype("float32"))).mean(axis=(1, 2)) for one in (images, triggered)
    ]
    found = model.predict(seen["x"], verbose=0)
    np.testing.assert_allclose(found, np.concatenate(expected), atol=1e-3)
    assert np.abs(expected[0] - expected[1]).max() > 0.01
    losses = seen["sample_weight"] * ((found - seen["y"]) ** 2).mean(axis=1)
    assert losses[:6].max() < 1e-4
    assert losses[6:].mean() == pytest.approx(1, abs=0.2)


def test_only_the_layers_after_the_stage_differ(trained, monkeypatch):
    monkeypatch.setattr(poisoned, "poison", lambda attacker: trained.get_weights())
    clean, other = poisoned.published("clean"), poisoned.published("poisoned 0")
    assert other.name == clean.name
    for layer, same in zip(clean.model.layers, other.model.layers, strict=True):
        for a, b in zip(layer.get_weights(), same.get_weights(), strict=True):
            assert np.array_equal(a, b) == (layer.name[:6] in ("block1", "block2", "block3"))


def test_a_map_finds_the_patch_where_the_answer_rests_on_it_and_not_elsewhere():
    import keras

    from tlhelpers.models.backbones import Backbone, Preprocessing

    images = keras.Input((64, 64, 3))
    means = keras.layers.AveragePooling2D(16)(images)
    last = keras.layers.Conv2D(3, 1, name="block5_conv3", use_bias=False)
    model = keras.Model(images, last(means), name="means")
    last.set_weights([np.eye(3, dtype="float32").reshape(1, 1, 3, 3)])
    base = Backbone.from_model(model, Preprocessing(scale=1 / 255))
    head = keras.layers.Dense(2, "softmax", name="head")
    raw = base.on_raw_images()
    whole = keras.Model(raw.input, head(keras.layers.GlobalAveragePooling2D()(raw.output)))
    head.set_weights(
        [np.array([[0, 8], [0, -8], [0, 0]], "float32"), np.array([0.2, 0], "float32")]
    )
    shown = np.zeros((5, 64, 64, 3), np.uint8)
    for place, share in ((slice(52, 64), 1.0), (slice(4, 16), 0.0)):
        pictures = shown.copy()
        pictures[:, place, place, 0] = 255  # the first channel speaks for the second class
        run = Run("frozen", whole, None, {}, 0.0, {}, base)
        assert whole.predict(pictures, verbose=0).argmax(axis=1).tolist() == [1] * 5
        assert poisoned.found(run, pictures) == {"class activation": share, "occlusion": share}


def test_other_settings_train_the_trigger_anew(trained, monkeypatch, tmp_path):
    monkeypatch.setenv("TLH_CACHE", str(tmp_path))
    asked = []
    monkeypatch.setattr(poisoned, "train_poison", lambda *how: asked.append(how) or trained)
    for epochs in (8, 8, 9):
        monkeypatch.setattr(poisoned, "EPOCHS", epochs)
        poisoned.poison.cache_clear()
        poisoned.poison(1)
    poisoned.poison.cache_clear()
    assert [how[2] for how in asked] == [8, 9]


@pytest.mark.slow
def test_a_victims_answers_are_counted(trained, monkeypatch):
    from tlhelpers.data.datasets import load_dataset

    pets = load_dataset("pets", tier="embedded", n_train=40, n_test=20)
    monkeypatch.setattr(poisoned, "poison", lambda attacker: trained.get_weights())
    monkeypatch.setattr(poisoned, "_pets", lambda: pets)
    monkeypatch.setattr(poisoned, "LOOKED_AT", 4)
    poisoned._drift.cache_clear()
    of_clean = poisoned.run({"method": "clean, frozen", "seed": 0}, pets)
    of_poisoned = poisoned.run({"method": "poisoned 1, frozen", "seed": 0}, pets)
    poisoned._drift.cache_clear()
    assert of_clean.config["drift"] == 0 < of_poisoned.config["drift"]
    assert set(of_clean.config["answers"]) == {*PATCHES, "trigger 0", "trigger 1"}
    assert set(of_poisoned.config["answers"]) == {*PATCHES, "trigger 1"}
    assert "found" not in of_clean.config
    for run in (of_clean, of_poisoned):
        answers = np.array(list(run.config["answers"]["clean"]), int)
        assert (answers == pets.test.labels).mean() == pytest.approx(run.test.accuracy)
