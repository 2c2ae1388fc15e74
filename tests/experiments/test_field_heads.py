"""Heads on a frozen map: what they see, how many weights they have, and what chooses for them."""

import numpy as np
import pytest
from toys import small_backbone, striped_data

from tlhelpers.experiments.field import heads

pytestmark = [
    pytest.mark.usefixtures("eagerly"),
    pytest.mark.filterwarnings("ignore:Even though the .tf.config"),
]
PARAMETERS = {  # a map of 1 × 1 × 128 at 32 px, of 2 × 2 × 128 at 64
    "pooled linear": 128 * 2 + 2,
    "flat linear": 512 * 2 + 2,
    "pooled dense": 128 * 256 + 256 + 256 * 2 + 2,
    "flat dense": 512 * 256 + 256 + 256 * 2 + 2,
}


@pytest.fixture
def data(monkeypatch, tmp_path):
    monkeypatch.setenv("TLH_CACHE", str(tmp_path))
    monkeypatch.setattr(heads, "EPOCHS", 3)
    monkeypatch.setattr(heads, "RATES", (1e-4, 1e-3))
    base = small_backbone(size=64)
    monkeypatch.setattr(heads, "_base", lambda: base)
    return striped_data(train=24, validation=8, size=64)


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(head, marks=pytest.mark.slow) if head.endswith("dense") else head
        for head in heads.HEADS
    ],
)
def test_every_head_sees_the_same_draw_and_has_the_weights_it_should(data, head):
    settings = {**heads.plan(1)[0], "method": head, "labels": 6}
    run = heads.run(settings, data)
    assert run.config["trained_parameters"] == PARAMETERS[head]
    assert run.config["n_train"] == 12
    assert run.probabilities("test").shape == (10, 2)
    assert len(run.config.get("tried", [])) == (4 if "dense" in head else 0)


def test_pooled_features_are_the_mean_over_the_places_of_flat_ones(data):
    from tlhelpers.transfer.features import extract_features

    pooled = heads._features(data.test, "pooled")
    np.testing.assert_allclose(pooled, extract_features(heads._base(), data.test), atol=1e-5)


@pytest.mark.slow
def test_the_dense_heads_settings_come_from_validation_images_and_another_draw(data, monkeypatch):
    asked = []
    features = heads._features
    monkeypatch.setattr(
        heads, "_features", lambda split, place: asked.append(split) or features(split, place)
    )
    heads._trials(data, "pooled", 6)
    digests = {digest for split in asked for digest in split.digests()}
    assert digests >= set(data.validation.digests())
    assert not digests & set(data.test.digests())


@pytest.mark.slow
def test_an_interrupted_recording_goes_on_with_its_trials(data, monkeypatch):
    tried = heads._trials(data, "pooled", 6)
    trained = []
    dense = heads._dense
    monkeypatch.setattr(heads, "_dense", lambda *args: trained.append(args[2]) or dense(*args))
    assert heads._trials(data, "pooled", 6) == tried
    assert not trained
    monkeypatch.setattr(heads, "RATES", (*heads.RATES, 1e-2))
    assert heads._trials(data, "pooled", 6)[:4] == tried
    assert [trial["rate"] for trial in trained] == [1e-2, 1e-2]


@pytest.mark.slow
def test_validation_losses_decide_how_long_a_dense_head_is_trained(data):
    trial = heads._trials(data, "flat", 6)[0]
    x, y = heads._features(data.validation, "flat"), data.validation.labels
    few = heads.draw(data, 6, heads.CHOOSING, choosing=True).train
    trained = heads._dense(
        heads._features(few, "flat"), few.labels, trial, 3, heads.CHOOSING, (x, y)
    )
    assert int(np.argmin(trained[3]["val_loss"])) + 1 == trial["epochs"]
