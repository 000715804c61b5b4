"""One training loop for the whole course: many steps in one compiled call.

Networks this small spend their time in overhead, not in arithmetic.  So the data stays in
TensorFlow's memory, a block of row numbers goes in, a hundred steps or more run inside one
XLA-compiled loop, and the losses come back as an array.  Measuring, the progress bar and the
check that the loss is still a number happen between blocks.
"""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

import numpy as np

from helpers import blockwise, progress
from helpers.backend import keras, tf

BLOCK_STEPS = 100
"""Most steps of one compiled call; between two the bar moves and an interrupt is heard."""

_ADVICE = "a smaller learning rate or smaller initial weights usually help"

Loss = Callable[..., tf.Tensor]
"""``loss(model, *batch) -> scalar``: the number to make smaller, for one mini-batch."""

Measures = Mapping[str, tuple[blockwise.RowFunction, Sequence[np.ndarray] | None]]
"""Name -> (``function(model, *rows)``, arrays): one float per row, averaged over all rows.

None in place of the arrays stands for the whole training data of the run.
"""


@dataclass(frozen=True)
class History:
    """What happened during training.

    Attributes
    ----------
    losses : numpy.ndarray, shape [steps], float32
        The loss of each mini-batch, before that step's update.
    steps : numpy.ndarray, shape [m], int
        How many steps had been made at each measurement: 0, every, 2 x every, ..., steps, or
        only the last of these.
    measures : dict of str to numpy.ndarray, shape [m], float64
        Each measure's mean at those steps.
    """

    losses: np.ndarray
    steps: np.ndarray
    measures: dict[str, np.ndarray]


@dataclass(frozen=True)
class Start:
    """Where one of several trainings starts from.

    Attributes
    ----------
    weights : list of numpy.ndarray
        Initial weights, in the order of ``model.get_weights()``.
    seed : int
        Seed of the order of the mini-batches.
    data : sequence of arrays, optional
        What this run is trained on, where it is not what all runs are trained on.  The shapes
        and dtypes must be the same for all runs.
    steps : int, optional
        Updates of this run, where they are not as many as those of all runs.
    learning_rate : float, optional
        Learning rate of this run, above 0, where it is not that of the optimiser, which then has
        no schedule.
    """

    weights: list[np.ndarray]
    seed: int
    data: Sequence[np.ndarray] | None = None
    steps: int | None = None
    learning_rate: float | None = None


@dataclass(frozen=True)
class Run:
    """One of several trainings, finished.

    Attributes
    ----------
    weights : list of numpy.ndarray
        The trained weights, in the order of ``model.get_weights()``.
    history : History
        What happened during training.
    """

    weights: list[np.ndarray]
    history: History


def batch_rows(
    n_rows: int, *, batch_size: int, steps: int, seed: int, block: int
) -> Iterator[np.ndarray]:
    """Yield the row numbers of mini-batches, a block of steps at a time.

    The rows are shuffled anew for every epoch and dealt out without gaps: each row comes once an
    epoch, and a mini-batch that an epoch cannot fill takes its last rows from the next one.  The
    order comes from NumPy, so it is the same on every machine.

    Parameters
    ----------
    n_rows : int
        Number of rows to draw from.
    batch_size, steps : int
        Rows per step, and the number of steps in all.
    seed : int
        Seed of the order; the same seed gives the same order whatever ``block`` is.
    block : int
        Steps per array.

    Yields
    ------
    numpy.ndarray, shape [block or, at the end, fewer, batch_size], int32
    """
    _check(n_rows=n_rows, batch_size=batch_size, block=block)
    _check_seed(seed)
    rng = np.random.default_rng(seed)
    queue = np.empty(0, np.int32)
    for start in range(0, steps, block):
        size = min(block, steps - start) * batch_size
        while len(queue) < size:
            queue = np.concatenate([queue, rng.permutation(n_rows).astype(np.int32)])
        yield queue[:size].reshape(-1, batch_size)
        queue = queue[size:]


