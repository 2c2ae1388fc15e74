"""Fit a linear head on features that stay as they are."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tlhelpers.runtime import one_thread_of_openblas
from tlhelpers.transfer.recipes import INVERSE_PENALTIES, MIN_VALIDATION, class_weights

if TYPE_CHECKING:
    import keras

Weights = dict[int, float] | None
"""How much an image counts by its label, or the same for all."""

MANY = 5_000
"""From this number of training images on, penalties are tried as a path, in single precision."""


@dataclass(frozen=True)
class LinearHead:
    """A softmax layer fitted by logistic regression.

    Attributes:
        kernel: float32 ``[d, classes]``.
        bias: float32 ``[classes]``.
        inverse_penalty: scikit-learn's ``C`` that was chosen.
        chosen_on: ``"validation"`` or ``"cross-validation"``.
        losses: Cross-entropy in nats of each ``C`` tried.
        feature_spread: Standard deviation of the training features around their channels' means.
        class_weight: ``"balanced"`` where every class counted the same, None where every image did.
    """

    kernel: np.ndarray
    bias: np.ndarray
    inverse_penalty: float
    chosen_on: str
    losses: dict[float, float]
    feature_spread: float
    class_weight: str | None = None

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """Return softmax probabilities.

        Args:
            features: ``[n, d]``.

        Returns:
            float32 ``[n, classes]``, rows summing to 1.
        """
        from scipy.special import softmax

        return softmax(np.asarray(features, np.float32) @ self.kernel + self.bias, axis=1)

    def as_layer(self) -> "keras.layers.Dense":
        """Return a built Keras ``Dense`` layer with a softmax that computes the same."""
        import keras

        # Half precision would round the probabilities, whatever the rest of the network computes in.
        layer = keras.layers.Dense(len(self.bias), "softmax", dtype="float32", name="head")
        layer.build((None, len(self.kernel)))
        layer.set_weights([self.kernel, self.bias])
        return layer


def fit_linear_head(
    features: np.ndarray,
    labels: np.ndarray,
    validation_features: np.ndarray,
    validation_labels: np.ndarray,
    *,
    num_classes: int,
    class_weight: str | None = None,
    seed: int = 0,
) -> LinearHead:
    """Fit a softmax layer by L2-penalised logistic regression, and choose the penalty.

    Features are centred and brought to unit scale by one factor for all of them, so that one list
    of penalties suits every backbone; both are folded into the layer's weights. The penalty with
    the lowest cross-entropy is chosen on the validation data, or, where those are fewer than 20
    images, by cross-validation on the training data. With 5,000 training images or more, each fit
    begins at the one before, and weaker penalties, which take longest, are not tried once the
    validation loss has risen (Friedman et al. 2010, doi:10.18637/jss.v033.i01).

    Args:
        features: ``[n, d]``.
        labels: Integers ``[n]``, 0 to ``num_classes - 1``, every class present.
        validation_features: ``[m, d]``.
        validation_labels: Integers ``[m]``.
        num_classes: Number of classes.
        class_weight: How classes count, in the fit and in the choice of the penalty:
            ``"balanced"``, ``"auto"`` or None (:func:`tlhelpers.transfer.recipes.class_weights`).
            Defaults to None: each image counts the same.
        seed: Seed of the cross-validation's folds. Defaults to 0.

    Returns:
        The fitted head.

    Raises:
        ValueError: If a class has no training image, or there is no such class_weight.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> x = np.r_[rng.normal(-1, 1, (50, 2)), rng.normal(1, 1, (50, 2))]
        >>> y = np.repeat([0, 1], 50)
        >>> head = fit_linear_head(x, y, x, y, num_classes=2)
        >>> bool((head.probabilities(x).argmax(1) == y).mean() > 0.8)
        True
    """
    counts = np.bincount(labels, minlength=num_classes)
    if counts.min() == 0:
        raise ValueError(
            "Every class needs at least one training image. "
            f"Received: none of class {int(counts.argmin())}."
        )
    weights = class_weights(counts.tolist(), class_weight)
    precision = np.float64 if len(features) < MANY else np.float32
    x, centre, scale = _scaled(features, precision)
    with one_thread_of_openblas():
        if len(validation_labels) >= MIN_VALIDATION:
            chosen_on = "validation"
            x_validation = (np.asarray(validation_features, precision) - centre) / scale
            losses, fits = _fit_by_validation(
                x, labels, x_validation, validation_labels, num_classes, weights
            )
        else:
            chosen_on = "cross-validation"
            losses, fits = _cross_validation_losses(x, labels, num_classes, weights, seed), {}
        best = min(losses, key=lambda c: losses[c])
        fit = fits.get(best) or _fit(x, labels, best, num_classes, weights)
    return _folded(*fit, centre, scale, best, chosen_on, losses, weights)


def fit_head(
    features: np.ndarray,
    labels: np.ndarray,
    inverse_penalty: float,
    *,
    balanced: bool = True,
    overwrite: bool = False,
) -> LinearHead:
    """Fit a head with a penalty that is given, as :func:`fit_linear_head` fits each it tries.

    Args:
        features: ``[n, d]``; above 1,000 rows they are taken in single precision.
        labels: Integers ``[n]``, every class from 0 on present.
        inverse_penalty: scikit-learn's ``C``, for features of unit variance.
        balanced: Whether each class weighs the same, however few images it has. Defaults to True.
        overwrite: Whether the features may be changed in place, which saves the memory of a second
            copy where their precision is that of the fit. Defaults to False.

    Returns:
        The head, with centring and scale folded in.

    Example:
        >>> x = np.r_[np.zeros((9, 2)), np.ones((3, 2))]
        >>> int(fit_head(x, np.repeat([0, 1], [9, 3]), 1.0).probabilities(x).argmax(axis=1).sum())
        3
    """
    counts = np.bincount(labels).tolist()
    weights = class_weights(counts, "balanced" if balanced else None)
    precision = np.float32 if len(features) > 1000 else np.float64
    x, centre, scale = _scaled(features, precision, overwrite=overwrite)
    with one_thread_of_openblas():
        fit = _fit(x, labels, inverse_penalty, len(counts), weights)
    return _folded(*fit, centre, scale, inverse_penalty, "cross-validation", {}, weights)


def _scaled(
    features: np.ndarray, precision: type, *, overwrite: bool = False
) -> tuple[np.ndarray, np.ndarray, float]:
    """Centre features and divide all by one factor; return them, the centre and the factor."""
    features = np.asarray(features, precision)
    centre = features.mean(axis=0)
    x = np.subtract(features, centre, out=features if overwrite else None)
    # A few rows at a time, and in place: this is where most memory is needed.
    parts = np.array_split(x, 1 + len(x) // 1024)
    scale = float(np.sqrt(np.concatenate([(one**2).sum(axis=1) for one in parts]).mean())) or 1.0
    x /= scale
    return x, centre, scale


def _folded(
    kernel: np.ndarray,
    bias: np.ndarray,
    centre: np.ndarray,
    scale: float,
    penalty: float,
    chosen_on: str,
    losses: dict[float, float],
    weights: Weights,
) -> LinearHead:
    """Make a head for features as they are from one for scaled features."""
    kernel = kernel / scale
    bias = bias - centre @ kernel
    kernel, bias = kernel.astype("float32"), bias.astype("float32")
    spread = scale / math.sqrt(len(centre))
    balanced = "balanced" if weights else None
    return LinearHead(kernel, bias, penalty, chosen_on, losses, spread, balanced)


def _fit(
    x: np.ndarray,
    labels: np.ndarray,
    penalty: float,
    num_classes: int,
    weights: Weights,
    model: Any = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Fit a logistic regression, new or given; return its kernel [d, classes] and bias [classes]."""
    from sklearn.linear_model import LogisticRegression

    model = model or LogisticRegression(max_iter=2000)
    # The inputs have unit length on average, not unit variance, hence the factor on C.
    model.set_params(C=penalty * 100, class_weight=weights)
    model.fit(x, labels)
    kernel, bias = model.coef_.T, model.intercept_
    if num_classes == 2:
        # scikit-learn keeps one logit for two classes; a softmax over (-z/2, z/2) is the same.
        kernel, bias = np.c_[-kernel / 2, kernel / 2], np.r_[-bias / 2, bias / 2]
    return kernel, bias


