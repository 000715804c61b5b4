"""The training loop against NumPy and against an eager loop, and what it promises."""

import inspect
import re
from functools import partial
from itertools import product

import numpy as np
import pytest

from helpers import blockwise, progress, training
from helpers.backend import keras, tf

N_ROWS, N_INPUTS = 53, 4


@pytest.fixture
def images() -> np.ndarray:
    return make_images()


def make_images() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(N_ROWS, N_INPUTS)).astype(np.float32)


@pytest.fixture
def labels(images) -> np.ndarray:
    return np.argmax(images[:, :3], axis=1).astype(np.int32)


def build(seed: int = 0, n_outputs: int = N_INPUTS) -> keras.layers.Dense:
    """Return one linear layer, the quickest thing to compile, with biases that are not 0."""
    layer = keras.layers.Dense(n_outputs)
    layer.build([None, N_INPUTS])
    rng = np.random.default_rng(seed)
    layer.set_weights([rng.normal(size=[N_INPUTS, n_outputs]), rng.normal(size=[n_outputs])])
    return layer


def build_hidden(n_outputs: int = N_INPUTS) -> keras.Sequential:
    """Return a small network with one hidden ReLU layer."""
    initializer = keras.initializers.GlorotUniform(seed=keras.random.SeedGenerator(0))
    return keras.Sequential(
        [
            keras.Input([N_INPUTS]),
            keras.layers.Dense(6, activation="relu", kernel_initializer=initializer),
            keras.layers.Dense(n_outputs, kernel_initializer=initializer),
        ]
    )


