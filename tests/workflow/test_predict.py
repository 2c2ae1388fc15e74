"""A saved run: it says what it takes, refuses what it doesn't, and predicts as the run did."""

import hashlib
import json
import os
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pandas
import pytest
from PIL import Image
from toys import random_images, small_backbone, striped_data

import tlhelpers as tl
from tlhelpers.transfer.features import extract_features
from tlhelpers.transfer.methods import feature_transfer
from tlhelpers.workflow import predict as predicting
from tlhelpers.workflow.predict import write_answers
from tlhelpers.workflow.strangers import learn_familiar


@pytest.fixture(scope="module")
def run():
    return feature_transfer(small_backbone(cut="block2_pool"), striped_data(), grid=2)


@pytest.fixture(scope="module")
def path(run, tmp_path_factory):
    return run.save(tmp_path_factory.mktemp("saved") / "mine.keras")


@pytest.fixture(scope="module")
def saved(path):
    return tl.load_run(path)


@pytest.fixture
def photos(tmp_path, run):
    """Five readable files in three formats, one of them wide, and four that are not."""
    images = run.data.test.images
    (tmp_path / "more").mkdir()
    for name, image in zip(("a.png", "b.png", "more/c.bmp", "d.tiff"), images, strict=False):
        Image.fromarray(image).save(tmp_path / name)
    wide = np.concatenate([images[4][:, :9], images[4], images[4][:, :9]], axis=1)
    Image.fromarray(wide).save(tmp_path / "e.png")
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "notes.txt").write_text("not a picture")
    content = (tmp_path / "a.png").read_bytes()
    (tmp_path / "torn.png").write_bytes(content[: len(content) // 2])
    (tmp_path / ".hidden.png").write_bytes(content)
    return tmp_path


def test_it_predicts_as_the_run_did(run, saved):
    assert saved.class_names == ("lying", "standing")
    table = saved.predict(run.data.test.images)
    assert table.columns.tolist() == ["file", "class", "probability", "note"]
    probabilities = run.probabilities()
    expected = [run.data.class_names[place] for place in probabilities.argmax(axis=1)]
    assert table["class"].tolist() == expected
    np.testing.assert_allclose(table["probability"], probabilities.max(axis=1), atol=1e-5)
    assert table["file"].tolist() == [f"image {i}" for i in range(10)]
    assert (table["note"] == "").all()
    as_floats = saved.predict(run.data.test.images.astype("float32"))
    np.testing.assert_array_equal(as_floats["probability"], table["probability"])


def test_files_are_read_as_training_images_were(run, saved, photos):
    table = saved.predict(photos).set_index("file")
    names = [
        "a.png",
        "b.png",
        "d.tiff",
        "e.png",
        "empty.jpg",
        "more/c.bmp",
        "notes.txt",
        "torn.png",
    ]
    assert table.index.tolist() == [str(photos / name) for name in names]
    found = table.loc[[str(photos / name) for name in ("a.png", "b.png", "more/c.bmp", "d.tiff")]]
    np.testing.assert_allclose(found["probability"], run.probabilities()[:4].max(axis=1), atol=1e-5)
    wide = table.loc[str(photos / "e.png")]
    assert wide["probability"] == pytest.approx(run.probabilities()[4].max(), abs=1e-5)
    notes = {name: table.loc[str(photos / name), "note"] for name in names if "." in name}
    assert notes["empty.jpg"] == "empty file"
    assert notes["notes.txt"] == "not an image"
    assert "truncated" in notes["torn.png"]
    assert table["class"].isna().sum() == table["probability"].isna().sum() == 3


def test_one_file_and_a_list(saved, photos):
    one = saved.predict(photos / "a.png")
    assert len(one) == 1
    listed = saved.predict([str(photos / "gone.png"), photos / "a.png", photos / "more"])
    assert listed["note"].tolist() == ["missing file", "", "not a file"]
    assert listed["probability"][1] == one["probability"][0]
    with pytest.raises(FileNotFoundError, match=r"Received: .*gone"):
        saved.predict(photos / "gone")
    (photos / "none").mkdir()
    with pytest.raises(FileNotFoundError, match="image files to look at"):
        saved.predict(photos / "none")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_not_waited_for(saved, photos):
    os.mkfifo(photos / "pipe.png")
    table = saved.predict(photos).set_index("file")
    assert table.loc[str(photos / "pipe.png"), "note"] == "not a regular file"
    assert saved.predict([photos / "pipe.png"])["note"].tolist() == ["not a file"]


def test_nothing_in_a_folder_is_left_out_silently(saved, photos, monkeypatch):
    (photos / "linked").symlink_to(photos / "more")
    (photos / "dangling.png").symlink_to(photos / "nowhere")
    iterdir = Path.iterdir

    def denied(path):
        if path.name == "more":
            raise PermissionError(13, "Permission denied", str(path))
        return iterdir(path)

    monkeypatch.setattr(Path, "iterdir", denied)
    notes = saved.predict(photos).set_index("file")["note"]
    assert notes[str(photos / "linked")] == "a link to a folder"
    assert notes[str(photos / "dangling.png")] == "a link to nothing"
    assert notes[str(photos / "more")] == "no permission to read it"


def test_a_table_of_any_names_can_be_written(saved, photos, tmp_path):
    try:
        shutil.copy(photos / "a.png", os.fsencode(photos) + bytes([47, 233]) + b".png")
    except OSError:
        pytest.skip("the file system takes no such name")
    table = saved.predict(photos)
    table.to_csv(tmp_path / "table.csv")
    assert table["note"][table["file"].str.contains("udce9")].tolist() == [""]


def test_arrays_in_a_list_are_checked_as_one_array_is(run, saved):
    images = run.data.test.images
    one = saved.predict(images)["probability"]
    for many in (list(images), (image for image in images), [*images.astype("float32")]):
        np.testing.assert_array_equal(saved.predict(many)["probability"], one)


@pytest.mark.parametrize(
    "image",
    [
        random_images(1)[0] / 255,
        (random_images(1)[0] / 200).astype("uint8"),
        np.full((32, 32, 3), np.nan),
        np.zeros((32, 32), "uint8"),
        np.zeros((0, 32, 3), "uint8"),
        np.ones((40, 40, 3)) * 99.0,
    ],
)
def test_one_wrong_array_in_a_list_is_refused(saved, image):
    with pytest.raises(ValueError, match="Images must be an array"):
        saved.predict([random_images(1)[0], image])


@pytest.mark.parametrize(
    "images", [None, 3, b"bytes", [b"bytes"], Image.new("RGB", (32, 32)), [Image.new("L", (9, 9))]]
)
def test_what_is_no_image_is_refused_in_a_sentence(saved, images):
    with pytest.raises(TypeError, match=r"takes an image file, a folder.*Received: "):
        saved.predict(images)


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("classes", ["lying"]),
        ("classes", list("abc")),
        ("classes", "ab"),
        ("classes", ["cat", "cat"]),
        ("classes", ["standing", "lying"]),
        ("classes", [None, 2]),
        ("input", {"grey_range": [5]}),
        ("input", {"grey_range": "x"}),
        ("input", {"grey_range": [500, 5]}),
        ("threshold", float("nan")),
        ("threshold", 80),
        ("input", None),
        ("input", {"fit": "squeeze"}),
        ("versions", None),
    ],
)
def test_a_card_that_does_not_fit_is_refused(path, tmp_path, part, value):
    for file in (path, Path(f"{path}.json")):
        shutil.copy(file, tmp_path / file.name)
    card = tmp_path / f"{path.name}.json"
    card.write_text(json.dumps(json.loads(card.read_text()) | {part: value}))
    with pytest.raises(ValueError, match=r"card"):
        tl.load_run(tmp_path / path.name)


