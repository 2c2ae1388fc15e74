"""Pre-trained networks without their heads, each with the preprocessing it was trained with."""

import hashlib
import os
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tlhelpers.data.downloads import fetch, mirror, mirror_names, settle
from tlhelpers.data.packs import NotAtHand, RecordedNetwork, find_network
from tlhelpers.models import vgg16_mini
from tlhelpers.runtime import check_backend, may_fall_back, tier

if TYPE_CHECKING:
    import keras

# The means, in blue, green, red order, that Caffe's VGG16 subtracted (Simonyan & Zisserman 2015)
# and that Keras's ResNet50 kept; and the per-channel statistics of ImageNet in red, green, blue.
CAFFE_MEAN_BGR = (103.939, 116.779, 123.68)


@dataclass(frozen=True)
class Preprocessing:
    """How raw 0-255 RGB images become a network's input: ``image * scale + offset``.

    Attributes:
        scale: Factor for every channel.
        offset: What is then added, one number or one a channel (after the flip).
        to_bgr: Whether red and blue are exchanged first.
    """

    scale: float = 1.0
    offset: float | tuple[float, ...] = 0.0
    to_bgr: bool = False


CAFFE = Preprocessing(offset=tuple(-mean for mean in CAFFE_MEAN_BGR), to_bgr=True)
MINUS_ONE_TO_ONE = Preprocessing(scale=1 / 127.5, offset=-1.0)
INSIDE_THE_NETWORK = Preprocessing()

NETWORK_OUTPUT = "output"
IMAGENET = "ImageNet"
MIN_INPUT_SIZE = 32


@dataclass(frozen=True)
class Architecture:
    """One row of the table of backbones.

    Attributes:
        application: Name of its constructor in ``keras.applications``.
        weights: Base name of its ImageNet weights without the top.
        preprocessing: What it expects done to 0-255 RGB images.
        stages: Layer at which each named stage ends, from input to output.
        paper: Where it is described.
        source: What its weights were trained on.
        own_weights_at: Image sizes for which there is another weights file, named after the size.
        others: Other trained weights of the same architecture: name to file.
    """

    application: str
    weights: str
    preprocessing: Preprocessing
    stages: Mapping[str, str]
    paper: str
    source: str = IMAGENET
    own_weights_at: tuple[int, ...] = ()
    others: Mapping[str, str] = field(default_factory=dict)


_VGG_STAGES = {f"block{i}_pool": f"block{i}_pool" for i in range(1, 6)}

ARCHITECTURES: dict[str, Architecture] = {
    "vgg16_mini": Architecture(
        application="",
        weights="vgg16_mini.npz",
        preprocessing=Preprocessing(1 / vgg16_mini.SCALE, -vgg16_mini.OFFSET / vgg16_mini.SCALE),
        stages=_VGG_STAGES,
        source="formulas",
        paper="this project; after Simonyan & Zisserman 2015, arXiv:1409.1556",
    ),
    "vgg16": Architecture(
        application="VGG16",
        weights="vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5",
        preprocessing=CAFFE,
        stages=_VGG_STAGES,
        paper="Simonyan & Zisserman 2015, arXiv:1409.1556",
        others={"edges": "vgg16_edges_hed_bsds500_notop.h5"},
    ),
    "mobilenet_v2": Architecture(
        application="MobileNetV2",
        weights="mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5",
        preprocessing=MINUS_ONE_TO_ONE,
        stages={
            "block_2": "block_2_add",
            "block_5": "block_5_add",
            "block_9": "block_9_add",
            "block_12": "block_12_add",
            "block_15": "block_15_add",
            "block_16": "block_16_project_BN",
            "out_relu": "out_relu",
        },
        paper="Sandler et al. 2018, arXiv:1801.04381",
        own_weights_at=(96, 128, 160, 192),
    ),
    "resnet50": Architecture(
        application="ResNet50",
        weights="resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
        preprocessing=CAFFE,
        stages={
            "conv1": "pool1_pool",
            "conv2": "conv2_block3_out",
            "conv3": "conv3_block4_out",
            "conv4": "conv4_block6_out",
            "conv5": "conv5_block3_out",
        },
        paper="He et al. 2016, arXiv:1512.03385",
    ),
    "efficientnet_v2_b0": Architecture(
        application="EfficientNetV2B0",
        weights="efficientnetv2-b0_notop.h5",
        preprocessing=INSIDE_THE_NETWORK,
        stages={
            "block2": "block2b_add",
            "block3": "block3b_add",
            "block4": "block4c_add",
            "block5": "block5e_add",
            "block6": "block6h_add",
            "top": "top_activation",
        },
        paper="Tan & Le 2021, arXiv:2104.00298",
    ),
    "convnext_tiny": Architecture(
        application="ConvNeXtTiny",
        weights="convnext_tiny_notop.h5",
        preprocessing=INSIDE_THE_NETWORK,
        # A stage ends with the layer that halves the map for the next one: the additions before
        # it have names that change from one session to the next.
        stages={
            "stage_0": "convnext_tiny_downsampling_block_0",
            "stage_1": "convnext_tiny_downsampling_block_1",
            "stage_2": "convnext_tiny_downsampling_block_2",
            "stage_3": NETWORK_OUTPUT,
        },
        paper="Liu et al. 2022, arXiv:2201.03545",
    ),
}


