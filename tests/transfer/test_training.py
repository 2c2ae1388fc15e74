"""Training: rates by layer, the schedule, early stopping, and repeatable batches."""

import keras
import numpy as np
import pytest
from sklearn.utils.class_weight import compute_sample_weight

from tlhelpers.transfer.recipes import Training
from tlhelpers.transfer.training import Batches, LayerwiseAdamW, train, warm_up_then_cosine


def two_variables():
    rng = np.random.default_rng(0)
    return [keras.Variable(rng.normal(size=(3, 2)), name=name, dtype="float32") for name in "ab"]


def run(optimizer, variables, steps=7):
    rng, path = np.random.default_rng(1), []
    for _ in range(steps):
        gradients = [keras.ops.convert_to_tensor(rng.normal(size=(3, 2)), "float32") for _ in "ab"]
        optimizer.apply(gradients, variables)
        path.append([variable.numpy().copy() for variable in variables])
    return np.array(path)


SETTINGS = {"learning_rate": 0.01, "weight_decay": 0.1}


class TestLayerwiseAdamW:
    def test_a_factor_of_one_is_adamw(self):
        expected = run(keras.optimizers.AdamW(**SETTINGS), two_variables())
        np.testing.assert_allclose(
            run(LayerwiseAdamW(**SETTINGS), two_variables()), expected, atol=1e-6
        )
        ones = {"a": 1.0, "b": 1.0}
        found = run(LayerwiseAdamW(**SETTINGS, factors=ones), two_variables())
        np.testing.assert_allclose(found, expected, atol=1e-6)

    def test_a_factor_of_zero_leaves_a_variable_as_it_is(self):
        """Weight decay included."""
        path = run(LayerwiseAdamW(**SETTINGS, factors={"a": 0.0}), two_variables())
        np.testing.assert_array_equal(path[-1][0], two_variables()[0].numpy())
        expected = run(keras.optimizers.AdamW(**SETTINGS), two_variables())
        np.testing.assert_allclose(path[:, 1], expected[:, 1], atol=1e-6)

    def test_a_factor_of_a_half_halves_the_first_step(self):
        start = two_variables()[1].numpy()
        whole = run(LayerwiseAdamW(**SETTINGS), two_variables(), 1)[0][1] - start
        half = run(LayerwiseAdamW(**SETTINGS, factors={"b": 0.5}), two_variables(), 1)[0][1] - start
        np.testing.assert_allclose(half, whole / 2, rtol=1e-4)

    def test_a_factor_is_a_learning_rate(self):
        slow = {**SETTINGS, "learning_rate": 0.25 * SETTINGS["learning_rate"]}
        expected = run(keras.optimizers.AdamW(**slow), two_variables())
        found = run(LayerwiseAdamW(**SETTINGS, factors={"a": 0.25}), two_variables())
        np.testing.assert_allclose(found[:, 0], expected[:, 0], atol=1e-6)

    def test_schedules_and_clipping_work_with_factors(self):
        schedule = keras.optimizers.schedules.PiecewiseConstantDecay([3], [0.01, 0.001])
        settings = {"learning_rate": schedule, "weight_decay": 0.1, "global_clipnorm": 0.5}
        expected = run(keras.optimizers.AdamW(**settings), two_variables())
        found = run(LayerwiseAdamW(**settings, factors={"b": 0.5}), two_variables())
        np.testing.assert_allclose(found[:, 0], expected[:, 0], atol=1e-6)
        assert not np.allclose(found[:, 1], expected[:, 1], atol=1e-6)

    def test_factors_survive_saving(self):
        optimizer = LayerwiseAdamW(**SETTINGS, factors={"a": 0.5})
        copy = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
        assert isinstance(copy, LayerwiseAdamW)
        assert copy.factors == {"a": 0.5}
        assert copy.weight_decay == SETTINGS["weight_decay"]


def test_the_schedule_rises_and_then_falls():
    schedule = warm_up_then_cosine(0.02, steps=50, warmup=0.2)
    rates = np.array([float(schedule(step)) for step in range(51)])
    assert rates.argmax() == 10
    assert rates.max() == pytest.approx(0.02)
    assert 0 < rates[0] < 0.005
    np.testing.assert_array_less(rates[:10], rates[1:11])
    np.testing.assert_array_less(rates[11:], rates[10:-1])
    assert rates[30] == pytest.approx(0.01, rel=1e-4)
    assert rates[-1] == pytest.approx(0, abs=1e-6)


def test_the_shortest_schedule():
    schedule = warm_up_then_cosine(0.02, steps=1, warmup=0.1)
    assert 0 < float(schedule(0)) <= 0.02


