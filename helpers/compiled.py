"""Networks in training, and the compiled calls that make their steps and measure them.

`training` owns the loop around this: which rows, how many steps, when to measure.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from helpers import blockwise
from helpers.backend import keras, tf

Loss = Callable[..., tf.Tensor]
"""``loss(model, *batch) -> scalar``: the number to make smaller, for one mini-batch."""

Measures = Mapping[str, tuple[Callable[..., tf.Tensor], Sequence[np.ndarray] | None]]
"""Name -> (``function(model, *rows)``, arrays): one float per row, averaged over all rows.

None in place of the arrays stands for the whole training data of the run.
"""


class Network:
    """A model and its optimiser, which one run after another starts afresh."""

    def __init__(self, model: keras.Layer, optimizer: keras.Optimizer) -> None:
        self.model, self.optimizer = model, optimizer
        optimizer.build(model.trainable_variables)
        self.variables = [*model.variables, *optimizer.variables]
        # What begins anew with every run: the optimiser's numbers, and dropout's random ones.
        weights = set(map(id, model.weights))
        self._fresh = [(v, v.numpy()) for v in self.variables if id(v) not in weights]

    def reset(self, weights: list[np.ndarray], learning_rate: float | None) -> None:
        """Go back to weights and an optimiser that has seen nothing."""
        self.model.set_weights(weights)
        for variable, value in self._fresh:
            variable.assign(value)
        if learning_rate is not None:
            self.optimizer.learning_rate = learning_rate


class Program:
    """Training steps and measures, compiled for one network, serving all that are like it.

    TensorFlow compiles a function for the variables it was traced with.  Handed others at each
    call, one program serves all threads; one for each would take seconds and 150 MB more.
    """

    def __init__(
        self,
        network: Network,
        data: list[tf.Tensor],
        loss: Loss,
        block: tuple[int, int],
        measures: Measures,
        jit_compile: bool,
    ) -> None:
        """Compile for data of one form and for ``block``: steps a call, rows a step."""
        self.block = block
        self._steps = _compile_block(network, data, loss, block, jit_compile)
        # Not the data themselves: compiled functions live on in cycles until the next collection.
        self._form = _form(data)
        functions = {name: partial(f, network.model) for name, (f, _) in measures.items()}
        self._own = {
            name: blockwise.to_tensors(arrays) for name, (_, arrays) in measures.items() if arrays
        }

        # Not with XLA: for products this large it is no faster, and it takes half a second to
        # compile.  All in one call: where networks are small, calls are what takes time.
        @tf.function(autograph=False)
        def means(data: list[tf.Tensor], own: dict[str, list[tf.Tensor]]) -> dict[str, tf.Tensor]:
            return {n: blockwise.mean(f, own.get(n, data)) for n, f in functions.items()}

        self._means = means.get_concrete_function(data, self._own)
        self._thread = threading.local()
        for function in (self._steps, self._means):
            self._defer_variables(function, network)

    def _defer_variables(
        self, function: tf.types.experimental.ConcreteFunction, traced: Network
    ) -> None:
        """Make a function work on the variables of the network that its thread uses."""
        numbers = {id(variable.handle): number for number, variable in enumerate(traced.variables)}
        for captured in function.captured_inputs:
            number = numbers.get(id(captured))
            if number is not None:
                function.replace_capture_with_deferred_capture(
                    captured,
                    lambda number=number: self._thread.variables[number].handle,
                    tf.TensorSpec([], tf.resource),
                )

    def use(self, network: Network, data: list[tf.Tensor]) -> None:
        """Let the calls of this thread work on a network, which is trained on these data."""
        if _form(data) != self._form:
            raise ValueError(f"data of a run: expected {self._form}, received {_form(data)}")
        self._thread.variables = network.variables

    def steps(self, data: list[tf.Tensor], rows: np.ndarray) -> np.ndarray:
        """Make a step for each mini-batch; return the losses, shape [len(rows)]."""
        # A shorter last block is padded: a new shape would have to be compiled anew.
        padded = np.pad(rows, [(0, self.block[0] - len(rows)), (0, 0)])
        return self._steps(data, tf.constant(padded), tf.constant(len(rows))).numpy()[: len(rows)]

    def measure(self, data: list[tf.Tensor]) -> dict[str, float]:
        """Return each measure's mean."""
        return {name: float(mean) for name, mean in self._means(data, self._own).items()}


def _form(data: list[tf.Tensor]) -> list[tuple]:
    """Return what a compiled function takes for granted of its data."""
    return [(tensor.dtype.name, *tensor.shape) for tensor in data]


def _compile_block(
    network: Network, data: list[tf.Tensor], loss: Loss, shape: tuple[int, int], jit_compile: bool
) -> tf.types.experimental.ConcreteFunction:
    """Compile ``block(data, rows, count)``: a training step for the first mini-batches of rows."""
    trained = network.model.trainable_variables

    def step(batch: list[tf.Tensor]) -> tf.Tensor:
        with tf.GradientTape() as tape:
            value = loss(network.model, *batch)
        if value.shape != ():
            raise ValueError(f"loss: expected a scalar, received a tensor of shape {value.shape}")
        gradients = tape.gradient(value, trained)
        if all(gradient is None for gradient in gradients):
            raise ValueError("loss: expected a dependence on some trainable weight, found none")
        network.optimizer.apply(gradients, trained)
        return value

    @tf.function(jit_compile=jit_compile, autograph=False)
    def block(data: list[tf.Tensor], rows: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
        def body(i: tf.Tensor, losses: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            value = step([tf.gather(array, rows[i]) for array in data])
            return i + 1, tf.tensor_scatter_nd_update(losses, [[i]], [value])

        _, losses = tf.while_loop(lambda i, _: i < count, body, [0, tf.zeros(shape[0])])
        return losses

    return block.get_concrete_function(
        data, tf.TensorSpec(shape, tf.int32), tf.TensorSpec([], tf.int32)
    )
