"""Near-copies: the same picture in another size, format or quality, turned or slightly cropped.

Thumbnails are compared twice. Their 8 × 8 grey means, as unit vectors, are multiplied with all
others, which finds what looks alike from afar. What does is then laid over each other, as a crop
would move it, and must agree in its details, which two pictures of the same scene don't.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from tlhelpers.data.inspection import Thumbnails

LIKE = 0.92
"""Least correlation of 8 × 8 grey means at which two pictures are laid over each other."""

DETAIL = 0.8
"""Least correlation of what a thumbnail has beyond its blurred self."""

DIFFERENCE = 0.28
"""Largest root mean square of what differs, as a share of the thumbnail's standard deviation."""

ASPECT = 0.08
"""Largest difference of the logarithms of width over height: a crop of 8 % on one side."""

NEIGHBOURS = 10
"""Most pictures further down the list that one picture is laid over: those most like it."""

SMALLEST = 32
"""Shorter side (pixels) below which pictures have no details to tell them apart by."""

TURNS = tuple((quarters, mirrored) for mirrored in (False, True) for quarters in range(4))
"""The eight ways to lay a picture on a table: turned by quarters, with its face up or down."""

ALL = 5_000
"""Up to this many pictures each is compared with all others; of more, with those of its hashes."""

# Pictures, hashed pictures, pairs of pictures compared and thumbnails held at once, for the memory.
_BLOCK, _MANY, _PAIRS, _HELD = 512, 4096, 64, 512
# Hashes of a picture; bits of each, at least; pictures alike by one that are looked at, at most; and
# how many of the hashes are sorted at once, for the memory.
_HASHES, _BITS, _CROWD, _SORTED = 16, 22, 256, 4
_REACH = 1.25  # how far a crop may move a pixel of a thumbnail


def near_copies(
    thumbs: "np.ndarray | Thumbnails", widths: np.ndarray, heights: np.ndarray
) -> tuple[np.ndarray, bool]:
    """Find the pairs of pictures that show the same.

    Whether two pictures are near-copies depends on these two only, unless one has more than ten
    look-alikes. The thresholds were set on 2,000 photographs and 200 altered copies of some: see
    ``tests/data/test_copies.py``. Up to 5,000 pictures are compared each with each. Of more, only
    those whose grey means lie on the same sides of 22 planes through the middle (one more at 65,536
    pictures, and with each doubling), in one of 16 draws of planes (Charikar 2002,
    doi:10.1145/509907.509965). That finds copies in other sizes and qualities, and of those that
    lost 3 % of each side 97 in 100, in time that grows with the number of pictures and not with its
    square.

    Args:
        thumbs: ``uint8 [n, 32, 32, 3]``: each picture as a thumbnail, whatever its shape; or what
            reads those of some rows.
        widths: ``int [n]``: widths of the pictures themselves (pixels).
        heights: ``int [n]``: their heights.

    Returns:
        ``(int [m, 2] with the pairs, the lower number first; whether some look-alikes may have
        been passed over)``.

    Example:
        >>> noise = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
        >>> noise[2] = noise[0][:, ::-1]
        >>> near_copies(noise, np.full(3, 64), np.full(3, 64))[0].tolist()
        [[0, 2]]
    """
    usable = np.flatnonzero(np.minimum(widths, heights) >= SMALLEST)
    if not len(usable):
        return np.empty((0, 2), np.int64), False
    aspect = np.log(widths[usable] / heights[usable])
    grids = np.empty((len(usable), 8, 8), np.uint16)
    for start in range(0, len(usable), _HELD):
        grids[start : start + _HELD] = _sums(thumbs[usable[start : start + _HELD]])
    pairs, crowded = [np.empty((0, 2), np.int64)], False
    for turn in TURNS:
        search = _compared if len(usable) <= ALL else _hashed
        for first, second, some_left in search(grids, turn):
            crowded |= some_left
            upright = 1 if turn[0] % 2 == 0 else -1
            near = np.abs(aspect[first] - upright * aspect[second]) < ASPECT
            first, second = first[near], second[near]
            for part in range(0, len(first), _PAIRS):
                a, b = first[part : part + _PAIRS], second[part : part + _PAIRS]
                over = _turn(thumbs[usable[b]], turn).astype(np.float32)
                same = _same(thumbs[usable[a]].astype(np.float32), over)
                pairs.append(np.stack([a[same], b[same]], axis=1))
    return usable[np.unique(np.concatenate(pairs), axis=0)], crowded


