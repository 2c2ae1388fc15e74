"""Transfer: what is frozen stays, what is tuned moves, and the same seed gives the same run."""

import warnings
from dataclasses import asdict, replace

import keras
import numpy as np
import pytest
from toys import random_split, small_backbone, striped_data

from tlhelpers import Backbone, Split, load_backbone
from tlhelpers.data.augmentation import Augmentation, AugmentedViews
from tlhelpers.models.backbones import CAFFE, MINUS_ONE_TO_ONE
from tlhelpers.transfer import features, methods, recipes
from tlhelpers.transfer.features import extract_features
from tlhelpers.transfer.methods import feature_transfer, from_scratch, model_transfer
from tlhelpers.transfer.recipes import Training

pytestmark = [
    pytest.mark.usefixtures("eagerly"),
    pytest.mark.filterwarnings("ignore:Even though the .tf.config"),
]
SPLITS = ("train", "validation", "test")
QUICK = Training(
    epochs=2, batch_size=8, learning_rate=1e-2, backbone_rate=0.5, dropout=0.2, views=1
)


@pytest.fixture(scope="module", autouse=True)
def seeded():
    keras.utils.set_random_seed(0)


@pytest.fixture(scope="module")
def base():
    return small_backbone(cut="block2_pool")


@pytest.fixture(scope="module")
def data():
    return striped_data()


@pytest.fixture(scope="module")
def probe(base, data):
    return feature_transfer(base, data)


@pytest.fixture(scope="module")
def tuned(base, data, probe):
    return model_transfer(base, data, start=probe, unfreeze_from="block2_pool", recipe=QUICK)


class Count(keras.callbacks.Callback):
    """Count the epochs."""

    epochs = 0

    def on_epoch_end(self, epoch, logs=None):
        self.epochs += 1


@pytest.fixture(scope="module")
def counted():
    return Count()


@pytest.fixture(scope="module")
def scratch(base, data, counted):
    return from_scratch(base, data, recipe=QUICK, callbacks=[counted])


def weights_of(backbone, block):
    return [
        array
        for layer in backbone.model.layers
        if layer.name.startswith(block)
        for array in layer.get_weights()
    ]


def same(first, second):
    return all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def moved(first, second):
    """Tell for each block whether all of its weights have changed."""
    return [
        not any(
            np.array_equal(a, b)
            for a, b in zip(weights_of(first, block), weights_of(second, block), strict=True)
        )
        for block in ("block1", "block2")
    ]


class TestFeatureTransfer:
    def test_the_model_gives_what_the_cached_features_give(self, probe, data):
        assert probe.name == "frozen"
        for split in ("train", "validation", "test"):
            found = np.asarray(probe.model(getattr(data, split).images))
            np.testing.assert_allclose(probe.probabilities(split), found, atol=1e-5)

    def test_what_random_features_can_tell(self, probe, data):
        assert probe.right("train").mean() > 0.8
        assert probe.test.n == len(data.test)
        assert probe.test.accuracy == pytest.approx(probe.right("test").mean())
        assert probe.history == {}

    def test_config(self, probe, base):
        assert probe.config["method"] == "feature_transfer"
        assert probe.config["backbone"] == "vgg16_mini"
        assert probe.config["last_stage"] == "block2_pool"
        assert probe.config["n_train"] == 16
        assert probe.config["chosen_on"] == "cross-validation"
        assert probe.grid == probe.config["grid"] == recipes.feature_grid(8, 32) == 8
        assert probe.config["trained_parameters"] == 64 * 32 * 2 + 2
        assert probe.base is base

    def test_a_grid_of_nothing(self, base, data):
        with pytest.raises(ValueError, match="grid"):
            feature_transfer(base, data, grid=0)

    def test_a_chosen_grid(self, base, data):
        run = feature_transfer(base, data, grid=2)
        assert run.grid == 2
        assert run.model.get_layer("head").kernel.shape == (4 * 32, 2)
        found = np.asarray(run.model(data.test.images))
        np.testing.assert_allclose(run.probabilities(), found, atol=1e-5)

    def test_a_second_run_reads_the_cache(self, base, data, probe, monkeypatch):
        probe.probabilities()
        monkeypatch.setattr(features, "_compute", lambda *_: pytest.fail("computed again"))
        again = feature_transfer(base, data)
        np.testing.assert_array_equal(again.probabilities(), probe.probabilities())

    def test_a_class_without_images(self, base, data):
        one_class = replace(data, train=data.train.take(data.train.labels == 0))
        with pytest.raises(ValueError, match="none of class 1"):
            feature_transfer(base, one_class)


