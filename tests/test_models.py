"""The networks: shapes, activations and initial weights."""

from itertools import pairwise

import numpy as np
import pytest

from helpers import models
from helpers.backend import keras

IMAGES = np.random.default_rng(0).random([5, 30]).astype(np.float32)


def activations(layers: keras.Sequential) -> list[str]:
    return [layer.activation.__name__ for layer in layers.layers]


def shapes(model: keras.Layer) -> list[tuple[int, ...]]:
    return [array.shape for array in model.get_weights()]


def kernels(model: keras.Layer) -> list[np.ndarray]:
    return [array for array in model.get_weights() if array.ndim == 2]


def biases(model: keras.Layer) -> list[np.ndarray]:
    return [array for array in model.get_weights() if array.ndim == 1]


def build_all(seed: int) -> dict[str, keras.Layer]:
    return {
        "dense_stack": models.dense_stack(30, [8, 8], initializer=models.normal(0.01, seed)),
        "basic": models.basic_autoencoder(30, 10, initializer=models.normal(0.01, seed)),
        "deep": models.deep_autoencoder(30, [20, 10], 4, seed=seed),
        "classifier": models.dense_stack(30, [20, 10, 3], initializer=models.normal(0.01, seed)),
    }


NAMES = sorted(build_all(0))


def test_dense_stack_has_its_layers_and_activations():
    stack = models.dense_stack(
        30, [8, 7, 6], initializer=models.normal(0.1, 0), activation="tanh", last="sigmoid"
    )
    assert shapes(stack) == [(30, 8), (8,), (8, 7), (7,), (7, 6), (6,)]
    assert activations(stack) == ["tanh", "tanh", "sigmoid"]


def test_dense_stack_is_relu_with_a_linear_end_by_default():
    stack = models.dense_stack(30, [8, 7, 6], initializer=models.normal(0.1, 0))
    assert activations(stack) == ["relu", "relu", "linear"]


def test_dense_stack_computes_what_its_weights_say():
    stack = models.dense_stack(30, [8, 6], initializer=models.normal(0.5, 0))
    stack.set_weights([array + 0.1 for array in stack.get_weights()])
    first, first_bias, second, second_bias = stack.get_weights()
    expected = np.maximum(IMAGES @ first + first_bias, 0) @ second + second_bias
    np.testing.assert_allclose(stack(IMAGES), expected, rtol=1e-5, atol=1e-6)


def test_the_autoencoder_decodes_what_it_encodes():
    autoencoder = models.basic_autoencoder(30, 10, initializer=models.normal(0.5, 0))
    codes = autoencoder.encoder(IMAGES)
    assert codes.shape == (5, 10)
    assert autoencoder(IMAGES).shape == (5, 30)
    np.testing.assert_array_equal(autoencoder(IMAGES), autoencoder.decoder(codes))


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of Keras
@pytest.mark.parametrize("name", ["basic", "deep"])
def test_a_trained_autoencoder_can_be_saved_and_loaded(name, tmp_path):
    model = build_all(0)[name]
    model.compile(optimizer="adam", loss="mse")
    model.fit(IMAGES, IMAGES, epochs=2, verbose=0)
    model.save(tmp_path / "whole.keras")
    model.save_weights(tmp_path / "its.weights.h5")
    whole = keras.models.load_model(tmp_path / "whole.keras")
    other = build_all(1)[name]
    other.load_weights(tmp_path / "its.weights.h5")
    assert type(whole) is models.Autoencoder
    for loaded in (whole, other):
        np.testing.assert_array_equal(loaded(IMAGES), model(IMAGES))


@pytest.mark.parametrize(("activation", "name"), [("relu", "relu"), (None, "linear")])
def test_basic_autoencoder_has_a_chosen_code_and_a_linear_output(activation, name):
    autoencoder = models.basic_autoencoder(
        30, 10, initializer=models.normal(0.01, 0), activation=activation
    )
    assert shapes(autoencoder) == [(30, 10), (10,), (10, 30), (30,)]
    assert activations(autoencoder.encoder) == [name]
    assert activations(autoencoder.decoder) == ["linear"]


def test_basic_autoencoder_has_a_relu_code_by_default():
    autoencoder = models.basic_autoencoder(30, 10, initializer=models.normal(0.01, 0))
    assert activations(autoencoder.encoder) == ["relu"]


