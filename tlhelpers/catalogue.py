"""The files that tlhelpers may fetch: where from, and the digest each must have."""

from dataclasses import dataclass

_APPLICATIONS = "https://storage.googleapis.com/tensorflow/keras-applications"
_DATA = "https://storage.googleapis.com/mledu-datasets"


@dataclass(frozen=True)
class RemoteFile:
    """A file that is fetched when it is first needed.

    Args:
        name: Base name, in the cache and in a mirror.
        url: The publisher's address, or None where only a mirror has the file.
        digest: The published digest, ``"sha256:…"`` or ``"md5:…"``. None where the
            publisher gives none: then the digest of the first download is kept beside
            the file, and the file is held to it from then on.
        megabytes: Size in 10⁶ bytes.
        licence: The licence or terms.
        what: What it holds, in a few words.

    Example:
        >>> FILES["mnist.npz"].megabytes
        11.5
    """

    name: str
    url: str | None
    digest: str | None
    megabytes: float
    licence: str
    what: str


# Weights: addresses and digests as in keras.applications (Keras 3.15), which has none for
# MobileNetV2. MNIST: as in keras.datasets.mnist.
FILES: dict[str, RemoteFile] = {
    file.name: file
    for file in (
        RemoteFile(
            "cats_and_dogs_filtered.zip",
            f"{_DATA}/cats_and_dogs_filtered.zip",
            None,
            68.6,
            "no open licence: Asirra photographs (Petfinder.com, Microsoft), for research",
            "3,000 photographs of cats and dogs",
        ),
        RemoteFile(
            "cifar10.zip",
            None,
            None,
            140.0,
            "none stated; cite Krizhevsky (2009)",
            "CIFAR-10 as folders of image files",
        ),
        RemoteFile(
            "mnist.npz",
            "https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz",
            "sha256:731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1",
            11.5,
            "CC BY-SA 3.0",
            "MNIST digits as arrays",
        ),
        RemoteFile(
            "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5",
            f"{_APPLICATIONS}/vgg16/vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5",
            "md5:6d6bbae143d832006294945121d1f1fc",
            58.9,
            "CC BY 4.0 (Visual Geometry Group, Oxford)",
            "ImageNet weights of VGG16 without its top",
        ),
        RemoteFile(
            "vgg16_imagenet_blocks1-3.h5",
            None,
            None,
            7.0,
            "CC BY 4.0 (Visual Geometry Group, Oxford)",
            "ImageNet weights of VGG16 up to block3_pool",
        ),
        RemoteFile(
            "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5",
            f"{_APPLICATIONS}/mobilenet_v2/"
            "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5",
            None,
            9.4,
            "Apache 2.0",
            "ImageNet weights of MobileNetV2 (224 px) without its top",
        ),
        RemoteFile(
            "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
            f"{_APPLICATIONS}/resnet/resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
            "md5:4d473c1dd8becc155b73f8504c6f6626",
            94.8,
            "MIT",
            "ImageNet weights of ResNet50 without its top",
        ),
        RemoteFile(
            "efficientnetv2-b0_notop.h5",
            f"{_APPLICATIONS}/efficientnet_v2/efficientnetv2-b0_notop.h5",
            "md5:893217f2bb855e2983157299931e43ff",
            24.3,
            "Apache 2.0",
            "ImageNet weights of EfficientNetV2-B0 without its top",
        ),
        RemoteFile(
            "convnext_tiny_notop.h5",
            f"{_APPLICATIONS}/convnext/convnext_tiny_notop.h5",
            "sha256:d547c096cabd03329d7be5562c5e14798aa39ed24b474157cef5e85ab9e49ef1",
            111.7,
            "MIT",
            "ImageNet weights of ConvNeXt-Tiny without its top",
        ),
    )
}
