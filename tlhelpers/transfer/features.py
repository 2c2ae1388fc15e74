"""Features of a frozen network: computed once, filed under each image, read from then on."""

import re
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from tlhelpers.data.packs import HOW_TO_GET_PIXELS, NotRecordedError, load_pack, prepared
from tlhelpers.models.backbones import Backbone, batch_normalisation
from tlhelpers.progress import progress_bar
from tlhelpers.transfer.engine import (
    Engine,
    ExportFailedError,
    Forward,
    Precision,
    choose_engine,
    describe_engine,
    forward_pass,
)
from tlhelpers.transfer.recipes import inference_batch_size
from tlhelpers.transfer.store import FORMAT, FeatureStore, find

if TYPE_CHECKING:
    import keras

    from tlhelpers.data.splits import Dataset, Split

Grid = int | Literal["map"]
"""Cells along each side over which a feature map is averaged, or the map itself."""

COMPONENTS = 64
PIXELS = "pixels / 255, 64 principal components"
"""How the pixels' scores are described in a pack."""


class Images(Protocol):
    """What features can be extracted from: a :class:`tlhelpers.Split`, or augmented views of one."""

    def __len__(self) -> int:
        """Return the number of images."""

    def load(self, rows: Sequence[int] | np.ndarray, image_size: int) -> np.ndarray:
        """Return uint8 images ``[k, image_size, image_size, 3]``."""

    def digests(self) -> list[bytes]:
        """Return a SHA-256 of each image."""


def pooled_features(base: Backbone, grid: Grid = 1) -> "keras.Model":
    """Build the model from raw images to the backbone's features.

    Args:
        base: The backbone.
        grid: See :func:`pool`. Defaults to 1.

    Returns:
        Keras model from RGB images ``[n, s, s, 3]``, 0 to 255, to what :func:`pool` gives.

    Raises:
        ValueError: If the map has fewer cells than asked for.

    Example:
        >>> from tlhelpers import load_backbone
        >>> pooled_features(load_backbone("vgg16_mini", 64, cut="block3_pool"), grid=2).output_shape
        (None, 256)
    """
    import keras

    model = base.on_raw_images()
    return keras.Model(model.input, pool(model.outputs[0], grid))