class TestModelTransfer:
    def test_frozen_stages_stay_and_tuned_ones_move(self, base, tuned):
        assert moved(base, tuned.base) == [False, True]
        assert same(weights_of(base, "block1"), weights_of(tuned.base, "block1"))
        assert base.weights_digest() == small_backbone(cut="block2_pool").weights_digest()
        assert tuned.name == "tuned"
        assert tuned.config["unfreeze_from"] == "block2_pool"
        assert tuned.config["frozen_stages_computed_once"] is True

    def test_the_model_is_the_tuned_one(self, tuned, data):
        head = tuned.model.get_layer("head")
        maps = np.asarray(tuned.base.on_raw_images()(data.test.images))
        logits = maps.reshape(len(maps), -1) @ head.kernel.numpy() + head.bias.numpy()
        expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        np.testing.assert_allclose(tuned.probabilities(), expected, atol=1e-5)

    def test_history_and_parameters(self, tuned, base, probe):
        assert set(tuned.history) == {"loss", "accuracy"}
        assert len(tuned.history["loss"]) == tuned.config["epochs"] == 2
        let_loose = weights_of(base, "block2")
        expected = sum(array.size for array in let_loose) + probe.config["trained_parameters"]
        assert tuned.config["trained_parameters"] == expected

    def test_the_seed_decides_the_run(self, base, data, probe, tuned):
        keras.utils.set_random_seed(99)
        again, other = (
            model_transfer(
                base, data, start=probe, unfreeze_from="block2_pool", recipe=QUICK, seed=seed
            )
            for seed in (0, 1)
        )
        assert again.history == tuned.history != other.history
        np.testing.assert_array_equal(again.probabilities(), tuned.probabilities())

    def test_it_begins_with_the_fitted_head(self, base, data, probe):
        still = Training(1, 8, learning_rate=0.0, views=0)
        run = model_transfer(base, data, start=probe, unfreeze_from="block2_pool", recipe=still)
        np.testing.assert_allclose(run.probabilities(), probe.probabilities(), atol=1e-5)
        assert run.base.weights_digest() == base.weights_digest()

    def test_its_config_says_how_views_differ_and_in_which_precision(
        self, base, data, probe, tuned
    ):
        assert tuned.config["augmentation"] == asdict(Augmentation())
        assert probe.config["precision"] == tuned.config["precision"] == "float32"
        how, none = Augmentation(flip=False), replace(QUICK, views=0)
        few = data.few(2)
        for recipe, expected in ((QUICK, asdict(how)), (none, None)):
            run = from_scratch(base, few, recipe=recipe, augmentation=how)
            assert run.config["augmentation"] == expected
        keras.config.set_dtype_policy("mixed_bfloat16")  # of what is built from now on
        try:
            assert feature_transfer(base, few).config["precision"] == "float32"
        finally:
            keras.config.set_dtype_policy("float32")

    def test_a_run_can_be_tuned_further(self, base, data, tuned):
        """What was frozen in the first tuning can be let loose in the second."""
        before = tuned.base.weights_digest()
        further = model_transfer(
            tuned.base, data, start=tuned, unfreeze_from="block1_pool", recipe=QUICK
        )
        assert moved(tuned.base, further.base) == [True, True]
        assert tuned.base.weights_digest() == before
        # With no stage frozen, there is nothing to compute once.
        assert further.config["frozen_stages_computed_once"] is False

    @pytest.mark.slow
    def test_maps_too_large_to_keep(self, base, data, probe, monkeypatch):
        """Kept maps are rounded to half precision, and otherwise change nothing."""
        recipe = Training(1, 8, 1e-3, backbone_rate=0.1, views=0)
        runs = []
        for limit in (2_000_000_000, 0):
            monkeypatch.setattr(methods, "CACHE_LIMIT_BYTES", limit)
            runs.append(
                model_transfer(base, data, start=probe, unfreeze_from="block2_pool", recipe=recipe)
            )
        assert [run.config["frozen_stages_computed_once"] for run in runs] == [True, False]
        assert moved(base, runs[1].base) == [False, True]
        np.testing.assert_allclose(runs[0].probabilities(), runs[1].probabilities(), atol=0.01)
        assert runs[0].history["loss"] == pytest.approx(runs[1].history["loss"], abs=2e-3)

    def test_rates_fall_towards_the_input(self, base):
        factors = methods._stage_factors(base, Training(1, 8, 1e-3, 0.1, 0.5))
        found = {path.split("_")[0]: factor for path, factor in factors.items()}
        assert found == {f"block{i}": pytest.approx(0.1 * 0.5 ** (2 - i)) for i in (1, 2)}
        assert set(factors) == {variable.path for variable in base.model.trainable_variables}

    @pytest.mark.slow
    def test_features_of_any_scale_keep_their_fitted_head(self, data):
        """VGG16's features vary by hundreds; steps made for 1 would undo the head at once."""
        recipe = Training(3, 8, 1e-3, backbone_rate=0.0, views=0)
        spreads, changes = [], []
        for scale in (1, 1000):
            base = small_backbone(cut="block2_pool")
            last = base.model.layers[-2]
            last.set_weights([scale * array for array in last.get_weights()])
            start = feature_transfer(base, data)
            run = model_transfer(
                base, data, start=start, unfreeze_from="block2_pool", recipe=recipe
            )
            fitted, kernel = (r.model.get_layer("head").kernel.numpy() for r in (start, run))
            spreads.append(run.config["feature_spread"])
            changes.append(np.linalg.norm(kernel - fitted) / np.linalg.norm(fitted))
        assert spreads[1] == pytest.approx(1000 * spreads[0], rel=1e-3)
        assert 0 < changes[1] < 5 * changes[0]

    def test_start_must_fit(self, base, data, probe):
        with pytest.raises(ValueError, match=r"vgg16_mini up to block1_pool\. Received: one with"):
            model_transfer(base.cut("block1_pool"), data, start=probe)
        with pytest.raises(ValueError, match="Received: 'block9'"):
            model_transfer(base, data, start=probe, unfreeze_from="block9", recipe=QUICK)
        splits = {name: random_split(6, name=name) for name in ("train", "validation", "test")}
        with pytest.raises(ValueError, match=r"same classes, cat, dog\..*lying, standing; leave"):
            model_transfer(base, replace(data, **splits), start=probe, recipe=QUICK)

    def test_start_must_have_been_fitted_to_these_weights(self, base, data, probe, scratch):
        other = base.with_random_weights(seed=5)
        with pytest.raises(ValueError, match=r"same weights, random, SHA-256 \w+\. Received: one"):
            model_transfer(other, data, start=probe, recipe=QUICK)
        larger = small_backbone(cut="block2_pool", size=48)
        with pytest.raises(
            ValueError, match=r"image size, 48 pixels\. Received: one with 32 pixels"
        ):
            model_transfer(larger, data, start=probe, recipe=QUICK)
        fed_otherwise = replace(base, preprocessing=CAFFE)
        with pytest.raises(ValueError, match=r"same preprocessing, Preprocessing\(scale=1.0"):
            model_transfer(fed_otherwise, data, start=probe, recipe=QUICK)
        with pytest.raises(ValueError, match=r"run of feature_transfer.*Received: from_scratch"):
            model_transfer(scratch.base, data, start=scratch, recipe=QUICK)

    def test_views_that_are_new_at_every_step(self, base, data, probe, monkeypatch):
        """They can't be kept, so the frozen stages are run at each step too."""
        seen = watch_views(monkeypatch)
        recipe = Training(2, 8, 1e-3, backbone_rate=0.1, views=None)
        run = model_transfer(base, data, start=probe, unfreeze_from="block2_pool", recipe=recipe)
        assert run.config["frozen_stages_computed_once"] is False
        assert len(set(seen[-32:])) == 32
        assert moved(base, run.base) == [False, True]

    @pytest.mark.slow
    def test_every_seed_has_its_own_views(self, base, data, probe, monkeypatch):
        seen, drawn = watch_views(monkeypatch), []
        recipe = Training(1, 8, 1e-3, backbone_rate=0.1, views=1)
        # Views that were cached are not drawn again, so each seed gets another augmentation.
        for seed, rotate in ((0, 11.0), (1, 11.0), (0, 12.0)):
            seen.clear()
            model_transfer(
                base,
                data,
                start=probe,
                unfreeze_from="block2_pool",
                recipe=recipe,
                augmentation=Augmentation(rotate=rotate),
                seed=seed,
            )
            drawn.append(list(seen))
        assert [len(views) for views in drawn] == [16, 16, 16]
        assert not set(drawn[0]) & set(drawn[1])
        expected = AugmentedViews(data.train, 1, Augmentation(rotate=11.0)).load(range(16), 32)
        assert drawn[0] == [view.tobytes() for view in expected]

    @pytest.mark.slow
    def test_views_and_validation_count_towards_the_cap(self, base, data, probe, monkeypatch):
        one_map = 2 * 16 * 16 * 16
        recipe = Training(1, 8, 1e-3, backbone_rate=0.1, views=2)
        for maps, kept in ((3 * 16 + 6, True), (3 * 16 + 5, False)):
            monkeypatch.setattr(methods, "CACHE_LIMIT_BYTES", maps * one_map)
            run = model_transfer(
                base, data, start=probe, unfreeze_from="block2_pool", recipe=recipe
            )
            assert run.config["frozen_stages_computed_once"] is kept


