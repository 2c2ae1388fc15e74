"""Another look for images that were not drawn here."""

import numpy as np
import pytest

from tlhelpers import worlds
from tlhelpers.worlds.shifts import SHIFTS, shift_image


@pytest.mark.parametrize("shift", SHIFTS)
def test_a_shift_depends_on_image_and_key_alone(shift):
    image = worlds.pets(n=1, image_size=64).images[0]
    shifted = shift_image(image, shift, 2**64 - 1)
    assert (shifted.shape, shifted.dtype) == (image.shape, np.uint8)
    assert np.abs(shifted.astype(int) - image).mean() > 3
    np.testing.assert_array_equal(shifted, shift_image(image.copy(), shift, 2**64 - 1))


def test_a_drawn_image_is_shifted_as_its_world_shifts_it():
    """Blur draws nothing at random: both ways agree, but where a drawn pixel was clipped between."""
    plain, blurred = (worlds.pets(n=4, shift=shift).images for shift in (None, "blur"))
    ours = np.stack([shift_image(image, "blur", 0) for image in plain])
    assert (np.abs(ours.astype(int) - blurred) <= 1).mean() > 0.9


def test_what_varies_is_drawn_by_the_key():
    image = worlds.pets(n=1, image_size=64).images[0]
    fog = [shift_image(image, "contrast", key) for key in (0, 1)]
    assert np.abs(fog[0].astype(int) - fog[1]).mean() > 1
