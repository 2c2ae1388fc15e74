"""Stage and penalty are chosen on the images to learn from alone, and rare classes count."""

import numpy as np
import pytest
from toys import random_split, small_backbone

from tlhelpers.transfer.features import extract_features
from tlhelpers.transfer.heads import fit_head
from tlhelpers.workflow.choose import (
    FIXED_PENALTY,
    _some,
    choose,
    predict_unseen,
    stage_reader,
    tempered,
)


def two_clouds(n=80, d=20, apart=1.0, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    x = rng.normal(0, 1, (n, d)).astype("float32")
    x[:, 0] += apart * (2 * labels - 1)
    return x, labels


def test_stages_read_in_one_pass_are_those_read_one_by_one():
    base, images = small_backbone(), random_split(5)
    names = ("block2_pool", "block4_pool", "block5_pool")
    found = stage_reader(base, names)(images)
    for name in names:
        expected = extract_features(base.cut(name), images)
        np.testing.assert_allclose(found[name], expected, atol=1e-5)


def test_what_was_read_once_is_found_again(own_cache):
    """Whatever else Keras has made in the process, whose layers it numbers."""
    base, images = small_backbone(), random_split(5)
    first = stage_reader(base, base.stages[-2:])(images)
    again = stage_reader(base.copy(), base.stages[-2:])(images)
    assert len(list((own_cache / "features").iterdir())) == 1
    np.testing.assert_array_equal(again["block5_pool"], first["block5_pool"])
    other = stage_reader(base, base.stages[-3:-1])(images)
    assert len(list((own_cache / "features").iterdir())) == 2
    np.testing.assert_allclose(other["block4_pool"], first["block4_pool"], atol=1e-6)


def test_the_stage_that_knows_the_labels_is_chosen():
    good, labels = two_clouds(apart=2.0)
    noise, _ = two_clouds(apart=0.0, seed=1)
    found = choose({"noise": noise, "good": good}, labels, np.arange(80), seed=0)
    assert found.stage == "good"
    assert min(found.losses["good"].values()) < min(found.losses["noise"].values())


def test_a_copy_does_not_vouch_for_itself():
    """Labels are chance and each picture is there twice: only torn groups look better than that."""
    rng = np.random.default_rng(0)
    x = np.repeat(rng.normal(0, 1, (60, 200)), 2, axis=0).astype("float32")
    labels, groups = np.repeat(rng.permutation(60) % 2, 2), np.arange(120) // 2
    whole = predict_unseen({"x": x}, labels, groups, seed=0, repeats=1)
    torn = predict_unseen({"x": x}, labels, np.arange(120), seed=0, repeats=1)
    assert torn.right.mean() > 0.8
    assert whole.right.mean() < 0.65


def test_a_fold_that_cannot_be_divided_again_takes_what_is_fixed(monkeypatch):
    """Two groups of a class: what is left of it to fit on is one."""
    x, labels = two_clouds(40)
    groups = np.where(labels == 0, np.arange(40), 100 + np.arange(40) // 20)
    chosen = []
    monkeypatch.setattr(
        "tlhelpers.workflow.choose.fit_head",
        lambda x, y, c, **k: chosen.append(c) or fit_head(x, y, c, **k),
    )
    found = predict_unseen({"first": x + 9, "last": x}, labels, groups, seed=0)
    assert set(found.stages) == {"last"}
    assert set(chosen) == {FIXED_PENALTY}
    assert 0.6 < found.right.mean() <= 1


def test_a_class_of_few_large_groups_is_among_those_to_choose_on():
    labels, groups = np.repeat([0, 1], [5000, 150]), np.arange(5150)
    groups[5000:] = 5000 + np.arange(150) // 50
    for seed in range(20):
        rows = _some(labels, groups, seed)
        assert len(np.unique(groups[rows][labels[rows] == 1])) == 3
        assert len(rows) <= 4000 + 150


def test_of_large_groups_a_part_is_enough_to_choose_on():
    for classes, groups_of_class, size in ((2, 3, 5000), (100, 10, 101)):
        groups = np.repeat(np.arange(classes * groups_of_class), size)
        labels = groups // groups_of_class
        rows = _some(labels, groups, 0)
        assert len(rows) <= 2 * 4000
        for label in range(classes):
            own = groups[rows][labels[rows] == label]
            assert len(np.unique(own)) >= min(5, groups_of_class)


def test_preprocessing_is_fitted_on_the_fold_alone():
    """An outlier may change predictions only of folds whose heads were fitted with it."""
    x, labels = two_clouds(40)
    before = predict_unseen({"x": x}, labels, np.arange(40), seed=0, repeats=1)
    x = x.copy()
    x[7] *= 1e3
    after = predict_unseen({"x": x}, labels, np.arange(40), seed=0, repeats=1)
    same = before.head_of == before.head_of[7]
    same[7] = False
    np.testing.assert_array_equal(before.probabilities[same], after.probabilities[same])


def test_a_rare_class_weighs_as_much():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], [200, 10])
    x = (rng.normal(0, 1, (210, 2)) + 1.5 * labels[:, None]).astype("float32")

    def recall(balanced):
        found = fit_head(x, labels, 1.0, balanced=balanced).probabilities(x).argmax(axis=1)
        return (found[labels == 1] == 1).mean()

    assert recall(True) > recall(False) + 0.2


def test_a_tempered_head_softens_and_says_the_same():
    x, labels = two_clouds()
    head = fit_head(x, labels, 1.0)
    soft = tempered(head, 3.0)
    hard_p, soft_p = head.probabilities(x), soft.probabilities(x)
    assert (hard_p.argmax(axis=1) == soft_p.argmax(axis=1)).all()
    assert soft_p.max(axis=1).mean() < hard_p.max(axis=1).mean()
    ratio = np.log(hard_p[:, 1] / hard_p[:, 0]) / np.log(soft_p[:, 1] / soft_p[:, 0])
    np.testing.assert_allclose(ratio, 3.0, rtol=1e-3)


def test_three_classes_give_three_columns():
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    x = rng.normal(0, 1, (60, 5)) + 3 * np.eye(5)[labels]
    head = fit_head(x, labels, 1.0)
    assert head.kernel.shape == (5, 3)
    assert (head.probabilities(x).argmax(axis=1) == labels).mean() > 0.9


@pytest.mark.parametrize("n", [4500])
def test_many_images_are_chosen_on_some(n, monkeypatch):
    x, labels = two_clouds(n, d=3)
    seen = []
    monkeypatch.setattr(
        "tlhelpers.workflow.choose.fit_head",
        lambda x, *a, **k: seen.append(len(x)) or fit_head(x, *a, **k),
    )
    choose({"x": x}, labels, np.arange(n), seed=0)
    assert max(seen) <= 4000
