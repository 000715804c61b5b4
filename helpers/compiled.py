"""Networks in training, and the compiled calls that make their steps and measure them.

`training` owns the loop around this: which rows, how many steps, when to measure.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

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

    shape: tuple[int, ...] = ()  # axes of a loss or a measure

    def __init__(self, model: keras.Layer, optimizer: keras.Optimizer) -> None:
        self.model, self.optimizer = model, optimizer
        self._own(model.trainable_variables, model.variables)

    def _own(self, trained: list[keras.Variable], variables: list[keras.Variable]) -> None:
        self.optimizer.build(trained)
        self.trained = trained
        self.variables = [*variables, *self.optimizer.variables]
        # What begins anew with every run: the optimiser's numbers, and dropout's random ones.
        weights = set(map(id, [*self.model.weights, *trained]))
        self._fresh = [(v, v.numpy()) for v in self.variables if id(v) not in weights]

    def reset(self, weights: list[list[np.ndarray]], learning_rate: float | None) -> None:
        """Go back to weights, a list for each copy, and an optimiser that has seen nothing."""
        self.set_weights(weights)
        for variable, value in self._fresh:
            variable.assign(value)
        if learning_rate is not None:
            self.optimizer.learning_rate = learning_rate

    def set_weights(self, weights: list[list[np.ndarray]]) -> None:
        """Give each copy its weights."""
        self.model.set_weights(weights[0])

    def weights(self) -> list[list[np.ndarray]]:
        """Return the weights of each copy."""
        return [self.model.get_weights()]

    def values(self, function: Callable[..., tf.Tensor], *rows: tf.Tensor) -> tf.Tensor:
        """Return ``function(model, *rows)``, of each copy where there are several."""
        return function(self.model, *rows)

    def gradients(
        self, loss: Loss, batch: list[tf.Tensor]
    ) -> tuple[tf.Tensor, list[tf.Tensor | None]]:
        """Return the loss and its gradients with respect to what is trained."""
        with tf.GradientTape() as tape:
            value = loss(self.model, *batch)
        return value, tape.gradient(value, self.trained)


class StackedNetwork(Network):
    """Copies of a model with weights of their own, computed as one.

    Each weight of all copies is one variable with one more axis, before its last one, where the
    product of a mini-batch with all first layers needs it.  TensorFlow's vectorised map turns what
    one copy does into what all do.
    """

    def __init__(self, model: keras.Layer, optimizer: keras.Optimizer, copies: int) -> None:
        odd = [v.path for v in model.variables if not v.trainable or v.constraint is not None]
        if odd:
            raise ValueError(f"together: expected only weights without constraints, found {odd}")
        elementwise = isinstance(optimizer, keras.optimizers.Adam | keras.optimizers.SGD)
        if not elementwise or optimizer.clipnorm or optimizer.global_clipnorm:
            # One that looks at a weight as a whole would mix the copies.
            raise ValueError(
                "together: expected Adam or SGD, without clipping by norm, received "
                f"{type(optimizer).__name__}"
            )
        self.model, self.optimizer, self.shape = model, optimizer, (copies,)
        stacked = [
            keras.Variable(_stack([np.zeros(v.shape, np.float32)] * copies), name=v.name)
            for v in model.trainable_variables
        ]
        self._own(stacked, stacked)

    def set_weights(self, weights: list[list[np.ndarray]]) -> None:
        """Give each copy its weights; the last ones fill the places that are left."""
        (copies,) = self.shape
        filled = [weights[min(i, len(weights) - 1)] for i in range(copies)]
        for member in filled:
            self.model.set_weights(member)  # refuses what does not fit
        for i, variable in enumerate(self.trained):
            variable.assign(_stack([member[i] for member in filled]))

    def weights(self) -> list[list[np.ndarray]]:
        """Return the weights of each copy."""
        arrays = [np.moveaxis(v.numpy(), _axis(v), 0) for v in self.trained]
        return [[array[i].copy() for array in arrays] for i in range(*self.shape)]

    def values(self, function: Callable[..., tf.Tensor], *rows: tf.Tensor) -> tf.Tensor:
        """Return ``function(model, *rows)`` of each copy."""
        return self._map(lambda _: function(self.model, *rows))

    def gradients(
        self, loss: Loss, batch: list[tf.Tensor]
    ) -> tuple[tf.Tensor, list[tf.Tensor | None]]:
        """Return the loss of each copy and its gradients with respect to what is trained."""
        missing = []

        def one(weights: list[tf.Tensor]) -> tuple[tf.Tensor, list[tf.Tensor]]:
            with tf.GradientTape() as tape:
                tape.watch(weights)
                value = loss(self.model, *batch)
            gradients = tape.gradient(value, weights)
            missing[:] = [gradient is None for gradient in gradients]
            pairs = zip(gradients, weights, strict=True)
            return value, [tf.zeros_like(w) if g is None else g for g, w in pairs]

        value, gradients = self._map(one)
        return value, [
            None if no else keras.ops.moveaxis(gradient, 0, _axis(gradient))
            for no, gradient in zip(missing, gradients, strict=True)
        ]

    def _map(self, function: Callable[[list[tf.Tensor]], Any]) -> Any:
        """Map over the copies; meanwhile the model's weights are those of a copy."""

        def one(weights: list[tf.Tensor]) -> Any:
            mapping = list(zip(self.model.trainable_variables, weights, strict=True))
            with keras.StatelessScope(state_mapping=mapping):
                return function(weights)

        return tf.vectorized_map(one, [keras.ops.moveaxis(v, _axis(v), 0) for v in self.trained])


