"""Greedy pretraining on small images with a known structure."""

from collections.abc import Callable
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
from scipy.special import expit

from helpers import models, noise, pretraining, training
from helpers.backend import keras, tf

UNITS = [20, 12]
SETTINGS = {
    "optimizer": lambda: keras.optimizers.Adam(0.003),
    "steps": 60,
    "batch_size": 20,
    "initializer": partial(models.normal, 0.1),
    "every": 25,
}


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """Return 200 images of 12 pixels from 0 to 1: some of five patterns and a little noise."""
    rng = np.random.default_rng(0)
    brightness = rng.random([200, 5]) * (rng.random([200, 5]) < 0.5)
    patterns = (rng.random([5, 12]) < 0.4).astype(float)
    noise = 0.05 * rng.random([200, 12])
    return np.clip(brightness @ patterns + noise, 0, 1).astype(np.float32)


@pytest.fixture(scope="module")
def stacks(images) -> list[list[pretraining.Level]]:
    return pretraining.pretrain(images, UNITS, seeds=[1, 2], **SETTINGS)


@pytest.fixture(scope="module")
def levels(stacks) -> list[pretraining.Level]:
    return stacks[0]


def numpy_encode(level: pretraining.Level, inputs: np.ndarray) -> np.ndarray:
    kernel, bias = [array.astype(np.float64) for array in level.encoder]
    return np.maximum(inputs @ kernel + bias, 0)


def numpy_squared_error(level: pretraining.Level, inputs: np.ndarray) -> np.ndarray:
    kernel, bias = level.decoder
    outputs = numpy_encode(level, inputs) @ kernel + bias
    return np.sum((outputs - inputs) ** 2, axis=1)


def test_every_seed_has_a_stack_of_levels(stacks, images):
    sizes = [images.shape[1], *UNITS]
    assert len(stacks) == 2
    for levels in stacks:
        for level, (below, size) in zip(levels, pairwise(sizes), strict=True):
            assert [array.shape for array in level.encoder] == [(below, size), (size,)]
            assert [array.shape for array in level.decoder] == [(size, below), (below,)]
            assert level.codes.shape == (200, size)
            assert level.codes.dtype == np.float32


def test_codes_are_the_encoders_outputs_for_the_codes_below(stacks, images):
    for levels in stacks:
        inputs = images
        for level in levels:
            expected = numpy_encode(level, inputs)
            np.testing.assert_allclose(level.codes, expected, rtol=1e-4, atol=1e-5)
            assert level.codes.max() > 0
            inputs = level.codes


def test_the_measured_error_is_that_of_the_trained_level_on_all_rows(stacks, images):
    for levels in stacks:
        inputs = images
        for level in levels:
            assert level.history.steps.tolist() == [0, 25, 50, 60]
            measured = level.history.measures["squared error"]
            assert measured.shape == (4,)
            expected = numpy_squared_error(level, inputs).mean()
            assert measured[-1] == pytest.approx(expected, rel=1e-4)
            inputs = level.codes


def test_the_loss_is_the_sum_over_the_mini_batch(levels):
    history = levels[0].history
    # Before the first step: a batch of 20 is a sample of all rows.
    assert history.losses[0] / 20 == pytest.approx(history.measures["squared error"][0], rel=0.3)


def test_training_lowers_the_error_of_every_level(stacks):
    for level in (level for levels in stacks for level in levels):
        measured = level.history.measures["squared error"]
        assert measured[-1] < 0.5 * measured[0]
        assert level.history.losses[-10:].mean() < 0.5 * level.history.losses[:10].mean()


def test_a_stack_does_not_depend_on_the_others(stacks, images):
    (alone,) = pretraining.pretrain(images, UNITS, seeds=[2], **SETTINGS)
    for level, expected in zip(alone, stacks[1], strict=True):
        np.testing.assert_array_equal(level.codes, expected.codes)
        np.testing.assert_array_equal(level.history.losses, expected.history.losses)


def test_stacks_may_differ_in_their_steps(stacks, images):
    longer, shorter = pretraining.pretrain(
        images, UNITS, seeds=[2, 2], **SETTINGS | {"steps": [SETTINGS["steps"], 3]}
    )
    assert all(len(level.history.losses) == 3 for level in shorter)
    for level, expected in zip(longer, stacks[1], strict=True):
        np.testing.assert_array_equal(level.codes, expected.codes)