def test_deep_autoencoder_mirrors_its_encoder():
    autoencoder = models.deep_autoencoder(784, [256, 128], 20, seed=0)
    sizes = [784, 256, 128, 20, 128, 256, 784]
    assert [kernel.shape for kernel in kernels(autoencoder)] == list(pairwise(sizes))
    assert activations(autoencoder.encoder) == ["relu", "relu", "linear"]
    assert activations(autoencoder.decoder) == ["relu", "relu", "linear"]


def test_deep_autoencoder_starts_with_glorot_uniform_weights():
    for kernel in kernels(models.deep_autoencoder(784, [256, 128], 20, seed=0)):
        limit = np.sqrt(6 / sum(kernel.shape))
        assert np.abs(kernel).max() <= limit
        assert kernel.std() == pytest.approx(limit / np.sqrt(3), rel=0.05)


def test_classifier_has_a_logit_for_every_class():
    classifier = models.dense_stack(
        784, [100, 50, 25, 12, 5, 5, 10], initializer=models.normal(0.01, 0)
    )
    sizes = [784, 100, 50, 25, 12, 5, 5, 10]
    assert [kernel.shape for kernel in kernels(classifier)] == list(pairwise(sizes))
    assert activations(classifier) == ["relu"] * 6 + ["linear"]


@pytest.mark.parametrize("name", NAMES)
def test_biases_start_at_zero(name):
    model = build_all(0)[name]
    assert len(biases(model)) == len(kernels(model)) > 0
    for bias in biases(model):
        np.testing.assert_array_equal(bias, 0)


@pytest.mark.parametrize("stddev", [0.01, 0.5])
def test_normal_weights_have_their_spread(stddev):
    model = models.basic_autoencoder(784, 100, initializer=models.normal(stddev, 0))
    for kernel in kernels(model):
        scaled = kernel / stddev
        # 78,400 draws: standard errors are 0.0036 of the mean and 0.0025 of the spread.
        assert abs(scaled.mean()) < 0.015
        assert scaled.std() == pytest.approx(1, abs=0.01)
        # Neither uniform nor truncated: 4.6 % lie beyond 2 and 0.27 % beyond 3 spreads.
        assert np.mean(np.abs(scaled) > 2) == pytest.approx(0.0455, abs=0.004)
        assert np.mean(np.abs(scaled) > 3) == pytest.approx(0.0027, abs=0.001)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_weights(name):
    first, second = build_all(7)[name].get_weights(), build_all(7)[name].get_weights()
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", NAMES)
def test_another_seed_gives_other_weights_in_every_layer(name):
    first, second = kernels(build_all(7)[name]), kernels(build_all(8)[name])
    for one, other in zip(first, second, strict=True):
        assert (one != other).mean() > 0.99


@pytest.mark.parametrize(
    "model",
    [
        models.dense_stack(9, [9, 9, 9], initializer=models.normal(0.01, 0)),
        models.basic_autoencoder(9, 9, initializer=models.normal(0.01, 0)),
        models.deep_autoencoder(9, [9], 9, seed=0),
    ],
    ids=["dense_stack", "basic", "deep"],
)
def test_layers_of_the_same_shape_start_differently(model):
    drawn = [kernel.tobytes() for kernel in kernels(model)]
    assert len(set(drawn)) == len(drawn) > 1


@pytest.mark.parametrize(
    ("initializer", "spread"),
    [
        (lambda seed: models.normal(0.01, seed), lambda below, above: 0.01),
        (models.he, lambda below, above: np.sqrt(2 / below)),
        (models.glorot, lambda below, above: np.sqrt(2 / (below + above))),
    ],
)
def test_initial_weights_have_the_scale_of_their_name_and_no_biases(initializer, spread):
    sizes = [784, 30, 20, 10]
    weights = models.dense_stack(784, sizes[1:], initializer=initializer(3)).get_weights()
    expected = [spread(below, above) for below, above in pairwise(sizes)]
    np.testing.assert_allclose([w.std() for w in weights[::2]], expected, rtol=0.2)
    assert not any(bias.any() for bias in weights[1::2])
    again, other = (
        models.dense_stack(784, sizes[1:], initializer=initializer(seed)).get_weights()
        for seed in (3, 4)
    )
    assert np.array_equal(weights[0], again[0])
    assert not np.array_equal(weights[0], other[0])
