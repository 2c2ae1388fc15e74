"""Pre-training: a few real steps, resumed after an interruption, and its card."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pandas
import pytest
from threadpoolctl import threadpool_limits

from tlhelpers.experiments import model_card, pretrain, source_accuracy, study
from tlhelpers.experiments.pretrain import TASKS, Batches, Settings
from tlhelpers.models.initialisation import standardise_channels
from tlhelpers.models.vgg16_mini import (
    build_vgg16_mini,
    load_weights_into,
    read_weights,
)

pytestmark = [
    pytest.mark.usefixtures("eagerly"),
    pytest.mark.filterwarnings("ignore:Even though the .tf.config"),
]
TINY = Settings(images=60, held_out=20, steps=6, batch=4, warm_up=1)


@pytest.fixture(scope="module", autouse=True)
def short_epochs():
    """Write backups every two steps."""
    usual, pretrain.EPOCH = pretrain.EPOCH, 2
    yield
    pretrain.EPOCH = usual


@pytest.fixture
def one_thread():
    """Threads of a small fit wait for one another where the machine is busy."""
    with threadpool_limits(1):
        yield


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory):
    return pretrain.train(TINY, tmp_path_factory.mktemp("whole"))


def test_training_records_what_it_did(whole_run):
    *_, record = whole_run
    assert record["settings"]["steps"] == 6
    assert [entry["step"] for entry in record["history"]] == [2, 4, 6]
    assert all(np.isfinite(entry["loss"]) for entry in record["history"])
    assert record["seconds"] > 0
    for size in ("64 px", "32 px"):
        assert set(record["source_accuracy"][size]) == {task.name for task in TASKS}
        assert all(0 <= share <= 1 for share in record["source_accuracy"][size].values())


@pytest.mark.slow
def test_an_interrupted_run_resumes_to_the_same_weights(whole_run, tmp_path):
    import keras

    seen = []

    def interrupt(batch, logs):
        seen.append(batch)
        if len(seen) == 7:  # in the second of three epochs
            raise KeyboardInterrupt

    late = keras.callbacks.LambdaCallback(on_train_batch_end=interrupt)
    with pytest.raises(KeyboardInterrupt):
        pretrain.train(TINY, tmp_path, [late])
    _, resumed, record = pretrain.train(TINY, tmp_path, [late])
    assert len(seen) == 7 + 2 * 4
    assert [entry["step"] for entry in record["history"]] == [2, 4, 6]
    for one, other in zip(whole_run[1].get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)
    assert whole_run[2]["history"] == record["history"]


def test_steps_that_make_no_whole_epochs(tmp_path):
    for steps in (0, 3):
        with pytest.raises(ValueError, match=f"Received: {steps}"):
            pretrain.train(replace(TINY, steps=steps), tmp_path)


def test_batches_are_large_and_small_by_turns_and_leave_out_missing_labels():
    images, labels = pretrain.draw_source(60, 0)
    batches = Batches(images, labels, TINY)
    (large, _, _), (small, wanted, weights) = batches[0], batches[1]
    assert (large.shape, small.shape) == ((4, 64, 64, 3), (8, 32, 32, 3))
    assert np.array_equal(batches[1][0], small)
    batches.first = 4
    assert not np.array_equal(batches[1][0], small)
    for task in TASKS:
        present = weights[task.name] > 0
        assert wanted[task.name].shape == (8, task.classes)
        if present.any():  # so that Keras's mean over the batch is one over these
            assert weights[task.name].mean() == pytest.approx(1)


def test_saved_weights_load_and_have_a_card(whole_run, tmp_path):
    trunk, _, record = whole_run
    path = tmp_path / "weights" / "small.npz"
    pretrain.save(trunk, record, path)
    weights = read_weights(path)
    kernel = np.asarray(trunk.get_layer("block1_conv1").kernel)
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
    trunk, _, record = whole_run
    pretrain.save(trunk, record, path)
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
    settings = Settings(steps=60, warm_up=5, batch=16)
    images, labels = pretrain.draw_source(16, 0, 1.0)
    trunk, model = pretrain.build(settings)
    standardise_channels(trunk, (images - np.float32(127.5)) / 63.75)
    batches = Batches(images, labels, settings)
    first = batches[0]
    losses = [model.train_on_batch(*first, return_dict=True)["loss"] for _ in range(25)]
    assert losses[-1] < 0.9 * losses[0]


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


@pytest.mark.slow
def test_command_line_writes_weights_and_leaves_no_backup(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("TLH_CACHE", str(tmp_path / "cache"))
    out = tmp_path / "w.npz"
    few = ["--steps", "1", "--images", "20", "--held-out", "20", "--precision", "float32"]
    pretrain.main([*few, "--out", str(out)])
    assert len(read_weights(out)) == 26
    assert "64 px" in capsys.readouterr().out
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.slow
def test_networks_are_compared_on_the_source_with_new_heads(
    capsys, tmp_path, monkeypatch, one_thread
):
    monkeypatch.setattr(source_accuracy, "SIZES", (32,))
    shipped = model_card.WEIGHTS_FILE
    other = tmp_path / "random.npz"
    rng = np.random.default_rng(0)
    arrays = {
        name: (0.1 * rng.normal(size=values.shape)).astype(np.float16)
        for name, values in read_weights().items()
    }
    content = pretrain.npz_bytes(arrays)
    other.write_bytes(content)
    record = {"sha256": hashlib.sha256(content).hexdigest()}
    other.with_suffix(".json").write_text(json.dumps(record), encoding="utf-8")
    first, random = source_accuracy.compare([shipped, other], n=296)
    assert (first["size"], first["weights"]) == (32, str(shipped))
    assert first["difference"] == first["standard_error"] == 0
    assert random["accuracy"] - first["accuracy"] == pytest.approx(random["difference"])
    assert random["difference"] < -4 * random["standard_error"] < 0
    with pytest.raises(ValueError, match="at least 296"):
        next(source_accuracy.compare([shipped], n=148))
    with pytest.raises(FileNotFoundError):
        next(source_accuracy.compare([shipped, tmp_path / "none.npz"], n=296))
    source_accuracy.main([str(other), "--images", "296"])
    assert len(capsys.readouterr().out.splitlines()) == 2
