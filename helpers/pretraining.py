"""Greedy layer-wise pretraining: each layer is trained on the codes of the layer below it.

As an autoencoder (Bengio, Lamblin, Popovici and Larochelle 2007), with masking noise (Vincent,
Larochelle, Bengio and Manzagol 2008), or as an RBM (Hinton and Salakhutdinov 2006).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.special import expit

from helpers import boltzmann, models, noise, training
from helpers.backend import keras, tf


@dataclass(frozen=True)
class Level:
    """One pretrained layer."""

    encoder: list[np.ndarray]  # weights, shape [n_below, units], and bias
    decoder: list[np.ndarray]  # weights, shape [units, n_below], and bias
    codes: np.ndarray  # shape [n, units], float32, of all training rows: the next level's input
    history: training.History  # with the measure "squared error", summed over a row, mean over rows


def squared_error(model: keras.Layer, rows: tf.Tensor) -> tf.Tensor:
    """Return the squared error of each reconstruction, summed over its numbers, shape [n]."""
    return tf.reduce_sum(tf.square(model(rows) - rows), axis=1)


def summed_squared_error(model: keras.Layer, rows: tf.Tensor, *_: tf.Tensor) -> tf.Tensor:
    """Return the squared error summed over the mini-batch, a scalar."""
    return tf.reduce_sum(squared_error(model, rows))


def mean_cross_entropy(model: keras.Layer, rows: tf.Tensor, *_: tf.Tensor) -> tf.Tensor:
    """Return the cross-entropy of rows from 0 to 1 and a model's logits, a scalar.

    Summed over the numbers of a row, averaged over the mini-batch.
    """
    each = tf.nn.sigmoid_cross_entropy_with_logits(labels=rows, logits=model(rows))
    return tf.reduce_mean(tf.reduce_sum(each, axis=1))


def rectify(sums: np.ndarray) -> np.ndarray:
    """Return what rectifiers make of their weighted sums."""
    return np.maximum(sums, 0)


@dataclass(frozen=True)
class Kind:
    """What a layer is trained as; by default the rectifier autoencoder of lesson 4."""

    build: Callable[..., keras.Layer] = models.basic_autoencoder  # (n_below, units, initializer=…)
    loss: training.Loss = summed_squared_error  # (model, rows, the rows' numbers)
    output: Callable[[tf.Tensor], tf.Tensor] = tf.identity  # a model's outputs to reconstructions
    activation: Callable[[np.ndarray], np.ndarray] = rectify  # weighted sums to codes
    probabilities: bool = False  # whether its loss takes inputs from 0 to 1 only


def sigmoid_autoencoder(*, linear: bool = False, masked: float = 0) -> Kind:
    """Return an autoencoder with sigmoid units, or a linear code, trained on cross-entropy.

    ``masked`` is the share, 0 to 1, of its inputs that are set to 0 (`noise.mask`).
    """

    def denoising(model: keras.Layer, rows: tf.Tensor, numbers: tf.Tensor) -> tf.Tensor:
        return mean_cross_entropy(lambda given: model(noise.mask(given, masked, numbers)), rows)

    return Kind(
        partial(models.basic_autoencoder, activation=None if linear else "sigmoid"),
        denoising if masked else mean_cross_entropy,
        tf.sigmoid,
        np.asarray if linear else expit,
        probabilities=True,
    )


def rbm(*, linear: bool = False) -> Kind:
    """Return an RBM trained by CD-1, with hidden units of 0 or 1 or linear ones (`boltzmann`)."""
    return Kind(
        partial(boltzmann.RBM, linear=linear),
        boltzmann.contrastive_divergence,
        activation=np.asarray if linear else expit,
        probabilities=True,
    )


def encode(
    encoder: Sequence[np.ndarray],
    rows: np.ndarray,
    activation: Callable[[np.ndarray], np.ndarray] = rectify,
) -> np.ndarray:
    """Return the codes, shape [n, units], that an encoder's weights and bias give rows."""
    weights, bias = encoder
    sums = rows @ weights
    sums += bias  # in place: the codes of all images are large
    return activation(sums)


