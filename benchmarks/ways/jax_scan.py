"""JAX: ``lax.scan`` over a hundred steps in one compiled call."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.work import EPSILON, LEARNING_RATE, Work

BLOCK = 100


def prepare(work: Work, rows: np.ndarray) -> Callable[[], np.ndarray]:
    """Build the network; ``rows`` must come in whole blocks."""
    data = [jnp.asarray(array) for array in work.data()]
    blocks = [jnp.asarray(block) for block in np.split(rows, len(rows) // BLOCK)]
    arrays = [jnp.asarray(array) for array in work.weights()]
    adam = optax.adam(LEARNING_RATE, eps=EPSILON)
    state = [arrays, adam.init(arrays)]

    def loss(weights: list[jax.Array], images: jax.Array, labels: jax.Array) -> jax.Array:
        hidden = images
        for layer in range(len(weights) // 2):
            hidden = hidden @ weights[2 * layer] + weights[2 * layer + 1]
            if layer not in work.linear:
                hidden = jax.nn.relu(hidden)
        if work.labelled:
            return optax.softmax_cross_entropy_with_integer_labels(hidden, labels).sum()
        return optax.sigmoid_binary_cross_entropy(hidden, images).mean()

    def step(state: tuple, r: jax.Array) -> tuple:
        weights, moments = state
        images, labels = data[0][r], data[-1][r]
        total, gradients = jax.value_and_grad(loss)(weights, images, labels)
        updates, moments = adam.update(gradients, moments, weights)
        return (optax.apply_updates(weights, updates), moments), total

    scan = jax.jit(lambda weights, moments, rows: jax.lax.scan(step, (weights, moments), rows))

    def run() -> np.ndarray:
        losses = []
        for block in blocks:
            state[:], total = scan(*state, block)
            losses.append(np.asarray(total))
        return np.concatenate(losses)

    return run
