"""Chapter 16's losses and targets, as its cells write them, against independent computations."""

import ast
import json
from pathlib import Path

import numpy as np
import pytest

CHAPTER = Path(__file__).resolve().parents[2] / "book" / "16_without_labels.ipynb"


@pytest.fixture(scope="module")
def lesson():
    """Give the functions that the chapter's visible cells define; nothing is trained."""
    import keras

    space = {"keras": keras, "layers": keras.layers, "ops": keras.ops, "np": np}
    for cell in json.loads(CHAPTER.read_text("utf-8"))["cells"]:
        tags = {"remove-cell", "remove-input", "hide-cell"} & set(cell["metadata"].get("tags", []))
        if cell["cell_type"] != "code" or tags:
            continue
        for part in ast.parse("".join(cell["source"])).body:
            if isinstance(part, ast.FunctionDef):
                exec(compile(ast.Module([part], []), CHAPTER.name, "exec"), space)
    return space


@pytest.fixture
def pairs():
    return np.random.default_rng(0).normal(size=(6, 2, 4)).astype("float32")


def test_info_nce_is_that_of_a_double_loop(lesson, pairs):
    found = np.asarray(lesson["info_nce"](None, pairs, temperature=0.5))
    unit = pairs / np.linalg.norm(pairs, axis=-1, keepdims=True)
    for i in range(6):
        expected = 0.0
        for mine, theirs in ((0, 1), (1, 0)):
            own = np.exp(unit[i, mine] @ unit[i, theirs] / 0.5)
            all_of_them = sum(np.exp(unit[i, mine] @ unit[j, theirs] / 0.5) for j in range(6))
            expected -= np.log(own / all_of_them) / 2
        assert found[i] == pytest.approx(expected, abs=1e-5)


def test_info_nce_does_not_ask_which_view_is_first(lesson, pairs):
    loss = lesson["info_nce"]
    np.testing.assert_allclose(loss(None, pairs), loss(None, pairs[:, ::-1]), atol=1e-5)
    assert np.abs(np.asarray(loss(None, pairs)) - loss(None, pairs[::-1].copy())).max() > 0.01


def test_info_nce_is_chance_for_equal_views_and_nil_for_partners_far_from_others(lesson):
    same = np.ones((8, 2, 3), "float32")
    np.testing.assert_allclose(lesson["info_nce"](None, same), np.log(8), atol=1e-5)
    found = np.repeat(np.eye(8, dtype="float32")[:, None], 2, axis=1)
    assert np.asarray(lesson["info_nce"](None, found)).max() < 0.001


def test_pictures_are_turned_by_what_their_label_says(lesson):
    images = np.random.default_rng(0).random((4, 8, 8, 1))
    images[:, 0, 0], images[:, 0, -1] = 5, 6
    turned = lesson["turned"](images, np.arange(4))
    # anticlockwise: the upper right corner becomes the upper left, lower left, lower right
    assert [turned[1, 0, 0, 0], turned[2, -1, 0, 0], turned[3, -1, -1, 0]] == [6, 6, 6]
    assert [turned[1, -1, 0, 0], turned[2, -1, -1, 0], turned[3, 0, -1, 0]] == [5, 5, 5]
    back = lesson["turned"](turned, -np.arange(4))
    np.testing.assert_array_equal(back, images)


def test_views_move_by_a_pixel_at_most_hide_a_patch_and_keep_the_way_up(lesson):
    images = np.zeros((200, 8, 8, 1))
    images[:, 3, 4] = 1
    seen = lesson["view"](images, np.random.default_rng(0))
    assert seen.shape == images.shape
    there = [np.argwhere(one[..., 0] > 0) for one in seen]
    assert all(len(place) <= 1 for place in there)
    assert any(len(place) == 0 for place in there)  # hidden
    places = np.concatenate(there)
    assert np.abs(places - [3, 4]).max() == 1
    assert len(np.unique(places, axis=0)) == 9
    full = lesson["view"](np.ones((50, 8, 8, 1)), np.random.default_rng(0))[:, 1:-1, 1:-1]
    assert {int((one == 0).sum()) for one in full} <= {4, 6, 9}  # of 3 × 3, inside the frame
    half = lesson["view"](images, np.random.default_rng(0), half_turns=True)
    places = np.concatenate([np.argwhere(one[..., 0] > 0) for one in half])
    assert (places == [5, 2]).all(axis=1).any()  # where no upright view has it


def test_captions_become_the_counts_of_their_words(lesson):
    lesson["WORDS"] = tuple("abcde")
    bags = lesson["bags"](np.array([[0, 3, 4], [1, 1, 2]]))
    np.testing.assert_array_equal(bags, [[1, 0, 0, 1, 1], [0, 2, 1, 0, 0]])