def watch_views(monkeypatch):
    """Return a list to which every view is added that is drawn from now on."""
    seen, apply = [], Augmentation.apply

    def watch(self, image, rng):
        view = apply(self, image, rng)
        seen.append(view.tobytes())
        return view

    monkeypatch.setattr(Augmentation, "apply", watch)
    return seen


@pytest.mark.slow
def test_batch_normalization_is_left_alone(data):
    base = load_backbone("mobilenet_v2", 64, weights=None, cut="block_2")
    rng = np.random.default_rng(0)
    for layer in base.model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.moving_mean.assign(rng.normal(size=layer.moving_mean.shape) * 0.1)
    recipe = Training(1, 8, 1e-2, backbone_rate=1.0, views=0)
    run = model_transfer(base, data, unfreeze_from="block_2", recipe=recipe)
    pairs = [
        (a, not same(a.get_weights(), b.get_weights()))
        for a, b in zip(base.model.layers, run.base.model.layers, strict=True)
        if a.weights
    ]
    norms = [has_moved for a, has_moved in pairs if isinstance(a, keras.layers.BatchNormalization)]
    others = [
        has_moved for a, has_moved in pairs if not isinstance(a, keras.layers.BatchNormalization)
    ]
    assert len(norms) > 5
    assert not any(norms)
    # In MobileNetV2, the first stage named here is the only one, so all of it is trained.
    assert all(others)