def test_as_many_steps_as_stacks_are_needed(images):
    with pytest.raises(ValueError, match="steps: expected one number for each of 2 seeds"):
        pretraining.pretrain(images, UNITS, seeds=[1, 2], **SETTINGS | {"steps": [3]})


def test_a_level_does_not_depend_on_the_levels_above(levels, images):
    ((lowest,),) = pretraining.pretrain(images, UNITS[:1], seeds=[1], **SETTINGS)
    np.testing.assert_array_equal(lowest.codes, levels[0].codes)
    np.testing.assert_array_equal(lowest.history.losses, levels[0].history.losses)


def test_another_seed_gives_other_levels(stacks):
    for first, second in zip(*stacks, strict=True):
        assert (first.codes != second.codes).any()
        assert (first.history.losses != second.history.losses).any()


@pytest.fixture
def starts(images, monkeypatch) -> list[training.Start]:
    """Return where all layers of four stacks of equal layers start from, untrained."""
    collected: list[training.Start] = []

    def train_many(build: Callable, starts: list, data: list, **options: object) -> list:
        collected.extend(starts)
        history = training.History(np.zeros(1), np.zeros(1), {})
        return [training.Run(start.weights, history) for start in starts]

    monkeypatch.setattr(training, "train_many", train_many)
    small = {"initializer": lambda seed: models.normal(0.01, seed)}
    pretraining.pretrain(images, [12, 12, 12], seeds=range(4), **SETTINGS | small)
    return collected


def test_every_layer_of_every_stack_has_a_seed_and_weights_of_its_own(starts):
    assert len(starts) == 12
    assert len({start.seed for start in starts}) == 12
    for position in (0, 2):
        assert len({start.weights[position].tobytes() for start in starts}) == 12


def test_layers_start_with_the_stated_spread_and_without_biases(starts):
    for start in starts:
        kernel, bias, back, back_bias = start.weights
        np.testing.assert_array_equal(bias, 0)
        np.testing.assert_array_equal(back_bias, 0)
        for weights in (kernel, back):  # 144 draws: the standard error of the spread is 6 %
            assert weights.std() == pytest.approx(0.01, rel=0.3)


# -------------------------------------------------------------------------- other kinds of layers

KINDS = {
    "RBM": (pretraining.rbm(), pretraining.rbm(linear=True)),
    "sigmoid": (
        pretraining.sigmoid_autoencoder(),
        pretraining.sigmoid_autoencoder(linear=True),
    ),
    "masked": (
        pretraining.sigmoid_autoencoder(masked=0.3),
        pretraining.sigmoid_autoencoder(linear=True, masked=0.3),
    ),
}


def climb(images: np.ndarray, kind: object, **changes: object) -> list[list[pretraining.Level]]:
    options = SETTINGS | {"units": UNITS, "seeds": [1, 2], "steps": 200, "kind": kind}
    return pretraining.pretrain(images, **options | changes)


@pytest.fixture(scope="module", params=KINDS)
def climbed(images, request) -> tuple[str, list[list[pretraining.Level]]]:
    return request.param, climb(images, KINDS[request.param])


def test_a_stack_of_another_kind_has_sigmoid_codes_and_a_linear_one_on_top(images, climbed):
    kind, stacks = climbed
    for levels in stacks:
        inputs = images
        for level, activation in zip(levels, (expit, np.asarray), strict=True):
            weights, bias = level.encoder
            codes = activation(inputs @ weights + bias)
            np.testing.assert_allclose(level.codes, codes, rtol=1e-4, atol=1e-5)
            assert level.codes.dtype == np.float32
            back, back_bias = level.decoder
            assert back.shape == weights.T.shape
            assert np.array_equal(back, weights.T) == (kind == "RBM")
            outputs = expit(codes @ back + back_bias)
            error = np.sum((outputs - inputs) ** 2, axis=1).mean()
            assert level.history.measures["squared error"][-1] == pytest.approx(error, rel=1e-4)
            inputs = level.codes


def test_training_lowers_the_error_of_every_kind(climbed):
    for lowest, _ in climbed[1]:
        measured = lowest.history.measures["squared error"]
        assert measured[-1] < 0.8 * measured[0]