def link(pairs: np.ndarray, total: int) -> np.ndarray:
    """Number the groups that pairs make of things: ``int [m, 2]`` to ``int [total]``."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    graph = coo_matrix((np.ones(len(pairs)), tuple(pairs.T)), (total, total))
    return connected_components(graph, directed=False)[1]


def _turn(thumbs: np.ndarray, turn: tuple[int, bool]) -> np.ndarray:
    """Turn thumbnails by quarters, after mirroring them or not."""
    quarters, mirrored = turn
    return np.rot90(thumbs[:, :, ::-1] if mirrored else thumbs, quarters, axes=(1, 2))


def _sums(thumbs: np.ndarray) -> np.ndarray:
    """Return the sums of 8 × 8 cells of thumbnails, as ``uint16 [n, 8, 8]``."""
    return thumbs.reshape(len(thumbs), 8, 4, 8, 4, 3).sum(axis=(2, 4, 5), dtype=np.uint16)


def _directions(grids: np.ndarray) -> np.ndarray:
    """Return the grey means of such cells as unit vectors; without contrast they are shorter."""
    vectors = grids.reshape(len(grids), 64) / np.float32(4 * 4 * 3)
    vectors -= vectors.mean(axis=1, keepdims=True)
    # A standard deviation of 2 of 256 levels: below it there is nothing to compare.
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 16)
    return vectors


def _turned(grids: np.ndarray, turn: tuple[int, bool]) -> np.ndarray:
    """Return such unit vectors of turned pictures."""
    return _turn(_directions(grids).reshape(-1, 8, 8), turn).reshape(-1, 64)


_Found = Iterator[tuple[np.ndarray, np.ndarray, bool]]
"""Numbers of pictures, of others that are alike, and whether some were left out."""


def _compared(grids: np.ndarray, turn: tuple[int, bool]) -> _Found:
    """Compare each picture with all that come after it, turned."""
    plain, others = _directions(grids), _turned(grids, turn)
    for start in range(0, len(plain), _BLOCK):
        alike = plain[start : start + _BLOCK] @ others[start:].T
        alike[np.tril_indices(len(alike), m=alike.shape[1])] = -1
        first, second = np.nonzero(alike >= LIKE)
        kept = _nearest(first, alike[first, second])
        yield first[kept] + start, second[kept] + start, len(kept) < len(first)


def _hashed(grids: np.ndarray, turn: tuple[int, bool]) -> _Found:
    """Compare each picture with those after it that share one of its hashes, turned."""
    n = len(grids)
    bits = max(_BITS, n.bit_length() + 6)
    blocks = [np.arange(start, min(start + _MANY, n)) for start in range(0, n, _MANY)]
    best = [np.empty(0, np.int64) for _ in blocks]
    crowded = [False for _ in blocks]
    for some in np.split(np.arange(_HASHES), _HASHES // _SORTED):
        keys = np.empty((len(some), n), np.int64)
        for block in blocks:
            keys[:, block] = _hashes(_turned(grids[block], turn), bits, some) * n + block
        # Sorted by hash and then by number, so that those after a picture stand together.
        keys.sort(axis=1)
        for place, own in enumerate(blocks):
            found = [best[place]]
            for codes, there in zip(
                _hashes(_directions(grids[own]), bits, some), keys, strict=True
            ):
                low = np.searchsorted(there, codes * n + own, "right")
                count = np.searchsorted(there, (codes + 1) * n) - low
                crowded[place] |= bool((count > _CROWD).any())
                count = np.minimum(count, _CROWD)
                first = np.repeat(own, count)
                within = np.arange(len(first)) - np.repeat(np.cumsum(count) - count, count)
                found.append(first * n + there[np.repeat(low, count) + within] % n)
            both = np.unique(np.concatenate(found))
            alike = _products(grids, *np.divmod(both, n), turn)
            both, alike = both[alike >= LIKE], alike[alike >= LIKE]
            kept = _nearest(both // n, alike)
            crowded[place] |= len(kept) < len(both)
            best[place] = both[kept]
    for both, some_left in zip(best, crowded, strict=True):
        yield *np.divmod(both, n), some_left


def _products(
    grids: np.ndarray, first: np.ndarray, second: np.ndarray, turn: tuple[int, bool]
) -> np.ndarray:
    """Multiply pictures with others that are turned."""
    found = np.empty(len(first), np.float32)
    for start in range(0, len(first), _MANY):
        part = slice(start, start + _MANY)
        others = _turned(grids[second[part]], turn)
        found[part] = np.einsum("nd,nd->n", _directions(grids[first[part]]), others)
    return found


def _hashes(vectors: np.ndarray, bits: int, some: np.ndarray) -> np.ndarray:
    """Number the sides on which vectors lie of planes that are always the same: ``int64 [k, n]``."""
    planes = np.random.default_rng(0).normal(size=(bits, _HASHES, 64)).astype(np.float32)
    sides = (planes[:, one] @ vectors.T > 0 for one in some)
    return np.array([(2.0 ** np.arange(bits)) @ one for one in sides], np.int64)


def _nearest(rows: np.ndarray, alike: np.ndarray) -> np.ndarray:
    """Return which entries are among the ten most alike of their row."""
    order = np.lexsort((-alike, rows))
    place = np.arange(len(rows)) - np.searchsorted(rows[order], rows[order])
    return np.sort(order[place < NEIGHBOURS])


def _same(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Tell which pairs of thumbnails show the same; either may be a crop of the other."""
    same = _covers(a, b)
    same[~same] = _covers(b[~same], a[~same])
    return same


