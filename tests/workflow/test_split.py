"""Images in one order, what belongs together, and folds that keep it so."""

import numpy as np
import pytest
from drawn_folder import draw_folder, plant_faults
from PIL import Image

import tlhelpers as tl
from tlhelpers.workflow.split import UndividedError, folds, gather


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


def spanning_groups(seed):
    """Patients with pictures of several classes, of which some have three patients only."""
    rng = np.random.default_rng(seed)
    while True:
        has = rng.random((int(rng.integers(6, 10)), 3)) > [0.6, 0.3, 0.3]
        if has.sum(axis=0).min() == 3:
            break
    groups, labels = np.nonzero(has)
    each = rng.integers(1, 5, len(groups))
    return np.repeat(labels, each), np.repeat(groups, each)


@pytest.mark.parametrize("seed", range(20))
def test_what_is_left_to_fit_on_can_be_divided_again(seed):
    labels, groups = spanning_groups(seed)
    held_rows = []
    for fit, held in folds(labels, groups, seed):
        held_rows += held.tolist()
        for inner, judged in folds(labels[fit], groups[fit], 0, 3):
            assert set(labels[fit][inner]) == {0, 1, 2}
            assert not set(groups[fit][inner]) & set(groups[fit][judged])
    assert sorted(held_rows) == list(range(len(labels)))


def test_three_groups_of_which_each_class_has_two_take_three_folds():
    labels, groups = np.repeat([0, 0, 1, 1, 2, 2], 2), np.repeat([0, 1, 1, 2, 0, 2], 2)
    assert [len(held) for _, held in folds(labels, groups, seed=0)] == [4, 4, 4]


def test_a_class_of_one_group_is_refused(folder):
    with pytest.raises(UndividedError, match=r"at least two groups.*class number 5 with 1"):
        list(folds(np.array([5, 5, 7, 7]), np.array([0, 0, 1, 2]), seed=0))
    data = tl.load_folder(folder, image_size=64)
    with pytest.raises(ValueError, match=r"at least two groups.*class cat, whose 3. images"):
        gather(data, "(cat|dog)/")


def test_a_title_page_that_all_patients_share_does_not_make_them_one(tmp_path):
    """Such copies are torn apart by the splits, and patients are not."""
    rng = np.random.default_rng(0)

    def picture():
        return Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).resize((64, 64))

    title, patient = picture(), r"/(\w+)_"
    for number in range(80):
        name = f"{('ill', 'well')[number // 40]}/p{number // 4}_{number % 4}.png"
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (picture() if number % 4 else title).save(tmp_path / name)
    found = gather(tl.load_folder(tmp_path, image_size=64, groups=patient), patient)
    who = [name.split("/")[1].split("_")[0] for name in found.names]
    assert len(set(zip(who, found.groups.tolist(), strict=True))) == 20
    assert len(set(found.groups.tolist())) == 20
