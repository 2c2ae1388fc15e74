"""Images in one order, what belongs together, and folds that keep it so."""

import numpy as np
import pytest
from drawn_folder import draw_folder, plant_faults

import tlhelpers as tl
from tlhelpers.workflow.split import folds, gather


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("photos")
    plant_faults(root, draw_folder(root, 60))
    return root


def the_first_four(folder):
    """The pictures that ``plant_faults`` copied, and one more."""
    found = sorted(path.name for path in (folder / "cat").glob("00??.png"))[:4]
    return [f"cat/{name}" for name in found]


def test_images_come_in_the_order_of_the_splits(folder):
    data = tl.load_folder(folder, image_size=64)
    found = gather(data)
    assert len(found) == len(data.train) + len(data.validation) + len(data.test)
    rows = [len(data.train), 0, len(found) - 1]
    expected = [data.validation.load([0])[0], data.train.load([0])[0], data.test.load([-1])[0]]
    np.testing.assert_array_equal(found.load(rows, 64), expected)
    assert found.paths[rows[2]] == data.test.paths[-1]
    assert found.digests()[rows[0]] == data.validation.digests()[0]


def test_copies_and_groups_share_a_number(folder):
    first, second, third, fourth = the_first_four(folder)

    def numbers(groups):
        found = gather(tl.load_folder(folder, image_size=64, groups=groups), groups)
        return dict(zip(found.names, found.groups.tolist(), strict=True))

    number = numbers(None)
    assert number["cat/copy.bmp"] == number[first]
    assert number["cat/smaller.png"] == number[second]
    assert number["dog/other.png"] == number[third]
    assert len({number[name] for name in (first, second, third, fourth)}) == 4
    number = numbers({third: "p", fourth: "p"})
    assert number[fourth] == number[third] == number["dog/other.png"]
    assert number[first] != number[third]


def test_few_images_are_cross_validated_and_an_own_test_folder_is_not(folder, tmp_path):
    found = gather(tl.load_folder(folder, image_size=64))
    assert not found.held_out
    assert len(found.pool) == len(found.judged) == len(found)
    draw_folder(tmp_path / "train", 30)
    draw_folder(tmp_path / "test", 12, seed=9)
    own = gather(tl.load_folder(tmp_path, image_size=64))
    assert own.held_out
    assert (own.split_of[own.judged] == 2).all()
    assert len(own.judged) == 12
    assert not set(own.pool) & set(own.judged)


def test_folds_keep_groups_whole_and_classes_everywhere():
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 30, 100)
    labels = groups % 3
    held_rows = []
    for fit, held in folds(labels, groups, seed=3):
        assert not set(groups[fit]) & set(groups[held])
        assert set(labels[fit]) == {0, 1, 2}
        held_rows += held.tolist()
    assert sorted(held_rows) == list(range(100))


def test_a_class_of_one_group_is_refused():
    with pytest.raises(ValueError, match="at least two groups"):
        list(folds(np.array([0, 0, 1, 1]), np.array([0, 0, 1, 2]), seed=0))
