"""What fewer bits cost in accuracy: features stored in 16 bits, and a network that computes in them."""

import importlib.util
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

import tlhelpers as tl
from benchmarks.places import empty_cache
from tlhelpers.transfer.heads import fit_linear_head


def rows(share: float, repeats: int) -> Iterator[dict[str, Any]]:
    """Compare test accuracies of heads with 20 labels a class, draw by draw."""
    draws, labels = max(2, round(share * 10)), max(5, round(share * 20))
    pets = [
        tl.load_dataset("pets", n_train=400, n_test=500, seed=s).few(labels) for s in range(draws)
    ]
    base = tl.load_backbone("vgg16_mini", 64)
    yield difference("features stored in half precision, on pets", base, pets, dtype="float16")
    if not importlib.util.find_spec("openvino"):
        return
    base = tl.load_backbone("mobilenet_v2", 224)
    for name in ("cats_dogs", "cifar10"):
        data = tl.load_dataset(name, tier="real", image_size=224)
        data.test = data.test.take(slice(None, None, len(data.test) // max(40, round(share * 500))))
        yield difference(
            f"MobileNetV2 in bfloat16, on {name}",
            base,
            [data.few(labels, seed=seed) for seed in range(max(2, draws // 2))],
            engine="openvino",
            precision="bfloat16",
        )


def difference(
    name: str, base: tl.Backbone, draws: Iterable[tl.Dataset], **fewer_bits: str
) -> dict[str, Any]:
    """Fit heads on features as usual and with fewer bits, and subtract their test accuracies."""
    differences = []
    with empty_cache():
        for data in draws:
            scores = []
            for how in ({}, fewer_bits):
                train, held_out, test = (
                    np.asarray(tl.extract_features(base, split, progress=False, **how), np.float32)
                    for split in (data.train, data.validation, data.test)
                )
                head = fit_linear_head(
                    train,
                    data.train.labels,
                    held_out,
                    data.validation.labels,
                    num_classes=data.num_classes,
                )
                guesses = head.probabilities(test).argmax(axis=1)
                scores.append(float((guesses == data.test.labels).mean()))
            differences.append(scores[1] - scores[0])
    return {
        "name": f"test accuracy with {name}, minus single precision",
        "ratio": float(np.mean(differences)),
        "low": min(differences),
        "high": max(differences),
        "repeats": len(differences),
        "wanted": 0.0,
        "notes": {"test images": len(data.test)},
    }
