"""Speech, sentences and scenes: who is tested on what, and that scores are what they say."""

import json

import numpy as np
import pytest

from tlhelpers.experiments.field import choose, scenes, sentences, speech
from tlhelpers.experiments.field.trainer import Trainer


@pytest.fixture(scope="module")
def digits():
    return speech.spoken_digits()


@pytest.fixture(scope="module")
def truth():
    return scenes.draw_scenes(40, 7)


class TestSpeech:
    def test_labelled_recordings_are_one_speakers_and_never_tested(self, digits):
        for speaker in range(6):
            few, more = (set(speech.rows_of(digits, speaker, n)) for n in (1, 20))
            tested = set(speech._tested(digits, speaker, "tuned"))
            assert few < more
            assert not more & tested
            assert {digits.speakers[row] for row in more | tested} == {speaker}
            assert (len(few), len(more), len(tested)) == (10, 200, 250)

    def test_a_random_split_trains_on_as_many_as_five_speakers(self, digits):
        assert np.bincount(speech.folds(digits)).tolist() == [500] * 6
        for fold in range(6):
            of_all = np.bincount(digits.speakers[speech.folds(digits) == fold], minlength=6)
            assert of_all.min() > 40

    def test_settings_are_chosen_by_other_speakers(self, tmp_path, monkeypatch, digits):
        """The speaker's own best setting loses if it is not the others' best."""
        right = [
            "".join(map(str, digits.digits[speech._tested(digits, s, "tuned")])) for s in range(6)
        ]
        wrong = [answers.replace("3", "5") for answers in right]
        made = {"a": right[:1] + wrong[1:], "b": wrong[:1] + right[1:]}
        monkeypatch.setattr(speech, "_outcomes", lambda method, n: made)
        settings = {"method": "tuned", "labels": 5, "seed": 0}
        run = speech.run(settings, speech.load(settings))
        assert run.config["chosen"] == "b"
        assert run.test.accuracy == pytest.approx(0.9)
        assert json.loads(json.dumps(speech.more(run)))["answers"] == wrong[0]

    def test_the_plan(self):
        assert len(choose("speech")) == 126
        assert {one["labels"] for one in choose("speech", methods=["all six"])} == {25}


class TestSentences:
    def test_parts_are_apart_and_balanced(self):
        read = sentences.sentences()
        parts = sentences.parts(read.labels)
        rows = np.concatenate(list(parts.values()))
        assert len(set(rows)) == len(rows) == len(read.labels)
        assert {name: read.labels[part].mean() for name, part in parts.items()} == dict.fromkeys(
            parts, 0.5
        )

    def test_words_are_counted(self):
        words = (np.array([3, 3, 9], np.uint16), np.array([], np.uint16), np.array([9], np.uint16))
        counted = sentences.counts(words).toarray()
        assert counted.shape == (3, sentences.CODES)
        assert counted[:, [3, 9]].tolist() == [[2, 1], [0, 0], [0, 1]]
        assert counted.sum() == 4

    def test_vectors_give_back_the_mutual_information(self):
        """With as many components as words, V Uᵀ is the matrix; here its norm, by hand."""
        rng = np.random.default_rng(0)
        topic = rng.integers(0, 2, 400)
        words = tuple(np.unique(rng.integers(0, 6, 3) + 6 * t).astype(np.uint16) for t in topic)
        vectors = sentences.word_vectors(sentences.counts(words), 2)[:12]
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        alike = np.abs(unit @ unit.T)
        assert alike[:6, :6].min() > 0.9
        assert alike[6:, 6:].min() > 0.9
        assert alike[:6, 6:].max() < 0.2

    def test_no_sentence_is_empty_for_the_encoder(self):
        padded = sentences._padded()
        assert (padded[:, 0] == sentences.CODES + 1).all()
        shortest = min(sentences._all()[0].words, key=len)
        assert padded[:, 1:].astype(bool).sum(axis=1).min() == len(shortest)

    def test_draws_are_nested_balanced_training_sentences(self):
        labels = sentences._all()[2]
        few, more = set(sentences._draw(20, 3)), set(sentences._draw(100, 3))
        assert few < more
        assert max(more) < 8000
        assert labels[list(few)].mean() == 0.5
        assert set(sentences._draw(20, 4)) != few


class TestScenes:
    def perfect(self, truth):
        of_class = 9.0 * np.eye(2)[truth.labels]
        masks = 9.0 * (2 * truth.masks.reshape(len(truth.masks), -1) - 1)
        return np.concatenate([of_class, truth.boxes, masks], axis=1)

    def test_perfect_outputs_score_one(self, truth):
        found = scenes.scored(self.perfect(truth), truth)
        assert found == {"iou": 1.0, "ap": [1.0, 1.0], "box_iou": pytest.approx(1), "hit": 1.0}

    def test_wrong_classes_and_boxes_are_no_detections(self, truth):
        outputs = self.perfect(truth)
        outputs[:, :2] = outputs[:, 1::-1]
        assert max(scenes.scored(outputs, truth)["ap"]) < 0.6
        outputs = self.perfect(truth)
        outputs[:, 2:6] = [0, 0, 0.1, 0.1]
        found = scenes.scored(outputs, truth)
        assert (found["ap"], found["hit"], found["iou"]) == ([0, 0], 0, 1)

    def test_boxes_are_those_of_the_masks(self, truth):
        left, top, right, bottom = (truth.boxes * scenes.SIZE).round().astype(int).T
        for k, mask in enumerate(truth.masks):
            assert mask[top[k] : bottom[k], left[k] : right[k]].sum() == mask.sum()

    @pytest.mark.slow
    def test_what_is_frozen_stays_and_the_loss_falls(self, truth):
        import tensorflow as tf

        start = scenes.build_network("frozen", 0)
        before = start.get_weights()
        fitted = scenes.fit("frozen", truth, 1e-3, (1, 25), 0)
        names = [weight.path for weight in start.weights]
        moved = [not np.array_equal(a, b) for a, b in zip(before, fitted[25], strict=True)]
        assert not any(m for m, name in zip(moved, names, strict=True) if "block" in name)
        assert all(m for m, name in zip(moved, names, strict=True) if "block" not in name)
        images, aim = truth.images.astype(np.float32), scenes._side_by_side(truth)
        losses = [
            float(
                np.mean(
                    scenes._loss(tf.constant(aim), scenes._trainer("frozen").outputs(w, images))
                )
            )
            for w in fitted.values()
        ]
        assert losses[1] < losses[0]


@pytest.mark.slow
def test_a_trainer_takes_the_steps_of_keras():
    """Full batches in Keras's own loop end at the same weights."""
    import keras
    import tensorflow as tf

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(32, 3)).astype("float32"), rng.integers(0, 2, 32)
    layers = [keras.Input((3,)), keras.layers.Dense(4, "relu"), keras.layers.Dense(2)]
    model = keras.Sequential(layers)
    start = model.get_weights()
    trainer = Trainer(model, tf.nn.sparse_softmax_cross_entropy_with_logits, late=-2)
    fitted = trainer.fit(start, x, y, 0.01, (2, 5), 0)
    again = trainer.fit(start, x, y, 0.01, (5,), 0)
    for one, other in zip(fitted[5], again[5], strict=True):
        np.testing.assert_array_equal(one, other)
    assert trainer.outputs(fitted[2], x, late=True).shape == (32, 4)
    model.set_weights(start)
    model.compile(
        keras.optimizers.Adam(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    model.fit(x, y, batch_size=32, epochs=5, verbose=0)
    for one, other in zip(fitted[5], model.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
