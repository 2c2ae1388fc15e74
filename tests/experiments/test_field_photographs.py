"""Results on photographs: how settings are chosen, and that the test split decides nothing."""

import pytest

from tlhelpers.experiments.field import photographs
from tlhelpers.experiments.field.photographs import ARMS, DOUBLINGS, best, first_length, next_trial

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


def test_the_largest_number_trains_on_validation_photographs_only_at_the_end(monkeypatch):
    from toys import striped_data

    data = striped_data(train=16, validation=8)
    assert len(photographs.draw(data, 4, 0).train) == 8
    choosing = photographs.draw(data, 12, 0, choosing=True)
    assert len(choosing.train) == 16
    assert not set(choosing.train.digests()) & set(choosing.validation.digests())
