"""How well masks and boxes fit: intersection over union, and average precision."""

import numpy as np


def mask_iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the intersection over union of masks, one for each image.

    Args:
        first: bool ``[n, h, w]``.
        second: bool ``[n, h, w]``.

    Returns:
        float64 ``[n]``, 0 to 1; 1 where both are empty.

    Example:
        >>> mask_iou(np.array([[[True, True]]]), np.array([[[True, False]]]))
        array([0.5])
    """
    both, either = ((one.sum(axis=(1, 2))) for one in (first & second, first | second))
    return np.where(either, both / np.maximum(either, 1), 1.0)


def boxes_of(masks: np.ndarray) -> np.ndarray:
    """Return the smallest box round each mask.

    Args:
        masks: bool ``[n, h, w]``, none of them empty.

    Returns:
        float64 ``[n, 4]``: left, top, right and bottom, as shares of the image's sides.

    Example:
        >>> boxes_of(np.array([[[False, True], [False, True]]])).tolist()
        [[0.5, 0.0, 1.0, 1.0]]
    """
    ends = []
    for axis in (1, 2):  # columns, then rows
        there: np.ndarray = np.any(masks, axis=axis)
        side = there.shape[1]
        ends += [there.argmax(axis=1) / side, 1 - there[:, ::-1].argmax(axis=1) / side]
    left, right, top, bottom = ends
    return np.stack([left, top, right, bottom], axis=1)


def box_iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the intersection over union of boxes, pair by pair.

    Args:
        first: ``[n, 4]``: left, top, right, bottom.
        second: ``[n, 4]``.

    Returns:
        float64 ``[n]``, 0 to 1; 0 where a box is turned inside out.

    Example:
        >>> box_iou(np.array([[0, 0, 2, 1]]), np.array([[1, 0, 3, 1]])).round(2)
        array([0.33])
    """

    def area(boxes: np.ndarray) -> np.ndarray:
        """Width times height, where both are above 0."""
        return np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(axis=1)

    low, high = np.maximum(first[:, :2], second[:, :2]), np.minimum(first[:, 2:], second[:, 2:])
    both = area(np.concatenate([low, high], axis=1))
    either = area(first) + area(second) - both
    return np.where(either > 0, both / np.maximum(either, 1e-12), 0.0)


def average_precision(confidence: np.ndarray, hit: np.ndarray, objects: int) -> float:
    """Return the area under precision by recall, of detections sorted by confidence.

    Precision is first made to fall, as in PASCAL VOC from 2010 on (Everingham et al. 2010,
    doi:10.1007/s11263-009-0275-4).

    Args:
        confidence: ``[n]``, of each detection.
        hit: bool ``[n]``, whether a detection found an object that no surer one had found.
        objects: How many there are to be found, at least 1.

    Returns:
        0 to 1.

    Raises:
        ValueError: If there are no objects.

    Example:
        >>> average_precision(np.array([0.9, 0.8, 0.7]), np.array([True, False, True]), 2)
        0.8333333333333333
    """
    if objects < 1:
        raise ValueError(f"There must be at least one object to find. Received: {objects}.")
    hits = np.cumsum(np.asarray(hit)[np.argsort(-np.asarray(confidence), kind="stable")])
    precision = hits / np.arange(1, len(hits) + 1)
    falling = np.maximum.accumulate(precision[::-1])[::-1]
    return float((np.diff(hits, prepend=0) * falling).sum() / objects)
