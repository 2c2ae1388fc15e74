"""What is far from everything trained on is told, and what was stored is checked."""

import numpy as np
import pytest

from tlhelpers.workflow.strangers import Familiar, auroc, learn_familiar


@pytest.fixture
def known():
    rng = np.random.default_rng(0)
    return learn_familiar(1 + rng.normal(0, 0.2, (300, 16)), np.arange(300))


def test_one_own_image_in_a_hundred_is_beyond_the_limit_and_strangers_are(known):
    rng = np.random.default_rng(1)
    own = known.distances(1 + rng.normal(0, 0.2, (1000, 16)))
    strange = known.distances(rng.normal(0, 1, (1000, 16)))
    assert (own > known.limit).mean() < 0.04
    assert (strange > known.limit).mean() > 0.95
    assert auroc(own, strange) > 0.98
    assert auroc(own, own) == pytest.approx(0.5)


def test_distances_are_one_minus_the_fifth_largest_cosine(known):
    some = np.random.default_rng(2).normal(0, 1, (7, 16))
    unit = some / np.linalg.norm(some, axis=1, keepdims=True)
    expected = 1 - np.sort(unit @ known.directions.astype(float).T, axis=1)[:, -5]
    np.testing.assert_allclose(known.distances(some), expected, atol=1e-4)


def test_a_copy_does_not_vouch_for_its_picture():
    x = np.random.default_rng(0).normal(0, 1, (40, 8))
    twice, groups = np.repeat(x, 6, axis=0), np.arange(240) // 6
    assert learn_familiar(twice, groups).limit > 0.1
    assert learn_familiar(twice, np.arange(240)).limit < 1e-3


def test_it_is_kept_and_checked(known, tmp_path):
    path = tmp_path / "known.npz"
    digest = known.save(path)
    again = Familiar.load(path, digest)
    np.testing.assert_array_equal(again.directions, known.directions)
    assert again.limit == known.limit
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(ValueError, match="another one"):
        Familiar.load(path, digest)
    path.unlink()
    with pytest.raises(FileNotFoundError, match="missing"):
        Familiar.load(path, digest)