@dataclass(frozen=True)
class Backbone:
    """A network without its head, with the preprocessing it was trained with.

    Attributes:
        name: Its name, such as ``"vgg16"``.
        model: Keras model from *preprocessed* images, float32 ``[n, s, s, 3]``, to a feature map
            ``[n, h, w, c]``.
        preprocessing: What :meth:`preprocess` does.
        stage_layers: Layer at which each named stage ends, from input to output.
        input_size: Width and height of its input in pixels.
        weights: Where its weights come from, or ``"random"``.
        paper: Where the architecture is described.
        source: What its weights were trained on.
        architecture: What tells its layers from those of other networks of its name.
    """

    name: str
    model: "keras.Model"
    preprocessing: "Preprocessing | Callable[[Any], Any]"
    stage_layers: Mapping[str, str]
    input_size: int
    weights: str
    paper: str = ""
    source: str = "unknown"
    architecture: str = ""
    # Compiled ways from images to features: a new one would be compiled at every extraction.
    _extractors: dict[Any, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    @classmethod
    def from_model(
        cls,
        model: "keras.Model",
        preprocess: "Preprocessing | Callable[[Any], Any] | None",
        stages: Mapping[str, str] | None = None,
        *,
        name: str | None = None,
        source: str = "unknown",
    ) -> "Backbone":
        """Make a backbone of any Keras model without a head.

        Args:
            model: Functional or sequential model from preprocessed images ``[n, s, s, 3]`` of a
                fixed size to a feature map ``[n, h, w, c]``. Its layers are shared.
            preprocess: What the model wants done to RGB images from 0 to 255: a
                :class:`Preprocessing`, a Keras layer, or a function made of ``keras.ops``. None
                where the model does it itself.
            stages: Layer at which each named stage ends, from input to output. No connection may
                lead around such a layer. Defaults to one stage, ``"output"``.
            name: Its name. Defaults to the model's.
            source: What it was trained on; ``"ImageNet"`` lets it be tuned as other networks from
                there are. Defaults to ``"unknown"``.

        Returns:
            The backbone; it ends at the last stage.

        Raises:
            ValueError: If the model takes or gives something else, or can't be cut at a stage.

        Example:
            >>> import keras
            >>> own = keras.Sequential([keras.Input((64, 64, 3)), keras.layers.Conv2D(8, 3)])
            >>> Backbone.from_model(own, Preprocessing(scale=1 / 255)).model.output_shape
            (None, 62, 62, 8)
        """
        import keras

        tensors = [*(getattr(model, "inputs", ()) or ()), *(getattr(model, "outputs", ()) or ())]
        shapes = [tuple(tensor.shape) for tensor in tensors]
        square = len(shapes) == 2 and shapes[0] == (None, *2 * shapes[0][1:2], 3)
        if not square or any(len(shape) != 4 or None in shape[1:] for shape in shapes):
            raise ValueError(
                "A backbone takes images [n, s, s, 3] of one size and gives a map [n, h, w, c]. "
                f"Received: {model.name}, with inputs and outputs {shapes or 'not built'}; end it "
                "before its pooling."
            )
        size = shapes[0][1]
        whole = keras.Model(model.inputs[0], model.outputs[0], name=model.name)
        layers = dict(stages or {NETWORK_OUTPUT: whole.layers[-1].name})
        there = [layer.name for layer in whole.layers]
        if not set(layers.values()) <= set(there):
            raise ValueError(
                f"A stage ends at a layer of the model, one of {', '.join(there)}. "
                f"Received: {', '.join(set(layers.values()) - set(there))}."
            )
        described = hashlib.sha256(whole.to_json().encode()).hexdigest()
        base = cls(
            name or model.name,
            _end_at(whole, list(layers.values())[-1]),
            preprocess or INSIDE_THE_NETWORK,
            layers,
            size,
            "given",
            source=source,
            architecture=described,
        )
        for stage in base.stages[:-1]:
            try:
                base.after(stage)
            except ValueError:
                raise ValueError(
                    f"A stage ends at a layer that everything behind it hangs on, in the order "
                    f"from input to output. Received: {stage!r}, which ends at {layers[stage]}."
                ) from None
        return base

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of its stages, from input to output: where it can be cut, or tuned from."""
        return tuple(self.stage_layers)

    def preprocess(self, images: Any) -> Any:
        """Turn raw RGB images into what the network was trained on.

        Args:
            images: Array or tensor ``[n, s, s, 3]``, 0 to 255, red first.

        Returns:
            Float32 tensor of the same shape.

        Example:
            >>> load_backbone("vgg16", weights=None).preprocess(np.zeros((1, 224, 224, 3)))[0, 0, 0]
            <tf.Tensor: shape=(3,), dtype=float32, numpy=array([-103.939, -116.779, -123.68 ], ...)>
        """
        import keras

        if not isinstance(self.preprocessing, Preprocessing):
            return self.preprocessing(keras.ops.cast(images, "float32"))
        if self.preprocessing.to_bgr:
            images = keras.ops.flip(images, axis=-1)
        offset = self.preprocessing.offset
        layer = keras.layers.Rescaling(
            self.preprocessing.scale,
            offset=list(offset) if isinstance(offset, tuple) else offset,
            dtype="float32",
            name="preprocessing",
        )
        return layer(images)

    def preprocessing_key(self) -> str:
        """Tell this preprocessing from others, a function by what it does to one picture."""
        if isinstance(self.preprocessing, Preprocessing):
            return str(self.preprocessing)
        shape = (1, self.input_size, self.input_size, 3)
        picture = np.random.default_rng(0).integers(0, 256, shape).astype("float32")
        return hashlib.sha256(np.asarray(self.preprocess(picture)).tobytes()).hexdigest()

    def on_raw_images(self) -> "keras.Model":
        """Put the preprocessing in front of the network.

        Returns:
            Keras model from 0-255 RGB images ``[n, s, s, 3]`` to the feature map. It shares the
            backbone's layers.
        """
        import keras

        images = keras.Input((self.input_size, self.input_size, 3), name="image")
        return keras.Model(images, self.model(self.preprocess(images), training=False))

    def copy(self) -> "Backbone":
        """Return an independent copy, so that training it leaves this one as it was."""
        import keras

        weights = self.model.get_weights()
        model = _unfrozen(keras.models.clone_model(self.model))
        model.set_weights(weights)
        return replace(self, model=model)

    def with_random_weights(self, seed: int = 0) -> "Backbone":
        """Return the same network with new initial weights: where training from scratch starts.

        Networks without BatchNormalization get He's initialisation, without which a deep stack of
        ReLU layers hardly learns (He et al. 2015, arXiv:1502.01852); Keras would give them Glorot's.

        Args:
            seed: Seed of the weights. Defaults to 0.

        Returns:
            The copy.
        """
        import keras

        keras.utils.set_random_seed(seed)
        model = _unfrozen(keras.models.clone_model(self.model))
        if not batch_normalisation(model):
            for number, layer in enumerate(model.layers):
                if type(layer) is keras.layers.Conv2D:
                    he_normal = keras.initializers.HeNormal(seed=1000 * seed + number)
                    layer.kernel.assign(he_normal(layer.kernel.shape))
        return replace(self, model=model, weights="random")

    def cut(self, stage: str) -> "Backbone":
        """Return the network up to the end of a stage; it shares this backbone's layers.

        Args:
            stage: Its last stage.

        Returns:
            The shorter backbone.

        Raises:
            ValueError: If there is no such stage.
        """
        layers = _up_to(stage, self.stage_layers, self.name)
        return replace(self, model=_end_at(self.model, layers[stage]), stage_layers=layers)

    def after(self, stage: str) -> "keras.Model":
        """Return the rest of the network, from the end of a stage; it shares these layers.

        Args:
            stage: The stage after which it starts.

        Returns:
            Keras model from the stage's feature map to the backbone's.

        Raises:
            ValueError: If there is no such stage, or nothing comes after it.
        """
        import keras

        check_stage(stage, self.stages, self.name)
        if stage == self.stages[-1]:
            raise ValueError(
                f"Only a stage before the last has layers after it. Received: {stage!r}, the last "
                f"of this {self.name}."
            )
        start = self.model.get_layer(self.stage_layers[stage]).output
        rest = keras.Model(start, self.model.outputs[0])
        # Older releases of Keras build what hangs on the input too, and fail when it is called.
        if sum(isinstance(layer, keras.layers.InputLayer) for layer in rest.layers) > 1:
            raise ValueError(
                f"The layers after a stage must hang on it alone. Received: {stage!r} of {self.name}."
            )
        return rest

    def weights_digest(self) -> str:
        """Return a SHA-256 over the weights as they are now, so that a change is always noticed."""
        digest = hashlib.sha256()
        for array in self.model.get_weights():
            digest.update(str((array.shape, array.dtype)).encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()


@dataclass(frozen=True)
class RecordedBackbone(Backbone):
    """A network whose features are recorded and whose weights are not at hand.

    It can be cut, its features can be read, and the same architecture can be trained from random
    weights. What needs its weights says how to get them, since ``model`` does.

    Attributes:
        recorded: What is known of the network.
    """

    recorded: RecordedNetwork = field(kw_only=True)

    def cut(self, stage: str) -> "Backbone":
        """Return the network up to the end of a stage; see :meth:`Backbone.cut`."""
        return replace(self, stage_layers=_up_to(stage, self.stage_layers, self.name))

    def with_random_weights(self, seed: int = 0) -> "Backbone":
        """Return the same architecture with new weights; see :meth:`Backbone.with_random_weights`."""
        built = load_backbone(self.name, self.input_size, cut=self.stages[-1], weights=None)
        return built.with_random_weights(seed)

    def weights_digest(self) -> str:
        """Return the SHA-256 that the weights had when the features were recorded."""
        return self.recorded.digests[self.recorded.stages.index(self.stages[-1])]


def batch_normalisation(model: "keras.Model") -> "list[keras.layers.BatchNormalization]":
    """Return a model's BatchNormalization layers, those of models in it included.

    Args:
        model: A Keras model.

    Returns:
        The layers.

    Example:
        >>> batch_normalisation(load_backbone("vgg16_mini", 32).model)
        []
    """
    import keras

    inner = [batch_normalisation(x) for x in model.layers if isinstance(x, keras.Model)]
    own = [x for x in model.layers if isinstance(x, keras.layers.BatchNormalization)]
    return sum(inner, own)


def check_stage(stage: str, stages: Sequence[str], backbone: str) -> None:
    """Refuse a stage that the backbone has not.

    Raises:
        ValueError: If there is no such stage.

    Example:
        >>> check_stage("block3_pool", ("block2_pool", "block3_pool"), "vgg16")
    """
    if stage not in stages:
        raise ValueError(
            f"A stage of {backbone} is one of {', '.join(stages)}. Received: {stage!r}."
        )


def _up_to(stage: str, layers: Mapping[str, str], backbone: str) -> dict[str, str]:
    """Return the stages up to one of them, each with the layer at which it ends."""
    check_stage(stage, tuple(layers), backbone)
    return dict(list(layers.items())[: list(layers).index(stage) + 1])


def load_backbone(
    name: str,
    input_size: int = 224,
    *,
    cut: str | None = None,
    weights: str | os.PathLike[str] | None = "pretrained",
) -> Backbone:
    """Load a pre-trained network without its head.

    Args:
        name: One of ``"vgg16_mini"``, ``"vgg16"``, ``"mobilenet_v2"``, ``"resnet50"``,
            ``"efficientnet_v2_b0"`` and ``"convnext_tiny"``.
        input_size: Width and height of the images in pixels, at least 32. Defaults to 224.
        cut: Stage to end at, such as ``"block3_pool"``. Defaults to the whole network.
        weights: ``"pretrained"`` (ImageNet weights from Keras or from ``TLH_MIRROR``, MobileNetV2's
            those of the image size where there are any; for ``vgg16_mini`` the weights that ship
            with this package), the path of a weights file for the network as cut (for
            ``vgg16_mini`` also one that ``tlhelpers.experiments.pretrain`` wrote), or None for
            random ones. For VGG16 also ``"edges"``, trained on from ImageNet to find edges, and
            ``"random"``, He's with every channel brought to unit variance on drawn images: what a
            frozen random network is compared with. Defaults to ``"pretrained"``.

    Returns:
        The backbone, with its own preprocessing. In the embedded tier, where nothing is downloaded,
        a network whose features are recorded comes without its weights.

    Raises:
        ValueError: If the name or the stage is unknown, the size is too small, the file holds
            fewer or other weights than are wanted, or some that are not finite, or Keras's backend
            is neither TensorFlow nor JAX.
        FileNotFoundError: If ``weights`` is a path at which there is no file.
        tlhelpers.data.downloads.DownloadError: If the weights cannot be fetched.

    Example:
        >>> base = load_backbone("vgg16_mini", input_size=64, cut="block4_pool")
        >>> base.model.output_shape
        (None, 4, 4, 128)
    """
    if name not in ARCHITECTURES:
        raise ValueError(
            f"A backbone is one of {', '.join(ARCHITECTURES)}. Received: {name!r}; for a Keras "
            "model of your own there is Backbone.from_model."
        )
    row = ARCHITECTURES[name]
    if input_size < MIN_INPUT_SIZE:
        raise ValueError(
            f"Images must be at least {MIN_INPUT_SIZE} pixels wide, since the network halves them "
            f"five times. Received: input_size={input_size}."
        )
    if weights == "random" and not name.startswith("vgg16"):
        raise ValueError(
            'weights="random" scales channels along a chain of convolutions and pools, as vgg16 and '
            f"vgg16_mini are. Received: {name!r}; weights=None gives random weights as Keras draws them."
        )
    last = cut or list(row.stages)[-1]
    ends = _up_to(last, row.stages, name)
    if name != "vgg16_mini" and weights in ("pretrained", *row.others) and may_fall_back():
        settle(lambda: [row.others.get(str(weights)) or published_file(name, input_size)])
    named = ("pretrained", "random", *row.others)
    if tier() == "embedded" and name != "vgg16_mini" and weights in named:
        known = find_network(name, input_size, str(weights))
        if known is not None:
            absent: Any = NotAtHand(f"{name}'s weights")
            return RecordedBackbone(
                name,
                absent,
                row.preprocessing,
                ends,
                input_size,
                known.source,
                row.paper,
                row.source,
                recorded=known,
            )
    check_backend()
    whole = _build(name, input_size)
    layers = {
        stage: whole.layers[-1].name if layer == NETWORK_OUTPUT else layer
        for stage, layer in ends.items()
    }
    model = _end_at(whole, layers[last])
    if weights is None:
        held = "random"
    elif name == "vgg16_mini" and (weights == "pretrained" or Path(weights).suffix == ".npz"):
        path = vgg16_mini.WEIGHTS_FILE if weights == "pretrained" else Path(weights)
        held = path.name
        vgg16_mini.load_weights_into(model, path)
    elif weights == "random":
        return _scaled_random(
            Backbone(name, model, row.preprocessing, layers, input_size, "random", row.paper)
        )
    elif weights in ("pretrained", *row.others):
        held = row.others.get(str(weights)) or published_file(name, input_size)
        vouched = f", although {mirror()} lists it with this digest" if mirror() else ""
        _load_file(whole, fetch(held), name, vouched)
    else:
        held = Path(weights).name
        _load_file(model, Path(weights), f"{name} as cut at {layers[last]}")
    return Backbone(name, model, row.preprocessing, layers, input_size, held, row.paper, row.source)


def _scaled_random(base: Backbone) -> Backbone:
    """Draw He's weights and bring every channel to unit variance on drawn images, block by block."""
    from tlhelpers.models.initialisation import standardise_channels
    from tlhelpers.worlds import formulas

    drawn = base.with_random_weights(seed=0)
    images = formulas(n=64, seed=0, image_size=base.input_size).images
    standardise_channels(drawn.model, np.asarray(drawn.preprocess(images)))
    return replace(drawn, weights="random, every channel scaled")


def _build(name: str, input_size: int) -> "keras.Model":
    """Build the whole architecture with random weights."""
    import keras

    if name == "vgg16_mini":
        return vgg16_mini.build_vgg16_mini(input_size)
    constructor = getattr(keras.applications, ARCHITECTURES[name].application)
    return constructor(include_top=False, weights=None, input_shape=(input_size, input_size, 3))


def _end_at(model: "keras.Model", layer: str) -> "keras.Model":
    """Return the model up to a layer."""
    import keras

    if layer == NETWORK_OUTPUT or layer == model.layers[-1].name:
        return model
    return keras.Model(model.input, model.get_layer(layer).output, name=model.name)


def _unfrozen(model: "keras.Model") -> "keras.Model":
    """Make each layer of a copy trainable, whatever was frozen when the original was tuned.

    Layer by layer, since ``model.trainable = True`` does nothing where it is true already.
    """
    for layer in model.layers:
        layer.trainable = True
    return model


def published_file(name: str, input_size: int) -> str:
    """Choose the file of a network's ImageNet weights for a size of image."""
    row, in_mirror = ARCHITECTURES[name], mirror_names()
    if in_mirror is None and tier() == "embedded":
        raise ValueError(
            f"The embedded tier downloads nothing, and {name}'s ImageNet weights would have to be "
            'fetched. Use "vgg16_mini", or choose the real tier with TLH_TIER=real.'
        )
    if input_size in row.own_weights_at:
        for_size = row.weights.replace("_224_", f"_{input_size}_")
        if in_mirror is None or for_size in in_mirror:
            return for_size
        print(f"{for_size} is not in the mirror: {row.weights}, of other sizes, is used.")
    return row.weights


def _load_file(model: "keras.Model", path: Path, what: str, vouched: str = "") -> None:
    """Load a file into a model; refuse it unless it holds every array, no other, all finite."""
    import h5py

    if not path.is_file():
        raise FileNotFoundError(
            "weights must be 'pretrained', None, for VGG16 also 'random' or 'edges', or the path of a "
            f"weights file. Received: {path}, where there is no file."
        )
    wanted = Counter(tuple(weight.shape) for weight in model.weights)
    held: Counter[tuple[int, ...]] = Counter()

    def count(name: str, item: Any) -> None:
        """Count an array of the network, not an optimiser's or a random generator's state."""
        if isinstance(item, h5py.Dataset) and not re.search("optimizer|seed_generator", name):
            held[tuple(item.shape)] += 1

    try:
        with h5py.File(path) as file:
            file.visititems(count)
        if held == wanted:
            model.load_weights(path)
        found = f"{_amount(held)}{', of other shapes' * (_amount(held) == _amount(wanted))}"
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        found, held = f"nothing to load ({(str(error).splitlines() or [''])[0]})", Counter()
    if held == wanted:
        if all(np.isfinite(array).all() for array in model.get_weights()):
            return
        found = "numbers that are not finite"
    raise ValueError(
        f"The file must hold the weights of {what}: {_amount(wanted)}. Received: {path}, with "
        f"{found}{vouched}."
    )


def _amount(shapes: Counter[tuple[int, ...]]) -> str:
    """Write how many arrays and numbers there are."""
    numbers = sum(count * int(np.prod(shape)) for shape, count in shapes.items())
    return f"{sum(shapes.values())} arrays with {numbers:,} numbers"
