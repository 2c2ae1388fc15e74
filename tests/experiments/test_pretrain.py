"""Pre-training: a few real steps, resumed after an interruption, and its card."""

import hashlib
import json

import numpy as np
import pandas
import pytest

from tlhelpers.experiments import model_card, pretrain, source_accuracy, study
from tlhelpers.experiments.pretrain import TASKS, Settings, Trainer
from tlhelpers.models.vgg16_mini import (
    build_vgg16_mini,
    load_weights_into,
    read_weights,
    standardise,
)

TINY = Settings(images=60, held_out=20, steps=4, batch=4, warm_up=1)


@pytest.fixture(scope="module", autouse=True)
def eagerly():
    """Run without graphs, whose tracing takes longer than the few steps of these tests."""
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory):
    return pretrain.train(TINY, cache=tmp_path_factory.mktemp("whole"), every=2)


def test_training_records_what_it_did(whole_run):
    _, record = whole_run
    assert record["settings"]["steps"] == 4
    assert [entry["step"] for entry in record["history"]] == [2, 4]
    assert all(np.isfinite(entry["loss"]) for entry in record["history"])
    for size in ("64 px", "32 px"):
        assert set(record["source_accuracy"][size]) == {task.name for task in TASKS}
        assert all(0 <= share <= 1 for share in record["source_accuracy"][size].values())


def test_an_interrupted_run_resumes_to_the_same_weights(whole_run, tmp_path, monkeypatch):
    update, calls = pretrain._step, []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return update(*arguments)

    monkeypatch.setattr(pretrain, "_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pretrain.train(TINY, cache=tmp_path, every=2)
    resumed, _record = pretrain.train(TINY, cache=tmp_path, every=2)
    assert len(calls) == 4 + 2
    for one, other in zip(whole_run[0].variables, resumed.variables, strict=True):
        np.testing.assert_allclose(np.asarray(one), np.asarray(other), rtol=1e-4, atol=1e-6)
    assert not list(tmp_path.glob("*.part"))


def test_saved_weights_load_and_have_a_card(whole_run, tmp_path):
    trainer, record = whole_run
    path = tmp_path / "weights" / "small.npz"
    pretrain.save(trainer, record, path)
    weights = read_weights(path)
    kernel = np.asarray(trainer.trunk.get_layer("block1_conv1").kernel)
    np.testing.assert_allclose(weights["block1_conv1/kernel"], kernel, rtol=1e-3, atol=1e-4)
    model = load_weights_into(build_vgg16_mini(32), path)
    np.testing.assert_array_equal(
        model.get_layer("block5_conv3").get_weights()[0], weights["block5_conv3/kernel"]
    )
    card = path.with_suffix(".md").read_text(encoding="utf-8")
    assert json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))["sha256"] in card
    assert f"{100 * record['source_accuracy']['64 px']['form']:.1f}" in card
    assert "Measured transfer" not in card


def test_a_card_shows_measured_transfer_and_trials(whole_run, tmp_path):
    path = tmp_path / "small.npz"
    pretrain.save(*whole_run, path)
    columns = ["target", "relatedness", "labels", "method", "test"]
    scores = {"scratch": (0.5, 0.6), "frozen": (0.7, 0.8), "tuned": (0.8, 0.9)}
    rows = [("pets", 1.0, 20, way, score) for way, two in scores.items() for score in two]
    rows += [("pets", 0.5, 20, "scratch", 0.1), ("mnist", np.nan, 20, "scratch", 0.2)]
    trials = [{"trial": "a larger rate", "outcome": "worse"}]
    (tmp_path / "tried.json").write_text(json.dumps(trials), encoding="utf-8")
    results = pandas.DataFrame(rows, columns=columns)
    card = model_card.write_card(path, results).read_text(encoding="utf-8")
    assert "| 20 | 2 | 55.0 (50.0 to 60.0) | 75.0 (70.0 to 80.0) | 85.0 (80.0 to 90.0) |" in card
    assert "MNIST" not in card  # compared with nothing
    assert "| a larger rate | worse |" in card


def test_a_card_without_a_record_says_what_to_run(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"python -m tlhelpers\.experiments\.pretrain"):
        model_card.write_card(tmp_path / "none.npz")


