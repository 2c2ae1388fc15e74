"""Features of a frozen network: computed once, filed under each image, read from then on."""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from filelock import AcquireReturnProxy, FileLock, Timeout

from tlhelpers.models.backbones import Backbone
from tlhelpers.runtime import cache_folder, has_gpu
from tlhelpers.transfer.recipes import inference_batch_size

if TYPE_CHECKING:
    import keras

DIGEST_BYTES = 32


class FeatureStore:
    """Rows of features on disk, each filed under the digest of its image; rows are only appended.

    Two files grow side by side: ``rows.bin`` with the features, and ``index.bin`` with the digests.
    A batch's features are on disk before its digests, so whatever the index names is whole.
    """

    def __init__(self, description: dict[str, object], shape: tuple[int, ...], dtype: str) -> None:
        """Name the folder after the description; nothing is read yet."""
        text = json.dumps(description, sort_keys=True, indent=1)
        key = hashlib.sha256(text.encode()).hexdigest()[:24]
        self.folder = cache_folder() / "features" / f"{description['backbone']}-{key}"
        self.folder.mkdir(parents=True, exist_ok=True)
        about = self.folder / "about.json"
        if not about.exists():
            about.write_text(text, encoding="utf-8")
        self.shape = shape
        self.dtype = np.dtype(dtype)
        self.row_bytes = int(np.prod(shape)) * self.dtype.itemsize

    def locked(self) -> AcquireReturnProxy:
        """Acquire the lock, to be released at the end of a with block; say so if it takes long."""
        lock = FileLock(self.folder / "lock")
        try:
            return lock.acquire(timeout=2)
        except Timeout:
            print(f"Waiting for another process that extracts the same features ({self.folder}).")
            return lock.acquire()

    def open(self) -> dict[bytes, int]:
        """Drop what an interrupted run left unfinished, and return the row of each digest."""
        rows, index = self._path("rows.bin"), self._path("index.bin")
        count = min(rows.stat().st_size // self.row_bytes, index.stat().st_size // DIGEST_BYTES)
        os.truncate(rows, count * self.row_bytes)
        os.truncate(index, count * DIGEST_BYTES)
        listed = index.read_bytes()
        return {listed[i * DIGEST_BYTES : (i + 1) * DIGEST_BYTES]: i for i in range(count)}

    def append(self, features: np.ndarray, digests: list[bytes]) -> None:
        """Add rows, then their digests, each forced to disk.

        Raises:
            ValueError: If a feature is not a finite number of the store's dtype.
        """
        with np.errstate(over="ignore"):
            rows = np.ascontiguousarray(features, self.dtype)
        if not np.isfinite(rows).all():
            raise ValueError(
                f"Features must be finite {self.dtype} numbers. Received: infinite or undefined "
                "ones; check the backbone's weights, or pass dtype='float32'."
            )
        self._append("rows.bin", rows.tobytes())
        self._append("index.bin", b"".join(digests))

    def read(self, rows: list[int]) -> np.ndarray:
        """Return these rows, without copying where they lie one after the other."""
        if not rows:
            return np.empty((0, *self.shape), self.dtype)
        everything = np.memmap(
            self._path("rows.bin"), self.dtype, "r", shape=(max(rows) + 1, *self.shape)
        )
        if rows == list(range(rows[0], rows[0] + len(rows))):
            return everything[rows[0] : rows[0] + len(rows)]
        picked = np.asarray(everything[rows])
        picked.flags.writeable = False
        return picked

    def _append(self, name: str, content: bytes) -> None:
        """Append to a file and force it to disk."""
        with self._path(name).open("ab") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())

    def _path(self, name: str) -> Path:
        """Return a file of the store, made if missing."""
        path = self.folder / name
        path.touch(exist_ok=True)
        return path


# Raised when features are computed or stored in another way, so that old entries are not used.
FORMAT = 2

Forward = Callable[[np.ndarray], np.ndarray]
Shape = tuple[int, ...]


