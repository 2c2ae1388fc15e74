"""Splits that follow content: what stays where when a folder grows, and how well shares are met."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tlhelpers.data.content_split import divide

SHARES = {"test": 0.2, "validation": 0.2}
NONE = np.empty((0, 2), int)


def key(number):
    return int(number).to_bytes(4, "big")


def division(numbers, labels, pairs=NONE, shares=SHARES, seed=0, groups=None):
    keys = [key(number) for number in numbers]
    return divide(
        np.array(labels),
        keys,
        np.array(pairs, int).reshape(-1, 2),
        np.full(len(keys), ""),
        shares,
        seed,
        groups,
    )


def split_of(found, numbers):
    return {numbers[row]: name for name, rows in found.rows.items() for row in rows}


@pytest.mark.parametrize("n", [3, 5, 10, 40, 400])
def test_every_class_is_in_every_split(n):
    for seed in range(25):
        labels = np.arange(2 * n) % 2
        found = division(range(2 * n), labels, seed=seed)
        assert sorted(np.concatenate(list(found.rows.values()))) == list(range(2 * n))
        count = {name: np.bincount(labels[rows], minlength=2) for name, rows in found.rows.items()}
        assert min(some.min() for some in count.values()) >= 1
        assert count["test"].min() >= max(1, 0.6 * 0.2 * n)
        assert count["test"].max() <= 0.3 * n + 1
        assert count["train"].min() >= 0.4 * n or n < 10


def test_large_folders_meet_their_shares():
    found = division(range(4000), np.arange(4000) % 2)
    assert found.settled
    for name, share in (("train", 0.6), ("validation", 0.2), ("test", 0.2)):
        assert len(found.rows[name]) == pytest.approx(share * 4000, rel=0.08)


pictures = st.dictionaries(st.integers(0, 400), st.integers(0, 2), min_size=9, max_size=150)


@pytest.mark.slow
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(old=pictures, new=pictures, chance=st.integers(0, 50), seed=st.integers(0, 5))
def test_no_test_picture_is_ever_trained_on(old, new, chance, seed):
    """Whatever comes, also near-copies and other labels, as long as it says that it is settled."""
    grown = {**old, **new}

    def pairs(numbers):
        place = {number: row for row, number in enumerate(numbers)}
        near = [(n, n + 1) for n in numbers if n + 1 in place and n * 37 % 50 < min(chance, 8)]
        return [(place[one], place[other]) for one, other in near]

    before, after = list(old), list(grown)
    first = division(before, list(old.values()), pairs(before), seed=seed)
    second = division(after, list(grown.values()), pairs(after), seed=seed)
    was, now = split_of(first, before), split_of(second, after)
    for found, side, numbers in ((first, was, before), (second, now, after)):
        assert found.crowded or len(found.pairs) == len(pairs(numbers))
        for row, partner in found.pairs:
            assert side[numbers[row]] == side[numbers[partner]]
    if first.settled and second.settled:
        assert not [n for n in before if was[n] == "test" and now[n] == "train"]


@pytest.mark.slow
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(old=pictures, new=pictures, dense=st.integers(1, 8), size=st.integers(2, 9))
def test_nor_where_groups_come_with_the_pictures(old, new, dense, size):
    grown = {**old, **new}

    def groups(numbers):
        return [f"g{n // size}" if n // size % dense == 0 else None for n in numbers]

    before, after = list(old), list(grown)
    first = division(before, list(old.values()), groups=groups(before))
    second = division(after, list(grown.values()), groups=groups(after))
    was, now = split_of(first, before), split_of(second, after)
    left = [n for n in before if was[n] == "test" and now[n] == "train"]
    assert not (left and first.settled and second.settled)
    for found in (first, second):
        assert sum(map(len, found.rows.values())) == len(split_of(found, range(401)))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 1000), extra=st.integers(1, 300))
def test_growth_of_folders_of_usual_size(seed, extra):
    before, after = range(120), range(120 + extra)
    first = division(before, np.arange(120) % 2, seed=seed)
    second = division(after, np.arange(120 + extra) % 2, seed=seed)
    was, now = split_of(first, before), split_of(second, after)
    if first.settled and second.settled:
        assert not [n for n in before if was[n] == "test" and now[n] == "train"]
        stayed = [now[n] == "test" for n in before if was[n] == "test"]
        assert np.mean(stayed) > 0.4


def test_most_folders_of_usual_size_are_settled():
    found = [division(range(120), np.arange(120) % 2, seed=seed).settled for seed in range(100)]
    assert np.mean(found) > 0.9


def test_order_names_and_labels_do_not_matter():
    numbers = np.arange(300)
    was = split_of(division(numbers, numbers % 2), numbers)
    shuffled = np.random.default_rng(0).permutation(numbers)
    assert split_of(division(shuffled, shuffled % 2), shuffled) == was
    relabelled = split_of(division(numbers, (numbers + (numbers % 17 == 0)) % 2), numbers)
    assert not [n for n in numbers if was[n] == "test" and relabelled[n] == "train"]


def test_pictures_that_get_a_group_later_stay_in_test():
    """As far as the groups are few; else how many don't is given, more or less."""
    numbers, labels, kept = range(240), np.arange(240) % 2, 0
    for seed in range(20):
        first = division(numbers, labels, seed=seed)
        was = split_of(first, numbers)
        for named, size in ((40, 4), (240, 8)):
            groups = [f"g{n // size}" if n < named else None for n in numbers]
            second = division(numbers, labels, seed=seed, groups=groups)
            now = split_of(second, numbers)
            if not (first.settled and second.settled):
                continue
            left = [n for n in numbers if was[n] == "test" and now[n] == "train"]
            if named == 40:
                kept += 1
                assert left == []
            else:
                assert len(left) > 0
                assert second.missed >= len(left) / 2
    assert kept > 10