def train(
    model: keras.Layer,
    data: Sequence[np.ndarray | tf.Tensor],
    *,
    loss: Loss,
    optimizer: keras.Optimizer,
    steps: int,
    batch_size: int,
    seed: int,
    every: int | None = 100,
    measures: Measures | None = None,
    jit_compile: bool = True,
    description: str = "training",
) -> History:
    """Train a model in place and return what happened.

    Parameters
    ----------
    model : keras.Layer
        Any built Keras model or layer; its trainable weights are updated.
    data : sequence of arrays, each of shape [n, ...]
        What a mini-batch is drawn from: ``[images]``, or ``[images, labels]``.
    loss : callable
        ``loss(model, *batch)``, a float32 scalar.
    optimizer : keras.Optimizer
        Any Keras optimiser that has not been used with another model.
    steps, batch_size : int
        Number of updates, and the rows of each.
    seed : int
        Seed of the order of the mini-batches.
    every : int or None
        Steps between measurements, the first of which comes before any step; None for a single
        one after the last step.
    measures : mapping, optional
        Name -> (function, arrays); ``function(model, *rows)`` gives one float per row, and None
        in place of the arrays stands for ``data``.
    jit_compile : bool
        Compile with XLA.  On a CPU this is faster for dense layers and slower for convolutions.
    description : str
        What the progress bar calls this.

    Returns
    -------
    History

    Raises
    ------
    ValueError
        If a number is below 1, the seed is none, the arrays do not fit each other, the loss is not
        a scalar, or no trainable weight has an influence on it.
    FloatingPointError
        If the loss, or a weight after the last step, is no finite number; the message names the
        step.
    """
    _check(steps=steps, batch_size=batch_size, every=1 if every is None else every)
    _check_seed(seed)
    tensors = blockwise.to_tensors(data)
    measured = _to_tensors(measures or {}, data, tensors)
    session = _Session(_One(model), optimizer)
    program = _Program(session, tensors, loss, batch_size, every, measured, jit_compile)
    with progress.bar(steps, description) as bar:
        (history,) = program.run(session, tensors, steps, seed, bar.update)
    return history


def train_many(
    build: Callable[[], keras.Layer],
    starts: Sequence[Start],
    data: Sequence[np.ndarray | tf.Tensor],
    *,
    loss: Loss,
    optimizer: Callable[[], keras.Optimizer],
    steps: int,
    batch_size: int,
    every: int | None = 100,
    measures: Measures | None = None,
    jit_compile: bool = True,
    together: int = 1,
    workers: int = 4,
    description: str = "training",
) -> list[Run]:
    """Train one architecture from several starts, side by side and compiled only once.

    Every run is what it would be alone, bit for bit: with ``together=1`` what `train` makes of
    it, with more what a single start makes with the same ``together``.  (Between the two, sums
    are made in another order.)

    Parameters
    ----------
    build : callable
        Returns a new, built model of the architecture; called once a worker.
    starts : sequence of Start
        Initial weights and seed of each run, and its own data, steps or learning rate if it has
        any.
    optimizer : callable
        Returns a new Keras optimiser; called once a worker.
    together : int
        Starts computed as one, where they have the same seed, data, steps and learning rate: they
        see the same mini-batches, so that what each network does with them becomes one larger, and
        faster, product.  Needs an optimiser that treats every number by itself, as Adam does, and
        a model without state beside its trainable weights.
    workers : int
        Runs, or groups of runs, under way at the same time.  One small network cannot keep two
        cores busy; more runs than cores leave none of them idle when three or four are left.
    data, loss, steps, batch_size, every, measures, jit_compile, description
        As in `train`.

    Returns
    -------
    list of Run
        In the order of ``starts``.

    Raises
    ------
    ValueError, FloatingPointError
        As `train` does.
    """
    _check(steps=steps, batch_size=batch_size, every=1 if every is None else every)
    _check(together=together, workers=workers)
    for start in starts:
        _check_seed(start.seed)
        _check(steps=_steps(start, steps))
        _check_rate(start.learning_rate)
    tensors = blockwise.to_tensors(data)
    measured = _to_tensors(measures or {}, data, tensors)
    groups = _groups(starts, data, steps, together)

    sessions = [
        _Session(_One(build()) if together == 1 else _Several(build(), together), optimizer())
        for _ in range(min(workers, len(groups)))
    ]
    if not sessions:
        return []
    program = _Program(sessions[0], tensors, loss, batch_size, every, measured, jit_compile)
    waiting: SimpleQueue[_Session] = SimpleQueue()
    for session in sessions:
        waiting.put(session)

    stopped = threading.Event()

    def run(group: list[int]) -> list[Run]:
        members = [starts[i] for i in group]

        def advance(count: int) -> None:
            if stopped.is_set():
                raise CancelledError
            bar.update(count * len(members))

        own = members[0].data
        session = waiting.get()
        try:
            session.reset([start.weights for start in members], members[0].learning_rate)
            histories = program.run(
                session,
                tensors if _same(own, data) else blockwise.to_tensors(own),
                _steps(members[0], steps),
                members[0].seed,
                advance,
            )
            return [
                Run(weights, history)
                for weights, history in zip(session.weights(), histories, strict=False)
            ]
        finally:
            waiting.put(session)

    runs: dict[int, Run] = {}
    total = sum(_steps(start, steps) for start in starts)
    with progress.bar(total, description) as bar, ThreadPoolExecutor(workers) as pool:
        futures = {pool.submit(run, group): group for group in groups}
        try:
            for future in as_completed(futures):  # the first that fails ends all
                runs |= zip(futures[future], future.result(), strict=False)
        except BaseException:
            stopped.set()  # those under way end with their block
            for future in futures:
                future.cancel()
            raise
    return [runs[i] for i in range(len(starts))]