class Images(Protocol):
    """What features can be extracted from: a :class:`tlhelpers.Split`, or augmented views of one."""

    def __len__(self) -> int:
        """Return the number of images."""

    def load(self, rows: Sequence[int] | np.ndarray, image_size: int) -> np.ndarray:
        """Return uint8 images ``[k, image_size, image_size, 3]``."""

    def digests(self) -> list[bytes]:
        """Return a SHA-256 of each image."""


def pooled_features(base: Backbone, grid: int | None = 1) -> "keras.Model":
    """Build the model from raw images to the backbone's features.

    The map is averaged over ``grid`` × ``grid`` cells: ``grid=1`` is global average pooling (Lin et
    al. 2014, arXiv:1312.4400); a finer grid keeps some of where things are in the picture.

    Args:
        base: The backbone.
        grid: Cells along each side, or None for the whole map. Defaults to 1.

    Returns:
        Keras model from RGB images ``[n, s, s, 3]``, 0 to 255, to ``[n, grid * grid * c]``, or to
        the map ``[n, h, w, c]`` where ``grid`` is None.

    Raises:
        ValueError: If the map has fewer cells than asked for.

    Example:
        >>> from tlhelpers import load_backbone
        >>> pooled_features(load_backbone("vgg16_mini", 64, cut="block3_pool"), grid=2).output_shape
        (None, 256)
    """
    import keras

    model = base.on_raw_images()
    if grid is None:
        return model
    return keras.Model(model.input, pool(model.outputs[0], grid))


def pool(feature_map: "keras.KerasTensor", grid: int) -> "keras.KerasTensor":
    """Average a feature map over ``grid`` × ``grid`` cells of equal size, and flatten it.

    Args:
        feature_map: Symbolic tensor ``[n, h, w, c]``.
        grid: Cells along each side.

    Returns:
        Symbolic tensor ``[n, grid * grid * c]``.

    Raises:
        ValueError: If ``grid`` is not between 1 and the map's size.
    """
    import keras

    size = feature_map.shape[1]
    if not 1 <= grid <= size:
        raise ValueError(
            f"The grid must have 1 to {size} cells a side, the size of this feature map. "
            f"Received: {grid}."
        )
    if grid == 1:
        return keras.layers.GlobalAveragePooling2D(name="pool")(feature_map)
    stride = size // grid
    cell = size - (grid - 1) * stride
    cells = keras.layers.AveragePooling2D(cell, strides=stride, name="pool")(feature_map)
    return keras.layers.Flatten(name="flatten")(cells)


def extract_features(
    base: Backbone,
    images: Images,
    *,
    grid: int | None = 1,
    dtype: str = "float32",
    progress: bool = True,
) -> np.ndarray:
    """Run images through a frozen backbone, once: what has been computed before is read from disk.

    Each image's features are filed under the SHA-256 of the image and of everything that made them
    (network, weights, preprocessing, size, pooling), so a changed image or weight is computed anew,
    and subsets of a data set share entries. Batches are appended as they are finished: a run that
    was killed resumes where it stopped, and a second process waits for the first.

    Args:
        base: The backbone. Its weights are not changed.
        images: A :class:`tlhelpers.Split`, of any image size: images are read in the backbone's.
        grid: Cells along each side over which the feature map is averaged, or None for the whole
            map. Defaults to 1.
        dtype: How features are stored, ``"float32"`` or ``"float16"``. Defaults to ``"float32"``.
        progress: Whether to show a bar when it takes more than two seconds. Defaults to True.

    Returns:
        Read-only array ``[n, d]`` of ``dtype`` (``[n, h, w, c]`` where ``grid`` is None), in the
        order of the images; memory-mapped where the images were filed in that order.

    Raises:
        ValueError: If ``grid`` or ``dtype`` is not possible.
        PermissionError: If the cache folder cannot be written to.

    Example:
        >>> import tlhelpers as tl
        >>> data = tl.load_dataset("cats_dogs", tier="embedded", n=8)
        >>> extract_features(tl.load_backbone("vgg16_mini", 64), data.train).shape
        (8, 128)
    """
    if dtype not in ("float32", "float16"):
        raise ValueError(f"dtype must be 'float32' or 'float16'. Received: {dtype!r}.")
    about = _describe(base, grid, dtype)
    forward, shape = _compiled(base, grid, about)
    store = FeatureStore(about, shape, dtype)
    wanted = images.digests()
    with store.locked():
        row_of = store.open()
        missing = [i for i, digest in enumerate(wanted) if digest not in row_of]
        # An image that occurs twice is computed once.
        missing = list({wanted[i]: i for i in reversed(missing)}.values())[::-1]
        if missing:
            _compute(forward, base.input_size, images, sorted(missing), wanted, store, progress)
            row_of = store.open()
    return store.read([row_of[digest] for digest in wanted])


