"""Greedy layer-wise pretraining, as lesson 4 writes it out.

Each layer is trained as a one-layer autoencoder on the codes of the layer below it (Hinton and
Salakhutdinov 2006; Bengio, Lamblin, Popovici and Larochelle 2007).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from helpers import blockwise, models, training
from helpers.backend import keras, tf


@dataclass(frozen=True)
class Level:
    """One pretrained layer.

    Attributes
    ----------
    autoencoder : models.Autoencoder
        The layer as the encoder, and the decoder back to the level below.
    codes : numpy.ndarray, shape [n, units], float32
        What the layer makes of all training rows: the next level's input.
    history : training.History
        Mini-batch losses, and the measure "squared error": per row, summed over the row, averaged
        over all training rows.
    """

    autoencoder: models.Autoencoder
    codes: np.ndarray
    history: training.History


def squared_error(model: keras.Layer, rows: tf.Tensor) -> tf.Tensor:
    """Return the squared error of each reconstruction, summed over its numbers, shape [n]."""
    return tf.reduce_sum(tf.square(model(rows) - rows), axis=1)


def summed_squared_error(model: keras.Layer, rows: tf.Tensor) -> tf.Tensor:
    """Return the squared error summed over the mini-batch, a scalar."""
    return tf.reduce_sum(squared_error(model, rows))


def pretrain(
    images: np.ndarray,
    units: Sequence[int],
    *,
    steps: int,
    batch_size: int,
    learning_rate: float,
    stddev: float,
    seed: int,
    every: int = 100,
) -> list[Level]:
    """Train a stack of layers one after the other, from the input upwards.

    Parameters
    ----------
    images : numpy.ndarray, shape [n, n_inputs], float32
        The training images, without labels.
    units : sequence of int
        Units of each layer, from the input upwards.
    steps, batch_size : int
        Updates for each layer, and images in each.
    learning_rate : float
        Adam's learning rate.
    stddev : float
        Standard deviation of the initial weights; biases start at 0.
    seed : int
        Seed of the initial weights and of the order of the mini-batches.
    every : int
        Steps between measurements.

    Returns
    -------
    list of Level
    """
    levels: list[Level] = []
    inputs = images
    for depth, size in enumerate(units):
        level_seed = seed * len(units) + depth
        initializer = models.normal(stddev, level_seed)
        autoencoder = models.basic_autoencoder(inputs.shape[1], size, initializer=initializer)
        history = training.train(
            autoencoder,
            [inputs],
            loss=summed_squared_error,
            optimizer=keras.optimizers.Adam(learning_rate),
            steps=steps,
            batch_size=batch_size,
            seed=level_seed,
            every=every,
            measures={"squared error": (squared_error, [inputs])},
            description=f"layer {depth + 1} of {len(units)}",
        )
        inputs = blockwise.apply(autoencoder.encoder, inputs)
        levels.append(Level(autoencoder, inputs, history))
    return levels


def stacked_weights(levels: Sequence[Level], head: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return the weights of a classifier whose hidden layers are the pretrained encoders.

    Parameters
    ----------
    levels : sequence of Level
        The pretrained layers, from the input upwards.
    head : sequence of numpy.ndarray
        Weights and bias of the layer on top.

    Returns
    -------
    list of numpy.ndarray
        In the order of `models.classifier`'s weights.
    """
    encoders = [array for level in levels for array in level.autoencoder.encoder.get_weights()]
    return [*encoders, *head]