def test_stacks_with_noise_differ_from_each_other_and_are_what_they_are_alone(images, climbed):
    kind, (first, second) = climbed
    assert (first[0].history.losses != second[0].history.losses).any()
    ((alone,),) = climb(images, KINDS[kind][0], units=UNITS[:1], seeds=[2])
    np.testing.assert_array_equal(alone.codes, second[0].codes)
    np.testing.assert_array_equal(alone.history.losses, second[0].history.losses)


def test_layers_may_have_optimizers_of_their_own(images):
    still = partial(keras.optimizers.SGD, 0.0)
    optimizers = [still, SETTINGS["optimizer"]]
    (levels,) = climb(images, pretraining.Kind(), seeds=[1], steps=2, optimizer=optimizers)
    moved = [np.ptp(level.history.measures["squared error"]) > 0 for level in levels]
    assert moved == [False, True]


@pytest.mark.parametrize("name", ["kind", "optimizer"])
def test_as_many_kinds_and_optimizers_as_layers_are_needed(images, name):
    with pytest.raises(ValueError, match=f"{name}: expected one for each of 2 layers, received 3"):
        climb(images, **{"kind": pretraining.Kind()} | {name: [None] * 3})


@pytest.mark.parametrize("name", KINDS)
def test_grey_values_up_to_255_are_refused_where_probabilities_belong(images, name):
    message = "layer 1: expected inputs 0 to 1, received 0.0 to 255.0"
    grey = np.round(255 * (images - images.min()) / np.ptp(images))
    with pytest.raises(ValueError, match=message):
        climb(grey, KINDS[name])
    with pytest.raises(ValueError, match="layer 2: expected inputs 0 to 1, received -"):
        climb(images, KINDS[name][::-1], steps=2)  # a linear code has no limits


def test_the_cross_entropy_is_summed_over_pixels_and_averaged_over_rows():
    rows, logits = np.random.default_rng(0).random([2, 3, 4]).astype(np.float32)
    p = expit(logits.astype(np.float64))
    expected = -np.mean(np.sum(rows * np.log(p) + (1 - rows) * np.log(1 - p), axis=1))
    loss = pretraining.mean_cross_entropy(lambda _: tf.constant(logits), tf.constant(rows))
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_with_masking_noise_a_model_sees_less_and_is_compared_with_everything():
    rows, numbers = tf.ones([50, 8]), tf.range(50)
    gone = np.sum(noise.mask(rows, 0.25, numbers) == 0)
    assert gone > 0
    # What it sees are the logits: all targets are 1, some of them are missing in what it sees.
    expected = (gone * np.log(2) + (400 - gone) * np.log1p(np.exp(-1))) / 50
    loss = pretraining.sigmoid_autoencoder(masked=0.25).loss
    assert float(loss(lambda given: given, rows, numbers)) == pytest.approx(expected, rel=1e-5)
    whole = pretraining.sigmoid_autoencoder().loss(lambda given: given, rows, numbers)
    assert float(whole) == pytest.approx(8 * np.log1p(np.exp(-1)), rel=1e-5)


def test_encode_equals_the_first_half_of_the_autoencoder(images):
    model = models.basic_autoencoder(12, 5, initializer=models.normal(0.5, 0))
    model.set_weights([array + 0.1 for array in model.get_weights()])
    weights = model.get_weights()
    codes = pretraining.encode(weights[:2], images)
    np.testing.assert_allclose(codes, model.encoder(images), rtol=1e-5, atol=1e-6)
    assert (codes == 0).any()


def test_squared_errors_are_summed_over_pixels_and_then_over_the_batch():
    model = keras.layers.Dense(2, kernel_initializer="zeros", bias_initializer="ones")
    rows = tf.constant([[1.0, 1.0], [3.0, 0.0]])
    np.testing.assert_allclose(pretraining.squared_error(model, rows), [0, 5])
    loss = pretraining.summed_squared_error(model, rows)
    assert loss.shape == ()
    assert float(loss) == 5


def test_units_in_use_are_those_that_fire_for_some_row():
    network = models.dense_stack(3, [2, 4, 5], initializer="ones")
    weights = network.get_weights()
    weights[1][:] = [-1.5, -9]  # fires where a row adds up to more; never
    weights[3][:] = [-9, -1, 0, 1]
    network.set_weights(weights)
    rows = tf.constant([[1.0, 1, 1], [0, 0, 0]])
    assert pretraining.units_in_use(1)(network, rows).numpy().tolist() == [1, 1]
    assert pretraining.units_in_use(2)(network, rows).numpy().tolist() == [3, 3]