def pool(feature_map: "keras.KerasTensor", grid: Grid) -> "keras.KerasTensor":
    """Average a feature map over ``grid`` × ``grid`` cells of equal size, and flatten it.

    Args:
        feature_map: Symbolic tensor ``[n, h, w, c]``.
        grid: Cells along each side: 1 is global average pooling (Lin et al. 2014, arXiv:1312.4400),
            more of them keep some of where things are in the picture; or ``"map"`` for the map as
            it is.

    Returns:
        Symbolic tensor ``[n, grid * grid * c]``, or the map.

    Raises:
        ValueError: If ``grid`` is neither ``"map"`` nor between 1 and the map's size.
    """
    import keras

    size = feature_map.shape[1]
    if grid == "map":
        return feature_map
    if not isinstance(grid, int) or not 1 <= grid <= size:
        raise ValueError(
            f"The grid must have 1 to {size} cells a side, the size of this feature map, or be "
            f"'map' for the map itself. Received: {grid!r}."
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
    grid: Grid = 1,
    dtype: str = "float32",
    engine: Engine = "auto",
    precision: Precision = "float32",
    progress: bool = True,
) -> np.ndarray:
    """Run images through a frozen backbone, once: what has been computed before is read from disk.

    Each image's features are filed under the SHA-256 of the image and of everything that made them
    (network, weights, preprocessing, size, pooling, arithmetic), so a changed image or weight is
    computed anew, and subsets of a data set share entries. Batches are appended as they are
    finished: a run that was killed resumes where it stopped, and a second process waits for the
    first. Rows are checked when they are read, and damaged ones are computed again.

    Args:
        base: The backbone. Its weights are not changed.
        images: A :class:`tlhelpers.Split`, of any image size: images are read in the backbone's.
        grid: Cells along each side over which the feature map is averaged, or ``"map"`` for the
            whole map. Defaults to 1.
        dtype: How features are stored, ``"float32"`` or ``"float16"``. Defaults to ``"float32"``.
        engine: What runs the network: ``"keras"``, ``"openvino"``, or ``"auto"`` for OpenVINO where
            it is installed and pays; see :func:`tlhelpers.transfer.engine.choose_engine`. Defaults
            to ``"auto"``.
        precision: What OpenVINO computes in: ``"float32"``, or ``"bfloat16"``, which is faster on
            processors with instructions for it, and less exact. Keras's engine computes in the
            precision that :func:`tlhelpers.setup` was given. Defaults to ``"float32"``.
        progress: Whether to show how far it is when it takes more than some seconds. Defaults to
            True.

    Returns:
        Read-only array ``[n, d]`` of ``dtype`` (``[n, h, w, c]`` for the map), in the order of the
        images; memory-mapped where the images were filed in that order.

    Raises:
        ValueError: If ``grid``, ``dtype``, ``engine`` or ``precision`` is not possible.
        ModuleNotFoundError: If OpenVINO is asked for and not installed.
        ExportFailedError: If OpenVINO is asked for and can't run the network.
        PermissionError: If the cache folder cannot be written to.
        OSError: If the disk has no room for them.

    Example:
        >>> import tlhelpers as tl
        >>> data = tl.load_dataset("pets", n_train=8)
        >>> extract_features(tl.load_backbone("vgg16_mini", 64), data.train).shape
        (8, 128)
    """
    if dtype not in ("float32", "float16"):
        raise ValueError(f"dtype must be 'float32' or 'float16'. Received: {dtype!r}.")
    if (pack := getattr(images, "pack", None)) is not None:
        return _recorded(pack, base, images, grid).astype(dtype)
    weights = base.weights_digest()
    batch = inference_batch_size(base.input_size)
    chosen = choose_engine(engine, base.input_size, precision)
    model = _kept(base, weights, (grid,), lambda: pooled_features(base, grid))
    store = FeatureStore(
        {
            **_describe(base),
            **describe_engine(chosen, precision, batch),
            "weights": weights,
            "grid": grid,
            "shape": model.output_shape[1:],
            "dtype": dtype,
        }
    )
    wanted = images.digests()
    first = np.unique(np.array(wanted, "S32"), return_index=True)[1]
    with store.locked():
        filed = store.open()
        place = find(filed, wanted)
        known = np.unique(place[place >= 0])
        damaged = known[store.damaged(filed[known])]
        if len(damaged):
            print(
                f"{len(damaged):,} of {len(known):,} stored features are damaged, and computed "
                f"again ({store.folder})."
            )
        # An image that occurs twice is computed once.
        wrong = (place[first] < 0) | np.isin(place[first], damaged)
        missing = np.sort(first[wrong]).tolist()
        if missing:
            store.make_room(len(missing))
            constant = bool(batch_normalisation(base.model))
            try:
                forward = _kept(
                    base,
                    weights,
                    (grid, chosen, precision),
                    lambda: forward_pass(model, chosen, precision, constant=constant),
                )
            except ExportFailedError as error:
                if engine != "auto" or precision != "float32":
                    raise
                print(f"OpenVINO can't run {base.name}, so Keras does ({error}).")
                return extract_features(
                    base, images, grid=grid, dtype=dtype, engine="keras", progress=progress
                )
            full = chosen == "keras"  # OpenVINO fills up its own requests, of a few images each
            _compute(forward, base.input_size, images, missing, wanted, store, progress, full)
            filed = store.open()
            place = find(filed, wanted)
            if (place < 0).any():
                raise OSError(f"Stored features were lost as they were written ({store.folder}).")
    return store.read(filed["row"][place])