def test_the_shipped_card_is_the_one_its_records_give(tmp_path):
    shipped = model_card.WEIGHTS_FILE
    for file in (shipped.with_suffix(".json"), shipped.with_name("tried.json")):
        if file.exists():
            (tmp_path / file.name).write_bytes(file.read_bytes())
    again = model_card.write_card(tmp_path / shipped.name, study.table())
    assert again.read_text(encoding="utf-8") == shipped.with_suffix(".md").read_text(
        encoding="utf-8"
    )


@pytest.mark.slow
def test_loss_leaves_its_plateau_on_one_batch():
    import tensorflow as tf

    tf.config.run_functions_eagerly(False)
    trainer = Trainer(Settings(steps=60, warm_up=5, batch=16))
    images, labels = pretrain.draw_source(16, 0, 1.0)
    standardise(trainer.trunk, images)
    losses = [float(trainer.update(images, labels)) for _ in range(40)]
    tf.config.run_functions_eagerly(True)
    assert losses[-1] < 0.8 * losses[0]


def test_standardised_channels_have_mean_0_and_variance_1():
    import keras

    images, _ = pretrain.draw_source(32, 0, 1.0)
    model = build_vgg16_mini(64)
    standardise(model, images)
    layer = model.get_layer("block3_conv2")
    before = keras.Model(model.input, model.get_layer("block3_conv1").output)
    inputs = (images.astype(np.float32) - 127.5) / 63.75
    sums = keras.ops.conv(before(inputs), layer.kernel, padding="same") + layer.bias
    np.testing.assert_allclose(np.asarray(sums).mean(axis=(0, 1, 2)), 0, atol=1e-3)
    np.testing.assert_allclose(np.asarray(sums).std(axis=(0, 1, 2)), 1, atol=1e-3)


def test_augmentation_keeps_shape_and_is_seeded():
    images, _ = pretrain.draw_source(8, 0, 1.0)
    first = pretrain.augmented(images, np.random.default_rng(0))
    assert first.shape == images.shape
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(first, pretrain.augmented(images, np.random.default_rng(0)))
    assert (first != images).any(axis=(1, 2, 3)).all()


def test_halving_is_the_mean_of_blocks():
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    expected = images.reshape(3, 4, 2, 4, 2, 3).mean(axis=(2, 4))
    np.testing.assert_allclose(pretrain.halved(images), expected, atol=0.51)


def test_command_line_writes_weights(tmp_path, capsys):
    out = tmp_path / "w.npz"
    pretrain.main(
        [
            "--steps",
            "1",
            "--images",
            "20",
            "--precision",
            "float32",
            "--cache",
            str(tmp_path),
            "--out",
            str(out),
            "--held-out",
            "20",
        ]
    )
    assert len(read_weights(out)) == 26
    assert "64 px" in capsys.readouterr().out


@pytest.mark.slow
def test_networks_are_compared_on_the_source_with_new_heads(capsys, tmp_path):
    shipped = model_card.WEIGHTS_FILE
    other = tmp_path / "random.npz"
    rng = np.random.default_rng(0)
    arrays = {
        name: (0.1 * rng.normal(size=values.shape)).astype(np.float16)
        for name, values in read_weights().items()
    }
    content = pretrain.npz_bytes(arrays, compressed=True)
    other.write_bytes(content)
    record = {"sha256": hashlib.sha256(content).hexdigest()}
    other.with_suffix(".json").write_text(json.dumps(record), encoding="utf-8")
    first, random, *_ = rows = list(source_accuracy.compare([shipped, other], n=296))
    assert [row["size"] for row in rows] == [64, 64, 32, 32]
    assert first["difference"] == first["standard_error"] == 0
    assert random["accuracy"] - first["accuracy"] == pytest.approx(random["difference"])
    assert random["difference"] < -4 * random["standard_error"] < 0
    with pytest.raises(ValueError, match="at least 296"):
        next(source_accuracy.compare([shipped], n=148))
    with pytest.raises(FileNotFoundError):
        next(source_accuracy.compare([shipped, tmp_path / "none.npz"], n=296))
    source_accuracy.main([str(other), "--images", "444"])
    assert len(capsys.readouterr().out.splitlines()) == 4