class TestHooksOfKeras:
    """LayerwiseAdamW changes what Keras calls inside: these fail where Keras calls another name."""

    HOOKS = ("build", "update_step", "_apply_weight_decay", "_clip_gradients")

    def test_they_are_there(self):
        own = {name for name in vars(LayerwiseAdamW) if callable(getattr(LayerwiseAdamW, name))}
        assert own == {*self.HOOKS, "__init__", "get_config"}
        assert all(callable(getattr(keras.optimizers.AdamW, name)) for name in self.HOOKS)
        for name in ("_get_variable_index", "_use_weight_decay", "assign_sub"):
            assert callable(getattr(keras.optimizers.AdamW, name))

    def test_they_are_called(self, monkeypatch):
        called = []

        def watched(name, method):
            return lambda *given: called.append(name) or method(*given)

        for name in self.HOOKS:
            monkeypatch.setattr(LayerwiseAdamW, name, watched(name, vars(LayerwiseAdamW)[name]))
        inputs = keras.Input((4,))
        model = keras.Model(inputs, keras.layers.Dense(2, "softmax")(inputs))
        optimizer = LayerwiseAdamW(0.1, weight_decay=0.1, global_clipnorm=1.0)
        model.compile(optimizer, "sparse_categorical_crossentropy")
        model.fit(np.ones((4, 4), "float32"), np.arange(4) % 2, verbose=0)
        assert set(called) == set(self.HOOKS)


class TestHalfPrecision:
    @pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
    @pytest.mark.slow
    def test_two_steps(self, policy):
        """Loss scaling included, which Keras adds for float16, with weights in single precision."""
        from toys import small_backbone, striped_data

        from tlhelpers.transfer.methods import from_scratch, model_transfer

        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(policy)
        try:
            base, data = small_backbone(cut="block2_pool"), striped_data()
            recipe = Training(1, 8, 1e-3, backbone_rate=0.5, dropout=0.2, views=0)
            start = {w.path: w.numpy() for w in base.model.weights}
            runs = [
                model_transfer(base, data, unfreeze_from="block2_pool", recipe=recipe),
                from_scratch(base, data, recipe=recipe),
            ]
        finally:
            keras.config.set_dtype_policy(before)
        for run in runs:
            assert np.isfinite(run.history["loss"]).all()
            assert {weight.dtype for weight in run.model.weights} == {"float32"}
            assert {layer.compute_dtype for layer in run.base.model.layers[1:]} == {policy[6:]}
            assert all(np.isfinite(weight.numpy()).all() for weight in run.model.weights)
            assert run.probabilities().dtype == np.float32
        moved = {
            weight.path: not np.array_equal(weight.numpy(), start[weight.path])
            for weight in runs[0].base.model.weights
        }
        assert moved == {path: path.startswith("block2") for path in start}


class TestBatches:
    def make(self, seed=0):
        def load(rows, epoch):
            return np.stack([rows, np.full(len(rows), epoch)], axis=1).astype("float32")

        return Batches(load, np.arange(10) % 3, batch_size=4, seed=seed)

    def epoch(self, batches):
        inputs, labels = zip(*(batches[i] for i in range(len(batches))), strict=True)
        return np.concatenate(inputs), np.concatenate(labels)

    def test_every_image_once_with_its_label(self):
        batches = self.make()
        assert len(batches) == 3
        inputs, labels = self.epoch(batches)
        assert sorted(inputs[:, 0]) == list(range(10))
        np.testing.assert_array_equal(labels, inputs[:, 0] % 3)
        assert (inputs[:, 1] == 0).all()
        batches.start_epoch(1)
        assert (self.epoch(batches)[0][:, 1] == 1).all()

    def test_orders_are_seeded_and_change(self):
        a, b, c = self.make(), self.make(), self.make(seed=1)
        first = self.epoch(a)[0][:, 0]
        np.testing.assert_array_equal(first, self.epoch(b)[0][:, 0])
        assert not np.array_equal(first, self.epoch(c)[0][:, 0])
        a.start_epoch(1)
        assert not np.array_equal(first, self.epoch(a)[0][:, 0])


class Weights(keras.callbacks.Callback):
    """Keep the weights of each epoch."""

    def __init__(self):
        super().__init__()
        self.kept = []

    def on_epoch_end(self, epoch, logs=None):
        self.kept.append(self.model.get_weights())


