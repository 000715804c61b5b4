"""Means and outputs over many rows against NumPy, whatever the number of rows."""

import gc
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

from helpers import blockwise
from helpers.backend import keras, tf

# Less than a block, exactly one, exactly two, and two with a remainder.
BLOCK = blockwise.BLOCK_ROWS
ROW_COUNTS = [1, BLOCK, 2 * BLOCK, 2 * BLOCK + 357]


@pytest.fixture
def layer() -> keras.layers.Dense:
    layer = keras.layers.Dense(2, activation="relu")
    layer.build([None, 3])
    rng = np.random.default_rng(0)
    layer.set_weights([rng.normal(size=[3, 2]), rng.normal(size=[2])])
    return layer


def rows_of(count: int) -> np.ndarray:
    return np.random.default_rng(count).normal(size=[count, 3]).astype(np.float32)


def numpy_outputs(layer: keras.layers.Dense, rows: np.ndarray) -> np.ndarray:
    kernel, bias = layer.get_weights()
    return np.maximum(rows.astype(np.float64) @ kernel + bias, 0)


def summed(model: keras.Layer, rows: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(model(rows), axis=1)


def compiled_mean(
    function: Callable[..., tf.Tensor], layer: keras.Layer, tensors: list[tf.Tensor]
) -> tf.types.experimental.ConcreteFunction:
    @tf.function(autograph=False)
    def mean(tensors: list[tf.Tensor]) -> tf.Tensor:
        return blockwise.mean(partial(function, layer), tensors)

    return mean.get_concrete_function(tensors)


def mean_of(function: Callable[..., tf.Tensor], layer: keras.Layer, *arrays: np.ndarray) -> float:
    tensors = blockwise.to_tensors(arrays)
    return float(compiled_mean(function, layer, tensors)(tensors))


@pytest.mark.parametrize("count", ROW_COUNTS)
def test_mean_equals_numpy(layer, count):
    rows = rows_of(count)
    expected = numpy_outputs(layer, rows).sum(axis=1).mean()
    assert mean_of(summed, layer, rows) == pytest.approx(expected, rel=1e-6)


def test_mean_takes_several_arrays_row_by_row(layer):
    rows, labels = rows_of(BLOCK + 34), np.arange(BLOCK + 34, dtype=np.int32)

    def weighted(model: keras.Layer, inputs: tf.Tensor, numbers: tf.Tensor) -> tf.Tensor:
        return model(inputs)[:, 0] * tf.cast(numbers, tf.float32)

    expected = np.mean(numpy_outputs(layer, rows)[:, 0] * labels)
    assert mean_of(weighted, layer, rows, labels) == pytest.approx(expected, rel=1e-6)


def test_mean_adds_in_double_precision(layer):
    # In float32 adding 1 to 2^24 changes nothing.
    values = np.array([2.0**24] + [1.0] * 2999, np.float32)
    assert mean_of(lambda model, block: block, layer, values) == (2**24 + 2999) / 3000


def test_mean_of_true_and_false_is_a_share(layer):
    values = np.arange(1500) % 4 == 0
    share = mean_of(lambda model, block: tf.cast(block, tf.float32), layer, values)
    assert share == 0.25


def test_a_compiled_mean_reads_the_weights_anew(layer):
    rows = rows_of(BLOCK + 100)
    tensors = blockwise.to_tensors([rows])
    mean = compiled_mean(summed, layer, tensors)
    before = mean(tensors)
    assert before.dtype == tf.float64
    assert float(before) == pytest.approx(numpy_outputs(layer, rows).sum(axis=1).mean(), rel=1e-6)
    layer.set_weights([2 * array for array in layer.get_weights()])
    assert float(mean(tensors)) == pytest.approx(2 * float(before), rel=1e-6)


def test_a_compiled_mean_takes_other_arrays_of_the_same_shape(layer):
    rows, others = rows_of(BLOCK + 100), -rows_of(BLOCK + 100)
    mean = compiled_mean(summed, layer, blockwise.to_tensors([rows]))
    expected = numpy_outputs(layer, others).sum(axis=1).mean()
    assert float(mean(blockwise.to_tensors([others]))) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    "function",
    [lambda model, rows: model(rows), lambda model, rows: tf.reduce_mean(model(rows))],
    ids=["a vector a row", "one value in all"],
)
def test_anything_but_one_value_a_row_is_refused(layer, function):
    with pytest.raises(ValueError, match=r"one value per row.*\(7,\)"):
        mean_of(function, layer, rows_of(7))