def pretrain(
    images: np.ndarray,
    units: Sequence[int],
    *,
    seeds: Sequence[int],
    optimizer: Callable[[], keras.Optimizer] | Sequence[Callable[[], keras.Optimizer]],
    steps: int | Sequence[int],
    batch_size: int,
    initializer: Callable[[int], keras.Initializer],
    every: int | None = 100,
    kind: Kind | Sequence[Kind] = Kind(),
) -> list[list[Level]]:
    """Train stacks of layers, one layer after the other, from the input upwards.

    All stacks climb together, so that each layer is compiled once for all of them.  Images have
    shape [n, n_inputs], float32; ``units`` are those of each layer.  Returns each seed's levels.

    Parameters
    ----------
    seeds, steps : sequence of int; int or sequence of int
        One stack for each seed: of its initial weights and its mini-batches.  Updates of each
        layer: the same for all stacks, or a number for each; then a seed may come again.
    initializer : callable
        Takes a seed, returns what draws a layer's initial weights; biases start at 0.
    kind, optimizer : one, or a sequence
        What layers are trained as, and what returns a new Keras optimiser: for all, or for each.
    batch_size, every
        As in `training.train_many`, which raises the same errors.

    Raises
    ------
    ValueError
        If there are no seeds, or steps, kinds, optimisers or the inputs of a layer do not fit.
    """
    if not len(seeds):
        raise ValueError("seeds: expected at least one, received none")
    each = _each(steps, len(seeds), "steps: expected one number for each of {} seeds")
    kinds = _each(kind, len(units), "kind: expected one for each of {} layers")
    optimizers = _each(optimizer, len(units), "optimizer: expected one for each of {} layers")
    numbers = noise.column(len(images))
    stacks: list[list[Level]] = [[] for _ in seeds]
    for depth, size in enumerate(units):
        below = [stack[-1].codes if stack else images for stack in stacks]
        low, high = min(map(np.min, below)), max(map(np.max, below))
        if kinds[depth].probabilities and (low < 0 or high > 1):
            raise ValueError(f"layer {depth + 1}: expected inputs 0 to 1, received {low} to {high}")
        layer_seeds = [1000 * seed + depth for seed in seeds]
        new = partial(kinds[depth].build, below[0].shape[1], size)
        starts = [
            training.Start(
                new(initializer=initializer(seed)).get_weights(),
                seed,
                data=None if rows is below[0] else [rows, numbers],
                steps=count,
            )
            for seed, rows, count in zip(layer_seeds, below, each, strict=True)
        ]
        runs = training.train_many(
            partial(new, initializer="zeros"),
            starts,
            [below[0], numbers],
            loss=kinds[depth].loss,
            optimizer=optimizers[depth],
            steps=max(each),
            batch_size=batch_size,
            every=every,
            measures={"squared error": (partial(_squared_error, kinds[depth]), None)},
            description=f"layer {depth + 1} of {len(units)}",
        )
        for stack, rows, run in zip(stacks, below, runs, strict=True):
            encoder, decoder = run.weights[:2], run.weights[2:]
            if len(decoder) == 1:  # an RBM's weights serve both ways
                decoder = [encoder[0].T, *decoder]
            codes = encode(encoder, rows, kinds[depth].activation)
            stack.append(Level(encoder, decoder, codes, run.history))
    return stacks


def _each(value: object, count: int, expected: str) -> list:
    """Return a value for each of several: those given, or the same one again."""
    values = list(value) if isinstance(value, Sequence) else [value] * count
    if len(values) != count:
        raise ValueError(f"{expected.format(count)}, received {len(values)}")
    return values


def _squared_error(kind: Kind, model: keras.Layer, rows: tf.Tensor, _: tf.Tensor) -> tf.Tensor:
    return squared_error(lambda given: kind.output(model(given)), rows)


def units_in_use(layer: int) -> Callable[[keras.Sequential, tf.Tensor], tf.Tensor]:
    """Return a measure for `training`: how many units of a layer are above 0 for some row.

    Layers count from 1.  The number is the same for every row, so that their mean is the number;
    it is that of all rows where these fit in one block (`blockwise.BLOCK_ROWS`).
    """

    def count(model: keras.Sequential, rows: tf.Tensor) -> tf.Tensor:
        outputs = keras.Sequential(model.layers[:layer])(rows)
        live = tf.reduce_any(outputs > 0, axis=0)
        return tf.fill([rows.shape[0]], tf.math.count_nonzero(live, dtype=tf.float32))

    return count