def _steps(start: Start, steps: int) -> int:
    return steps if start.steps is None else start.steps


def _groups(starts: Sequence[Start], data: Sequence, steps: int, size: int) -> list[list[int]]:
    """Return the numbers of the starts in groups that share their mini-batches."""
    alike: dict[tuple, list[int]] = {}
    for number, start in enumerate(starts):
        own = () if _same(start.data, data) else tuple(map(id, start.data))
        key = start.seed, own, _steps(start, steps), start.learning_rate
        alike.setdefault(key, []).append(number)
    return [group[i : i + size] for group in alike.values() for i in range(0, len(group), size)]


def _same(own: Sequence | None, data: Sequence) -> bool:
    return own is None or (
        len(own) == len(data) and all(a is b for a, b in zip(own, data, strict=True))
    )


def _check(**counts: int) -> None:
    for name, value in counts.items():
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
            raise ValueError(f"{name}: expected a whole number of at least 1, received {value!r}")


def _check_seed(seed: int) -> None:
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise ValueError(f"seed: expected a whole number of at least 0, received {seed!r}")


def _check_rate(rate: float | None) -> None:
    number = isinstance(rate, int | float | np.floating) and not isinstance(rate, bool)
    if rate is not None and not (number and 0 < rate < float("inf")):
        raise ValueError(f"learning_rate: expected a number above 0, received {rate!r}")


def _to_tensors(
    measures: Measures, data: Sequence[np.ndarray | tf.Tensor], tensors: list[tf.Tensor]
) -> dict[str, tuple[blockwise.RowFunction, list[tf.Tensor] | None]]:
    """Turn the measures' arrays into tensors; what is trained on has its tensor already."""
    known = {id(array): tensor for array, tensor in zip(data, tensors, strict=True)}
    return {
        name: (
            function,
            None
            if arrays is None
            else blockwise.to_tensors([known.get(id(array), array) for array in arrays]),
        )
        for name, (function, arrays) in measures.items()
    }


def _form(data: list[tf.Tensor]) -> list[tuple]:
    """Return what the compiled program takes for granted of its data."""
    return [(tensor.dtype.name, *tensor.shape) for tensor in data]