def test_a_card_that_an_editor_marked_is_read_and_another_encoding_named_in_brief(path, tmp_path):
    for file in (path, Path(f"{path}.json")):
        shutil.copy(file, tmp_path / file.name)
    card = tmp_path / f"{path.name}.json"
    text = card.read_text("utf-8")
    card.write_text(text, "utf-8-sig")
    assert tl.load_run(tmp_path / path.name).class_names == ("lying", "standing")
    for content in (text.encode("utf-16"), b"[" * 200_000):
        card.write_bytes(content)
        with pytest.raises(ValueError, match="must be a card") as raised:
            tl.load_run(tmp_path / path.name)
        assert len(str(raised.value)) < 500


@pytest.mark.parametrize("shape", [(5,), (None, None, 3), (32, 16, 3), (32, 32, 1)])
def test_a_model_of_something_else_is_refused(path, tmp_path, shape):
    layers = [keras.Input(shape), keras.layers.Flatten()] if None not in shape else []
    layers = layers or [keras.Input(shape), keras.layers.GlobalAveragePooling2D()]
    keras.Sequential([*layers, keras.layers.Dense(2)]).save(tmp_path / "other.keras")
    card = json.loads(Path(f"{path}.json").read_text("utf-8"))
    card["sha256"] = hashlib.sha256((tmp_path / "other.keras").read_bytes()).hexdigest()
    (tmp_path / "other.keras.json").write_text(json.dumps(card))
    with pytest.raises(ValueError, match=r"RGB images of one size"):
        tl.load_run(tmp_path / "other.keras")


