"""Folders of drawn pets, with planted faults whose truth is known."""

import numpy as np
from PIL import Image

from tlhelpers import worlds


def draw_folder(root, n=100, seed=0, classes=("cat", "dog")):
    """Write n drawn pets, half of each class, and return their arrays by file name."""
    world = worlds.pets(n=n, seed=seed, image_size=64, difficulty=0.0)
    written = {}
    for row, (image, label) in enumerate(zip(world.images, world.labels, strict=True)):
        name = f"{classes[label]}/{row:04}.png"
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
        written[name] = image
    return written


def plant_faults(root, written):
    """Add a copy, a smaller copy, one in the other class, a torn, a tiny and a plain picture."""
    names = sorted(name for name in written if name.startswith("cat/"))
    first, second, third = (Image.fromarray(written[name]) for name in names[:3])
    first.save(root / "cat/copy.bmp")
    second.resize((48, 48)).save(root / "cat/smaller.png")
    third.save(root / "dog/other.png")
    content = (root / names[3]).read_bytes()
    (root / "cat/torn.png").write_bytes(content[: len(content) // 2])
    noise = np.random.default_rng(0).integers(0, 256, (20, 20, 3), np.uint8)
    Image.fromarray(noise).save(root / "dog/tiny.png")
    Image.new("RGB", (64, 64), (90, 90, 91)).save(root / "dog/plain.png")
    return names