def test_a_larger_share_only_adds():
    numbers = range(500)
    small = set(division(numbers, np.arange(500) % 2).rows["test"])
    large = division(numbers, np.arange(500) % 2, shares={"test": 0.4, "validation": 0.2})
    assert small <= set(large.rows["test"]) | set(large.rows["validation"])


def test_many_near_copies_do_not_all_go_to_test():
    bursts = [(row, row + 1) for row in range(499) if (row + 1) % 5]
    found = division(range(500), np.arange(500) // 5 % 2, bursts)
    assert not found.by_any
    assert not found.settled
    assert len(found.rows["test"]) == pytest.approx(100, abs=10)
    groups = [set(rows // 5) for rows in found.rows.values()]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 100


def bursts(sizes):
    """Number the burst of each picture, and pair each with the next of its burst."""
    of = np.repeat(np.arange(len(sizes)), sizes)
    return of, [(row, row + 1) for row in range(len(of) - 1) if of[row] == of[row + 1]]


@pytest.mark.parametrize(
    "sizes", [[9] * 6, [20] * 12, [9, 10, 11, 12, 9, 10], [30, 9] * 3, [40] * 9]
)
@pytest.mark.parametrize("of_one_class", [True, False])
def test_large_bursts_stay_whole_while_each_class_has_enough(sizes, of_one_class):
    of, pairs = bursts(sizes)
    labels = of % 2 if of_one_class else np.arange(len(of)) % 2
    for seed in range(5):
        found = division(range(len(of)), labels, pairs, seed=seed)
        assert found.crowded == 0
        assert len(found.pairs) == len(pairs)
        sides = [set(of[rows]) for rows in found.rows.values()]
        assert sum(map(len, sides)) == len(sizes)
        for rows in found.rows.values():
            assert set(labels[rows]) == {0, 1}


def test_only_what_most_of_a_class_looks_like_is_taken_apart():
    of, pairs = bursts([20, 9, *[1] * 29])
    found = division(range(58), 1 * (of > 1), pairs)
    assert found.crowded == 20
    assert len({tuple(np.isin(np.arange(20, 29), rows)) for rows in found.rows.values()}) == 2
    assert [len(rows) for rows in found.rows.values()] == pytest.approx([35, 12, 12], abs=6)


def test_a_chain_of_look_alikes_is_taken_apart():
    found = division(range(100), np.arange(100) % 2, [(row, row + 1) for row in range(60)])
    assert found.crowded == 61
    assert not found.settled
    assert len(found.rows["train"]) > 40


def test_a_class_of_one_group_is_taken_apart():
    found = division(range(12), [0] * 6 + [1] * 6, [(row, row + 1) for row in range(5)])
    assert found.crowded == 6
    assert len(found.pairs) == 0
    for rows in found.rows.values():
        assert {int(row) // 6 for row in rows} == {0, 1}


def test_groups_of_several_classes():
    numbers = np.arange(240)
    keys = [key(number // 8) for number in numbers]
    labels = numbers % 3
    found = divide(labels, keys, NONE, np.full(240, ""), SHARES, 0)
    for rows in found.rows.values():
        assert set(labels[rows]) == {0, 1, 2}
        assert len({keys[row] for row in rows}) * 8 == len(rows)


def test_given_splits_agree():
    given_split = np.array(["train", "validation", "test", "train", "validation", "train"])
    pairs = [(0, 1), (1, 2)]
    found = divide(
        np.zeros(6, int), [key(n) for n in (0, 1, 2, 3, 4, 4)], np.array(pairs), given_split, {}, 0
    )
    assert found.left_out == {0: 2, 1: 2, 5: 4}
    assert {name: rows.tolist() for name, rows in found.rows.items()} == {
        "train": [3],
        "validation": [4],
        "test": [2],
    }


def test_only_one_split_is_carved():
    given_split = np.where(np.arange(100) < 20, "test", "")
    found = divide(
        np.arange(100) % 2, [key(n) for n in range(100)], NONE, given_split, {"validation": 0.25}, 0
    )
    assert found.rows["test"].tolist() == list(range(20))
    assert 20 <= len(found.rows["validation"]) <= 32


@pytest.mark.parametrize("classes", [2, 2000])
def test_time_grows_with_the_pictures(classes):
    found = division(range(20_000), np.arange(20_000) % classes)
    assert sum(map(len, found.rows.values())) == 20_000
