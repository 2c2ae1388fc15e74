"""Splits that follow what pictures show, so that a test picture stays one when a folder grows."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tlhelpers.data.copies import link

SPLITS = ("test", "validation", "train")
"""In the order in which a picture that lies in several stays: never out of test."""

MANY = 0.2
"""Share of pictures among near-copies above which groups are no longer placed by any member."""


@dataclass(frozen=True)
class Division:
    """Which pictures each split has, and what that cost.

    Attributes:
        rows: Sorted row numbers by the name of the split.
        left_out: Rows that are in no split, since a row of a later split shows the same: to that.
        pairs: The pairs of near-copies that were kept together.
        too_small: Classes (labels) for which test or train had to take what belongs elsewhere.
        by_any: Whether a group is in test if any of its keys is.
        crowded: Rows that look too much alike to be taken as near-copies: they may be torn apart.
        torn: Whether some rows have no group while groups are placed by their names.
        missed: Rows of train that would be in test by their content alone, and may have been.
    """

    rows: dict[str, np.ndarray]
    left_out: dict[int, int]
    pairs: np.ndarray
    too_small: frozenset[int]
    by_any: bool
    crowded: int
    torn: bool
    missed: int

    @property
    def settled(self) -> bool:
        """Whether no picture of the test split can be in train once the folder has grown."""
        return self.by_any and not (self.too_small or self.crowded or self.torn)


def divide(
    labels: np.ndarray,
    keys: Sequence[bytes],
    pairs: np.ndarray,
    given: np.ndarray,
    shares: Mapping[str, float],
    seed: int,
    groups: Sequence[str | None] | None = None,
) -> Division:
    """Divide pictures in three by what they show; those of a group stay on one side.

    Each key has a place between 0 and 1, hashed from it and the seed, and a group the lowest place
    of its keys. With a share of 0.2 for each, groups below 0.2 are test, below 0.4 validation, and
    the rest train. Nothing else decides, so a picture stays where it is when others come, when it
    is renamed or when it gets another label (Warden 2018, arXiv:1804.03209, hashes speakers so).
    The price is that shares are met on average only. Therefore classes of which test has too few
    get more from below 0.4, and then validation from above, which train never gets back: **what was
    once in test is never in train**. It may be in validation later.

    Named groups keep that, too, also for pictures that get a group later, where a fifth of the
    pictures at most have one. Else test would get nearly all of them, so groups are placed by their
    names: they stay where they are whatever joins them.

    That can't be kept in four cases, which ``settled`` tells. Groups placed by their names, and
    other pictures in none, may have been fewer, and placed otherwise. A class for which the draw is bad
    (test has half more than its share, or train is off by a third, as in small classes) is divided
    in the order of the places, exactly by the shares. Where more than a fifth of the pictures are
    near-copies, all are, and a group has the place of one of its keys: else test would get nearly
    all of them. And pictures that all look alike are not kept together.

    Args:
        labels: ``int [n]``, 0 or more.
        keys: What each picture is known by: a digest of its content.
        pairs: ``int [m, 2]``: rows of near-copies, which belong together as well.
        given: ``str [n]``: the split that a row lies in already, or "" for one to be placed.
        shares: Shares of the rows to place, by "test" and "validation", those of them to be carved.
        seed: Which draw.
        groups: Name of the group that each picture belongs to, or None. Defaults to none.

    Returns:
        The division.

    Example:
        >>> keys = [bytes([i]) for i in range(100)]
        >>> labels, given = np.zeros(100, int), np.full(100, "")
        >>> shares = {"test": 0.2, "validation": 0.2}
        >>> found = divide(labels, keys, np.empty((0, 2), int), given, shares, seed=0)
        >>> len(found.rows["test"]) >= 20
        True
    """
    named = [
        key if name is None else f"group {name}".encode(errors="replace")
        for key, name in zip(keys, groups or [None] * len(keys), strict=True)
    ]
    numbers = {key: number for number, key in enumerate(dict.fromkeys(named))}
    key_of = np.array([numbers[key] for key in named], np.int64)
    first: dict[bytes, int] = {}  # of each content, so that its groups are linked
    same = np.array([(first.setdefault(key, row), row) for row, key in enumerate(keys)])
    group_of, crowded = _group(key_of, np.concatenate([pairs, same]), labels)
    split_of, left_out = _agree(given, group_of)
    free = np.flatnonzero(split_of == "").tolist()
    classes_of: dict[int, Counter[int]] = defaultdict(Counter)
    for row in free:
        classes_of[group_of[row]][int(labels[row])] += 1
    alone = len(keys) if groups is None else list(groups).count(None)
    for known_by in (keys, named) if alone >= (1 - MANY) * len(keys) else (named,):
        keys_of: dict[int, set[bytes]] = defaultdict(set)
        for row in free:
            keys_of[group_of[row]].add(known_by[row])
        near = sum(classes_of[group].total() for group in keys_of if len(keys_of[group]) > 1)
        by_any = near <= MANY * len(free)
        if by_any:
            break
    places = {
        # Another hash picks the key that speaks for all.
        group: min(_place(key, seed) for key in some)
        if by_any
        else _place(min(some, key=lambda key: _place(key, "which")), seed)
        for group, some in keys_of.items()
    }
    side, too_small = _carve(classes_of, places, shares, by_any)
    split_of[free] = [side[group_of[row]] for row in free]
    rows = {name: np.flatnonzero(split_of == name) for name in reversed(SPLITS)}
    kept = pairs[~crowded[pairs[:, 0]]]
    torn = known_by is named and 0 < alone < len(keys)
    missed = sum(
        split_of[row] == "train" and _place(keys[row], seed) < shares.get("test", 0) for row in free
    )
    return Division(
        rows, left_out, kept, frozenset(too_small), by_any, int(crowded.sum()), torn, missed
    )


def _place(key: bytes, seed: object) -> float:
    """Hash a key to a place between 0 and 1."""
    digest = hashlib.sha256(f"{seed} ".encode() + key).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _group(
    key_of: np.ndarray, pairs: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Number the groups that near-copies make of keys, and mark rows of groups that are too large.

    In drawn pictures, or frames of one film, look-alikes link up until one group holds most of a
    class. Groups of more than a twentieth of all keys (and at least 8) are therefore taken apart,
    and all groups of a class that would have fewer than three.
    """
    links, total = key_of[pairs], key_of.max() + 1
    group = link(links, total)
    crowded = np.bincount(group)[group] > max(8, total // 20)
    of_row = group[key_of]
    for label in np.unique(labels):
        rows = labels == label
        if len(np.unique(of_row[rows])) < 3 <= len(np.unique(key_of[rows])):
            crowded |= np.isin(group, of_row[rows]) & (np.bincount(group)[group] > 1)
    return link(links[~crowded[links[:, 0]]], total)[key_of], crowded[key_of]


def _agree(given: np.ndarray, group_of: np.ndarray) -> tuple[np.ndarray, dict[int, int]]:
    """Leave out of train and validation what belongs to a group of test, or of validation."""
    rank = np.array([SPLITS.index(name or "train") for name in given.tolist()])
    first = np.full(group_of.max() + 1, len(SPLITS))
    np.minimum.at(first, group_of, rank)
    kept = {group_of[row]: row for row in np.flatnonzero(rank == first[group_of])[::-1].tolist()}
    left_out = np.flatnonzero(rank > first[group_of])
    split_of = given.astype("U10")
    split_of[left_out] = "left out"
    return split_of, {row: kept[group_of[row]] for row in left_out.tolist()}


def _carve(
    classes_of: Mapping[int, Counter[int]],
    places: Mapping[int, float],
    shares: Mapping[str, float],
    by_place: bool,
) -> tuple[dict[int, str], set[int]]:
    """Give each group a split, from the pictures it has of each class and its place.

    Returns the split of each group, and the classes that had too few groups for that.
    """
    names = [*shares, "train"]
    bounds = np.cumsum(list(shares.values()))
    side = {group: names[np.searchsorted(bounds, p, "right")] for group, p in places.items()}
    counts: dict[str, Counter[int]] = {name: Counter() for name in names}
    of_class: dict[int, list[int]] = defaultdict(list)
    for group in sorted(places, key=places.__getitem__):
        counts[side[group]].update(classes_of[group])
        for label in classes_of[group]:
            of_class[label].append(group)
    totals = sum(counts.values(), Counter())
    by_order = {
        label
        for label, total in totals.items()
        if not by_place
        or ("test" in shares and counts["test"][label] > 1.5 * shares["test"] * total + 1)
        or abs(counts["train"][label] / total / (1 - sum(shares.values())) - 1) > 1 / 3
    }
    for group in {group for label in by_order for group in of_class[label]}:
        counts[side[group]].subtract(classes_of[group])
        counts["train"].update(classes_of[group])
        side[group] = "train"

    def fill(name: str, source: str, labels: Iterable[int], at_least_one: bool = False) -> set[int]:
        """Move groups in their order from one split to another that has too few of a class."""
        moved: set[int] = set()
        if name not in counts or source not in counts:
            return moved
        for label in sorted(labels, key=totals.__getitem__):
            there = [group for group in of_class[label] if side[group] == source]
            wanted = 1 if at_least_one else max(1, round(shares[name] * totals[label]))
            if at_least_one:
                there.sort(key=lambda group: classes_of[group][label])
            for group in there:
                has, more = counts[name][label], classes_of[group]
                fits = has + more[label] <= wanted or (at_least_one and not has)
                left = all(counts[source][one] > count for one, count in more.items())
                if has < wanted and fits and left:
                    side[group] = name
                    counts[name].update(more)
                    counts[source].subtract(more)
                    moved.add(label)
        return moved

    fill("test", "train", by_order)
    fill("test", "validation", totals.keys() - by_order)
    fill("validation", "train", totals)
    # What is left are classes of a few groups.
    fill("test", "validation", totals, at_least_one=True)
    taken = fill("test", "train", totals, at_least_one=True)
    fill("validation", "train", totals, at_least_one=True)
    fill("validation", "test", totals, at_least_one=True)
    taken |= fill("train", "validation", totals, at_least_one=True)
    taken |= fill("train", "test", totals, at_least_one=True)
    return side, taken | by_order
