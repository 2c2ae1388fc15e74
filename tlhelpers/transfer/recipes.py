"""Hyper-parameters a caller leaves out, as pure functions of the data's and the images' size.

The idea is BiT-HyperRule's (Kolesnikov et al. 2020, arXiv:1912.11370): a handful of thresholds that
work across tasks, so that comparisons are not decided by who tuned longer. The figures come
from a few trials on drawn pets and on photographs of cats and dogs, not from a systematic search.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tlhelpers.evaluation.comparison import UNEVEN

INVERSE_PENALTIES = (0.001, 0.01, 0.1, 1.0, 10.0, 100.0)
"""Values of scikit-learn's ``C`` tried for a logistic head on features of unit scale."""

MIN_VALIDATION = 20
"""Below this many validation images, their score is too noisy to choose a head's penalty by."""

MOST_AT_ONCE = 512
"""Images that go through a frozen network at once, at most."""

MIN_VALIDATION_TO_STOP = 200
"""Below this many validation images, training is not stopped by their loss.

Stopped by 20 to 40 images, fine-tuned networks lost 2 to 6 points (VGG16 on CIFAR-10, vgg16_mini on
drawn objects, 5 runs) and nothing on drawn pets (6 runs); by 200, they lost nothing (3 runs).
"""


@dataclass(frozen=True)
class Training:
    """How a network is trained by gradient descent.

    Attributes:
        epochs: Passes over the training images, at most.
        batch_size: Images in a batch.
        learning_rate: Peak learning rate of the head (of everything, from scratch).
        backbone_rate: Learning rate of the backbone's last trained layer, as a share of the head's.
        rate_decay: Factor on the learning rate from one stage of the backbone to the one before.
        warmup: Share of the steps over which the learning rate rises.
        weight_decay: AdamW's decay.
        dropout: Share of pooled features dropped before the head.
        patience: Epochs without a lower validation loss before training stops, or None where
            validation images are too few to tell: then all epochs are run, and the last one kept.
        views: Augmented copies of each training image that :func:`tlhelpers.model_transfer` keeps
            the frozen stages' maps of, seen in turn with the image itself; 0 for none. None for
            new ones at every step, as always where no such maps are kept.
        class_weight: How classes count in the loss; see :func:`class_weights`.

    Raises:
        ValueError: If a number is below what makes sense.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    backbone_rate: float = 1.0
    rate_decay: float = 1.0
    warmup: float = 0.1
    weight_decay: float = 1e-4
    dropout: float = 0.0
    patience: int | None = None
    views: int | None = None
    class_weight: str | None = "auto"

    def __post_init__(self) -> None:
        """Check what no training can be done with."""
        least = {"epochs": 1, "batch_size": 1, "learning_rate": 0, "weight_decay": 0, "views": 0}
        for name, lowest in least.items():
            value = getattr(self, name)
            if value is not None and not value >= lowest:
                raise ValueError(f"{name} must be at least {lowest}. Received: {value}.")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is a share from 0 to below 1. Received: {self.dropout}.")


def class_weights(counts: Sequence[int], choice: str | None) -> dict[int, float] | None:
    """Choose how much an image of each class counts in the loss.

    Where 285 pictures are of one class and 15 of the other, a network is right 95 times in a hundred
    by never naming the rare one. Balanced weights let each class count as much as any other, as
    scikit-learn's do: ``n / (classes * count)`` (King & Zeng 2001, doi:10.1093/oxfordjournals.pan.a004868).
    More pictures of the rare class are then found, at the price of more false alarms, and
    probabilities are those of a world in which all classes are equally frequent.

    Args:
        counts: Training images of each class.
        choice: ``"balanced"``; None for the same weight for every image; or ``"auto"`` for
            ``"balanced"`` where the largest class has more than 1.5 times the images of the
            smallest, and None elsewhere.

    Returns:
        The weight of an image by its label, 1 on average over the images; or None.

    Raises:
        ValueError: If there is no such choice.

    Example:
        >>> class_weights([15, 285], "balanced")[0], class_weights([15, 16], "auto")
        (10.0, None)
    """
    if choice not in ("auto", "balanced", None):
        raise ValueError(f"class_weight must be 'auto', 'balanced' or None. Received: {choice!r}.")
    present = [count for count in counts if count]
    if (
        not present
        or choice is None
        or (choice == "auto" and max(present) <= UNEVEN * min(present))
    ):
        return None
    return {
        label: sum(counts) / (len(present) * max(count, 1)) for label, count in enumerate(counts)
    }


def inference_batch_size(image_size: int) -> int:
    """Choose how many images go through a frozen network at once.

    About 1.6 million pixels: enough to keep two cores busy, and small enough that VGG16's widest
    map stays under half a gigabyte. Every batch is filled up to this length, so that an image's
    features are the same to the bit in any company.

    Args:
        image_size: Width and height in pixels.

    Returns:
        Between 1 and 512, a power of two.

    Raises:
        ValueError: If the size is not positive.

    Example:
        >>> inference_batch_size(32), inference_batch_size(224), inference_batch_size(1024)
        (512, 32, 2)
    """
    if image_size < 1:
        raise ValueError(f"image_size must be at least 1 pixel. Received: {image_size}.")
    return 2 ** round(math.log2(min(MOST_AT_ONCE, max(1, 1_605_632 / image_size**2))))


def patience(n_validation: int, epochs: int) -> int | None:
    """Choose how long to wait for a lower validation loss.

    Args:
        n_validation: Validation images.
        epochs: Epochs planned.

    Returns:
        A third of the epochs (at least 3), or None where validation images are too few to tell.

    Example:
        >>> patience(400, epochs=12), patience(40, epochs=12)
        (4, None)
    """
    return max(3, epochs // 3) if n_validation >= MIN_VALIDATION_TO_STOP else None


def fine_tuning(n_train: int, n_validation: int, *, near_source: bool = True) -> Training:
    """Choose how to fine-tune a pre-trained network whose head has been fitted already.

    The nearer the source is to the target, the less there is to change, and the smaller the best
    learning rate (Li et al. 2020, arXiv:2002.11770). A near source gets small rates, smaller again
    for earlier stages (Howard & Ruder 2018, arXiv:1801.06146); a far one the head's rate throughout.

    Args:
        n_train: Training images.
        n_validation: Validation images.
        near_source: Whether the source is like the target, as ImageNet is for most photographs.
            Defaults to True.

    Returns:
        The recipe.

    Raises:
        ValueError: If there are no training images.

    Example:
        >>> fine_tuning(1600, 400).epochs
        8
    """
    if near_source:
        epochs = _epochs(n_train, images=3200, least=8, most=20)
        rate, backbone_rate, rate_decay = 3e-4, 0.1, 0.5
    else:
        epochs = _epochs(n_train, images=4000, least=12, most=25)
        rate, backbone_rate, rate_decay = 1e-3, 1.0, 1.0
    return Training(
        epochs=epochs,
        batch_size=32 if n_train >= 256 else 16,
        learning_rate=rate,
        backbone_rate=backbone_rate,
        rate_decay=rate_decay,
        dropout=0.2,
        patience=patience(n_validation, epochs),
        views=4,
    )


def from_scratch(n_train: int) -> Training:
    """Choose how to train the same network from random weights.

    Longer, with a larger rate for all layers, a new augmentation at every step, and never stopped
    early: the baseline must be given what it needs. Its length is a compromise with waiting. On ten
    drawn classes with 80 images each, twice these epochs raised validation accuracy from 47 % to
    66 %, and four times as many to 76 % (one seed): before a gain is trusted, try more.

    Args:
        n_train: Training images.

    Returns:
        The recipe.

    Raises:
        ValueError: If there are no training images.

    Example:
        >>> from_scratch(40).epochs > fine_tuning(40, 10).epochs
        True
    """
    # With a few dozen images, longer training memorised them and nothing else (200 epochs against
    # 60 and 40, on drawn pets); with a hundred and more it is what lifts the baseline.
    most = 40 if n_train < 64 else 120
    epochs = _epochs(n_train, images=19_200, least=40, most=most)
    return Training(
        epochs=epochs,
        batch_size=32 if n_train >= 128 else 16,
        learning_rate=1e-3,
        weight_decay=0.01,
        dropout=0.2,
        # All epochs are run and the last one's weights kept. From random weights the validation loss
        # is often lowest while accuracy is still at chance, and rises again as the network grows sure
        # of itself: to stop or choose by it would make the baseline weaker than it is.
        patience=None,
    )


def head_rate(feature_spread: float) -> float:
    """Choose the factor on the learning rate of a head's kernel while a network is fine-tuned.

    Adam's steps are as large as the learning rate, whatever the gradient (Kingma & Ba 2015,
    arXiv:1412.6980), but a head that reads large features has small weights, and its fitted values
    would be lost within a few steps. Most networks' pooled features vary by about 1. VGG16's, which
    has neither normalisation nor an input of unit scale, vary by hundreds.

    Args:
        feature_spread: Standard deviation of the features around their channels' means.

    Returns:
        The factor, above 0 and 1 at most.

    Example:
        >>> head_rate(0.9), head_rate(500.0)
        (1.0, 0.002)
    """
    return 1.0 / max(1.0, feature_spread)


def feature_grid(map_size: int, channels: int) -> int:
    """Choose over how many cells a feature map is averaged before a linear head.

    As many as keep the features under about 2,300: a deep map has many channels and needs no
    places, a shallow one the reverse.

    Args:
        map_size: Width and height of the feature map.
        channels: Its channels.

    Returns:
        Cells along each side, between 1 and ``map_size``.

    Example:
        >>> feature_grid(7, 1280), feature_grid(18, 256)
        (1, 3)
    """
    return max(1, min(map_size, math.isqrt(2304 // max(1, channels))))


def first_stage_to_tune(stages: Sequence[str], *, near_source: bool = True) -> str:
    """Choose the stage from which the backbone is tuned: later ones are more specific to the source.

    Yosinski et al. 2014, arXiv:1411.1792, measured how early stages are the general ones. With a
    near source, the last third is tuned; with a far one, everything.

    Args:
        stages: The backbone's stages, from input to output.
        near_source: Whether the source is like the target. Defaults to True.

    Returns:
        One of the stages.

    Example:
        >>> first_stage_to_tune(("block1_pool", "block2_pool", "block3_pool"))
        'block3_pool'
    """
    return stages[-math.ceil(len(stages) / 3)] if near_source else stages[0]


def _epochs(n_train: int, images: int, least: int, most: int) -> int:
    """Return the epochs in which about this many images are seen."""
    if n_train < 1:
        raise ValueError(f"Training needs at least one image. Received: {n_train}.")
    return min(most, max(least, round(images / n_train)))
