"""Chapter 17's maps and pictures, as its cells write them, against independent computations."""

import ast
import json
from pathlib import Path

import numpy as np
import pytest

CHAPTER = Path(__file__).resolve().parents[2] / "book" / "17_looking_inside.ipynb"


@pytest.fixture(scope="module")
def lesson():
    """Give the functions that the chapter's cells define; nothing is trained."""
    import tensorflow as tf

    space = {"tf": tf, "np": np, "CELL": 16}
    for cell in json.loads(CHAPTER.read_text("utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] != "code" or "%pip" in source:
            continue
        for part in ast.parse(source).body:
            if isinstance(part, ast.FunctionDef):
                exec(compile(ast.Module([part], []), CHAPTER.name, "exec"), space)
    return space


def test_class_activation_is_that_of_a_loop(lesson):
    rng = np.random.default_rng(0)
    maps, kernel, classes = rng.random((3, 2, 2, 4)), rng.normal(size=(4, 2)), np.array([0, 1, 1])
    found = lesson["class_activation"](maps, kernel, classes)
    for n, i, j in np.ndindex(found.shape):
        expected = sum(maps[n, i, j, d] * kernel[d, classes[n]] for d in range(4))
        assert found[n, i, j] == pytest.approx(expected)


def test_grad_cam_weighs_by_the_slope_that_differences_give(lesson):
    import keras

    keras.utils.set_random_seed(0)
    after = keras.Sequential(
        [keras.layers.Flatten(), keras.layers.Dense(5, "tanh"), keras.layers.Dense(2)]
    )
    maps, classes = (
        np.random.default_rng(0).random((2, 3, 3, 4)).astype("float32"),
        np.array([1, 0]),
    )
    found = lesson["grad_cam"](maps, after, classes)
    weights, step = np.empty((2, 4)), 1e-2
    for n in range(2):
        for d in range(4):  # the mean gradient of a channel is the slope where all of it rises
            ends = []
            for sign in (1, -1):
                moved = maps[n : n + 1].copy()
                moved[..., d] += sign * step
                ends.append(np.asarray(after(moved))[0, classes[n]])
            weights[n, d] = (ends[0] - ends[1]) / (2 * step) / 9
    np.testing.assert_allclose(found, np.einsum("nijd,nd->nij", maps, weights), atol=2e-3)


def test_one_cell_is_covered_with_the_pictures_mean(lesson):
    images = np.random.default_rng(0).integers(0, 256, (2, 96, 96, 3)).astype("uint8")
    seen = lesson["covered"](images, 1, 3)
    np.testing.assert_allclose(
        seen[1, 16:32, 48:64], np.broadcast_to(images[1].mean((0, 1)), (16, 16, 3)), rtol=1e-5
    )
    seen[:, 16:32, 48:64] = images[:, 16:32, 48:64]
    np.testing.assert_array_equal(seen, images)


def test_cloth_hangs_behind_the_pet_and_never_before_it(lesson):
    rng = np.random.default_rng(0)
    lesson["DOTS"], lesson["STRIPES"] = np.full((8, 8), 30), np.full((8, 8), 230)
    images, masks = rng.integers(0, 256, (2, 8, 8, 3)).astype("uint8"), rng.random((2, 8, 8)) < 0.4
    hung = lesson["before_cloth"](images, masks, np.array([0, 1]))
    np.testing.assert_array_equal(hung[masks], images[masks])
    for one, shade in ((0, 30), (1, 230)):
        there = ~masks[one]
        expected = 0.5 * images[one][there] + 0.5 * shade
        np.testing.assert_allclose(hung[one][there], expected, atol=1)


def test_heat_inside_is_the_share_above_zero_that_lies_on_the_pet(lesson):
    lesson["in_pet"] = np.array([[[1.0, 0.5], [0, 0]]])
    assert lesson["inside"](np.array([[[3.0, 2.0], [5.0, -7.0]]])) == pytest.approx(4 / 10)
    assert lesson["inside"](-np.ones((1, 2, 2))) == 0


def test_a_margin_is_the_log_odds_of_the_class(lesson):
    maps, kernel = np.array([[[[2.0, 1.0]]]] * 2), np.array([[0.5, 1.0], [0.0, -1.0]])
    found = lesson["margin"](maps, kernel, np.array([0.1, 0.0]), np.array([0, 1]))
    p = np.exp([1.1, 1.0]) / np.exp([1.1, 1.0]).sum()
    np.testing.assert_allclose(found, [np.log(p[0] / p[1]), np.log(p[1] / p[0])])