class _One:
    """A model as it is."""

    width = 1
    shape = ()

    def __init__(self, model: keras.Layer) -> None:
        self.model = model
        self.variables = model.trainable_variables
        self.all_variables = model.variables

    def state(self) -> list[keras.Variable]:
        """Return what is no weight but changes in training: the random numbers of dropout."""
        weights = {id(variable) for variable in self.model.weights}
        return [variable for variable in self.model.variables if id(variable) not in weights]

    def set_weights(self, weights: list[list[np.ndarray]]) -> None:
        self.model.set_weights(weights[0])

    def weights(self) -> list[list[np.ndarray]]:
        return [self.model.get_weights()]

    def check(self, optimizer: keras.Optimizer) -> None:
        pass

    def values(self, function: Callable[..., tf.Tensor], rows: list[tf.Tensor]) -> tf.Tensor:
        return function(self.model, *rows)

    def gradients(
        self, loss: Loss, batch: list[tf.Tensor]
    ) -> tuple[tf.Tensor, list[tf.Tensor | None]]:
        with tf.GradientTape() as tape:
            value = loss(self.model, *batch)
        return value, tape.gradient(value, self.variables)


class _Several:
    """Copies of a model with weights of their own, computed as one.

    Each weight of all copies is one variable with one more axis.  TensorFlow's vectorised map
    turns what one copy does into what all do: the products of a mini-batch with the first layer's
    matrices become one product.  The axis stands before a weight's last one, where that product
    needs it; anywhere else every step would copy the matrices into this order.
    """

    def __init__(self, model: keras.Layer, width: int) -> None:
        constrained = [v.path for v in model.trainable_variables if v.constraint is not None]
        if constrained:
            raise ValueError(f"together: expected weights without constraints, found {constrained}")
        if len(model.variables) != len(model.trainable_variables):
            raise ValueError(
                "together: expected a model without state beside its trainable weights, received "
                f"one with {[v.path for v in model.variables if not v.trainable]}"
            )
        self.model = model
        self.width = width
        self.shape = (width,)
        self.variables = [
            keras.Variable(self._stack([np.zeros(v.shape, np.float32)] * width), name=v.name)
            for v in model.trainable_variables
        ]
        self.all_variables = self.variables

    def state(self) -> list[keras.Variable]:
        return []

    def set_weights(self, weights: list[list[np.ndarray]]) -> None:
        # The last ones fill the places that are left: the program computes all of them anyway.
        filled = [weights[min(i, len(weights) - 1)] for i in range(self.width)]
        for member in filled:
            self.model.set_weights(member)  # refuses what does not fit
        for i, variable in enumerate(self.variables):
            variable.assign(self._stack([member[i] for member in filled]))

    def weights(self) -> list[list[np.ndarray]]:
        arrays = [np.moveaxis(v.numpy(), self._axis(v), 0) for v in self.variables]
        return [[array[i].copy() for array in arrays] for i in range(self.width)]

    def check(self, optimizer: keras.Optimizer) -> None:
        """Refuse an optimiser that looks at a weight as a whole: the copies would mix."""
        whole = isinstance(optimizer, _WHOLE_WEIGHTS)
        if whole or optimizer.clipnorm is not None or optimizer.global_clipnorm is not None:
            raise ValueError(
                "together: expected an optimiser that treats every number by itself, received "
                f"{type(optimizer).__name__}{'' if whole else ' with clipping by norm'}"
            )

    def values(self, function: Callable[..., tf.Tensor], rows: list[tf.Tensor]) -> tf.Tensor:
        return self._map(lambda _: function(self.model, *rows))

    def gradients(self, loss: Loss, batch: list[tf.Tensor]) -> tuple[tf.Tensor, list[tf.Tensor]]:
        missing = []

        def one(weights: list[tf.Tensor]) -> tuple[tf.Tensor, list[tf.Tensor]]:
            with tf.GradientTape() as tape:
                tape.watch(weights)
                value = loss(self.model, *batch)
            gradients = tape.gradient(value, weights)
            missing[:] = [gradient is None for gradient in gradients]
            return value, [
                tf.zeros_like(weight) if gradient is None else gradient
                for gradient, weight in zip(gradients, weights, strict=True)
            ]

        value, gradients = self._map(one)
        return value, [
            None if no else keras.ops.moveaxis(gradient, 0, self._axis(gradient))
            for no, gradient in zip(missing, gradients, strict=True)
        ]

    def _map(self, function: Callable[[list[tf.Tensor]], Any]) -> Any:
        """Map over the copies; meanwhile the model's weights are those of a copy."""

        def one(weights: list[tf.Tensor]) -> Any:
            mapping = list(zip(self.model.trainable_variables, weights, strict=True))
            with keras.StatelessScope(state_mapping=mapping):
                return function(weights)

        return tf.vectorized_map(
            one, [keras.ops.moveaxis(v, self._axis(v), 0) for v in self.variables]
        )

    @staticmethod
    def _axis(stacked: np.ndarray | tf.Tensor | keras.Variable) -> int:
        """Return the axis of the copies."""
        return max(len(stacked.shape) - 2, 0)

    @staticmethod
    def _stack(weights: list[np.ndarray]) -> np.ndarray:
        return np.stack(weights, axis=max(weights[0].ndim - 1, 0))


