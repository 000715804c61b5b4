"""Keras' own ``fit``, its mini-batches laid out for it beforehand in the common order."""

from collections.abc import Callable

import numpy as np

from benchmarks.ways.keras_parts import adam, network
from benchmarks.work import Work
from helpers.backend import keras


def prepare(
    work: Work, rows: np.ndarray, *, steps_per_execution: int, jit_compile: bool | str
) -> Callable[[], np.ndarray]:
    """Compile the model; the rows are gathered here, so that ``fit`` only cuts slices."""
    model = network(work)
    model.set_weights(work.weights())
    losses = keras.losses
    loss = (
        losses.SparseCategoricalCrossentropy(from_logits=True, reduction="sum")
        if work.labelled
        else losses.BinaryCrossentropy(from_logits=True)
    )
    model.compile(
        optimizer=adam(),
        loss=loss,
        steps_per_execution=steps_per_execution,
        jit_compile=jit_compile,
    )
    arrays = [array[rows.ravel()] for array in work.data()]

    def run() -> np.ndarray:
        history = model.fit(
            arrays[0],
            arrays[-1],
            batch_size=work.batch_size,
            epochs=1,
            shuffle=False,
            verbose=0,
        )
        return np.array(history.history["loss"])

    return run
