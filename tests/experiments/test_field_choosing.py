"""How settings are chosen, and that the test split decides nothing."""

import pytest

from tlhelpers.experiments.field import cifar10_alike
from tlhelpers.experiments.field.choosing import (
    DOUBLINGS,
    Arm,
    best,
    draw,
    first_length,
    next_trial,
    settings_of,
    train,
)
from tlhelpers.experiments.field.photographs import ARMS

TUNED = next(arm for arm in ARMS if arm.method == "tuned")


def play(arm, n, accuracy_of):
    """Run the search against a made-up validation accuracy."""
    tried = []
    while (trial := next_trial(arm, n, tried)) is not None:
        tried.append({**trial, "validation": accuracy_of(**trial), "loss": 0.0})
        assert len(tried) < 30
    return tried


def test_every_rate_is_tried_then_lengths_of_the_best():
    tried = play(TUNED, 20, lambda rate, images: 0.9 if rate == 1e-3 else 0.8)
    assert [trial["rate"] for trial in tried[: len(TUNED.rates)]] == list(TUNED.rates)
    assert {trial["rate"] for trial in tried[len(TUNED.rates) :]} == {1e-3}


@pytest.mark.parametrize("n", [20, 100, 1000])
def test_a_flat_curve_ends_after_two_doublings(n):
    start = first_length(TUNED, n)
    tried = play(TUNED, n, lambda rate, images: 0.9)
    assert sorted({trial["images"] for trial in tried}) == [start // 2, start, 2 * start, 4 * start]


def test_a_rising_curve_is_followed_to_the_longest_length():
    tried = play(TUNED, 20, lambda rate, images: images / 2e4)
    longest = max(trial["images"] for trial in tried)
    assert longest == first_length(TUNED, 20) * 2**DOUBLINGS
    assert best(tried)["images"] == longest


def test_of_equal_accuracies_the_lower_loss_counts():
    a, b = ({"validation": 0.9, "loss": loss, "images": 1, "rate": 1} for loss in (0.4, 0.3))
    assert best([a, b]) is b


def test_the_largest_number_trains_on_validation_photographs_only_at_the_end():
    from toys import striped_data

    data = striped_data(train=16, validation=8)
    assert len(draw(data, 4, 0).train) == 8
    choosing = draw(data, 12, 0, choosing=True)
    assert len(choosing.train) == 16
    assert not set(choosing.train.digests()) & set(choosing.validation.digests())


def test_a_frozen_network_tries_its_cuts_and_nothing_else():
    arm = Arm("frozen", "vgg16", 32, cuts=("block4_pool", None))
    tried = play(arm, 20, lambda cut: 0.9 if cut is None else 0.8)
    assert [trial["cut"] for trial in tried] == ["block4_pool", None]
    assert best(tried)["cut"] is None
    assert next_trial(Arm("frozen", "vgg16", 224), 20, []) is None


def test_no_two_arms_share_their_settings():
    for arms in (ARMS, cifar10_alike.ARMS):
        assert len({tuple(settings_of(arm).values()) for arm in arms}) == len(arms)


def test_an_arm_is_trained_in_its_precision_which_does_not_stay():
    import keras
    from toys import striped_data

    arm = Arm("scratch", "vgg16", 32, rates=(1e-3,), precision="mixed_bfloat16")
    data = striped_data(train=4, validation=2, test=2)
    run = train(arm, data, {"rate": 1e-3, "images": 4}, 0)
    assert run.config["precision"] == "mixed_bfloat16"
    convolution = run.base.model.get_layer("block1_conv1")
    assert (convolution.compute_dtype, convolution.kernel.dtype) == ("bfloat16", "float32")
    assert keras.config.dtype_policy().name == "float32"
