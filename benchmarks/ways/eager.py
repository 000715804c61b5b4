"""The loop as lesson 2 first writes it: GradientTape, step by step, or one compiled step."""

from collections.abc import Callable

import numpy as np

from benchmarks.ways.keras_parts import adam, loss, network
from benchmarks.work import Work
from helpers.backend import tf


def prepare(work: Work, rows: np.ndarray, *, compiled: bool = False) -> Callable[[], np.ndarray]:
    """Build model and optimiser; with ``compiled`` each step is one call of an XLA program."""
    data = [tf.constant(array) for array in work.data()]
    model, optimizer, value = network(work), adam(), loss(work)
    model.set_weights(work.weights())
    optimizer.build(model.trainable_variables)

    def step(batch: list[tf.Tensor]) -> tf.Tensor:
        with tf.GradientTape() as tape:
            total = value(model, *batch)
        gradients = tape.gradient(total, model.trainable_variables)
        optimizer.apply(gradients, model.trainable_variables)
        return total

    if compiled:
        step = tf.function(step, jit_compile=True)

    def run() -> np.ndarray:
        return np.array([step([tf.gather(array, r) for array in data]) for r in rows])

    return run
