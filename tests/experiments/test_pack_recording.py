"""Recording features: what is written is what networks give, and what is there is kept."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from toys import striped_data

from tlhelpers import cli
from tlhelpers.data.packs import Pack
from tlhelpers.experiments import packs
from tlhelpers.experiments.packs import Sitting, accuracy_change, quantise, record_features
from tlhelpers.models.backbones import load_backbone
from tlhelpers.transfer.features import extract_features


def stripes(patch):
    """Put stripes in place of photographs, and the shipped network in place of large ones."""
    data = striped_data(train=240, validation=60, test=40, size=32)
    patch.setattr("tlhelpers.data.datasets.load_dataset", lambda *_, **__: data)
    sittings = (Sitting("vgg16_mini", 32), Sitting("pixels", 32))
    patch.setattr(packs, "PACKS", {"stripes": ({}, sittings)})
    return data


@pytest.fixture
def toys(monkeypatch):
    return stripes(monkeypatch)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """The folder of a recorded pack, and what was said of it."""
    folder = tmp_path_factory.mktemp("recorded")
    with pytest.MonkeyPatch.context() as patch:
        stripes(patch)
        return folder, list(record_features("stripes", folder))


@pytest.mark.slow
def test_a_pack_holds_what_the_network_gives(toys, recorded, tmp_path):
    shutil.copytree(recorded[0], tmp_path, dirs_exist_ok=True)
    assert [row["stage"] for row in recorded[1]][-1] == "pca"
    pack = Pack(tmp_path / "stripes")
    assert len(pack.labels) == 340
    assert int(pack.is_test.sum()) == 40
    base = load_backbone("vgg16_mini", 32)
    for stage in base.stages:
        ours = extract_features(base.cut(stage), toys.test)
        stored = pack.features(pack.networks[0], stage, toys.test.digests())
        assert np.abs(ours - stored).max() <= 0.01 * np.ptp(ours)
    assert list(record_features("stripes", tmp_path)) == []


@pytest.mark.slow
def test_other_images_are_not_added_to_a_pack(toys, recorded, tmp_path, monkeypatch):
    shutil.copytree(recorded[0], tmp_path, dirs_exist_ok=True)
    others = striped_data(train=240, validation=60, test=40, size=32, seed=1)
    assert others.test.digest != toys.test.digest
    monkeypatch.setattr("tlhelpers.data.datasets.load_dataset", lambda *_, **__: others)
    with pytest.raises(ValueError, match=r"same images.*--to"):
        list(record_features("stripes", tmp_path))


@pytest.mark.slow
def test_another_look_is_recorded_beside_the_plain_one(toys, tmp_path, monkeypatch):
    def load(name, tier, shift=None, **size):
        parts = {part: getattr(toys, part) for part in ("train", "validation", "test")}
        if shift:
            parts = {part: split.shifted(shift) for part, split in parts.items()}
        return replace(toys, **parts)

    monkeypatch.setattr("tlhelpers.data.datasets.load_dataset", load)
    sittings = (
        Sitting("vgg16_mini", 32),
        Sitting("vgg16_mini", 32, shift="contrast", only="block4_pool", steps=63),
    )
    monkeypatch.setattr(packs, "PACKS", {"stripes": ({}, sittings)})
    list(record_features("stripes", tmp_path))
    pack, base = Pack(tmp_path / "stripes"), load_backbone("vgg16_mini", 32, cut="block4_pool")
    plain, fog = pack.networks
    assert fog.stages == ("block4_pool",)
    for network, split in ((plain, toys.test), (fog, toys.test.shifted("contrast"))):
        stored = pack.features(network, "block4_pool", toys.test.digests())
        ours = extract_features(base, split)
        assert np.abs(ours - stored).max() <= 0.01 * np.ptp(ours)


@pytest.mark.slow
def test_features_kept_of_other_images_are_not_recorded(toys, recorded, tmp_path, monkeypatch):
    others = striped_data(train=240, validation=60, test=40, size=32, seed=1)
    monkeypatch.setattr("tlhelpers.data.datasets.load_dataset", lambda *_, **__: others)
    list(record_features("stripes", tmp_path / "second"))
    pack, base = Pack(tmp_path / "second" / "stripes"), load_backbone("vgg16_mini", 32)
    ours = extract_features(base, others.test)
    stored = pack.features(pack.networks[0], base.stages[-1], others.test.digests())
    assert np.abs(ours - stored).max() <= 0.01 * np.ptp(ours)


@pytest.mark.parametrize("steps", [255, 63])
def test_rounding_is_off_by_half_a_step_at_most(steps):
    x = np.random.default_rng(0).lognormal(size=(40, 6)).astype("float32") * 100
    error = np.abs(quantise(x, steps).numbers() - x).max(axis=0)
    assert (error <= 0.5001 * (x.max(axis=0) - x.min(axis=0)) / steps).all()
    assert quantise(x, steps).codes.max() == steps


def test_a_dead_channel_stays_what_it_is():
    x = np.full((5, 1), 7.25, "float32")
    assert np.array_equal(quantise(x).numbers(), x)


@pytest.mark.parametrize("x", [np.zeros((0, 3)), np.array([[1.0, np.nan]]), np.zeros(3)])
def test_what_is_no_table_of_numbers_is_refused(x):
    with pytest.raises(ValueError, match=r"finite numbers.*Received: shape"):
        quantise(x)


def test_coarse_rounding_is_noticed():
    data = striped_data(train=240, validation=60, test=200, size=32)
    total = len(data.train) + len(data.validation) + len(data.test)
    labels = np.concatenate([data.train.labels, data.validation.labels, data.test.labels])
    rng = np.random.default_rng(0)
    # What tells the classes apart is small beside a channel's few outliers.
    x = (0.02 * labels[:, None] + 0.01 * rng.normal(size=(total, 4))).astype("float32")
    x[:4] = 50.0
    change, error = accuracy_change(x, quantise(x, 255), data)
    assert change < -0.1
    assert abs(change) > packs.TOLERANCE + 2 * error


def test_the_command_names_the_packs(capsys):
    assert cli.main(["record", "features", "nosuch"]) == 1
    assert "cats_dogs, cifar10. Received: nosuch" in capsys.readouterr().err
