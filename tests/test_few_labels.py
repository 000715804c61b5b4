"""Few labels on two clouds of points: what is trained on, and what chooses."""

import numpy as np
import pytest

from helpers import few_labels, training
from helpers.backend import keras, tf

SETTINGS = {"batch_size": 5, "steps": 20, "seed": 3}
RATES = [0.001, 0.1]


def cross_entropy(model, rows, labels):
    return tf.reduce_sum(
        tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=model(rows))
    )


def correct(model, rows, labels):
    guess = tf.argmax(model(rows), axis=1, output_type=labels.dtype)
    return tf.cast(tf.equal(guess, labels), tf.float32)


def build() -> keras.Sequential:
    layer = keras.layers.Dense(2, kernel_initializer="zeros")
    return keras.Sequential([keras.Input([3]), layer])


def sgd() -> keras.optimizers.SGD:
    return keras.optimizers.SGD(1.0)


@pytest.fixture
def points() -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return rows and labels of a training, a validation and a test set."""
    rng = np.random.default_rng(0)
    labels = [rng.integers(0, 2, n).astype(np.int32) for n in (60, 80, 90)]
    rows = [rng.normal(each[:, None], 0.7, (len(each), 3)).astype(np.float32) for each in labels]
    return rows, labels


def tune(rows, labels, **changes):
    given = {"counts": [10, 40], "rates": RATES, "loss": cross_entropy, "correct": correct}
    settings = given | {"optimizer": sgd} | SETTINGS | changes
    return few_labels.tune(build, build().get_weights(), rows, labels, **settings)


def test_it_is_what_training_alone_on_the_labelled_rows_makes(points):
    rows, labels = points
    found = tune(rows, labels)
    for i, count in enumerate([10, 40]):
        first = np.random.default_rng(3).permutation(60)[:count]
        numbers = np.resize(first, 60)
        curves = []
        for rate in RATES:
            history = training.train(
                build(),
                [rows[0][numbers], labels[0][numbers]],
                loss=cross_entropy,
                optimizer=keras.optimizers.SGD(rate),
                every=4,
                measures={
                    str(part): (correct, [rows[part], labels[part]]) for part in (1, 2)
                },
                **SETTINGS,
            )  # fmt: skip
            curves.append(history.measures)
        validation = np.array([measures["1"] for measures in curves])
        test = np.array([measures["2"] for measures in curves])
        np.testing.assert_allclose(found.validation[i], validation.max(axis=1), atol=1e-6)
        np.testing.assert_allclose(found.test[i], test.ravel()[validation.argmax()], atol=1e-6)


def test_labels_that_were_not_given_are_not_used(points):
    rows, labels = points
    known = np.random.default_rng(3).permutation(60)[:10]
    wrong = [labels[0].copy(), *labels[1:]]
    others = np.setdiff1d(np.arange(60), known)
    wrong[0][others] = 1 - wrong[0][others]
    right = tune(rows, labels, counts=[10])
    np.testing.assert_array_equal(tune(rows, wrong, counts=[10]).test, right.test)
    assert (tune(rows, wrong, counts=[60]).test != tune(rows, labels, counts=[60]).test).any()


def test_the_test_set_chooses_nothing(points):
    rows, labels = points
    upside_down = [*labels[:2], 1 - labels[2]]
    one, other = tune(rows, labels), tune(rows, upside_down)
    np.testing.assert_array_equal(one.validation, other.validation)
    np.testing.assert_allclose(one.test, 1 - other.test, atol=1e-6)


def test_a_rate_that_learns_nothing_is_not_chosen(points):
    rows, labels = points
    found = tune(rows, labels, counts=[40], rates=[1e-9, 0.1])
    assert found.validation[0, 1] > found.validation[0, 0]
    assert found.test[0] > 0.8


@pytest.mark.parametrize("counts", [[0], [-1, 10], [10, 61]])
def test_more_labels_than_rows_and_fewer_than_one_are_refused(points, counts):
    with pytest.raises(ValueError, match=r"counts: expected 1 to 60 labels, received \["):
        tune(*points, counts=counts)


def test_a_label_for_each_row_is_needed(points):
    rows, labels = points
    with pytest.raises(ValueError, match=r"same number of rows, received \[60, 50\]"):
        tune(rows, [labels[0][:50], *labels[1:]])