@pytest.mark.parametrize("count", ROW_COUNTS)
def test_apply_equals_numpy_in_order(layer, count):
    rows = rows_of(count)
    outputs = blockwise.apply(layer, rows)
    assert isinstance(outputs, np.ndarray)
    assert outputs.dtype == np.float32
    assert outputs.shape == (count, 2)
    np.testing.assert_allclose(outputs, numpy_outputs(layer, rows), rtol=1e-5, atol=1e-6)


def test_apply_takes_functions_and_arrays_of_more_dimensions():
    images = np.random.default_rng(1).normal(size=[BLOCK + 3, 2, 3]).astype(np.float32)
    outputs = blockwise.apply(lambda block: tf.transpose(block, [0, 2, 1]), images)
    np.testing.assert_array_equal(outputs, images.swapaxes(1, 2))


def test_apply_traces_a_function_once():
    traced = []

    def double(block: tf.Tensor) -> tf.Tensor:
        traced.append(1)
        return 2 * block

    rows = rows_of(2 * BLOCK + 357)
    np.testing.assert_array_equal(blockwise.apply(double, rows), 2 * rows)
    assert len(traced) == 1


def test_apply_leaves_dropout_out():
    layer = keras.layers.Dropout(0.9)
    rows = rows_of(1001)
    np.testing.assert_array_equal(blockwise.apply(layer, rows), rows)


def test_floats_become_float32_and_other_types_stay():
    arrays = [np.zeros([2, 3]), np.zeros(2, np.float32), np.zeros(2, np.int32), np.zeros(2, bool)]
    tensors = blockwise.to_tensors([*arrays, tf.zeros([2], tf.float64)])
    assert [t.dtype for t in tensors] == [
        tf.float32,
        tf.float32,
        tf.int32,
        tf.bool,
        tf.float32,
    ]
    assert [tuple(t.shape) for t in tensors] == [(2, 3), (2,), (2,), (2,), (2,)]


def test_tensors_hold_the_values_of_the_arrays():
    values = np.random.default_rng(2).normal(size=[4, 3])
    (tensor,) = blockwise.to_tensors([values])
    np.testing.assert_array_equal(tensor, values.astype(np.float32))


@pytest.mark.parametrize(
    ("lengths", "shown"),
    [([], r"\[\]"), ([0], r"\[0\]"), ([0, 0], r"\[0, 0\]"), ([3, 2], r"\[3, 2\]")],
)
def test_arrays_that_do_not_fit_are_refused_with_their_lengths(lengths, shown):
    with pytest.raises(ValueError, match=f"same number of rows, received {shown} rows"):
        blockwise.to_tensors([np.zeros([length, 2]) for length in lengths])


def aligned(shape: tuple[int, int], offset: int) -> np.ndarray:
    """Return an array that begins some bytes after a multiple of 64."""
    memory = np.empty(4 * shape[0] * shape[1] + 128, np.uint8)
    first = -memory.ctypes.data % 64 + offset
    rows = memory[first : first + 4 * shape[0] * shape[1]].view(np.float32).reshape(shape)
    rows[:] = np.random.default_rng(0).normal(size=shape)
    return rows


def test_an_array_that_lies_right_is_not_copied():
    rows = aligned((5001, 3), 0)
    (tensor,) = blockwise.to_tensors([rows])
    rows[4000, 1] = 7
    assert tensor[4000, 1] == 7


def read_only(rows: np.ndarray) -> np.ndarray:
    rows.setflags(write=False)
    return rows


@pytest.mark.parametrize(
    "rows",
    [
        aligned((5001, 3), 4),
        aligned((5001, 8), 0)[:, ::2],
        aligned((8, 5001), 0).T,
        read_only(aligned((5001, 3), 0)),
        aligned((5001, 3), 0).astype(np.float64),
    ],
    ids=["not aligned", "every other column", "transposed", "read-only", "float64"],
)
def test_an_array_that_does_not_lie_right_is_copied(layer, rows):
    (tensor,) = blockwise.to_tensors([rows])
    np.testing.assert_array_equal(tensor.numpy(), rows.astype(np.float32))
    product = tf.matmul(tensor, tensor, transpose_a=True).numpy()
    np.testing.assert_allclose(product, rows.T @ rows, rtol=1e-3)


def test_a_shared_array_outlives_its_name():
    rows = aligned((5001, 3), 0)
    expected, size = rows.copy(), rows.base.size
    (tensor,) = blockwise.to_tensors([rows])
    del rows
    gc.collect()
    # Memory that had been given back would be among these.
    others = [np.full(size, 255, np.uint8) for _ in range(100)]
    np.testing.assert_array_equal(tensor.numpy(), expected)
    assert len(others) == 100
