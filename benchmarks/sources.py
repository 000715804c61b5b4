"""All training of the course's two sources at full size, and how its cost grows.

Each function is called in a process of its own, or makes some, and returns plain numbers.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from time import perf_counter

import numpy as np

from benchmarks.measure import alone, peak_mib
from benchmarks.ways.keras_parts import loss as loss_of
from benchmarks.work import CLASSIFIER, DEEP
from helpers import blockwise, models, pretraining, training
from helpers.backend import keras, tf
from helpers.compiled import Network, Program

UNITS = (100, 50, 25, 12, 5, 5)
EVERY = 100


def full_size() -> dict[str, float]:
    """Return the seconds of each training, compiling and measuring every 100 steps included.

    1,000 steps of the basic autoencoder, six layers of 3,000 steps, two classifiers of 30,000
    steps side by side, and 20 epochs of the deep autoencoder.
    """
    images, labels = CLASSIFIER.data()
    seconds = {}
    normal = models.normal(0.01, 0)
    with _clock(seconds, "basic autoencoder"):
        training.train(
            models.basic_autoencoder(784, 100, initializer=normal),
            [images],
            loss=_with_penalty,
            optimizer=keras.optimizers.Adam(0.001),
            steps=1000,
            batch_size=100,
            seed=0,
            measures={"error": (pretraining.squared_error, None)},
        )
    with _clock(seconds, "stacked pretraining"):
        (levels,) = pretraining.pretrain(
            images,
            UNITS,
            seeds=[0],
            optimizer=partial(keras.optimizers.Adam, 0.001),
            steps=3000,
            batch_size=100,
            initializer=partial(models.normal, 0.01),
        )
    with _clock(seconds, "two classifiers"):
        head = [np.zeros((UNITS[-1], 10)), np.zeros(10)]
        encoders = [array for level in levels for array in level.encoder]
        starts = [CLASSIFIER.weights(), [*encoders, *head]]
        _classifiers(starts, 30_000, images, labels)
    with _clock(seconds, "deep autoencoder"):
        per_epoch = len(images) // DEEP.batch_size
        training.train(
            models.deep_autoencoder(784, [256, 128], 20, seed=0),
            [images],
            loss=loss_of(DEEP),
            optimizer=keras.optimizers.Adam(0.001),
            steps=20 * per_epoch,
            batch_size=DEEP.batch_size,
            seed=0,
            every=per_epoch,
            measures={"loss": (_cross_entropy, [images[:5000]])},
        )
    return seconds


def eager_slices(steps: int = 30) -> dict[str, float]:
    """Return milliseconds per eager step of the autoencoders that `full_size` trains in layers.

    Keyed by "inputs-units"; a slice of some steps, after a first one that does not count.
    """
    milliseconds = {}
    rng = np.random.default_rng(0)
    for below, size in zip((784, *UNITS), UNITS, strict=False):
        model = models.basic_autoencoder(below, size, initializer=models.normal(0.01, 0))
        adam = keras.optimizers.Adam(0.001)
        batch = tf.constant(rng.random((100, below), np.float32))

        def step(model=model, adam=adam, batch=batch) -> None:
            with tf.GradientTape() as tape:
                value = pretraining.summed_squared_error(model, batch)
            variables = model.trainable_variables
            adam.apply(tape.gradient(value, variables), variables)

        step()
        start = perf_counter()
        for _ in range(steps):
            step()
        milliseconds[f"{below}-{size}"] = 1000 * (perf_counter() - start) / steps
    return milliseconds


def growth_with_steps(counts: tuple[int, ...] = (1000, 2000, 4000, 8000)) -> list[dict]:
    """Return seconds and peak memory of one classifier trained for more and more steps."""
    return [{"steps": steps, **alone(partial(_cost, 1, steps))} for steps in counts]


def growth_with_seeds(counts: tuple[int, ...] = (2, 4, 8), steps: int = 2000) -> list[dict]:
    """Return seconds and peak memory of more and more classifiers in one call."""
    return [{"seeds": seeds, **alone(partial(_cost, seeds, steps))} for seeds in counts]


def _cost(seeds: int, steps: int) -> dict[str, float]:
    """Return seconds and peak memory of some classifiers, after a short call that warms up.

    For a process of its own: what was compiled before would count in the peak of what follows.
    """
    images, labels = CLASSIFIER.data()
    starts = [CLASSIFIER.weights()] * seeds
    _classifiers(starts, EVERY, images, labels)
    start = perf_counter()
    _classifiers(starts, steps, images, labels)
    return {"seconds": perf_counter() - start, "peak_mib": peak_mib()}


def evaluation_shares() -> dict[str, float]:
    """Return `evaluation_share` for all validation images, and for as many as lesson 5 measures."""
    return {f"{images:,} images": evaluation_share(images) for images in (5000, 2000)}


def evaluation_share(n_images: int, rounds: int = 60) -> float:
    """Return what measuring accuracy on some images every 100 steps adds to lesson 5's training.

    As a share of the time of these steps, for one classifier.  With a measurement
    after every second hundred of steps, hundreds with and without one alternate; the median over
    such pairs.  (Whole trainings with and without measuring differ more by what else the machine
    does than by the measuring.)
    """
    images, labels = CLASSIFIER.data()
    data = blockwise.to_tensors([images, labels])
    model = models.dense_stack(784, [*UNITS, 10], initializer=keras.initializers.Zeros())
    network = Network(model, keras.optimizers.Adam(0.001))
    network.reset(CLASSIFIER.weights(), None)
    measures = {"accuracy": (_correct, [tensor[:n_images] for tensor in data])}
    block = training.BLOCK_STEPS, 100
    program = Program(network, data, loss_of(CLASSIFIER), block, measures, jit_compile=True)
    ends = []  # of each hundred of steps
    steps, every = 2 * EVERY * rounds, 2 * EVERY
    training._run(program, network, data, steps, 0, every, lambda _: ends.append(perf_counter()))
    with_one, without = np.diff(ends[1:]).reshape(-1, 2).T
    return float(np.median(with_one / without)) - 1


def _classifiers(
    starts: list[list[np.ndarray]], steps: int, images: np.ndarray, labels: np.ndarray
) -> None:
    zeros = keras.initializers.Zeros()
    training.train_many(
        lambda: models.dense_stack(784, [*UNITS, 10], initializer=zeros),
        [training.Start(weights, i) for i, weights in enumerate(starts)],
        [images, labels],
        loss=loss_of(CLASSIFIER),
        optimizer=partial(keras.optimizers.Adam, 0.001),
        steps=steps,
        batch_size=100,
        every=EVERY,
        measures={"accuracy": (_correct, [images[:5000], labels[:5000]])},
    )


def _correct(model: keras.Layer, images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    guess = tf.argmax(model(images), axis=1, output_type=labels.dtype)
    return tf.cast(tf.equal(guess, labels), tf.float32)


def _cross_entropy(model: keras.Layer, images: tf.Tensor) -> tf.Tensor:
    each = tf.nn.sigmoid_cross_entropy_with_logits(labels=images, logits=model(images))
    return tf.reduce_mean(each, axis=1)


def _with_penalty(model: keras.Layer, images: tf.Tensor) -> tf.Tensor:
    kernels = [half.layers[0].kernel for half in (model.encoder, model.decoder)]
    penalty = sum(tf.nn.l2_loss(kernel) for kernel in kernels)
    return pretraining.summed_squared_error(model, images) + 0.1 * penalty


@contextmanager
def _clock(seconds: dict[str, float], name: str) -> Iterator[None]:
    start = perf_counter()
    yield
    seconds[name] = perf_counter() - start


FUNCTIONS: dict[str, Callable[[], object]] = {
    function.__name__: function
    for function in (
        full_size,
        eager_slices,
        growth_with_steps,
        growth_with_seeds,
        evaluation_shares,
    )
}
