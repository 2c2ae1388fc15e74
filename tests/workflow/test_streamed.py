"""A head by streaming over shards: as good as one in memory, on a split that copies can't cross."""

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("pyarrow", reason="the extra tlhelpers[cluster] is not installed")

from tlhelpers.workflow.shards import extract_shards, read_shards
from tlhelpers.workflow.streamed import _sides, fit_streamed


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """Pictures, brighter to the left or to the right, and some twice."""
    folder, rng = tmp_path_factory.mktemp("streamed"), np.random.default_rng(0)
    for place in range(120):
        image = rng.integers(0, 90, (32, 32, 3))
        image[:, slice(0, 16) if place % 2 else slice(16, 32)] += 60
        for copy in range(1 + (place % 10 == 0)):
            path = folder / "photos" / ("right", "left")[place % 2] / f"{place}-{copy}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.uint8(image)).save(path)
    extract_shards(
        folder / "photos",
        folder / "features",
        backbone="vgg16_mini",
        image_size=32,
        cut="block2_pool",
        shard=16,
    )
    return folder / "features"


def test_as_good_as_in_memory(shards):
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    found = fit_streamed(shards, test=0.3, epochs=20)
    parts = list(_sides(shards, 0.3))
    x = np.concatenate([rows["features"] for rows, _ in parts])
    y = np.concatenate([rows["folder"] for rows, _ in parts]).astype(str)
    apart = np.concatenate([kept for _, kept in parts])
    whole = make_pipeline(StandardScaler(), LogisticRegression()).fit(x[~apart], y[~apart])
    assert found.test.n == apart.sum()
    assert found.images == (~apart).sum()
    assert found.class_names == ("left", "right")
    assert found.test.accuracy >= whole.score(x[apart], y[apart]) - 0.1
    assert found.majority == max((y[apart] == name).mean() for name in found.class_names)


def test_copies_stay_on_one_side(shards):
    sides = {}
    for rows, kept_apart in _sides(shards, 0.3):
        for digest, side in zip(rows["sha256"], kept_apart, strict=True):
            sides.setdefault(digest, set()).add(bool(side))
    assert len(sides) == 120
    assert all(len(found) == 1 for found in sides.values())


@pytest.mark.parametrize("options", [{"test": 0}, {"test": 1}, {"epochs": 0}])
def test_what_is_not_possible(shards, options):
    with pytest.raises(ValueError, match="kept apart"):
        fit_streamed(shards, **options)


def test_the_batches_are_as_small_as_asked_for(shards):
    assert max(len(rows["file"]) for rows in read_shards(shards, batch=7)) == 7
