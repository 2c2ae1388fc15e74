"""The table of architectures: where each one's weights, stages and preprocessing come from."""

from collections.abc import Mapping
from dataclasses import dataclass, field

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
# vgg16_mini was trained by this project on images of about zero mean and unit variance.
CENTRED = Preprocessing(scale=1 / 63.75, offset=-2.0)

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
        partial_weights: Files that hold only the first stages: base name to last stage held.
        paper: Where it is described.
        source: What its weights were trained on.
    """

    application: str
    weights: str
    preprocessing: Preprocessing
    stages: Mapping[str, str]
    paper: str
    partial_weights: Mapping[str, str] = field(default_factory=dict)
    source: str = IMAGENET


_VGG_STAGES = {f"block{i}_pool": f"block{i}_pool" for i in range(1, 6)}

ARCHITECTURES: dict[str, Architecture] = {
    "vgg16_mini": Architecture(
        application="",
        weights="vgg16_mini.npz",
        preprocessing=CENTRED,
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
        partial_weights={"vgg16_imagenet_blocks1-3.h5": "block3_pool"},
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