class TestFromScratch:
    def test_the_base_is_left_alone(self, base, scratch):
        assert base.weights_digest() == small_backbone(cut="block2_pool").weights_digest()
        assert scratch.base.weights == "random"
        assert moved(base, scratch.base) == [True, True]

    def test_run(self, scratch, base, counted):
        assert scratch.name == "scratch"
        assert len(scratch.history["loss"]) == counted.epochs == 2
        assert scratch.config["trained_parameters"] == base.model.count_params() + 32 * 2 + 2
        assert scratch.probabilities("validation").shape == (6, 2)
        np.testing.assert_allclose(scratch.probabilities().sum(axis=1), 1, atol=1e-5)

    def test_its_config_says_that_views_are_new(self, base, data, probe):
        recipe = Training(1, 16, 1e-3, views=3)
        assert from_scratch(base, data, recipe=recipe).config["views"] is None
        first = base.stages[0]  # nothing stays frozen, so no maps are kept
        tuned = model_transfer(base, data, start=probe, unfreeze_from=first, recipe=recipe)
        assert tuned.config["views"] is None

    @pytest.mark.slow
    def test_only_architecture_and_seed_decide_the_run(self, base, data, scratch):
        keras.utils.set_random_seed(99)
        again = from_scratch(base.with_random_weights(seed=5), data, recipe=QUICK)
        assert again.history == scratch.history
        np.testing.assert_array_equal(again.probabilities(), scratch.probabilities())

    @pytest.mark.slow
    def test_augmentation_is_drawn_anew_in_each_epoch(self, base, data, monkeypatch):
        seen = watch_views(monkeypatch)
        shallow = base.cut("block1_pool")
        from_scratch(shallow, data, recipe=Training(2, 8, 1e-3, views=None))
        # Keras reads two batches more, before it starts.
        assert len(set(seen[-32:])) == 32
        seen.clear()
        from_scratch(shallow, data, recipe=Training(1, 8, 1e-3, views=0))
        assert seen == []


