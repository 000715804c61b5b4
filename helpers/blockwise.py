"""A function of a model, applied to many rows a block at a time in one compiled call.

Fifty thousand images through a network at once fill memory with activations that do not fit a
processor's cache; in blocks they take two thirds of the time and next to no memory.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np

from helpers.backend import tf

BLOCK_ROWS = 1250


def to_tensors(arrays: Sequence[np.ndarray | tf.Tensor]) -> list[tf.Tensor]:
    """Return arrays with the same number of rows as tensors, floats as float32.

    Large arrays that lie in memory as TensorFlow needs them, as the images of `datasets.split`
    do, are not copied: the tensor is another view of the array.

    Raises
    ------
    ValueError
        If there are none, they have no rows, or their numbers of rows differ; if they are no list
        of arrays, or hold what is no number, or numbers of half precision.
    """
    if not isinstance(arrays, list | tuple):
        raise ValueError(
            f"expected a list of arrays, as [images], received {type(arrays).__name__}"
        )
    for array in arrays:
        kind = array.dtype.name if hasattr(array, "dtype") else type(array).__name__
        if not kind.startswith(("float32", "float64", "int", "uint", "bool")):
            raise ValueError(f"expected arrays of float32, float64 or integers, received {kind}")
        # Smallest and largest number are NaN where any is.
        numbers = isinstance(array, np.ndarray) and array.size
        if numbers and not np.isfinite([array.min(), array.max()]).all():
            raise ValueError("expected finite numbers in every row, received NaN or infinity")
    lengths = [len(array) for array in arrays]
    if not lengths or 0 in lengths or len(set(lengths)) > 1:
        raise ValueError(f"expected arrays with the same number of rows, received {lengths} rows")
    return [_to_tensor(array) for array in arrays]


def _to_tensor(array: np.ndarray | tf.Tensor) -> tf.Tensor:
    if isinstance(array, tf.Tensor):
        return tf.cast(array, tf.float32) if array.dtype == tf.float64 else array
    if array.dtype == np.float64:
        array = array.astype(np.float32)
    if _can_share(array):
        return tf.experimental.dlpack.from_dlpack(array.__dlpack__())
    # A tensor made from an array at one go keeps a second copy of it for as long as it lives.
    blocks = [array[start : start + BLOCK_ROWS] for start in range(0, len(array), BLOCK_ROWS)]
    return tf.concat(blocks, axis=0) if len(blocks) > 1 else tf.convert_to_tensor(array)


def _can_share(array: np.ndarray) -> bool:
    """Tell whether TensorFlow may compute with an array's own memory.

    TensorFlow ends the process over memory that does not begin at a multiple of 64 bytes.
    """
    return (
        len(array) > BLOCK_ROWS
        and array.dtype == np.float32
        and array.flags.c_contiguous
        and array.flags.writeable
        and array.ctypes.data % 64 == 0
    )


def mean(function: Callable[..., tf.Tensor], tensors: Sequence[tf.Tensor]) -> tf.Tensor:
    """Return the mean of ``function(*rows)``, one float a row, over all rows: a scalar, float64.

    The tensors are those of `to_tensors`; for use within a ``tf.function``.
    """
    n_rows = tensors[0].shape[0]
    size = _block_size(n_rows)

    def add_block(start: tf.Tensor, total: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        # Every block has the same size, so the last one starts early and skips what the block
        # before it has counted.
        first = tf.minimum(start, n_rows - size)
        values = function(*[_rows(tensor, first, size) for tensor in tensors])
        if values.shape != (size,):
            raise ValueError(f"expected one value per row, ({size},), received {values.shape}")
        new = first + tf.range(size) >= start
        values = tf.where(new, tf.cast(values, tf.float64), 0)
        return start + size, total + tf.reduce_sum(values)

    zero = tf.constant(0, tf.float64)
    _, total = tf.while_loop(lambda start, _: start < n_rows, add_block, [0, zero])
    return total / n_rows


def _block_size(n_rows: int) -> int:
    """Return how many rows make even blocks: 1,000 for 2,000 rows, where 1,250 would overlap."""
    return math.ceil(n_rows / math.ceil(n_rows / BLOCK_ROWS))


def _rows(tensor: tf.Tensor, first: tf.Tensor, size: int) -> tf.Tensor:
    """Return ``size`` rows; unlike ``tensor[a:b]``, their number is known to the compiler."""
    return tf.slice(tensor, [first] + [0] * (len(tensor.shape) - 1), [size, *tensor.shape[1:]])


def apply(model: Callable[[tf.Tensor], tf.Tensor], rows: np.ndarray | tf.Tensor) -> np.ndarray:
    """Return the outputs, shape [n, ...], of a model or function of a tensor for rows [n, ...]."""
    (inputs,) = to_tensors([rows])
    n_rows, size = len(inputs), _block_size(len(inputs))

    @tf.function(autograph=False)
    def block(inputs: tf.Tensor, first: tf.Tensor) -> tf.Tensor:
        return model(_rows(inputs, first, size))

    concrete = block.get_concrete_function(inputs, tf.TensorSpec([], tf.int32))
    outputs = []
    for start in range(0, n_rows, size):
        first = min(start, n_rows - size)
        outputs.append(concrete(inputs, tf.constant(first)).numpy()[start - first :])
    return np.concatenate(outputs)
