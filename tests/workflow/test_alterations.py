"""Altered pictures: each differs as it says, and is filed under a digest of its own."""

import numpy as np
import pytest
from toys import random_split, striped_split

from tlhelpers.workflow.alterations import ALTERATIONS, Altered


@pytest.mark.parametrize("name", ALTERATIONS)
def test_each_gives_pictures_of_the_same_size_that_differ(name):
    split = striped_split(6)
    made = Altered(split, np.array([4, 1]), name)
    images = made.load([1, 0], 32)
    assert images.shape == (2, 32, 32, 3)
    assert images.dtype == np.uint8
    assert (images != split.load([1, 4])).any(axis=(1, 2, 3)).all()
    np.testing.assert_array_equal(images, made.load([1, 0], 32))


def test_they_do_what_they_say():
    split = random_split(3)
    plain = split.load().astype(float)

    def made(name):
        return Altered(split, np.arange(3), name).load(range(3), 32).astype(float)

    np.testing.assert_allclose(made("half as bright"), plain / 2, atol=1)
    np.testing.assert_array_equal(made("turned by 90 degrees"), np.rot90(plain, axes=(1, 2)))
    strong, mild = (np.abs(made(f"JPEG, quality {q}") - plain).mean() for q in (10, 30))
    assert strong > mild > 0


def test_digests_tell_images_and_alterations_apart():
    split = random_split(4)
    digests = [
        digest for name in ALTERATIONS for digest in Altered(split, np.arange(4), name).digests()
    ]
    assert len(set(digests + split.digests())) == 4 * len(ALTERATIONS) + 4
