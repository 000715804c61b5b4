"""What a classifier reaches with few labels, its learning rate and its stop chosen with care."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from helpers import blockwise, training
from helpers.backend import keras, tf
from helpers.compiled import Loss


@dataclass(frozen=True)
class Tuned:
    """Accuracies from 0 to 1, for each number of labels."""

    validation: np.ndarray  # shape [counts, rates]: at the best moment of each training
    test: np.ndarray  # shape [counts]: at that moment, of the rate whose validation is best


def tune(
    build: Callable[[], keras.Layer],
    weights: list[np.ndarray],
    rows: Sequence[np.ndarray],
    labels: Sequence[np.ndarray],
    *,
    counts: Sequence[int],
    rates: Sequence[float],
    loss: Loss,
    correct: Callable[..., tf.Tensor],
    optimizer: Callable[[], keras.Optimizer],
    steps: int,
    batch_size: int,
    seed: int,
) -> Tuned:
    """Train with more and more labels, with each learning rate, and choose rate and moment.

    Every training starts from ``weights``.  Rows and labels, shapes [n, ...] and [n], are those of
    the training, the validation and the test set.  ``counts`` says how many of the training rows
    have labels: the first ones in an order drawn from the seed, as that of the mini-batches is.
    ``loss(model, rows, labels)`` is a scalar, ``correct(model, rows, labels)`` 0 or 1 a row.  All
    else is as in `training.train_many`, which raises the same errors; so does a count above n.
    """
    known, of_known = blockwise.to_tensors([rows[0], labels[0]])
    if not 0 < min(counts) <= max(counts) <= len(rows[0]):
        raise ValueError(f"counts: expected 1 to {len(rows[0])} labels, received {list(counts)}")

    def loss_of(model: keras.Layer, numbers: tf.Tensor) -> tf.Tensor:
        return loss(model, tf.gather(known, numbers), tf.gather(of_known, numbers))

    order = np.random.default_rng(seed).permutation(len(rows[0])).astype(np.int32)
    # Row numbers, not rows: of one length, so that one program serves all.
    labelled = [np.resize(order[:count], len(order)) for count in counts]
    runs = training.train_many(
        build,
        [
            training.Start(weights, seed, [numbers], learning_rate=rate)
            for numbers in labelled
            for rate in rates
        ],
        [order],
        loss=loss_of,
        optimizer=optimizer,
        steps=steps,
        batch_size=batch_size,
        every=max(steps // 5, 1),
        measures={
            "validation": (correct, [rows[1], labels[1]]),
            "test": (correct, [rows[2], labels[2]]),
        },
        description="few labels",
    )
    validation, test = (
        np.array([run.history.measures[name] for run in runs]).reshape(len(counts), len(rates), -1)
        for name in ("validation", "test")
    )
    chosen = validation.reshape(len(counts), -1).argmax(axis=1)
    return Tuned(
        validation.max(axis=2), test.reshape(len(counts), -1)[np.arange(len(counts)), chosen]
    )
