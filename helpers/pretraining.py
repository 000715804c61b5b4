"""Greedy layer-wise pretraining, as lesson 4 writes it out.

Each layer is trained as a one-layer autoencoder on the codes of the layer below it (Hinton and
Salakhutdinov 2006; Bengio, Lamblin, Popovici and Larochelle 2007).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from helpers import models, training
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


def summed_squared_error(model: keras.Layer, rows: tf.Tensor) -> tf.Tensor:
    """Return the squared error summed over the mini-batch, a scalar."""
    return tf.reduce_sum(squared_error(model, rows))


def encode(encoder: Sequence[np.ndarray], rows: np.ndarray) -> np.ndarray:
    """Return the codes, shape [n, units], that an encoder's weights and bias give rows."""
    weights, bias = encoder
    return np.maximum(rows @ weights + bias, 0)


def pretrain(
    images: np.ndarray,
    units: Sequence[int],
    *,
    seeds: Sequence[int],
    optimizer: Callable[[], keras.Optimizer],
    steps: int | Sequence[int],
    batch_size: int,
    initializer: Callable[[int], keras.Initializer],
    every: int | None = 100,
) -> list[list[Level]]:
    """Train stacks of layers, one layer after the other, from the input upwards.

    All stacks climb together, so that each layer is compiled once for all of them.

    Parameters
    ----------
    images : numpy.ndarray, shape [n, n_inputs], float32
        The training images, without labels.
    units : sequence of int
        Units of each layer, from the input upwards.
    seeds : sequence of int
        One stack for each: the seed of its initial weights and of the order of its mini-batches.
        The same seed may come again, with other steps.
    steps : int or sequence of int
        Updates for each layer: the same for all stacks, or a number for each.
    initializer : callable
        Takes a seed, returns what draws a layer's initial weights, as in
        ``lambda seed: models.normal(0.01, seed)``; biases start at 0.
    optimizer, batch_size, every
        As in `training.train_many`, which raises the same errors.

    Returns
    -------
    list of list of Level
        For each seed its levels, from the input upwards.

    Raises
    ------
    ValueError
        If there are no seeds, or several steps but not as many as seeds.
    """
    if not len(seeds):
        raise ValueError("seeds: expected at least one, received none")
    each = list(steps) if isinstance(steps, Sequence) else [steps] * len(seeds)
    if len(each) != len(seeds):
        raise ValueError(f"steps: expected one number for each of {len(seeds)} seeds, got {each}")
    stacks: list[list[Level]] = [[] for _ in seeds]
    for depth, size in enumerate(units):
        below = [stack[-1].codes if stack else images for stack in stacks]
        layer_seeds = [1000 * seed + depth for seed in seeds]

        build = partial(_layer, below[0].shape[1], size, initializer)
        starts = [
            training.Start(build(seed).get_weights(), seed, [rows], count)
            for seed, rows, count in zip(layer_seeds, below, each, strict=True)
        ]
        runs = training.train_many(
            partial(build, seed=0),
            starts,
            [below[0]],
            loss=summed_squared_error,
            optimizer=optimizer,
            steps=max(each),
            batch_size=batch_size,
            every=every,
            measures={"squared error": (squared_error, None)},
            description=f"layer {depth + 1} of {len(units)}",
        )
        for stack, rows, run in zip(stacks, below, runs, strict=True):
            encoder, decoder = run.weights[:2], run.weights[2:]
            stack.append(Level(encoder, decoder, encode(encoder, rows), run.history))
    return stacks


def _layer(
    n_inputs: int, size: int, initializer: Callable[[int], keras.Initializer], seed: int
) -> models.Autoencoder:
    return models.basic_autoencoder(n_inputs, size, initializer=initializer(seed))


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