def pixel_scores(pool: "Dataset") -> Callable[["Split"], np.ndarray]:
    """Return how to describe images by their pixels alone: the floor for any network's features.

    Images are read at 32 pixels, and their scores on the first 64 principal components of the
    training images are taken. Where features are recorded, so are these.

    Args:
        pool: A data set, whose training images (without their labels) give the components; at
            least 64.

    Returns:
        A function from a split of that data set to float32 ``[n, 64]``.

    Raises:
        ValueError: If there are fewer than 64 training images.

    Example:
        >>> import tlhelpers as tl
        >>> data = tl.load_dataset("pets", n_train=80, n_test=10)
        >>> pixel_scores(data)(data.test).shape
        (10, 64)
    """
    if pool.train.pack is not None:
        pack = load_pack(pool.train.pack)
        network = pack.find("pixels", 32, "pca", "", prepared(PIXELS, pool.train.shift))
        return lambda split: pack.features(network, "pca", split.digests())
    if len(pool.train) < COMPONENTS:
        raise ValueError(
            f"Principal components need at least {COMPONENTS} training images. "
            f"Received: {len(pool.train)}; give the whole data set, not a few of it."
        )
    from sklearn.decomposition import PCA

    def flat(split: "Split") -> np.ndarray:
        """Return pixels from 0 to 1, one row an image."""
        return split.load(None, 32).reshape(len(split), -1) / np.float32(255)

    fitted = PCA(COMPONENTS, random_state=0).fit(flat(pool.train))
    return lambda split: fitted.transform(flat(split)).astype(np.float32)


def _recorded(pack: str, base: Backbone, images: Images, grid: Grid) -> np.ndarray:
    """Read features from a pack, where every map is averaged over all of its places."""
    if grid != 1:
        raise NotRecordedError(
            f"Recorded features are averaged over the whole map: pass grid=1. Received: grid={grid!r}. "
            f"{HOW_TO_GET_PIXELS}"
        )
    found = load_pack(pack).find(
        base.name,
        base.input_size,
        base.stages[-1],
        base.weights_digest(),
        prepared(base.preprocessing_key(), getattr(images, "shift", None)),
    )
    return load_pack(pack).features(found, base.stages[-1], images.digests())


def _describe(base: Backbone) -> dict[str, Any]:
    """Collect what else decides the features of an image."""
    return {
        "format": FORMAT,
        "backbone": re.sub(r"\W+", "_", base.name),
        "architecture": base.architecture,
        "last stage": base.stages[-1],
        "input size": base.input_size,
        "preprocessing": base.preprocessing_key(),
    }


def _kept(base: Backbone, weights: str, key: tuple[Any, ...], build: Callable[[], Any]) -> Any:
    """Return what was built for a backbone before, as long as its weights stay what they are."""
    import keras

    key = (weights, keras.config.dtype_policy().name, *key)
    if key not in base._extractors:
        for other in [kept for kept in base._extractors if kept[0] != weights]:
            del base._extractors[other]
        base._extractors[key] = build()
    return base._extractors[key]


def _compute(
    forward: Forward,
    size: int,
    images: Images,
    missing: list[int],
    digests: list[bytes],
    store: FeatureStore,
    progress: bool,
    full: bool,
) -> None:
    """Compute the missing rows batch by batch; the next is read meanwhile, and the last written.

    With ``full`` the last batch is filled up: where every batch has the same shape, the same image
    gives the same bits in any company.
    """
    length = inference_batch_size(size)
    batches = [missing[i : i + length] for i in range(0, len(missing), length)]
    # Left to tqdm where a bar is wanted, so that its own TQDM_DISABLE is heeded.
    quiet = {} if progress else {"disable": True}
    bar = progress_bar(len(missing), "features", " images", **quiet)
    with bar, ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
        pending = reader.submit(images.load, batches[0], size)
        written: Future[Any] = writer.submit(int)
        count = 0
        for number, rows in enumerate(batches):
            pixels = pending.result()
            if number + 1 < len(batches):
                pending = reader.submit(images.load, batches[number + 1], size)
            short = length - len(rows) if full else 0
            padded = np.pad(pixels, ((0, short), (0, 0), (0, 0), (0, 0))) if short else pixels
            features = np.asarray(forward(padded)[0])[: len(rows)]
            written.result()  # or what kept the batch before from being written
            bar.update(count)
            written = writer.submit(store.append, features, [digests[row] for row in rows])
            count = len(rows)
        written.result()
        bar.update(count)