def _describe(base: Backbone, grid: int | None, dtype: str) -> dict[str, object]:
    """Collect everything that decides the features of an image."""
    import keras

    return {
        "format": FORMAT,
        "backbone": base.name,
        "last stage": base.stages[-1],
        "input size": base.input_size,
        "preprocessing": str(base.preprocessing),
        "weights": base.weights_digest(),
        "grid": grid,
        "dtype": dtype,
        "precision": keras.config.dtype_policy().name,
        "backend": keras.backend.backend(),
    }


def _compiled(base: Backbone, grid: int | None, about: dict[str, object]) -> tuple[Forward, Shape]:
    """Return the forward pass from images to features, and one image's shape of features.

    It is kept with the backbone, as long as its weights stay what they are.
    """
    key = (grid, about["precision"], about["weights"])
    if key not in base._extractors:
        for other in [kept for kept in base._extractors if kept[2] != about["weights"]]:
            del base._extractors[other]
        model = pooled_features(base, grid)
        base._extractors[key] = (_forward(model, base), model.output_shape[1:])
    return base._extractors[key]


def _forward(model: "keras.Model", base: Backbone) -> Forward:
    """Return the fastest way to run a model whose weights don't change.

    Where the weights are constants, TensorFlow folds BatchNormalization into the convolution before
    it, which takes a quarter off MobileNetV2's time on two cores. Networks without it gain nothing.
    """
    import keras

    normalised = any(isinstance(one, keras.layers.BatchNormalization) for one in base.model.layers)
    if not normalised or keras.backend.backend() != "tensorflow" or has_gpu():
        return model.predict_on_batch
    import tensorflow as tf

    trainable, others = (
        [np.asarray(variable) for variable in variables]
        for variables in (model.trainable_variables, model.non_trainable_variables)
    )

    @tf.function
    def with_constants(images: tf.Tensor) -> tf.Tensor:
        """Run the model; the arrays become constants of the graph."""
        return model.stateless_call(trainable, others, images, training=False)[0]

    return lambda images: with_constants(tf.constant(images)).numpy()


def _compute(
    forward: Forward,
    size: int,
    images: Images,
    missing: list[int],
    digests: list[bytes],
    store: FeatureStore,
    progress: bool,
) -> None:
    """Compute the missing rows batch by batch, reading the next batch meanwhile."""
    from tqdm import tqdm

    length = inference_batch_size(size)
    batches = [missing[i : i + length] for i in range(0, len(missing), length)]
    # Left to tqdm where a bar is wanted, so that its own TQDM_DISABLE is heeded.
    quiet = {} if progress else {"disable": True}
    bar = tqdm(total=len(missing), unit=" images", desc="features", delay=2, **quiet)
    with bar, ThreadPoolExecutor(max_workers=1) as reader:
        pending = reader.submit(images.load, batches[0], size)
        for number, rows in enumerate(batches):
            pixels = pending.result()
            if number + 1 < len(batches):
                pending = reader.submit(images.load, batches[number + 1], size)
            # Every batch has the same shape, so the same image gives the same bits in any company.
            padded = np.zeros((length, *pixels.shape[1:]), pixels.dtype)
            padded[: len(rows)] = pixels
            features = np.asarray(forward(padded))[: len(rows)]
            store.append(features, [digests[row] for row in rows])
            bar.update(len(rows))