# The steps of these depend on norms, means or products over a whole weight.
_WHOLE_WEIGHTS = (
    keras.optimizers.Adafactor,
    keras.optimizers.Lamb,
    keras.optimizers.LossScaleOptimizer,
    keras.optimizers.Muon,
)


class _Session:
    """A network and its optimiser: the variables that one run after another works on."""

    def __init__(self, network: _One | _Several, optimizer: keras.Optimizer) -> None:
        network.check(optimizer)
        optimizer.build(network.variables)
        self.network = network
        self.optimizer = optimizer
        self.variables = [*network.all_variables, *optimizer.variables]
        self._fresh = [
            (variable, variable.numpy()) for variable in [*optimizer.variables, *network.state()]
        ]

    def reset(self, weights: list[list[np.ndarray]], learning_rate: float | None = None) -> None:
        """Go back to these weights and to an optimiser that has seen nothing."""
        self.network.set_weights(weights)
        for variable, value in self._fresh:
            variable.assign(value)
        if learning_rate is not None:
            self.optimizer.learning_rate = learning_rate

    def weights(self) -> list[list[np.ndarray]]:
        """Return the weights of each copy of the network."""
        return self.network.weights()

    def check_weights(self, steps: int) -> None:
        """Refuse what the last update has ruined: no later loss would tell."""
        for variable in self.network.variables:
            if not np.isfinite(variable.numpy()).all():
                raise FloatingPointError(
                    f"{variable.name} after step {steps}: expected finite numbers; {_ADVICE}"
                )