def test_images_of_another_size_are_resized_as_files_are(saved, tmp_path):
    images = random_images(2, size=50)
    images[:, ::5] = 255
    for place, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"{place}.png")
    np.testing.assert_array_equal(
        saved.predict(images)["probability"], saved.predict(tmp_path)["probability"]
    )
    assert len(saved.predict(images[0])) == 1
    np.testing.assert_array_equal(
        saved.predict(images.astype(np.int64))["probability"], saved.predict(images)["probability"]
    )


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (random_images(2) / 255, "values from 0 to 1; multiply"),
        (np.stack([random_images(1)[0].astype(float), random_images(1)[0] / 255]), "from 0 to 1"),
        (random_images(2) / 127.5 - 1, r"Received: -1 to 1\."),
        (random_images(2).astype(float) * 2, "Received: 0 to 510"),
        (random_images(2).astype("int16") - 3, "Received: -3 to 252"),
        (np.full((1, 32, 32, 3), np.nan), "Received: nan to nan"),
        (random_images(2)[..., :1], r"Received: uint8 \[2, 32, 32, 1\]"),
        (random_images(2) > 9, r"Received: bool \[2, 32, 32, 3\]"),
        (random_images(2, size=40).astype("float32"), r"the model's size, 32 x 32, while"),
    ],
)
def test_arrays_out_of_range_are_refused(saved, images, message):
    with pytest.raises(ValueError, match=message):
        saved.predict(images)


def test_black_images_and_none_at_all(saved):
    assert len(saved.predict(np.zeros((2, 32, 32, 3)))) == 2
    assert saved.predict(random_images(0)).empty


def test_below_the_threshold_it_is_unsure(run, tmp_path):
    highest = np.sort(run.probabilities().max(axis=1))
    threshold = float(highest[4] + highest[5]) / 2
    table = tl.load_run(run.save(tmp_path / "mine.keras", threshold=threshold)).predict(
        run.data.test.images
    )
    unsure = table["class"] == "unsure"
    assert unsure.sum() == 5
    assert (table["probability"][unsure] < threshold).all()
    assert set(table["note"][unsure]) <= {"most like lying", "most like standing"}
    with pytest.raises(ValueError, match=r"between 0 and 1. Received: 80"):
        run.save(tmp_path / "mine.keras", threshold=80)


def test_the_card_states_the_contract(run, saved):
    card = saved.card
    assert card["input"]["range"] == [0, 255]
    assert "RGB, red first, 32 x 32 pixels" in card["input"]["images"]
    assert "largest centred square" in card["input"]["reading"]
    assert card["versions"]["keras"] == keras.__version__
    assert card["weights"] == {"from": "random", "sha256 now": run.base.weights_digest()}
    assert card["trained_on"]["name"] == "stripes"
    assert card["config"]["method"] == "feature_transfer"


