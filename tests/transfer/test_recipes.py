"""Recipes: pure functions of sizes, with the thresholds and the directions they promise."""

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from tlhelpers.transfer import recipes

STAGES = tuple(f"block{i}_pool" for i in range(1, 6))
SIZES = (1, 10, 40, 99, 100, 255, 256, 400, 2_000, 10_000, 50_000)


@pytest.fixture(autouse=True)
def as_shipped(monkeypatch):
    """Tests of others have shorter batches."""
    monkeypatch.setattr(recipes, "MOST_AT_ONCE", 512)


@pytest.mark.parametrize(
    ("image_size", "length"),
    [
        (32, 512),
        (64, 512),
        (96, 128),
        (150, 64),
        (160, 64),
        (224, 32),
        (512, 8),
        (1024, 2),
        (2000, 1),
    ],
)
def test_inference_batches_hold_about_as_many_pixels(image_size, length):
    assert recipes.inference_batch_size(image_size) == length


def test_inference_batches_shrink_as_images_grow():
    lengths = [recipes.inference_batch_size(size) for size in range(1, 1000)]
    assert lengths == sorted(lengths, reverse=True)
    assert all(1 <= n <= 512 and n & (n - 1) == 0 for n in lengths)
    with pytest.raises(ValueError, match=r"at least 1 pixel. Received: 0"):
        recipes.inference_batch_size(0)


def test_patience_needs_enough_validation_images():
    enough = recipes.MIN_VALIDATION_TO_STOP
    assert recipes.patience(enough - 1, 30) is None
    assert recipes.patience(enough, 30) == 10
    assert recipes.patience(1000, 5) == 3
    assert recipes.fine_tuning(100, enough - 1).patience is None
    assert recipes.fine_tuning(100, enough).patience >= 3


@pytest.mark.parametrize("recipe", [lambda n: recipes.fine_tuning(n, 100), recipes.from_scratch])
def test_recipes_follow_the_data_size(recipe):
    # Below 64 images more epochs were of no use; from there on, more images need fewer.
    epochs = [recipe(n).epochs for n in SIZES if n >= 64]
    assert epochs == sorted(epochs, reverse=True)
    assert recipe(40).batch_size == 16
    assert recipe(256).batch_size == 32
    assert recipe(100) == recipe(100)
    with pytest.raises(ValueError, match=r"at least one image. Received: 0"):
        recipe(0)


def test_scratch_is_given_more_than_tuning():
    for n in SIZES:
        tuned, scratch = recipes.fine_tuning(n, 100), recipes.from_scratch(n)
        assert scratch.epochs > tuned.epochs
        assert scratch.backbone_rate == scratch.rate_decay == 1
        assert tuned.backbone_rate < 1
        assert tuned.rate_decay < 1
        assert scratch.views is None
        assert scratch.patience is None, "stopped early, the baseline would be weaker than it is"


@pytest.mark.parametrize("counts", [[285, 15], [3, 400, 20], [7, 7]])
def test_balanced_classes_are_scikit_learns(counts):
    labels = np.repeat(np.arange(len(counts)), counts)
    expected = compute_class_weight("balanced", classes=np.unique(labels), y=labels)
    assert list(recipes.class_weights(counts, "balanced").values()) == pytest.approx(expected)
    uneven = max(counts) > 1.5 * min(counts)
    assert (recipes.class_weights(counts, "auto") is not None) == uneven
    assert recipes.class_weights(counts, None) is None


def test_class_weights_of_odd_counts():
    assert recipes.class_weights([150, 100], "auto") is None
    assert recipes.class_weights([4, 0], "balanced") == {0: 1.0, 1: 4.0}
    assert recipes.class_weights([0, 0], "balanced") is None
    with pytest.raises(ValueError, match="Received: 'even'"):
        recipes.class_weights([1, 2], "even")


def test_grids_keep_features_few():
    for channels in (1, 32, 128, 256, 512, 768, 1280, 2048, 5000):
        grids = [recipes.feature_grid(size, channels) for size in range(1, 60)]
        assert grids == sorted(grids)
        for size, grid in enumerate(grids, start=1):
            assert 1 <= grid <= size
            assert grid == 1 or grid**2 * channels <= 2304
    assert recipes.feature_grid(18, 256) == 3
    assert recipes.feature_grid(7, 512) == 2
    assert recipes.feature_grid(7, 1280) == 1


def test_a_far_source_frees_every_stage():
    assert recipes.first_stage_to_tune(STAGES) == STAGES[-2]
    assert recipes.first_stage_to_tune(STAGES, near_source=False) == STAGES[0]
    assert recipes.first_stage_to_tune(STAGES[:1]) == STAGES[0]


def test_a_far_source_gets_larger_rates():
    near, far = (recipes.fine_tuning(200, 50, near_source=near) for near in (True, False))
    assert near.learning_rate * near.backbone_rate < far.learning_rate * far.backbone_rate


def test_a_heads_rate_falls_only_where_features_are_large():
    assert [recipes.head_rate(spread) for spread in (0.0, 0.4, 1.0, 10.0)] == [1, 1, 1, 0.1]


@pytest.mark.parametrize(
    "wrong",
    [{"epochs": 0}, {"batch_size": 0}, {"views": -1}, {"learning_rate": -1.0}, {"dropout": 1.0}],
)
def test_a_recipe_that_can_not_be_followed(wrong):
    (name,) = wrong
    with pytest.raises(ValueError, match=rf"^{name} (must be|is a share).* Received: "):
        recipes.Training(**{"epochs": 1, "batch_size": 8, "learning_rate": 1e-3} | wrong)
