"""What is planted is where it is said to be, and is counted as found only if it was."""

import numpy as np
import pytest
from drawn_folder import draw_folder
from PIL import Image

import tlhelpers as tl
from tlhelpers.experiments import by_hand
from tlhelpers.experiments.planted import (
    found_copies,
    place_files,
    plant_copies,
    plant_wrong_labels,
)
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
    about = _about_data(pictures, faults)
    counted = found_copies(about, copies)
    assert counted["planted"] == 10
    assert counted["found"] >= 7  # drawn pets of 64 pixels have few details to tell them by
    assert found_copies(about, {"train/cat/none.png": "test/cat/none.png"})["found"] == 0
    assert counted["left_out"] <= counted["found"]
    only = {copy: of for copy, of in copies.items() if copy in next(iter(copies))}
    assert len(found_copies(about, only)["others"]) > len(counted["others"])


def test_lines_of_a_script_are_counted_without_its_docstring():
    counted = by_hand.lines_of(two_lines)
    assert counted == 2


def two_lines():
    """Two lines.

    And more in the docstring.
    """
    first = 1

    return first


@pytest.mark.slow
@pytest.mark.usefixtures("eagerly")
@pytest.mark.filterwarnings("ignore:.*shuffle=True", "ignore:Even though the .tf.config")
@pytest.mark.parametrize("script", [by_hand.scikit_learn, by_hand.keras_guide])
def test_the_scripts_somebody_would_write_run(files, tmp_path, script):
    place_files(tmp_path / "photos", {name: paths[:8] for name, paths in files.items()})
    place_files(tmp_path / "unseen", {name: paths[8:11] for name, paths in files.items()})
    estimate, accuracy = script(tmp_path / "photos", tmp_path / "unseen", weights=None)
    assert 0 <= estimate <= 1
    assert round(6 * accuracy) == pytest.approx(6 * accuracy, abs=1e-4)