class TestWrong:
    def test_missing(self, path, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"there is no .*gone\.keras"):
            tl.load_run(tmp_path / "gone.keras")
        alone = tmp_path / "alone.keras"
        alone.write_bytes(path.read_bytes())
        with pytest.raises(FileNotFoundError, match=r"there is no .*alone.keras.json"):
            tl.load_run(alone)

    def copy(self, path, folder, model=None, card=None):
        (folder / path.name).write_bytes(model or path.read_bytes())
        beside = path.with_name(f"{path.name}.json")
        (folder / beside.name).write_text(card or beside.read_text())
        return folder / path.name

    def test_a_card_that_is_none(self, path, tmp_path):
        for card in ("{", "[]", '{"sha256": "00"}'):
            with pytest.raises(ValueError, match=r"must be a card as Run.save writes it"):
                tl.load_run(self.copy(path, tmp_path, card=card))

    def test_a_model_that_the_card_is_not_of(self, path, tmp_path):
        with pytest.raises(ValueError, match="The card must be of this model"):
            tl.load_run(self.copy(path, tmp_path, model=path.read_bytes() + b" "))

    def test_a_model_of_a_later_keras(self, run, path, tmp_path, monkeypatch):
        """A layer that this version does not know."""
        stranger = tmp_path / "stranger.keras"
        with zipfile.ZipFile(path) as old, zipfile.ZipFile(stranger, "w") as new:
            for entry in old.infolist():
                content = old.read(entry)
                if entry.filename == "config.json":
                    content = content.replace(b"Conv2D", b"Conv9D")
                new.writestr(entry, content)
        card = json.loads(path.with_name(f"{path.name}.json").read_text())
        card["versions"]["keras"] = "9.0.0"
        card["sha256"] = tl_sha256(stranger)
        with pytest.raises(ValueError, match=r"saved with Keras 9.0.0, and Keras \d.* can't load"):
            tl.load_run(self.copy(path, tmp_path, stranger.read_bytes(), json.dumps(card)))

    def test_a_run_without_a_model(self, run, tmp_path):
        bare = replace(run, model=None, base=None)
        assert bare.test == run.test
        assert str(bare).startswith("frozen: stripes, ")
        with pytest.raises(ValueError, match="'frozen' holds predictions only"):
            bare.save(tmp_path / "bare.keras")


def tl_sha256(path):
    import hashlib

    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_files_are_read_in_the_fit_and_the_range_of_training(run, tmp_path):
    data = run.data
    for split in (data.train, data.validation, data.test):
        split.fit, split.grey_range = "pad", (0, 4095)
    try:
        path = run.save(tmp_path / "padded.keras")
    finally:
        for split in (data.train, data.validation, data.test):
            split.fit, split.grey_range = "crop", None
    saved = tl.load_run(path)
    grey = np.arange(2048, dtype=np.uint16).reshape(32, 64) * 2
    Image.fromarray(grey).save(tmp_path / "wide.png")
    size = run.whole_model().input_shape[1]
    read = tl.read_image(tmp_path / "wide.png", size, fit="pad", grey_range=(0, 4095))
    assert "black added to a square" in saved.card["input"]["reading"]
    answers = [
        saved.predict(images).probability[0] for images in (tmp_path / "wide.png", read[None])
    ]
    assert answers[0] == pytest.approx(answers[1], abs=1e-6)
    wide = np.random.default_rng(0).integers(0, 256, (32, 64, 3), np.uint8)
    Image.fromarray(wide).save(tmp_path / "wide.png")
    answers = [
        saved.predict(images).probability[0] for images in (tmp_path / "wide.png", wide[None])
    ]
    assert answers[0] == pytest.approx(answers[1], abs=1e-6)


def test_answers_are_written_as_a_table_a_batch_at_a_time(saved, photos, monkeypatch):
    monkeypatch.setattr("tlhelpers.workflow.predict.inference_batch_size", lambda size: 2)
    answers = photos.parent / "answers.csv"
    counts = write_answers(saved, photos, answers)
    table = pandas.read_csv(answers)
    expected = saved.predict(photos)
    assert table["file"].tolist() == expected["file"].tolist()
    assert table["class"].fillna("").tolist() == expected["class"].fillna("").tolist()
    np.testing.assert_allclose(table["probability"], expected["probability"], atol=6e-5)
    assert counts["unreadable"] == 3
    assert counts.total() == len(table) == 8


