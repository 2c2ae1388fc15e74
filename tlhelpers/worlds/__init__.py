"""Procedural image worlds: drawn data whose difficulty and relatedness are knobs.

``pets`` are drawn cats and dogs, ``objects`` things of ten classes, ``formulas``
the source task on which ``vgg16_mini`` is pre-trained. Nothing is read from files; the
same seed gives the same bytes on any platform.

Example:
    >>> from tlhelpers import worlds
    >>> worlds.pets(n=2, image_size=32).images.shape
    (2, 32, 32, 3)
"""

from tlhelpers.worlds.formulas import formulas
from tlhelpers.worlds.objects import objects
from tlhelpers.worlds.pets import pet_masks, pets
from tlhelpers.worlds.world import World

__all__ = ["World", "formulas", "objects", "pet_masks", "pets"]