def _cross_entropy(
    x: np.ndarray, labels: np.ndarray, kernel: np.ndarray, bias: np.ndarray, weights: Weights
) -> float:
    """Return the mean cross-entropy in nats, of images weighted by their labels."""
    from scipy.special import log_softmax

    losses = -log_softmax(x @ kernel + bias, axis=1)[np.arange(len(labels)), labels]
    counted = None if weights is None else [weights[label] for label in labels.tolist()]
    return float(np.average(losses, weights=counted))


def _fit_by_validation(
    x: np.ndarray,
    labels: np.ndarray,
    x_validation: np.ndarray,
    validation_labels: np.ndarray,
    num_classes: int,
    weights: Weights,
) -> tuple[dict[float, float], dict[float, tuple[np.ndarray, np.ndarray]]]:
    """Return validation cross-entropy and fit by penalty, from the strongest to the weakest."""
    from sklearn.linear_model import LogisticRegression

    many = len(x) >= MANY
    model = LogisticRegression(max_iter=2000, warm_start=many)
    losses: dict[float, float] = {}
    fits = {}
    for c in INVERSE_PENALTIES:
        fits[c] = _fit(x, labels, c, num_classes, weights, model)
        losses[c] = _cross_entropy(x_validation, validation_labels, *fits[c], weights)
        if many and losses[c] > min(losses.values()):
            break
    return losses, fits


def _cross_validation_losses(
    x: np.ndarray, labels: np.ndarray, num_classes: int, weights: Weights, seed: int
) -> dict[float, float]:
    """Return the cross-validated cross-entropy of each penalty; of one where a class has one label."""
    from sklearn.model_selection import StratifiedKFold

    folds = min(5, int(np.bincount(labels).min()))
    if folds < 2:
        return {1.0: float("nan")}
    pairs = list(StratifiedKFold(folds, shuffle=True, random_state=seed).split(x, labels))

    def loss(c: float, kept: np.ndarray, held: np.ndarray) -> float:
        """Return a penalty's loss on one part that was held out."""
        fit = _fit(x[kept], labels[kept], c, num_classes, weights)
        return _cross_entropy(x[held], labels[held], *fit, weights)

    return {c: float(np.mean([loss(c, *pair) for pair in pairs])) for c in INVERSE_PENALTIES}
