"""What is planted is where it is said to be, and is counted as found only if it was."""

import numpy as np
import pytest
from drawn_folder import draw_folder
from PIL import Image

import tlhelpers as tl
from tlhelpers.experiments import planted
from tlhelpers.experiments.planted import plant_copies, plant_wrong_labels
from tlhelpers.workflow.audit import find_faults
from tlhelpers.workflow.split import gather
from tlhelpers.workflow.train import _about_data


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    root = tmp_path_factory.mktemp("drawn")
    draw_folder(root, 60)
    return {name: sorted((root / name).iterdir()) for name in ("cat", "dog")}


def test_wrong_labels_are_moved_and_named(files, tmp_path):
    moved = plant_wrong_labels(tmp_path / "photos", files, 6)
    assert len(moved) == 6
    for name in moved:
        label, file = name.split("/")
        other = {"cat": "dog", "dog": "cat"}[label]
        assert file in {path.name for path in files[other]}
        assert not (tmp_path / "photos" / other / file).exists()
    assert len(list(tmp_path.rglob("*.png"))) == 60
    assert plant_wrong_labels(tmp_path / "again", files, 6) == moved


def test_planted_copies_are_found_and_counted(files, tmp_path):
    copies = plant_copies(tmp_path / "photos", files, 10)
    assert len(copies) == 10
    for copy, of in copies.items():
        with Image.open(tmp_path / "photos" / copy) as a, Image.open(tmp_path / "photos" / of) as b:
            assert (
                np.asarray(a).shape != np.asarray(b).shape or (np.asarray(a) != np.asarray(b)).any()
            )
    data = tl.load_folder(tmp_path / "photos", image_size=64)
    pictures = gather(data)
    faults, _ = find_faults(data, pictures)
    card = {"data": _about_data(pictures, faults)}
    card = {"data": {**card["data"], "faults": [vars(fault) for fault in faults]}}
    counted = planted._copies(card, copies)
    assert counted["planted"] == 10
    assert counted["found"] >= 7  # drawn pets of 64 pixels have few details to tell them by
    assert planted._copies(card, {"train/cat/none.png": "test/cat/none.png"})["found"] == 0
