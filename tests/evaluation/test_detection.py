"""Masks, boxes and average precision, against sets of pixels and scikit-learn."""

import numpy as np
import pytest

from tlhelpers.evaluation.detection import average_precision, box_iou, boxes_of, mask_iou


def pixels(mask):
    return set(zip(*np.nonzero(mask), strict=True))


def test_the_iou_of_masks_is_that_of_sets_of_pixels():
    rng = np.random.default_rng(0)
    first, second = rng.random((2, 20, 9, 7)) < rng.random((2, 20, 1, 1))
    expected = [
        len(pixels(a) & pixels(b)) / len(pixels(a) | pixels(b))
        for a, b in zip(first, second, strict=True)
    ]
    assert mask_iou(first, second) == pytest.approx(expected)
    assert mask_iou(np.zeros((1, 2, 2), bool), np.zeros((1, 2, 2), bool)) == [1]


def test_the_iou_of_boxes_is_that_of_the_cells_they_cover():
    rng = np.random.default_rng(1)
    ends = np.sort(rng.integers(0, 12, (2, 60, 2, 2)), axis=2)
    boxes = ends.reshape(2, 60, 4)  # left, top, right, bottom

    def cells(box):
        left, top, right, bottom = box
        return {(x, y) for x in range(left, right) for y in range(top, bottom)}

    for a, b, found in zip(*boxes, box_iou(*boxes), strict=True):
        either = cells(a) | cells(b)
        assert found == pytest.approx(len(cells(a) & cells(b)) / len(either) if either else 0)
    assert box_iou(np.array([[3, 3, 1, 1]]), np.array([[0, 0, 4, 4]])) == [0]


def test_a_box_is_the_smallest_round_its_mask():
    mask = np.zeros((2, 10, 20), bool)
    mask[0, 2:5, 4:16] = True
    mask[0, 3, 19] = True
    mask[1, 9, 0] = True
    assert boxes_of(mask) == pytest.approx(np.array([[0.2, 0.2, 1.0, 0.5], [0.0, 0.9, 0.05, 1.0]]))


def best_beyond(confidence, hit, objects):
    """Average precision by its definition: at each object found, the best precision from there on."""
    order = np.argsort(-confidence, kind="stable")
    hits = np.asarray(hit)[order]
    places = np.flatnonzero(hits)
    precision = [hits[: k + 1].mean() for k in range(len(hits))]
    return sum(max(precision[k:]) for k in places) / objects


def test_average_precision_is_its_definition():
    rng = np.random.default_rng(2)
    for _ in range(30):
        hit = rng.random(25) < 0.5
        confidence, objects = rng.random(25), int(hit.sum()) + rng.integers(1, 6)
        found = average_precision(confidence, hit, objects)
        assert found == pytest.approx(best_beyond(confidence, hit, objects))


def test_average_precision_is_scikit_learns_where_precision_falls_by_itself():
    from sklearn.metrics import average_precision_score

    confidence = np.linspace(1, 0, 8)
    falling = np.array([1, 1, 1, 0, 1, 0, 0, 0], bool)
    assert average_precision(confidence, falling, 4) == pytest.approx(
        average_precision_score(falling, confidence)
    )
    rising = falling[::-1]
    assert average_precision(confidence, rising, 4) > average_precision_score(rising, confidence)


def test_missed_objects_count():
    assert average_precision(np.array([0.9]), np.array([True]), 4) == 0.25
    assert average_precision(np.array([]), np.array([], bool), 4) == 0
    with pytest.raises(ValueError, match="at least one object"):
        average_precision(np.array([0.9]), np.array([True]), 0)
