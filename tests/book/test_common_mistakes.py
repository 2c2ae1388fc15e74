"""What appendix D says of code and formulas, run."""

import os
import subprocess
import sys

import numpy as np
import pytest


def test_e13_an_input_layer_has_no_parameters_and_gives_back_its_input():
    import keras

    image = keras.Input((3,))
    model = keras.Model(image, image)
    x = np.array([[1.0, 2.0, 3.0]], "float32")
    assert model.count_params() == 0
    np.testing.assert_array_equal(np.asarray(model(x)), x)


@pytest.mark.slow
def test_e36_theano_is_no_backend():
    asked = subprocess.run(
        [sys.executable, "-c", "import keras"],
        env={**os.environ, "KERAS_BACKEND": "theano"},
        capture_output=True,
        text=True,
    )
    assert asked.returncode == 1
    assert "ValueError" in asked.stderr


def test_e41_features_taken_for_logits_run_only_if_there_are_enough():
    import keras
    import tensorflow as tf

    labels = np.array([0, 9])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    assert float(loss(labels, np.zeros((2, 32), "float32"))) == pytest.approx(np.log(32), rel=1e-5)
    with pytest.raises((tf.errors.InvalidArgumentError, ValueError)):
        loss(labels, np.zeros((2, 8), "float32"))


def test_e46_two_affine_maps_are_one_and_a_relu_between_makes_them_two():
    rng = np.random.default_rng(0)
    shared, specific = rng.normal(size=(4, 3)), rng.normal(size=(2, 4))
    b_shared, b_specific, x = rng.normal(size=4), rng.normal(size=2), rng.normal(size=3)
    inner = shared @ x + b_shared
    one = (specific @ shared) @ x + (specific @ b_shared + b_specific)
    np.testing.assert_allclose(specific @ inner + b_specific, one, atol=1e-12)
    assert np.abs(specific @ np.maximum(inner, 0) + b_specific - one).max() > 0.1


def test_e54_lr_is_refused():
    import keras

    with pytest.raises(ValueError, match="lr"):
        keras.optimizers.SGD(lr=1e-4)
    assert float(keras.optimizers.SGD().learning_rate) == pytest.approx(100 * 1e-4)


def test_e57_e58_the_extractor_and_the_classifier_cannot_be_fitted_as_listed():
    import keras

    image = keras.Input((8, 8, 3))
    flat = keras.layers.Flatten()(keras.layers.Conv2D(4, 3)(image))
    extractor = keras.Model(image, keras.layers.Dense(128, activation="relu")(flat))
    images, one_hot = np.zeros((20, 8, 8, 3), "float32"), np.eye(10, dtype="float32").repeat(2, 0)
    with pytest.raises(ValueError, match="compile"):
        extractor.fit(images, one_hot, verbose=0)
    extractor.compile("sgd", "categorical_crossentropy")
    with pytest.raises(ValueError, match="same shape"):
        extractor.fit(images, one_hot, verbose=0)
    predictions = keras.layers.Dense(10, activation="softmax")(extractor.output)
    classifier = keras.Model(extractor.output, predictions)
    classifier.compile("sgd", "categorical_crossentropy")
    with pytest.raises(ValueError, match="128"):
        classifier.fit(images, one_hot, verbose=0)
    classifier.fit(extractor.predict(images, verbose=0), one_hot, verbose=0)


def test_e59_categorical_cross_entropy_refuses_integer_labels():
    import keras

    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(10, activation="softmax")])
    x, y = np.zeros((8, 4), "float32"), np.arange(8)
    model.compile("adam", "categorical_crossentropy")
    with pytest.raises(ValueError, match="same rank"):
        model.fit(x, y, verbose=0)
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(x, y, verbose=0)


def test_e62_the_perceptron_is_not_lenet5():
    from tlhelpers.experiments.field.digits import mlp
    from tlhelpers.models.classic import lenet5

    assert mlp().count_params() == 101_770
    assert lenet5().count_params() == 61_706


def test_e21_a_head_on_concatenated_branches_grows_with_them():
    import keras

    branches = [keras.Input((84,)) for _ in range(2)]
    together = keras.layers.Concatenate()(branches)
    averaged = keras.layers.Average()(branches)
    heads = [
        keras.Model(branches, keras.layers.Dense(5)(features)) for features in (together, averaged)
    ]
    assert [head.count_params() for head in heads] == [845, 425]


def test_e66_a_source_without_an_input_shape_has_no_weights_and_shares_none():
    import keras

    source, target = (keras.Sequential([keras.layers.Dense(n)]) for n in (64, 1))
    assert not source.weights
    with pytest.raises(AttributeError):
        _ = source.output
    for model in (source, target):
        model.build((None, 784))
    assert not {id(w) for w in source.weights} & {id(w) for w in target.weights}


def test_e67_a_new_adam_in_each_step_follows_signs_alone():
    import keras

    assert not hasattr(keras.Model, "parameters")
    weight = keras.Variable(0.0)
    for gradient in (2.0, 0.01, -0.5):
        adam = keras.optimizers.Adam(0.001)
        adam.apply([keras.ops.convert_to_tensor(gradient)], [weight])
    assert float(weight) == pytest.approx(-0.001, rel=1e-3)


def test_e68_a_symbolic_output_has_no_value():
    import keras

    image = keras.Input((4,))
    model = keras.Model(image, keras.layers.Dense(1)(image))
    with pytest.raises((TypeError, ValueError)):
        float(model.output)


def test_e69_the_generator_takes_an_array_for_a_switch_and_vgg16_refuses_28_pixels():
    import keras
    from tensorflow.keras.preprocessing.image import ImageDataGenerator

    images = np.zeros((4, 28, 28, 1), "float32")
    generator = ImageDataGenerator(featurewise_center=images)
    with pytest.raises(ValueError, match="ambiguous"):
        next(generator.flow(images, batch_size=4))
    with pytest.raises(ValueError, match="32"):
        keras.applications.VGG16(include_top=False, weights=None, input_shape=(28, 28, 3))


def test_e70_one_row_for_all_and_probabilities_as_integers():
    assert np.zeros((100, 28, 28)).reshape(1, -1).shape == (1, 78_400)
    p = np.array([0.998, 0.001, 0.001])
    integers = (p / 2 + 0.5).astype("int")
    assert not integers.any()
    with np.errstate(invalid="ignore"):
        assert np.isnan(integers / integers.sum()).all()


def test_e72_one_hot_twice_has_a_third_axis_and_a_float_no_gradient():
    import keras
    import tensorflow as tf

    labels, p = np.array([0, 3]), np.full((2, 10), 0.1, "float32")
    once = keras.utils.to_categorical(labels, 10)
    assert keras.utils.to_categorical(once, 2).shape == (2, 10, 2)
    losses = (
        keras.losses.CategoricalCrossentropy()(once, p),
        keras.losses.SparseCategoricalCrossentropy()(labels, p),
    )
    assert float(losses[0]) == pytest.approx(float(losses[1]))
    weight = tf.Variable(1.0)
    with tf.GradientTape() as tape:
        loss = float(weight * weight)
    with pytest.raises(AttributeError):
        tape.gradient(loss, [weight])


def test_e73_a_summary_returns_nothing(capsys):
    import keras

    assert keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)]).summary() is None