class TestTrain:
    def setup_method(self):
        keras.utils.set_random_seed(0)
        self.x = np.random.default_rng(0).normal(size=(24, 4)).astype("float32")
        self.y = (self.x[:, 0] > 0).astype(int)
        inputs = keras.Input((4,))
        self.model = keras.Model(inputs, keras.layers.Dense(2, "softmax")(inputs))
        self.batches = Batches(lambda rows, epoch: self.x[rows], self.y, 8, seed=0)
        self.weights = Weights()

    def train(self, validation, **recipe):
        recipe = Training(**{"epochs": 6, "batch_size": 8, "learning_rate": 0.1, **recipe})
        watched = validation and (lambda: validation)
        return train(self.model, self.batches, watched, recipe, callbacks=[self.weights])

    def test_it_learns_and_reports(self):
        history = self.train((self.x, self.y))
        assert set(history) == {"loss", "accuracy"}, "validation decides nothing without patience"
        assert history["loss"][-1] < history["loss"][0]
        assert all(type(value) is float for values in history.values() for value in values)
        assert set(self.train(None, epochs=1, patience=3)) == {"loss", "accuracy"}
        watched = self.train((self.x, self.y), epochs=1, patience=3)
        assert set(watched) == {"loss", "accuracy", "val_loss", "val_accuracy"}

    def test_the_best_epoch_is_kept(self):
        # Labels the wrong way round: the better the training, the worse the validation.
        history = self.train((self.x, 1 - self.y), epochs=8, patience=3)
        best = int(np.argmin(history["val_loss"]))
        assert best + 4 == len(history["loss"]) < 8
        for kept, now in zip(self.weights.kept[best], self.model.get_weights(), strict=True):
            np.testing.assert_array_equal(kept, now)

    @pytest.mark.slow
    def test_without_patience_all_epochs_are_run(self):
        history = self.train((self.x, 1 - self.y))
        assert len(history["loss"]) == 6
        for kept, now in zip(self.weights.kept[-1], self.model.get_weights(), strict=True):
            np.testing.assert_array_equal(kept, now)

    @pytest.mark.slow
    def test_several_batches_at_once_train_as_one_by_one(self, monkeypatch):
        one_by_one = self.train((self.x, self.y), patience=6)
        self.setup_method()
        monkeypatch.setattr(
            "tlhelpers.transfer.training.steps_per_execution", lambda: 2
        )  # of 3 an epoch
        history = self.train((self.x, self.y), patience=6)
        for name, values in one_by_one.items():
            assert history[name] == pytest.approx(values, abs=1e-6)
        assert len(self.weights.kept) == 6

    def test_the_step_is_traced_once(self):
        traced = []

        class Traced(keras.Model):
            def train_step(self, *args):
                traced.append(len(args))
                return super().train_step(*args)

        model = Traced(self.model.inputs, self.model.outputs)
        batches = Batches(lambda rows, epoch: self.x[rows], self.y, 8, seed=0)
        train(model, batches, None, Training(2, 8, 1e-3))
        assert len(traced) == 1

    @pytest.mark.parametrize("choice", ["balanced", None])
    def test_classes_count_as_scikit_learn_weights_them(self, choice):
        x, y = self.x[:16], np.array([0] * 12 + [1] * 4)
        self.batches = Batches(lambda rows, epoch: x[rows], y, 16, seed=0)
        probabilities = np.asarray(self.model(x))
        still = {"epochs": 1, "learning_rate": 0.0, "patience": 3, "class_weight": choice}
        history = self.train((x[6:], y[6:]), **still)
        weights = compute_sample_weight(choice, y) if choice else np.ones(16)
        losses = -np.log(probabilities[np.arange(16), y]) * weights
        assert history["loss"] == [pytest.approx(losses.mean(), rel=1e-4)]
        assert history["val_loss"] == [pytest.approx(losses[6:].mean(), rel=1e-4)]

    def test_factors_reach_the_variables(self):
        before = [weight.copy() for weight in self.model.get_weights()]
        path = self.model.layers[-1].bias.path
        recipe = Training(2, 8, 0.1, weight_decay=0.1)
        train(self.model, self.batches, None, recipe, factors={path: 0.0})
        kernel, bias = self.model.get_weights()
        np.testing.assert_array_equal(bias, before[1])
        assert not np.allclose(kernel, before[0])


def test_the_seed_alone_decides_the_order_of_batches():
    """Keras would shuffle them once more, with a generator of its own."""
    orders = []

    def load(rows, epoch):
        orders.append((epoch, *rows.tolist()))
        return np.zeros((len(rows), 2), "float32")

    inputs = keras.Input((2,))
    model = keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(inputs))
    batches = Batches(load, np.arange(40) % 2, 4, seed=3)
    train(model, batches, None, Training(2, 4, 1e-3))
    expected = []
    for epoch in (0, 1):
        batches.start_epoch(epoch)
        expected += [(epoch, *rows) for rows in batches.order.reshape(-1, 4).tolist()]
    assert orders[-20:] == expected


def test_fit_sees_the_epochs_in_order():
    seen = []

    def load(rows, epoch):
        seen.append(epoch)
        return np.zeros((len(rows), 2), "float32")

    labels = np.array([0, 1, 0, 1])
    inputs = keras.Input((2,))
    model = keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(inputs))
    train(model, Batches(load, labels, 4, seed=0), None, Training(3, 4, 1e-3))
    assert sorted(set(seen)) == [0, 1, 2]
    assert seen[-1] == 2
