"""Small data sets and networks that several test modules share."""

import h5py
import numpy as np

from tlhelpers import Dataset, Split, load_backbone
from tlhelpers.data.splits import Source


def random_images(n, size=32, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, size, size, 3), np.uint8)


def random_split(n, size=32, seed=0, name="train", classes=2):
    names = ["cat", "dog", "owl", "fox"][:classes]
    return Split.from_arrays(random_images(n, size, seed), np.arange(n) % classes, names, name=name)


def striped_split(n, size=32, seed=0, name="train"):
    """Noise over stripes that lie down in the first class and stand in the second."""
    labels = np.arange(n) % 2
    noise = random_images(n, size, seed) / 4
    stripes = 150 * (np.arange(size) // 4 % 2)
    lying = np.broadcast_to(stripes[:, None, None], (size, size, 3))
    images = [
        noise[i] + (lying.transpose(1, 0, 2) if label else lying) for i, label in enumerate(labels)
    ]
    return Split.from_arrays(np.uint8(images), labels, ["lying", "standing"], name=name)


def striped_data(train=16, validation=6, test=10, size=32, seed=0):
    return Dataset(
        "stripes",
        striped_split(train, size, seed, "train"),
        striped_split(validation, size, seed + 1, "validation"),
        striped_split(test, size, seed + 2, "test"),
        Source("stripes", "drawn", "sha256:0", "MIT"),
    )


def small_backbone(cut=None, size=32):
    return load_backbone("vgg16_mini", size, weights=None, cut=cut)


def published_weights(model, path):
    """Write weights as keras.applications publishes them: groups by layer, in order."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.name.encode() for layer in model.layers]
        for layer in model.layers:
            group = file.create_group(layer.name)
            names = [f"{layer.name}/{w.name}:0" for w in layer.weights]
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, array in zip(names, layer.get_weights(), strict=True):
                group[name] = array
    return path