def test_what_runs_the_network_is_built_once(path, photos, monkeypatch):
    made, real = [], predicting.forward_pass
    monkeypatch.setattr(predicting, "forward_pass", lambda *a: made.append(a[1]) or real(*a))
    saved = tl.load_run(path)
    first, again = (saved.predict(photos) for _ in range(2))
    assert made == ["keras"]
    assert first.equals(again)


def test_a_batch_is_all_that_is_in_memory(saved, photos, monkeypatch):
    monkeypatch.setattr("tlhelpers.workflow.predict.inference_batch_size", lambda size: 2)
    read = []
    real = predicting._read
    monkeypatch.setattr(predicting, "_read", lambda *a: read.append(a[0]) or real(*a))
    rows = saved.answers(photos)
    next(rows)
    assert len(read) == 2


def test_a_table_of_somebody_else_is_not_replaced(saved, photos):
    answers = photos.parent / "mine.csv"
    answers.write_text("name,age\nAda,36\n")
    with pytest.raises(FileExistsError, match="left as it is"):
        write_answers(saved, photos, answers)
    assert answers.read_text().startswith("name")


def test_answers_that_somebody_corrected_are_kept(saved, photos, capsys):
    answers, kept = photos.parent / "answers.csv", photos.parent / "yours-1-answers.csv"
    write_answers(saved, photos / "a.png", answers)
    write_answers(saved, photos, answers)  # as it was written: replaced
    assert not kept.exists()
    corrected = answers.read_text().replace("standing", "lying")
    answers.write_text(corrected)
    write_answers(saved, photos, answers)
    assert f"kept as {kept}" in capsys.readouterr().out
    assert kept.read_text() == corrected
    assert "standing" in answers.read_text()
    answers.write_text(corrected)
    write_answers(saved, photos, answers)
    assert (photos.parent / "yours-2-answers.csv").read_text() == corrected
    (photos.parent / ".answers.csv.sha256").unlink()  # where nothing tells, it is kept too
    write_answers(saved, photos / "a.png", answers)
    assert (photos.parent / "yours-3-answers.csv").exists()


def test_a_table_among_the_images_is_not_one_of_them(saved, photos):
    answers = photos / "answers.csv"
    first = write_answers(saved, photos, answers)
    text = answers.read_text()
    answers.write_text(text.replace("standing", "lying"))
    for _ in range(2):  # the second finds the edited one, too, which was set aside
        assert write_answers(saved, photos, answers) == first
        assert answers.read_text() == text
    assert (photos / "yours-1-answers.csv").exists()
    (photos / "more/answers.csv").write_text("another one")  # and that of another folder is listed
    assert write_answers(saved, photos, answers)["unreadable"] == first["unreadable"] + 1
    (photos / "none").mkdir()
    (photos / "none/answers.csv").write_text(text)
    with pytest.raises(FileNotFoundError, match="image files to look at"):
        write_answers(saved, photos / "none", photos / "none/answers.csv")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_answers_go_to_a_file_and_to_nothing_else(saved, photos):
    os.mkfifo(photos / "pipe.csv")
    for path in (photos, photos / "pipe.csv", Path(os.devnull)):
        with pytest.raises(FileExistsError, match=r"answers go to a file. Received: "):
            write_answers(saved, photos, path)


def test_what_is_unlike_all_training_images_is_unknown(run, saved):
    features = extract_features(run.base, run.data.train, grid=2)
    known = learn_familiar(features, np.arange(len(features)))
    told = replace(saved, familiar=known)
    assert (told.predict(run.data.train.images)["class"] != "unknown").mean() > 0.8
    table = told.predict(np.full((3, 32, 32, 3), 255, np.uint8))
    assert table["class"].tolist() == ["unknown"] * 3
    assert table["note"].str.startswith("unlike the training images; most like ").all()