def _axis(stacked: tf.Tensor | keras.Variable) -> int:
    """Return the axis of the copies."""
    return max(len(stacked.shape) - 2, 0)


def _stack(weights: list[np.ndarray]) -> np.ndarray:
    return np.stack(weights, axis=max(weights[0].ndim - 1, 0))


class Program:
    """Training steps and measures, compiled for one network, serving all that are like it.

    TensorFlow compiles a function for the variables it was traced with.  Handed others at each
    call, one program serves all threads; one for each would take seconds and 150 MB more.
    """

    def __init__(
        self,
        network: Network,
        data: Sequence[np.ndarray | tf.Tensor],
        tensors: list[tf.Tensor],
        loss: Loss,
        block: tuple[int, int],
        measures: Measures,
        jit_compile: bool,
    ) -> None:
        """Compile for data, given as tensors too, and ``block``: steps a call, rows a step."""
        self.block = block
        self._steps = _compile_block(network, tensors, loss, block, jit_compile)
        # Not the data themselves: compiled functions live on in cycles until the next collection.
        self._form = _form(tensors)
        # What is trained on has its tensor already.
        known = {id(array): tensor for array, tensor in zip(data, tensors, strict=True)}
        self._measures = {}
        for name, (function, arrays) in measures.items():
            own = arrays and blockwise.to_tensors([known.get(id(array), array) for array in arrays])
            values = partial(network.values, function)
            mean = blockwise.compile_mean(values, own or tensors, network.shape)
            self._measures[name] = mean, own
        self._thread = threading.local()
        for function in (self._steps, *(mean for mean, _ in self._measures.values())):
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
        """Make a step for each mini-batch; return the losses, shape [len(rows), *network.shape]."""
        # A shorter last block is padded: a new shape would have to be compiled anew.
        padded = np.pad(rows, [(0, self.block[0] - len(rows)), (0, 0)])
        return self._steps(data, tf.constant(padded), tf.constant(len(rows))).numpy()[: len(rows)]

    def measure(self, data: list[tf.Tensor]) -> dict[str, np.ndarray]:
        """Return each measure's mean for each copy of the network, shape [copies]."""
        return {
            name: mean(own or data).numpy().reshape(-1)
            for name, (mean, own) in self._measures.items()
        }


def _form(data: list[tf.Tensor]) -> list[tuple]:
    """Return what a compiled function takes for granted of its data."""
    return [(tensor.dtype.name, *tensor.shape) for tensor in data]


def _compile_block(
    network: Network, data: list[tf.Tensor], loss: Loss, shape: tuple[int, int], jit_compile: bool
) -> tf.types.experimental.ConcreteFunction:
    """Compile ``block(data, rows, count)``: a training step for the first mini-batches of rows."""

    def step(data: list[tf.Tensor], rows: tf.Tensor) -> tf.Tensor:
        value, gradients = network.gradients(loss, [tf.gather(array, rows) for array in data])
        if value.shape != network.shape:
            found = value.shape[len(network.shape) :]
            raise ValueError(f"loss: expected a scalar, received a tensor of shape {found}")
        if all(gradient is None for gradient in gradients):
            raise ValueError("loss: expected a dependence on some trainable weight, found none")
        network.optimizer.apply(gradients, network.trained)
        return value

    @tf.function(jit_compile=jit_compile, autograph=False)
    def block(data: list[tf.Tensor], rows: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
        def body(i: tf.Tensor, losses: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            value = step(data, rows[i])
            return i + 1, tf.tensor_scatter_nd_update(losses, [[i]], [value])

        none = tf.zeros((shape[0], *network.shape))
        _, losses = tf.while_loop(lambda i, _: i < count, body, [0, none])
        return losses

    return block.get_concrete_function(
        data, tf.TensorSpec(shape, tf.int32), tf.TensorSpec([], tf.int32)
    )