@pytest.mark.parametrize(("views", "warned"), [(None, True), (1, True), (0, False)])
def test_labels_that_a_view_may_change_are_warned_of(base, data, views, warned):
    named = {s: Split.from_arrays(getattr(data, s).images, getattr(data, s).labels,
                                  ["left", "right"], name=s) for s in SPLITS}  # fmt: skip
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        from_scratch(base, replace(data, **named), recipe=Training(1, 8, 1e-3, views=views))
    assert any("left" in str(one.message) for one in said) is warned


@pytest.mark.slow
def test_random_weights_are_scaled_on_images_of_every_class(monkeypatch):
    """In folders, the first 64 rows are all of one class."""
    seen = []
    monkeypatch.setattr(
        methods, "standardise_channels", lambda model, images: seen.append(np.asarray(images))
    )
    base = small_backbone(cut="block1_pool")
    split = random_split(200, size=32)
    order = np.argsort(split.labels, kind="stable")
    data = replace(striped_data(), **{n: split.take(order, name=n) for n in SPLITS})
    for seed in (0, 0, 1):
        from_scratch(base, data, recipe=Training(1, 200, 1e-3, views=0), seed=seed)
    every = np.asarray(base.preprocess(data.train.images))
    rows = [[int(np.flatnonzero((every == x).all(axis=(1, 2, 3)))[0]) for x in s] for s in seen]
    assert rows[0] == rows[1] != rows[2]
    for drawn in rows:
        assert np.bincount(data.train.labels[drawn]).tolist() == [32, 32]


def own_network():
    """A network of a user's: nested in a Sequential model, with layers named as they like."""
    layers = [
        keras.layers.Conv2D(8, 3, strides=2, activation="relu", name="early"),
        keras.layers.BatchNormalization(name="norm"),
        keras.layers.Conv2D(12, 3, activation="relu", name="late"),
    ]
    return keras.Sequential([keras.Input((32, 32, 3)), *layers], name="mine")


@pytest.mark.parametrize(
    "preprocess",
    [MINUS_ONE_TO_ONE, keras.layers.Rescaling(1 / 255), keras.applications.vgg16.preprocess_input],
)
@pytest.mark.slow
def test_a_model_of_ones_own(data, preprocess, tmp_path):
    base = Backbone.from_model(own_network(), preprocess, {"first": "early", "last": "late"})
    assert (base.name, base.stages, base.input_size) == ("mine", ("first", "last"), 32)
    probe = feature_transfer(base, data)
    expected = base.model(base.preprocess(data.test.images.astype("float32")), training=False)
    found = extract_features(base, data.test, grid="map")
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    tuned = model_transfer(base, data, start=probe, unfreeze_from="last", recipe=QUICK)
    same_layers = [
        np.array_equal(a.get_weights()[0], b.get_weights()[0])
        for a, b in zip(base.model.layers[1:], tuned.base.model.layers[1:], strict=True)
    ]
    assert same_layers == [True, True, False]
    assert tuned.config["frozen_stages_computed_once"]
    scratch = from_scratch(base, data, recipe=QUICK)
    assert scratch.config["weights"] == "random"
    images = data.test.images
    again = keras.models.load_model(tuned.save(tmp_path / "mine.keras"))
    np.testing.assert_allclose(again(images), tuned.model(images), atol=1e-6)


@pytest.mark.slow
def test_a_network_inside_a_network(data):
    """Its normalisation is left alone as well."""
    image = keras.Input((32, 32, 3))
    maps = keras.layers.ReLU(name="act")(own_network()(image))
    base = Backbone.from_model(keras.Model(image, maps, name="outer"), MINUS_ONE_TO_ONE)
    before = [array.copy() for array in base.model.get_weights()]
    run = model_transfer(base, data, recipe=replace(QUICK, views=0))
    moved = [
        not np.array_equal(a, b) for a, b in zip(before, run.base.model.get_weights(), strict=True)
    ]
    # Two convolutions of two arrays each, and between them four of BatchNormalization.
    assert moved == [True, True, False, False, False, False, True, True]
    assert len(from_scratch(base, data, recipe=QUICK).history["loss"]) == 2