def squared_error(model: keras.Layer, rows: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(tf.square(model(rows) - rows), axis=1)


def autoencoder_loss(model: keras.Layer, rows: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(squared_error(model, rows))


def output_loss(model: keras.Layer, rows: tf.Tensor) -> tf.Tensor:
    """Return the mean squared distance of the outputs to 1, in training mode."""
    return tf.reduce_mean(tf.square(model(rows, training=True) - 1))


def cross_entropy(model: keras.Layer, rows: tf.Tensor, classes: tf.Tensor) -> tf.Tensor:
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(classes, model(rows))
    return tf.reduce_mean(losses)


def train(model: keras.Layer, data: list[np.ndarray], **changes: object) -> training.History:
    """Train with small defaults that a test changes."""
    options = {
        "loss": autoencoder_loss,
        "optimizer": keras.optimizers.Adam(0.01),
        "steps": 12,
        "batch_size": 5,
        "seed": 7,
        "every": 4,
    }
    return training.train(model, data, **(options | changes))


def train_many(
    starts: list[training.Start], data: list[np.ndarray], **changes: object
) -> list[training.Run]:
    """Train several with the same defaults as `train`."""
    options = {
        "build": build,
        "loss": autoencoder_loss,
        "optimizer": lambda: keras.optimizers.Adam(0.01),
        "steps": 12,
        "batch_size": 5,
        "every": 4,
    }
    return training.train_many(starts=starts, data=data, **(options | changes))


def start(seed: int) -> training.Start:
    return training.Start(build(seed).get_weights(), seed)


def all_batches(**changes: int) -> np.ndarray:
    options = {"n_rows": 10, "batch_size": 4, "steps": 25, "seed": 3, "block": 25}
    return np.concatenate(list(training.batch_rows(**(options | changes))))


def assert_same_weights(first: list[np.ndarray], second: list[np.ndarray]) -> None:
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


def assert_same_runs(runs: list[training.Run], expected: list[training.Run]) -> None:
    for run, other in zip(runs, expected, strict=True):
        assert_same_weights(run.weights, other.weights)
        np.testing.assert_array_equal(run.history.losses, other.history.losses)
        np.testing.assert_array_equal(
            run.history.measures["error"], other.history.measures["error"]
        )


# ------------------------------------------------------------------------------- the mini-batches


def test_batches_deal_every_row_once_an_epoch_without_gaps():
    dealt = all_batches().ravel()
    assert len(dealt) == 100
    for epoch in dealt.reshape(10, 10):
        assert sorted(epoch) == list(range(10))


def test_batches_are_shuffled_anew_every_epoch():
    epochs = all_batches().reshape(10, 10)
    assert len({tuple(epoch) for epoch in epochs}) == 10


@pytest.mark.parametrize("block", [1, 2, 7, 24, 26, 1000])
def test_batches_do_not_depend_on_the_length_of_a_block(block):
    np.testing.assert_array_equal(all_batches(block=block), all_batches())


def test_batches_come_in_blocks_with_a_shorter_last_one():
    blocks = list(training.batch_rows(10, batch_size=4, steps=25, seed=3, block=10))
    assert [block.shape for block in blocks] == [(10, 4), (10, 4), (5, 4)]
    assert {block.dtype for block in blocks} == {np.dtype(np.int32)}


def test_batches_differ_between_seeds_and_repeat_with_the_same_seed():
    np.testing.assert_array_equal(all_batches(seed=5), all_batches(seed=5))
    assert (all_batches(seed=5) != all_batches(seed=6)).any()


def test_a_longer_run_begins_with_the_batches_of_a_shorter_one():
    np.testing.assert_array_equal(all_batches(steps=25)[:9], all_batches(steps=9))


def test_a_batch_may_be_larger_than_the_data():
    batches = all_batches(n_rows=3, batch_size=8, steps=6)
    assert batches.shape == (6, 8)
    for epoch in batches.reshape(16, 3):
        assert sorted(epoch) == [0, 1, 2]


# -------------------------------------------------------------------------- against other loops


def test_two_hundred_steps_equal_an_eager_loop(images, labels):
    model, eager = build_hidden(n_outputs=3), build_hidden(n_outputs=3)
    history = train(
        model,
        [images, labels],
        loss=cross_entropy,
        optimizer=keras.optimizers.SGD(0.1),
        steps=200,
        batch_size=10,
        every=60,
    )

    losses = []
    for rows in all_batches(n_rows=N_ROWS, batch_size=10, steps=200, seed=7):
        with tf.GradientTape() as tape:
            loss = cross_entropy(eager, tf.constant(images[rows]), tf.constant(labels[rows]))
        gradients = tape.gradient(loss, eager.trainable_variables)
        for variable, gradient in zip(eager.trainable_variables, gradients, strict=True):
            variable.assign_sub(0.1 * gradient)
        losses.append(float(loss))

    assert np.mean(losses[-20:]) < 0.5 * np.mean(losses[:20])
    np.testing.assert_allclose(history.losses, losses, rtol=1e-4)
    for weights, expected in zip(model.get_weights(), eager.get_weights(), strict=True):
        np.testing.assert_allclose(weights, expected, rtol=1e-4, atol=1e-5)


def numpy_adam(
    kernel: np.ndarray, bias: np.ndarray, images: np.ndarray, batches: np.ndarray, rate: float
) -> tuple[np.ndarray, np.ndarray, list[float]]:
    """Fit a linear layer to the output 1 by Adam (Kingma and Ba 2015, end of section 2)."""
    weights = np.vstack([kernel, bias]).astype(np.float64)
    first = second = np.zeros_like(weights)
    losses = []
    for t, rows in enumerate(batches, start=1):
        inputs = np.hstack([images[rows], np.ones([len(rows), 1])])
        residual = inputs @ weights - 1
        losses.append(np.mean(residual**2))
        gradient = 2 * inputs.T @ residual / residual.size
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        size = rate * np.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        weights = weights - size * first / (np.sqrt(second) + 1e-7)
    return weights[:-1], weights[-1], losses


def test_adam_inside_the_loop_equals_adam_in_numpy(images):
    layer = build()
    batches = next(training.batch_rows(N_ROWS, batch_size=5, steps=90, seed=7, block=90))
    kernel, bias, losses = numpy_adam(*layer.get_weights(), images, batches, rate=0.01)

    history = train(layer, [images], loss=output_loss, steps=90, every=40)

    np.testing.assert_allclose(history.losses, losses, rtol=1e-4)
    np.testing.assert_allclose(layer.get_weights()[0], kernel, atol=1e-5)
    np.testing.assert_allclose(layer.get_weights()[1], bias, atol=1e-5)


def test_sgd_inside_the_loop_equals_gradient_descent_in_numpy(images):
    layer = build()
    weights = np.vstack(layer.get_weights()).astype(np.float64)
    for rows in all_batches(n_rows=N_ROWS, batch_size=5, steps=30, seed=7, block=30):
        inputs = np.hstack([images[rows], np.ones([5, 1])])
        residual = inputs @ weights - 1
        weights -= 0.1 * 2 * inputs.T @ residual / residual.size

    train(layer, [images], loss=output_loss, steps=30, optimizer=keras.optimizers.SGD(0.1))

    np.testing.assert_allclose(np.vstack(layer.get_weights()), weights, atol=1e-5)


def test_without_xla_the_losses_are_the_same(images):
    compiled = train(build(), [images])
    plain = train(build(), [images], jit_compile=False)
    np.testing.assert_allclose(plain.losses, compiled.losses, rtol=1e-5)


def test_without_xla_loss_and_measures_may_do_what_xla_cannot(images):
    def in_python(values: tf.Tensor) -> tf.Tensor:
        return tf.ensure_shape(tf.py_function(lambda array: array + 1, [values], tf.float32), [5])

    def loss(model: keras.Layer, rows: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(in_python(squared_error(model, rows)))

    def measure(model: keras.Layer, rows: tf.Tensor) -> tf.Tensor:
        return in_python(squared_error(model, rows))

    plain = train(
        build(),
        [images],
        loss=loss,
        measures={"error": (measure, [images[:5]])},
        jit_compile=False,
    )
    expected = train(build(), [images], measures={"error": (squared_error, [images[:5]])})
    np.testing.assert_allclose(plain.losses, expected.losses + 5, rtol=1e-5)
    errors = expected.measures["error"] + 1
    np.testing.assert_allclose(plain.measures["error"], errors, rtol=1e-5)


@pytest.mark.parametrize("every", [10, 7, 40])
def test_a_partial_last_block_changes_nothing(images, alone, every):
    model = build(0)
    history = train(model, [images], seed=0, steps=10, every=every)
    np.testing.assert_array_equal(history.losses, alone[0].history.losses)
    assert_same_weights(model.get_weights(), alone[0].weights)


def test_the_same_seed_repeats_a_run_bit_for_bit(images):
    model, again = build(), build()
    first, second = train(model, [images]), train(again, [images])
    np.testing.assert_array_equal(first.losses, second.losses)
    assert_same_weights(model.get_weights(), again.get_weights())


def test_another_seed_gives_another_run(images):
    first, second = train(build(), [images], seed=1), train(build(), [images], seed=2)
    assert (first.losses != second.losses).any()


# ----------------------------------------------------------------------------------- the history


@pytest.mark.parametrize(
    ("steps", "every", "expected"),
    [
        (12, 4, [0, 4, 8, 12]),
        (10, 4, [0, 4, 8, 10]),
        (3, 100, [0, 3]),
        (1, 1, [0, 1]),
        (10, None, [10]),
        (130, None, [130]),
    ],
)
def test_history_has_a_loss_a_step_and_a_measurement_a_block(images, steps, every, expected):
    measures = {"error": (squared_error, [images])}
    history = train(build(), [images], steps=steps, every=every, measures=measures)
    assert history.losses.shape == (steps,)
    assert history.losses.dtype == np.float32
    assert history.steps.tolist() == expected
    assert history.measures["error"].shape == (len(expected),)
    assert history.measures["error"].dtype == np.float64


@pytest.mark.parametrize("steps", [10, 130])
def test_a_single_measurement_is_that_after_the_last_step(images, steps):
    options = {"steps": steps, "measures": {"error": (squared_error, [images])}}
    expected = train(build(7), [images], every=steps, **options)
    alone = train(build(7), [images], every=None, **options)
    (run,) = train_many([start(7)], [images], every=None, **options)
    for history in (alone, run.history):
        np.testing.assert_array_equal(history.losses, expected.losses)
        assert history.measures["error"].tolist() == [expected.measures["error"][-1]]


def test_without_measures_the_history_has_none(images):
    assert train(build(), [images]).measures == {}


def test_a_loss_is_that_of_the_batch_before_its_update(images):
    model = build()
    rows = all_batches(n_rows=N_ROWS, batch_size=5, steps=1, seed=7)[0]
    expected = float(autoencoder_loss(model, tf.constant(images[rows])))
    assert train(model, [images], steps=1).losses[0] == pytest.approx(expected, rel=1e-5)


def test_training_lowers_the_loss(images):
    history = train(build(), [images], steps=300, every=100)
    assert history.losses[-50:].mean() < 0.5 * history.losses[:50].mean()


def numpy_measure(weights: list[np.ndarray], images: np.ndarray) -> float:
    """Return the mean squared error of the network `build_hidden` with these weights."""
    kernel, bias, last_kernel, last_bias = [array.astype(np.float64) for array in weights]
    outputs = np.maximum(images @ kernel + bias, 0) @ last_kernel + last_bias
    return float(np.mean(np.sum((outputs - images) ** 2, axis=1)))


@pytest.mark.parametrize("n_rows", [7, blockwise.BLOCK_ROWS, blockwise.BLOCK_ROWS + 357])
def test_measures_equal_numpy_before_and_after_training(images, n_rows):
    rows = np.random.default_rng(4).normal(size=(n_rows, N_INPUTS)).astype(np.float32)
    model = build_hidden()
    before = numpy_measure(model.get_weights(), rows)
    history = train(model, [images], steps=6, every=6, measures={"e": (squared_error, [rows])})
    after = numpy_measure(model.get_weights(), rows)
    np.testing.assert_allclose(history.measures["e"], [before, after], rtol=1e-5)


def test_measures_in_between_are_those_of_a_shorter_run(images):
    measures = {"error": (squared_error, [images])}
    history = train(build_hidden(), [images], steps=12, every=4, measures=measures)
    model = build_hidden()
    train(model, [images], steps=8)
    expected = numpy_measure(model.get_weights(), images)
    assert history.measures["error"][2] == pytest.approx(expected, rel=1e-5)


def test_a_measure_without_arrays_is_taken_over_the_training_data(images):
    measures = {"all": (squared_error, None), "same": (squared_error, [images])}
    history = train(build(), [images], measures=measures)
    np.testing.assert_array_equal(history.measures["all"], history.measures["same"])


def test_several_measures_may_have_arrays_of_their_own(images, labels):
    def right(model: keras.Layer, rows: tf.Tensor, classes: tf.Tensor) -> tf.Tensor:
        return tf.cast(tf.argmax(model(rows), axis=1, output_type=tf.int32) == classes, tf.float32)

    def first_label(model: keras.Layer, classes: tf.Tensor) -> tf.Tensor:
        return tf.cast(classes, tf.float32)

    model = build(n_outputs=3)
    measures = {
        "accuracy": (right, [images[:20], labels[:20]]),
        "label": (first_label, [labels[20:]]),
    }
    history = train(model, [images, labels], loss=cross_entropy, measures=measures)
    accuracy = np.mean(np.argmax(model(images[:20]), axis=1) == labels[:20])
    assert history.measures["accuracy"][-1] == pytest.approx(accuracy)
    assert history.measures["label"] == pytest.approx(labels[20:].mean())


# ------------------------------------------------------------------- models, optimisers, progress


@pytest.mark.parametrize(
    "optimizer",
    [
        keras.optimizers.SGD(0.05),
        keras.optimizers.SGD(0.05, momentum=0.9, nesterov=True),
        keras.optimizers.AdamW(0.05, weight_decay=0.01),
        keras.optimizers.RMSprop(0.05),
        keras.optimizers.Adam(keras.optimizers.schedules.ExponentialDecay(0.05, 10, 0.9)),
    ],
    ids=["SGD", "SGD with momentum", "AdamW", "RMSprop", "Adam with a schedule"],
)
def test_every_keras_optimizer_makes_the_steps_it_makes_eagerly(images, optimizer):
    layer, eager = build(), build()
    same = type(optimizer).from_config(optimizer.get_config())
    train(layer, [images], loss=output_loss, optimizer=optimizer, steps=10, every=4)
    for rows in all_batches(n_rows=N_ROWS, batch_size=5, steps=10, seed=7):
        with tf.GradientTape() as tape:
            loss = output_loss(eager, tf.constant(images[rows]))
        same.apply(tape.gradient(loss, eager.trainable_variables), eager.trainable_variables)
    for weights, expected in zip(layer.get_weights(), eager.get_weights(), strict=True):
        np.testing.assert_allclose(weights, expected, rtol=1e-4, atol=1e-5)


def test_a_layer_of_ones_own_can_be_trained():
    class Scale(keras.layers.Layer):
        def build(self, shape: tuple) -> None:
            self.factor = self.add_weight(name="factor", shape=(), initializer="ones")

        def call(self, rows: tf.Tensor) -> tf.Tensor:
            return self.factor * rows

    layer = Scale()
    layer.build((None, 1))

    def loss(model: keras.Layer, inputs: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        return tf.reduce_mean(tf.square(model(inputs) - targets))

    inputs = np.linspace(1, 2, 10, dtype=np.float32)[:, None]
    train(layer, [inputs, 3 * inputs], loss=loss, steps=300, optimizer=keras.optimizers.SGD(0.1))
    assert layer.get_weights()[0] == pytest.approx(3, abs=1e-4)


def test_frozen_weights_stay_as_they_are(images):
    model = build_hidden()
    model.layers[0].trainable = False
    frozen, free = model.layers[0].get_weights(), model.layers[1].get_weights()
    train(model, [images])
    assert_same_weights(model.layers[0].get_weights(), frozen)
    assert (model.layers[1].get_weights()[0] != free[0]).any()


def test_batch_normalisation_updates_its_moving_averages():
    images = np.random.default_rng(5).normal(3, 2, size=(N_ROWS, 2)).astype(np.float32)
    normalisation = keras.layers.BatchNormalization(momentum=0.9)
    model = keras.Sequential([keras.Input([2]), normalisation, keras.layers.Dense(1)])
    train(model, [images], loss=output_loss, steps=6, batch_size=10)
    mean, variance = np.zeros(2), np.ones(2)
    for rows in all_batches(n_rows=N_ROWS, batch_size=10, steps=6, seed=7):
        mean = 0.9 * mean + 0.1 * images[rows].mean(axis=0)
        variance = 0.9 * variance + 0.1 * images[rows].var(axis=0)
    np.testing.assert_allclose(normalisation.moving_mean, mean, rtol=1e-4)
    np.testing.assert_allclose(normalisation.moving_variance, variance, rtol=1e-3)


def build_with_dropout() -> keras.Sequential:
    return keras.Sequential(
        [
            keras.Input([N_INPUTS]),
            keras.layers.Dropout(0.5, seed=1),
            keras.layers.Dense(1, kernel_initializer="ones"),
        ]
    )


def test_dropout_draws_a_new_mask_every_step():
    # All rows are equal and the weights stand still: only the masks can change the loss.
    ones = np.ones([N_ROWS, N_INPUTS], np.float32)
    history = train(
        build_with_dropout(), [ones], loss=output_loss, optimizer=keras.optimizers.SGD(0.0)
    )
    assert len(np.unique(history.losses)) > 6


def test_dropout_repeats_bit_for_bit(images):
    first = train(build_with_dropout(), [images], loss=output_loss)
    second = train(build_with_dropout(), [images], loss=output_loss)
    np.testing.assert_array_equal(first.losses, second.losses)


class FakeBar:
    """Counts what a progress bar is told."""

    def __init__(self, total: int, description: str) -> None:
        self.total, self.description, self.done = total, description, 0

    def __enter__(self) -> "FakeBar":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def update(self, count: int) -> None:
        self.done += count


@pytest.fixture
def bars(monkeypatch) -> list[FakeBar]:
    made: list[FakeBar] = []

    def bar(total: int, description: str) -> FakeBar:
        made.append(FakeBar(total, description))
        return made[-1]

    monkeypatch.setattr(progress, "bar", bar)
    return made


def test_the_bar_moves_though_nothing_is_measured_in_between(images, bars, monkeypatch):
    moves = []
    monkeypatch.setattr(FakeBar, "update", lambda _, count: moves.append(count))
    history = train(build(), [images], steps=230, every=230)
    assert moves == [100, 100, 30]
    assert history.steps.tolist() == [0, 230]


def test_the_length_of_a_call_changes_nothing(images, monkeypatch):
    whole, parts = build(), build()
    expected = train(whole, [images], steps=25, every=20)
    monkeypatch.setattr(training, "BLOCK_STEPS", 7)
    history = train(parts, [images], steps=25, every=20)
    np.testing.assert_array_equal(history.losses, expected.losses)
    np.testing.assert_array_equal(history.steps, expected.steps)
    for ours, theirs in zip(parts.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_the_progress_bar_counts_every_step(images, bars):
    train(build(), [images], steps=10, every=4, description="layer 1")
    assert [(bar.total, bar.done, bar.description) for bar in bars] == [(10, 10, "layer 1")]


def test_one_progress_bar_counts_the_steps_of_all_runs(images, bars):
    train_many([start(0), start(1), start(2)], [images], steps=10, workers=1)
    assert [(bar.total, bar.done) for bar in bars] == [(30, 30)]


# --------------------------------------------------------------------------------- several runs


@pytest.fixture(scope="module")
def alone() -> list[training.Run]:
    """Return what `train` makes of the starts 0, 1 and 2, in ten steps each."""
    images, runs = make_images(), []
    for seed in range(3):
        model = build(seed)
        measures = {"error": (squared_error, [images])}
        history = train(model, [images], seed=seed, steps=10, measures=measures)
        runs.append(training.Run(model.get_weights(), history))
    return runs


@pytest.mark.parametrize(("n_starts", "workers"), [(1, 2), (3, 2), (3, 1), (2, 5)])
def test_each_of_many_runs_equals_the_run_alone_bit_for_bit(images, alone, n_starts, workers):
    starts = [start(seed) for seed in range(n_starts)]
    measures = {"error": (squared_error, [images])}
    runs = train_many(starts, [images], steps=10, measures=measures, workers=workers)
    assert len(runs) == n_starts
    for run, expected in zip(runs, alone, strict=False):
        assert_same_weights(run.weights, expected.weights)
        for name in ("losses", "steps"):
            actual = getattr(run.history, name)
            np.testing.assert_array_equal(actual, getattr(expected.history, name))
        errors = run.history.measures["error"]
        np.testing.assert_array_equal(errors, expected.history.measures["error"])


def test_a_run_may_have_data_of_its_own(images):
    own = images[::-1] + 1
    measures = {"own": (squared_error, None), "common": (squared_error, [images])}
    starts = [start(0), training.Start(build(0).get_weights(), 0, [own]), start(0)]
    common, different, again = train_many(starts, [images], measures=measures, workers=1)

    model = build(0)
    expected = train(model, [own], seed=0, measures=measures)
    assert_same_weights(different.weights, model.get_weights())
    np.testing.assert_array_equal(different.history.losses, expected.losses)
    for name in measures:
        np.testing.assert_array_equal(different.history.measures[name], expected.measures[name])
    assert (common.history.losses != different.history.losses).any()
    np.testing.assert_array_equal(common.history.losses, again.history.losses)


def test_a_run_may_have_a_number_of_steps_of_its_own(images):
    weights = build(0).get_weights()
    starts = [training.Start(weights, 0, steps=count) for count in (12, 7, None, 30)]
    runs = train_many(starts, [images], steps=12, every=None)
    assert [len(run.history.losses) for run in runs] == [12, 7, 12, 30]
    for run, begin in zip(runs, starts, strict=True):
        (alone,) = train_many(
            [training.Start(weights, 0)], [images], steps=begin.steps or 12, every=None
        )
        np.testing.assert_array_equal(run.history.losses, alone.history.losses)
        assert_same_weights(run.weights, alone.weights)


def test_a_run_may_have_a_learning_rate_of_its_own(images):
    weights = build(0).get_weights()
    rates = (None, 0.1, 0.001, None, 0.1)
    starts = [training.Start(weights, 0, learning_rate=rate) for rate in rates]
    runs = train_many(starts, [images], workers=1, every=None)
    for run, rate in zip(runs, rates, strict=True):
        adam = partial(keras.optimizers.Adam, rate or 0.01)
        (alone,) = train_many([training.Start(weights, 0)], [images], optimizer=adam, every=None)
        np.testing.assert_array_equal(run.history.losses, alone.history.losses)
        assert_same_weights(run.weights, alone.weights)
    assert (runs[0].history.losses != runs[1].history.losses).any()


@pytest.mark.parametrize("rate", [0, -0.1, float("nan"), float("inf"), "0.1", True])
def test_a_wrong_learning_rate_is_refused_before_anything_runs(images, rate):
    wrong = training.Start(build(0).get_weights(), 0, learning_rate=rate)
    with pytest.raises(ValueError, match="learning_rate: expected a number above 0, received"):
        train_many([start(0), wrong], [images])


def test_a_wrong_number_of_steps_of_its_own_is_refused_before_anything_runs(images):
    with pytest.raises(ValueError, match="steps: expected a whole number of at least 1, received"):
        train_many([start(0), training.Start(build(0).get_weights(), 0, steps=0)], [images])


@pytest.mark.parametrize(
    "own",
    [
        [np.zeros([N_ROWS - 1, N_INPUTS], np.float32)],
        [np.zeros([N_ROWS, N_INPUTS + 1], np.float32)],
        [np.zeros([N_ROWS, N_INPUTS], np.int32)],
        [np.zeros([N_ROWS, N_INPUTS], np.float32)] * 2,
    ],
    ids=["rows", "columns", "dtype", "number of arrays"],
)
def test_data_of_another_form_is_refused(images, own):
    starts = [training.Start(build(0).get_weights(), 0, own)]
    with pytest.raises(ValueError, match="data"):
        train_many(starts, [images], workers=1)


def test_no_starts_give_no_runs(images):
    assert train_many([], [images]) == []


@pytest.mark.parametrize("shared", ["build", "optimizer"])
def test_runs_side_by_side_share_no_network_and_no_optimizer(images, shared):
    one = {"build": lambda: build(0), "optimizer": keras.optimizers.SGD}[shared]()
    with pytest.raises(ValueError, match="build, optimizer: expected a new one at each call"):
        train_many([start(0), start(1)], [images], **{shared: lambda: one})


def test_the_starting_weights_are_left_as_they_are(images):
    first = start(0)
    train_many([first], [images], workers=1)
    assert_same_weights(first.weights, build(0).get_weights())


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda: keras.optimizers.Adam(0.01),
        lambda: keras.optimizers.SGD(0.01, momentum=0.9),
        lambda: keras.optimizers.SGD(keras.optimizers.schedules.ExponentialDecay(0.01, 3, 0.5)),
    ],
    ids=["moments", "momentum", "learning rate schedule"],
)
@pytest.mark.parametrize("workers", [1, 3])
def test_no_run_shares_the_optimizer_of_another(images, optimizer, workers):
    runs = train_many([start(0)] * 3, [images], optimizer=optimizer, workers=workers)
    for run in runs[1:]:
        np.testing.assert_array_equal(run.history.losses, runs[0].history.losses)
        assert_same_weights(run.weights, runs[0].weights)


@pytest.mark.parametrize("workers", [1, 2])
def test_no_run_shares_the_moving_averages_of_another(images, workers):
    def with_normalisation() -> keras.Sequential:
        layers = [keras.layers.BatchNormalization(), keras.layers.Dense(1, use_bias=False)]
        return keras.Sequential([keras.Input([N_INPUTS]), *layers])

    starts = [training.Start(with_normalisation().get_weights(), 0)] * 2
    first, second = train_many(
        starts, [images], build=with_normalisation, loss=output_loss, workers=workers
    )
    assert_same_weights(first.weights, second.weights)


@pytest.mark.parametrize("workers", [1, 3])
def test_every_run_computes_with_its_own_frozen_weights(images, workers):
    def half_frozen() -> keras.Sequential:
        model = build_hidden()
        model.layers[0].trainable = False
        return model

    rng = np.random.default_rng(0)
    shapes = [array.shape for array in half_frozen().get_weights()]
    weights = [[rng.normal(size=shape) for shape in shapes] for _ in range(3)]
    starts = [training.Start(arrays, 7) for arrays in weights]
    measures = {"error": (squared_error, [images])}
    runs = train_many(starts, [images], build=half_frozen, workers=workers, measures=measures)
    for run, begin in zip(runs, weights, strict=True):
        model = half_frozen()
        model.set_weights(begin)
        expected = train(model, [images], measures=measures)
        np.testing.assert_array_equal(run.history.losses, expected.losses)
        np.testing.assert_array_equal(run.history.measures["error"], expected.measures["error"])


@pytest.mark.parametrize("workers", [1, 2])
def test_no_run_shares_the_dropout_masks_of_another(images, workers):
    starts = [training.Start(build_with_dropout().get_weights(), 7)] * 2
    first, second = train_many(
        starts, [images], build=build_with_dropout, loss=output_loss, workers=workers
    )
    np.testing.assert_array_equal(first.history.losses, second.history.losses)


@pytest.mark.parametrize(("n_starts", "workers"), [(3, 1), (3, 2), (2, 4)])
def test_many_runs_compile_only_once(images, n_starts, workers):
    traced, built = [], []

    def counting_loss(model: keras.Layer, rows: tf.Tensor) -> tf.Tensor:
        traced.append(1)  # runs when TensorFlow traces the function, not when it executes it
        return autoencoder_loss(model, rows)

    def counting_build() -> keras.Layer:
        built.append(1)
        return build()

    starts = [start(seed) for seed in range(n_starts)]
    # Ten steps in blocks of four: the shorter last block must not be compiled anew either.
    train_many(
        starts, [images], build=counting_build, loss=counting_loss, steps=10, workers=workers
    )
    assert len(built) == min(n_starts, workers)
    assert len(traced) == 1


def test_one_run_compiles_loss_and_measure_once(images):
    traced = {"loss": 0, "measure": 0}

    def loss(model: keras.Layer, rows: tf.Tensor) -> tf.Tensor:
        traced["loss"] += 1
        return autoencoder_loss(model, rows)

    def measure(model: keras.Layer, rows: tf.Tensor) -> tf.Tensor:
        traced["measure"] += 1
        return squared_error(model, rows)

    train(build(), [images], loss=loss, steps=10, measures={"error": (measure, [images])})
    assert traced == {"loss": 1, "measure": 1}


def test_at_full_width_a_run_is_the_same_alone_and_among_others_bit_for_bit():
    """The widths of lesson 5, where products are large enough to be split over threads."""
    rng = np.random.default_rng(0)
    data = [rng.random((1000, 784), np.float32), rng.integers(0, 10, 1000).astype(np.int32)]
    network = [784, 100, 50, 25, 12, 5, 5, 10]

    def build_classifier() -> keras.Sequential:
        layers = [keras.layers.Dense(n, "relu") for n in network[1:-1]]
        return keras.Sequential([keras.Input([784]), *layers, keras.layers.Dense(10)])

    starts = []
    for seed in range(4):
        draw = np.random.default_rng(seed)
        shapes = [w.shape for w in build_classifier().get_weights()]
        weights = [draw.normal(0, 0.1, shape) for shape in shapes]
        starts.append(training.Start(weights, seed // 2))
    options = {
        "build": build_classifier,
        "loss": cross_entropy,
        "batch_size": 100,
        "every": 10,
        "steps": 10,
    }
    among = train_many(starts, data, workers=2, **options)
    for run, begin in zip(among, starts, strict=True):
        (alone,) = train_many([begin], data, **options)
        np.testing.assert_array_equal(run.history.losses, alone.history.losses)
        assert_same_weights(run.weights, alone.weights)


@pytest.mark.filterwarnings("ignore:Gradients do not exist")  # says Keras
def test_a_weight_without_influence_stays_as_it_is_in_every_run(images):
    def partial_loss(model: keras.Layer, rows: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(tf.square(model.layers[0](rows) - 1))

    begin = build_hidden().get_weights()
    starts = [training.Start(begin, seed) for seed in range(3)]
    for run in train_many(starts, [images], build=build_hidden, loss=partial_loss):
        np.testing.assert_array_equal(run.weights[2], begin[2])
        assert (run.weights[0] != begin[0]).any()


# --------------------------------------------------------------------------------------- failures


def test_a_loss_that_is_not_finite_names_its_step(images):
    layer = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")
    layer.build([None, N_INPUTS])

    def loss(model: keras.Layer, rows: tf.Tensor) -> tf.Tensor:
        return 1e4 * output_loss(model, rows)

    with np.errstate(all="ignore"):
        weights = layer.get_weights()[0].astype(np.float32)
        batches = all_batches(n_rows=N_ROWS, batch_size=5, steps=25, seed=7)
        residual, step = images[batches[0]] @ weights - 1, 1
        while np.isfinite(np.float32(1e4) * np.mean(residual**2)):
            inputs = images[batches[step - 1]]
            weights -= np.float32(2e4) * inputs.T @ residual / np.float32(len(inputs))
            residual = images[batches[step]] @ weights - 1
            step += 1
    assert 4 < step < 20  # in another block than the first

    with pytest.raises(FloatingPointError, match=rf"the loss is (inf|nan) at step {step}:"):
        train(layer, [images], loss=loss, steps=25, optimizer=keras.optimizers.SGD(1.0))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_row_that_is_not_a_number_is_refused_before_any_step(images, value):
    images[17] = value
    with pytest.raises(ValueError, match="expected finite numbers in every row, received NaN or"):
        train(build(), [images])


@pytest.mark.parametrize(
    ("data", "received"),
    [
        (np.ones([9, N_INPUTS], np.float32), "a list of arrays, as .images., received ndarray"),
        (None, "received NoneType"),
        ([np.ones([9, N_INPUTS], np.float16)], "float32, float64 or integers, received float16"),
        ([np.ones([9, N_INPUTS], complex)], "received complex128"),
        ([np.full([9, N_INPUTS], "1")], "received str"),
        ([[[1.0] * N_INPUTS] * 9], "received list"),
    ],
)
def test_data_of_the_wrong_kind_are_refused_with_what_was_received(data, received):
    with pytest.raises(ValueError, match=received):
        train(build(), data)


def test_a_label_that_is_no_class_is_named_among_the_reasons(images, labels):
    with pytest.raises(FloatingPointError, match=r"at step 1: .*if labels are right"):
        train(build(n_outputs=3), [images, np.full_like(labels, 7)], loss=cross_entropy)


@pytest.mark.parametrize(("position", "workers"), [(0, 1), (2, 2), (4, 2)])
def test_an_error_in_one_of_many_runs_reaches_the_caller(images, position, workers):
    starts = [start(seed) for seed in range(5)]
    broken = [np.full_like(array, np.nan) for array in starts[position].weights]
    starts[position] = training.Start(broken, 0)
    with pytest.raises(FloatingPointError, match="at step 1:"):
        train_many(starts, [images], workers=workers)


def test_what_fails_first_ends_the_runs_beside_it(images):
    starts = [start(0), start(1)]
    starts[1] = training.Start([np.full_like(array, np.nan) for array in starts[1].weights], 0)
    # The first run would take many minutes.
    with pytest.raises(FloatingPointError, match="at step 1:"):
        train_many(starts, [images], steps=50_000_000, workers=2)


def diverging(rates: list[float | None]) -> list[training.Start]:
    """Return starts that differ in their learning rates only: one of 0.4 is too much for SGD."""
    weights = build(0).get_weights()
    return [training.Start(weights, 7, learning_rate=rate) for rate in rates]


SGD = {
    "optimizer": lambda: keras.optimizers.SGD(0.001),
    "measures": {"error": (squared_error, None)},
    "steps": 60,
    "every": 10,
}


@pytest.mark.parametrize("workers", [1, 3])
def test_one_of_three_runs_may_diverge_while_the_others_go_on(images, workers):
    options = SGD | {"workers": workers}
    first, lost, last = train_many(
        diverging([0.001, 0.4, 0.002]), [images], may_diverge=True, **options
    )
    assert_same_runs([first, last], train_many(diverging([0.001, 0.002]), [images], **options))
    assert first.history.diverged is None
    assert last.history.diverged is None

    with pytest.raises(FloatingPointError, match=r"at step") as error:
        train_many(diverging([0.4]), [images], **options)
    step = int(re.search(r"at step (\d+):", str(error.value))[1])
    assert 10 < step < 50  # not in the first block, nor in the last
    assert lost.history.diverged == step
    assert lost.history.losses.shape == (60,)
    assert np.isfinite(lost.history.losses[: step - 1]).all()
    assert np.isnan(lost.history.losses[step - 1 :]).all()
    np.testing.assert_array_equal(lost.history.steps, first.history.steps)
    late = lost.history.steps >= step
    assert np.isnan(lost.history.measures["error"][late]).all()
    assert np.isfinite(lost.history.measures["error"][:2]).all()


def test_a_diverged_run_makes_no_further_steps(images, monkeypatch):
    blocks = []
    steps = training.Program.steps

    def counted(self: training.Program, *arguments: object) -> np.ndarray:
        blocks.append(1)
        return steps(self, *arguments)

    monkeypatch.setattr(training.Program, "steps", counted)
    (run,) = train_many(diverging([0.4]), [images], may_diverge=True, **SGD)
    assert len(blocks) == 1 + (run.history.diverged - 1) // 10


def test_a_run_that_only_its_last_update_ruins_has_diverged_there(images):
    options = {"optimizer": lambda: keras.optimizers.SGD(1e38), "steps": 1}
    (run,) = train_many([start(0)], [images], may_diverge=True, **options)
    assert run.history.diverged == 1


def test_an_error_in_the_loss_reaches_the_caller(images):
    def loss(model: keras.Layer, rows: tf.Tensor) -> tf.Tensor:
        raise KeyError("a slip of the author")

    with pytest.raises(KeyError, match="a slip of the author"):
        train_many([start(seed) for seed in range(3)], [images], loss=loss)


def test_weights_of_another_architecture_are_refused(images):
    with pytest.raises(ValueError, match="weight"):
        train_many([training.Start([np.zeros(3)], 0)], [images])


def test_a_loss_with_one_value_a_row_is_refused_with_its_shape(images):
    with pytest.raises(ValueError, match=r"loss: expected a scalar.*\(5,\)"):
        train(build(), [images], loss=squared_error)


@pytest.mark.parametrize(
    "loss",
    [lambda model, rows: tf.reduce_sum(rows), lambda model, rows: tf.constant(1.0)],
    ids=["of the data", "constant"],
)
def test_a_loss_that_no_weight_has_an_influence_on_is_refused(images, loss):
    with pytest.raises(ValueError, match=r"loss: expected .* trainable weight"):
        train(build(), [images], loss=loss)


def test_a_model_without_trainable_weights_is_refused(images):
    model = build()
    model.trainable = False
    with pytest.raises(ValueError, match="trainable weight"):
        train(model, [images])


def test_arrays_of_different_lengths_are_refused_with_their_lengths(images, labels):
    with pytest.raises(ValueError, match=r"same number of rows, received \[53, 40\]"):
        train(build(n_outputs=3), [images, labels[:40]], loss=cross_entropy)


@pytest.mark.parametrize("data", [[], [np.zeros([0, N_INPUTS], np.float32)]], ids=["none", "empty"])
def test_no_data_is_refused(data):
    with pytest.raises(ValueError, match="same number of rows"):
        train(build(), data)


BAD_COUNTS = [0, -1, True, 2.5, "3"]


@pytest.mark.parametrize("seed", [None, -1, 1.5, True])
def test_a_seed_that_would_not_repeat_is_refused(images, seed):
    message = r"seed: expected a whole number of at least 0, received"
    with pytest.raises(ValueError, match=message):
        train(build(), [images], seed=seed)
    with pytest.raises(ValueError, match=message):
        train_many([training.Start(build().get_weights(), seed)], [images])
    with pytest.raises(ValueError, match=message):
        next(training.batch_rows(5, batch_size=2, steps=3, seed=seed, block=3))


def test_batches_of_no_rows_are_refused():
    with pytest.raises(ValueError, match=r"n_rows: expected a whole number of at least 1"):
        next(training.batch_rows(0, batch_size=2, steps=3, seed=0, block=3))


def test_weights_that_the_last_update_ruined_are_refused(images):
    # The only loss was measured before it.
    optimizer = keras.optimizers.SGD(1e38)
    with pytest.raises(FloatingPointError, match=r"after step 1: expected finite numbers"):
        train(build(), [images], optimizer=optimizer, steps=1)


@pytest.mark.parametrize(
    ("name", "value"),
    [*product(["steps", "batch_size", "every"], BAD_COUNTS), ("steps", None)],
)
def test_a_bad_number_is_refused_by_name_and_value(images, name, value):
    with pytest.raises(ValueError, match=rf"{name}: expected a whole number .* received {value!r}"):
        train(build(), [images], **{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [*product(["steps", "batch_size", "every", "workers"], BAD_COUNTS), ("workers", None)],
)
def test_many_runs_refuse_a_bad_number_by_name_and_value(images, name, value):
    with pytest.raises(ValueError, match=rf"{name}: expected a whole number .* received {value!r}"):
        train_many([start(0)], [images], **{name: value})


def test_numpy_integers_are_numbers_too(images):
    history = train(build(), [images], steps=np.int64(3), batch_size=np.int32(5))
    assert history.losses.shape == (3,)


@pytest.mark.parametrize("function", [training.train, training.train_many])
def test_options_can_only_be_given_by_name(function):
    options = list(inspect.signature(function).parameters.values())
    first = [option.name for option in options].index("data") + 1
    assert {option.kind for option in options[first:]} == {inspect.Parameter.KEYWORD_ONLY}


def test_the_seed_of_a_run_has_no_default(images):
    with pytest.raises(TypeError, match="seed"):
        training.train(
            build(),
            [images],
            loss=autoencoder_loss,
            optimizer=keras.optimizers.Adam(),
            steps=1,
            batch_size=1,
        )