def _covers(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Tell which thumbnails b agree with a once a is shifted and scaled onto them.

    Two steps of Gauss and Newton fit a shift and a scale for each axis (Lucas & Kanade 1981).
    """
    n, size = a.shape[:2]
    middle = (size - 1) / 2
    axis = ((np.arange(size) - middle) / middle).astype(np.float32)
    moves, laid = np.zeros((n, 4), np.float32), a
    for _ in range(2):
        across, down = np.zeros_like(laid), np.zeros_like(laid)
        across[:, :, 1:-1] = (laid[:, :, 2:] - laid[:, :, :-2]) / 2
        down[:, 1:-1] = (laid[:, 2:] - laid[:, :-2]) / 2
        four = [across, down, across * axis[:, None], down * axis[:, None, None]]
        slopes = np.stack(four, axis=1).reshape(n, 4, 3 * size**2)
        square = slopes @ slopes.transpose(0, 2, 1) + 10 * np.eye(4, dtype=np.float32)
        steps = np.linalg.solve(square, slopes @ (b - laid).reshape(n, 3 * size**2, 1))[..., 0]
        moves = np.clip(moves + steps, -_REACH, _REACH)
        rows, columns = (
            _weights(moves[:, [shift]] + moves[:, [scale]] * axis)
            for shift, scale in ((1, 3), (0, 2))
        )
        laid = (rows @ a.reshape(n, size, 3 * size)).reshape(a.shape)
        laid = columns[:, None] @ laid
    inner = np.s_[:, 1:-1, 1:-1]
    differs = np.sqrt(((laid - b)[inner] ** 2).mean(axis=(1, 2, 3)))
    spread = np.sqrt(a.var(axis=(1, 2)).mean(axis=-1))
    fine_a, fine_b = (
        (one[inner] - _blurred(one)).reshape(n, 3 * (size - 2) ** 2) for one in (laid, b)
    )
    product = (fine_a * fine_b).sum(axis=1)
    # Details of less than half a level are rounding.
    least = 0.25 * fine_a.shape[1]
    norms = np.linalg.norm(fine_a, axis=1) * np.linalg.norm(fine_b, axis=1)
    return (product >= DETAIL * np.maximum(norms, least)) & (differs <= DIFFERENCE * spread)


def _weights(moves: np.ndarray) -> np.ndarray:
    """Return the matrices of linear interpolation at moved pixels: ``[n, s]`` to ``[n, s, s]``."""
    size = moves.shape[1]
    places = np.clip(np.arange(size) + moves, 0, size - 1)
    return np.maximum(0, 1 - np.abs(places[..., None] - np.arange(size))).astype(np.float32)


def _blurred(images: np.ndarray) -> np.ndarray:
    """Blur the inside of ``[n, s, s, c]`` with the weights 1, 2, 1 along both sides."""
    images = images[:, :-2] + 2 * images[:, 1:-1] + images[:, 2:]
    return (images[:, :, :-2] + 2 * images[:, :, 1:-1] + images[:, :, 2:]) / 16