class _Program:
    """What is compiled for one session and serves all that are like it."""

    def __init__(
        self,
        session: _Session,
        data: list[tf.Tensor],
        loss: Loss,
        batch_size: int,
        every: int | None,
        measures: dict[str, tuple[blockwise.RowFunction, list[tf.Tensor] | None]],
        jit_compile: bool,
    ) -> None:
        self._width = session.network.width
        self._batch_size = batch_size
        self._every = every
        self._length = min(every or BLOCK_STEPS, BLOCK_STEPS)
        self._block = _compile_block(session, data, loss, (self._length, batch_size), jit_compile)
        # Not the data themselves: compiled functions live on in cycles until the next collection.
        self._form = _form(data)
        self._measures = {
            name: (_compile_mean(session.network, function, tensors or data), tensors)
            for name, (function, tensors) in measures.items()
        }
        self._thread = threading.local()
        for function in (self._block, *(mean for mean, _ in self._measures.values())):
            _work_on_variables_of_thread(function, session.variables, self._thread)

    def run(
        self,
        session: _Session,
        data: list[tf.Tensor],
        steps: int,
        seed: int,
        advance: Callable[[int], object],
    ) -> list[History]:
        """Make ``steps`` steps, measuring before and after every ``every``, or only at the end."""
        if _form(data) != self._form:
            raise ValueError(f"data of a run: expected {self._form}, received {_form(data)}")
        self._thread.variables = session.variables
        every = self._every or steps
        losses, measured_at = [], [0] if self._every else []
        measured = [self._measure(data) for _ in measured_at]
        blocks = batch_rows(
            len(data[0]), batch_size=self._batch_size, steps=steps, seed=seed, block=every
        )
        for done, rows in zip(range(0, steps, every), blocks, strict=True):
            for first in range(0, len(rows), self._length):
                part = rows[first : first + self._length]
                losses.append(self._losses(data, part))
                _check_finite(losses[-1], done + first)
                advance(len(part))
            measured_at.append(min(done + every, steps))
            measured.append(self._measure(data))
        session.check_weights(steps)
        each = np.concatenate(losses).reshape(steps, -1)
        return [
            History(
                losses=each[:, i].copy(),
                steps=np.array(measured_at),
                measures={
                    name: np.array([m[name][i] for m in measured]) for name in self._measures
                },
            )
            for i in range(self._width)
        ]

    def _losses(self, data: list[tf.Tensor], rows: np.ndarray) -> np.ndarray:
        # A shorter last block is padded: a new shape would have to be compiled anew.
        padded = np.pad(rows, [(0, self._length - len(rows)), (0, 0)])
        return self._block(data, tf.constant(padded), tf.constant(len(rows))).numpy()[: len(rows)]

    def _measure(self, data: list[tf.Tensor]) -> dict[str, np.ndarray]:
        return {
            name: mean(own or data).numpy().reshape(-1)
            for name, (mean, own) in self._measures.items()
        }


def _work_on_variables_of_thread(
    function: tf.types.experimental.ConcreteFunction,
    traced: list[keras.Variable],
    thread: threading.local,
) -> None:
    """Make a compiled function work on the ``variables`` of the thread that calls it.

    TensorFlow compiles a function for the variables it was traced with.  Handed the others at each
    call, one program serves all threads; a program for each would take seconds and 150 MB more.
    """
    numbers = {id(variable.handle): number for number, variable in enumerate(traced)}
    for captured in function.captured_inputs:
        number = numbers.get(id(captured))
        if number is not None:
            function.replace_capture_with_deferred_capture(
                captured,
                lambda number=number: thread.variables[number].handle,
                tf.TensorSpec([], tf.resource),
            )


def _compile_mean(
    network: _One | _Several, function: blockwise.RowFunction, tensors: list[tf.Tensor]
) -> tf.types.experimental.ConcreteFunction:
    def values(network: _One | _Several, *rows: tf.Tensor) -> tf.Tensor:
        return network.values(function, list(rows))

    return blockwise.compile_mean(values, network, tensors, copies=network.shape)


def _compile_block(
    session: _Session,
    data: list[tf.Tensor],
    loss: Loss,
    shape: tuple[int, int],
    jit_compile: bool,
) -> tf.types.experimental.ConcreteFunction:
    """Compile a training step for each of up to ``shape[0]`` mini-batches into one call.

    It takes the data, the row numbers of the mini-batches, shape ``shape``, and how many of these
    count, and returns their losses, shape [shape[0], *network.shape].
    """
    network, optimizer = session.network, session.optimizer
    variables = network.variables

    def step(data: list[tf.Tensor], rows: tf.Tensor) -> tf.Tensor:
        value, gradients = network.gradients(loss, [tf.gather(array, rows) for array in data])
        if value.shape != network.shape:
            found = value.shape[len(network.shape) :]
            raise ValueError(f"loss: expected a scalar, received a tensor of shape {found}")
        if not variables or all(gradient is None for gradient in gradients):
            raise ValueError("loss: expected a dependence on some trainable weight, found none")
        optimizer.apply(gradients, variables)
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


def _check_finite(losses: np.ndarray, done: int) -> None:
    bad = np.argwhere(~np.isfinite(losses))
    if len(bad):
        value, step = losses[tuple(bad[0])], done + bad[0][0] + 1
        raise FloatingPointError(
            f"the loss is {value} at step {step}: expected a finite number; {_ADVICE}"
        )
