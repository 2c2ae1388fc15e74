"""What a session needs of the real tier: all of it is fetched before it begins, or none is used."""

from tlhelpers.data.datasets import DATASETS, files_of
from tlhelpers.data.downloads import settle
from tlhelpers.models.backbones import ARCHITECTURES, published_file
from tlhelpers.runtime import begin_anew, tier


def choose_tier(*needs: str, input_size: int = 224) -> str:
    """Choose the tier of a session by what it needs, for ``tl.setup(tier=tl.choose_tier(…))``.

    ``TLH_TIER`` decides where it is set. Else the tier is ``"real"`` in Google Colab and
    ``"embedded"`` elsewhere. In Colab everything that is needed is fetched at once, after a line
    that says what it is and how long it may take; where a file can't be had, one sentence says why,
    and the tier is ``"embedded"``. So data and weights of a session are always of one tier.

    Args:
        *needs: Names of data sets and networks, as :func:`tlhelpers.load_dataset` and
            :func:`tlhelpers.load_backbone` take them.
        input_size: Width and height of images in pixels, by which MobileNetV2's weights are chosen.
            Defaults to 224.

    Returns:
        ``"embedded"`` or ``"real"``.

    Raises:
        ValueError: If ``TLH_TIER`` is neither, or a name is unknown.

    Example:
        >>> choose_tier("pets", "vgg16_mini") in ("embedded", "real")
        True
    """
    if unknown := [name for name in needs if name not in (*DATASETS, *ARCHITECTURES)]:
        raise ValueError(
            f"What a session needs is one of {', '.join([*sorted(DATASETS), *ARCHITECTURES])}. "
            f"Received: {', '.join(map(repr, unknown))}."
        )

    def needed() -> list[str]:
        """Name the files."""
        networks = [name for name in needs if name in ARCHITECTURES and name != "vgg16_mini"]
        data = [file for name in needs if name in DATASETS for file in files_of(name)]
        return [*data, *(published_file(name, input_size) for name in networks)]

    begin_anew()
    settle(needed)
    return tier()
