"""Random draws inside a compiled step, which depend on the mini-batch and on nothing else.

Under XLA `tf.random` ignores ``set_seed``.  So the numbers of the rows travel as the last column
of the data: the first and the last of a mini-batch are the seed of its draws, with XLA or without.
Threefry draws eight times as fast as Philox under XLA on a CPU, and needs it: all is compiled.
"""

import numpy as np

from helpers.backend import tf


def column(n_rows: int) -> np.ndarray:
    """Return the numbers of rows, shape [n_rows], int32: the last column of the data."""
    return np.arange(n_rows, dtype=np.int32)


def seed(numbers: tf.Tensor) -> tf.Tensor:
    """Return a seed, shape [2], for ``tf.random.stateless_…``, from a mini-batch's row numbers."""
    return tf.stack([numbers[0], numbers[-1]])


@tf.function(jit_compile=True, autograph=False)
def uniform(shape: tuple[int, ...], numbers: tf.Tensor) -> tf.Tensor:
    """Return draws from 0 to 1, float32."""
    return tf.random.stateless_uniform(shape, seed(numbers), alg="threefry")


@tf.function(jit_compile=True, autograph=False)
def normal(shape: tuple[int, ...], numbers: tf.Tensor) -> tf.Tensor:
    """Return draws from N(0, 1), float32."""
    return tf.random.stateless_normal(shape, seed(numbers), alg="threefry")


def mask(images: tf.Tensor, share: float, numbers: tf.Tensor) -> tf.Tensor:
    """Return images, shape [n, n_inputs], float32, with a share of their numbers set to 0.

    Each number is drawn by itself.  Raises a ValueError if ``share`` is not from 0 to 1.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share: expected a number from 0 to 1, received {share!r}")
    return tf.where(uniform(tuple(images.shape), numbers) < share, 0.0, images)
