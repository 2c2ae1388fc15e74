"""Splits that follow what pictures show, so that a test picture stays one when a folder grows."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tlhelpers.data.copies import link

SPLITS = ("test", "validation", "train")
"""In the order in which a picture that lies in several stays: never out of test."""

MANY = 0.2
"""Share of pictures among near-copies above which groups are no longer placed by any member."""

MOST = 0.5
"""Share of a class beyond which a large group of look-alikes is taken apart."""

_FREE, _LEFT_OUT = len(SPLITS), len(SPLITS) + 1  # in place of the number of a split


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
    total, named = len(keys), keys
    if groups is not None:
        named = [
            key if name is None else f"group {name}".encode(errors="replace")
            for key, name in zip(keys, groups, strict=True)
        ]
    first = _first_of(keys)  # of each content, so that its groups are linked
    again = np.flatnonzero(first != np.arange(total))
    same = np.stack([first[again], again], axis=1)
    group_of, crowded = _group(_first_of(named), np.concatenate([pairs, same]), labels)
    side_of, left_out = _agree(given, group_of)
    free = np.flatnonzero(side_of == _FREE)
    group = group_of[free].astype(np.int64)
    alone = total if groups is None else list(groups).count(None)
    for known_by in (keys, named) if alone >= (1 - MANY) * total else (named,):
        by_any = _count_linked(group, _first_of(known_by)[free]) <= MANY * len(free)
        if by_any:
            break
    own = _place(keys, free, seed)
    place = own if known_by is keys else _place(known_by, free, seed)
    places = np.full(total, np.inf)
    if by_any:
        np.minimum.at(places, group, place)
    else:
        # Another hash picks the key that speaks for all.
        order = np.lexsort((_place(known_by, free, "which"), group))
        speaks = order[np.diff(group[order], prepend=-1) > 0]
        places[group[speaks]] = place[speaks]
    side, too_small = _carve(group, labels[free], places, shares, by_any)
    side_of[free] = side[group]
    rows = {name: np.flatnonzero(side_of == SPLITS.index(name)) for name in reversed(SPLITS)}
    kept = pairs[~crowded[pairs[:, 0]]]
    torn = known_by is named and 0 < alone < total
    in_train = side_of[free] == SPLITS.index("train")
    missed = int((in_train & (own < shares.get("test", 0))).sum())
    return Division(
        rows, left_out, kept, frozenset(too_small), by_any, int(crowded.sum()), torn, missed
    )


def _first_of(keys: Sequence[bytes]) -> np.ndarray:
    """Return the row at which each key comes first."""
    first: dict[bytes, int] = {}
    rows = (first.setdefault(key, row) for row, key in enumerate(keys))
    return np.fromiter(rows, np.int64, len(keys))


def _count_linked(group: np.ndarray, key_of: np.ndarray) -> int:
    """Count the pictures in groups of more than one key."""
    order = np.lexsort((key_of, group))
    linked = (np.diff(group[order]) == 0) & (np.diff(key_of[order]) != 0)
    return int(np.isin(group, group[order[1:]][linked]).sum())


def _place(keys: Sequence[bytes], rows: np.ndarray, seed: object) -> np.ndarray:
    """Hash the keys of some rows to places between 0 and 1."""
    start = f"{seed} ".encode()
    digests = (hashlib.sha256(start + keys[row]).digest() for row in rows)
    places = (int.from_bytes(digest[:8], "big") / 2**64 for digest in digests)
    return np.fromiter(places, float, len(rows))


def _group(
    key_of: np.ndarray, pairs: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Number the groups that near-copies make of keys, and mark rows of those that are taken apart.

    Frames of one scene belong together, however many there are. But in drawn pictures, or where all
    have one background, look-alikes link up until one group holds most of a class, and little would
    be left to judge by. Groups of more than half of a class (and more than a twentieth of all keys,
    and 8) are therefore taken apart, and all groups of a class that would have fewer than three.
    """
    links, total, keys = key_of[pairs], len(key_of), len(np.unique(key_of))
    group = link(links, total).astype(np.int64)
    of_row, size = group[key_of], np.bincount(group)
    code = np.unique(of_row * (labels.max(initial=0) + 1) + labels, return_inverse=True)[1]
    share = np.bincount(code)[code] / np.bincount(labels)[labels]
    large = (size[of_row] > max(8, keys // 20)) & (share > MOST)
    crowded = np.isin(group, of_row[large])
    for label in np.unique(labels):
        rows = labels == label
        own = key_of[rows]
        # What was taken apart by now is as many groups as it has keys.
        left = np.unique(np.where(crowded[own], total + own, of_row[rows]))
        if len(left) < 3 <= len(np.unique(own)):
            crowded |= np.isin(group, of_row[rows]) & (size[group] > 1)
    return link(links[~crowded[links[:, 0]]], total)[key_of], crowded[key_of]


def _agree(given: np.ndarray, group_of: np.ndarray) -> tuple[np.ndarray, dict[int, int]]:
    """Number each row's split; those that are outranked in their group by another's are left out."""
    side_of = np.full(len(given), SPLITS.index("train"), np.int8)
    for number, name in enumerate(SPLITS):
        side_of[given == name] = number
    least, kept = np.full(len(given), len(SPLITS), np.int8), np.full(len(given), len(given))
    np.minimum.at(least, group_of, side_of)
    stay = np.flatnonzero(side_of == least[group_of])
    np.minimum.at(kept, group_of[stay], stay)
    left_out = np.flatnonzero(side_of > least[group_of])
    side_of[given == ""] = _FREE
    side_of[left_out] = _LEFT_OUT
    return side_of, dict(zip(left_out.tolist(), kept[group_of[left_out]].tolist(), strict=True))


def _carve(
    group: np.ndarray,
    labels: np.ndarray,
    places: np.ndarray,
    shares: Mapping[str, float],
    by_place: bool,
) -> tuple[np.ndarray, set[int]]:
    """Give each group a split, from the pictures it has of each class and its place.

    Returns the number of each group's split, and the classes that had too few groups for that.
    """
    names, classes = [*shares, "train"], int(labels.max(initial=0)) + 1
    side = np.searchsorted(np.cumsum(list(shares.values())), places, "right")
    # One entry for each class of each group.
    code, first, count = np.unique(group * classes + labels, return_index=True, return_counts=True)
    of_group, of_label = np.divmod(code, classes)
    start = np.searchsorted(of_group, np.arange(len(places) + 1))
    counts = np.zeros((len(names), classes), int)
    np.add.at(counts, (side[of_group], of_label), count)
    in_order = np.lexsort((first, places[of_group]))
    by_label = in_order[np.argsort(of_label[in_order], kind="stable")]
    label_start = np.searchsorted(of_label[by_label], np.arange(classes + 1))
    by_side = in_order[np.argsort(side[of_group[in_order]], kind="stable")]
    seen = dict.fromkeys(of_label[by_side].tolist())  # in an order that is always the same
    totals = {label: int(counts[:, label].sum()) for label in seen}
    of_train = counts[names.index("train")]
    by_order = {
        label
        for label, total in totals.items()
        if not by_place
        or (
            "test" in shares
            and counts[names.index("test"), label] > 1.5 * shares["test"] * total + 1
        )
        or abs(of_train[label] / total / (1 - sum(shares.values())) - 1) > 1 / 3
    }
    back = np.isin(of_group, of_group[np.isin(of_label, list(by_order))])
    np.subtract.at(counts, (side[of_group[back]], of_label[back]), count[back])
    np.add.at(of_train, of_label[back], count[back])
    side[of_group[back]] = names.index("train")

    def fill(name: str, source: str, labels: Iterable[int], at_least_one: bool = False) -> set[int]:
        """Move groups in their order from one split to another that has too few of a class."""
        moved: set[int] = set()
        if name not in names or source not in names:
            return moved
        has, left = counts[names.index(name)], counts[names.index(source)]
        for label in sorted(labels, key=totals.__getitem__):
            there = by_label[label_start[label] : label_start[label + 1]]
            there = there[side[of_group[there]] == names.index(source)]
            wanted = 1 if at_least_one else max(1, round(shares[name] * totals[label]))
            if at_least_one:
                there = there[np.argsort(count[there], kind="stable")]
            for one in there:
                if has[label] >= wanted:
                    break
                every = slice(*start[of_group[one] : of_group[one] + 2])
                fits = has[label] + count[one] <= wanted or (at_least_one and not has[label])
                if fits and (left[of_label[every]] > count[every]).all():
                    side[of_group[one]] = names.index(name)
                    has[of_label[every]] += count[every]
                    left[of_label[every]] -= count[every]
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
    return np.array([SPLITS.index(name) for name in names])[side], taken | by_order