CALLBACKS = {
    "EarlyStopping": lambda to: keras.callbacks.EarlyStopping("val_loss", patience=1),
    "ModelCheckpoint": lambda to: keras.callbacks.ModelCheckpoint(to / "best.keras"),
    "CSVLogger": lambda to: keras.callbacks.CSVLogger(to / "log.csv"),
    "TerminateOnNaN": lambda to: keras.callbacks.TerminateOnNaN(),
    "BackupAndRestore": lambda to: keras.callbacks.BackupAndRestore(to / "backup"),
    "TensorBoard": lambda to: keras.callbacks.TensorBoard(to / "board"),
}


class TestCallbacks:
    """Each of Keras's own works as it does elsewhere, or is refused by name."""

    @pytest.fixture(autouse=True)
    def in_graphs(self, eagerly):
        """Train as everywhere else: TensorBoard looks at the traced function."""
        import tensorflow as tf

        tf.config.run_functions_eagerly(False)
        yield
        tf.config.run_functions_eagerly(True)

    def tune(self, base, data, probe, *callbacks):
        return model_transfer(
            base,
            data,
            start=probe,
            unfreeze_from="block2_pool",
            recipe=replace(QUICK, epochs=3),
            callbacks=callbacks,
        )

    @pytest.mark.parametrize("name", CALLBACKS)
    def test_it_works(self, base, data, probe, tmp_path, name):
        if name == "TensorBoard":
            pytest.importorskip("tensorboard")
        run = self.tune(base, data, probe, CALLBACKS[name](tmp_path))
        assert run.config["frozen_stages_computed_once"] is True
        assert moved(base, run.base) == [False, True]
        assert ("val_loss" in run.history) == (name == "EarlyStopping")
        if name == "ModelCheckpoint":
            # It takes images, not the maps that the frozen stages gave.
            saved = keras.models.load_model(tmp_path / "best.keras")
            expected = run.model(data.test.images)
            np.testing.assert_allclose(saved(data.test.images), expected, atol=1e-6)
        elif name == "CSVLogger":
            assert len((tmp_path / "log.csv").read_text().splitlines()) == 4

    @pytest.mark.slow
    def test_the_best_checkpoint_is_chosen_on_validation(self, base, data, probe, tmp_path):
        best = keras.callbacks.ModelCheckpoint(
            tmp_path / "best.weights.h5", save_best_only=True, save_weights_only=True
        )
        run = self.tune(base, data, probe, best)
        assert best.best == pytest.approx(min(run.history["val_loss"]))
        run.model.load_weights(tmp_path / "best.weights.h5")

    @pytest.mark.slow
    def test_early_stopping_stops(self, base, data, probe):
        impatient = keras.callbacks.EarlyStopping("val_loss", patience=0, min_delta=10.0)
        assert len(self.tune(base, data, probe, impatient).history["loss"]) == 2  # of 3

    @pytest.mark.parametrize(
        "callback",
        [
            keras.callbacks.ReduceLROnPlateau(),
            keras.callbacks.LearningRateScheduler(lambda epoch: 0.1),
            keras.callbacks.SwapEMAWeights(),
        ],
        ids=lambda callback: type(callback).__name__,
    )
    def test_it_is_refused_by_name(self, base, data, probe, callback):
        name = type(callback).__name__
        with pytest.raises(ValueError, match=f"{name} can't work here: it "):
            self.tune(base, data, probe, callback)
        with pytest.raises(ValueError, match=f"{name} can't work here: it "):
            from_scratch(base, data, recipe=QUICK, callbacks=[callback])

    def test_nothing_to_watch(self, base, data):
        none = replace(data, validation=data.validation.take([]))
        for callback in (
            keras.callbacks.EarlyStopping("val_loss"),
            keras.callbacks.ModelCheckpoint("x.keras", save_best_only=True),
        ):
            with pytest.raises(
                ValueError, match="it watches val_loss, and there are no validation"
            ):
                from_scratch(base, none, recipe=QUICK, callbacks=[callback])


def test_the_shipped_weights_transfer(data):
    run = feature_transfer(load_backbone("vgg16_mini", 32), data.few(4))
    assert run.config["weights"] == "vgg16_mini.npz"
    assert run.test.n == len(data.test)


def test_any_network_reads_recorded_features_by_default():
    import tlhelpers as tl

    few = tl.load_dataset("cats_dogs", tier="embedded").few(20)
    run = tl.feature_transfer(tl.load_backbone("vgg16_mini", 64), few)
    assert run.grid == 1
    assert run.probabilities("test").shape == (1000, 2)
