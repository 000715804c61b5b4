"""One training loop for the whole course: many steps in one compiled call.

Networks this small spend their time in overhead, not in arithmetic.  So the data stays in
TensorFlow's memory, a block of row numbers goes in, a hundred steps or more run inside one
XLA-compiled loop, and the losses come back as an array.  Measuring, the progress bar and the
check that the loss is still a number happen between blocks.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from queue import SimpleQueue

import numpy as np

from helpers import blockwise, progress
from helpers.backend import keras, tf

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
        How many steps had been made at each measurement: 0, every, 2 x every, ..., steps.
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
    """

    weights: list[np.ndarray]
    seed: int
    data: Sequence[np.ndarray] | None = None


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
    every: int = 100,
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
    every : int
        Steps between measurements, and the length of one compiled block.
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
        If a number is below 1, the arrays do not fit each other, the loss is not a scalar, or no
        trainable weight has an influence on it.
    FloatingPointError
        If the loss stops being a finite number; the message names the step.
    """
    _check(steps=steps, batch_size=batch_size, every=every)
    tensors = blockwise.to_tensors(data)
    measured = _to_tensors(measures or {}, data, tensors)
    session = _Session(model, optimizer, tensors, loss, batch_size, every, measured, jit_compile)
    with progress.bar(steps, description) as bar:
        return session.run(tensors, steps, seed, bar.update)


def train_many(
    build: Callable[[], keras.Layer],
    starts: Sequence[Start],
    data: Sequence[np.ndarray | tf.Tensor],
    *,
    loss: Loss,
    optimizer: Callable[[], keras.Optimizer],
    steps: int,
    batch_size: int,
    every: int = 100,
    measures: Measures | None = None,
    jit_compile: bool = True,
    workers: int = 2,
    description: str = "training",
) -> list[Run]:
    """Train one architecture from several starts, side by side and compiled only once a worker.

    Every run is what `train` would have made of it alone: the workers share the data and nothing
    else.

    Parameters
    ----------
    build : callable
        Returns a new, built model of the architecture; called once a worker.
    starts : sequence of Start
        Initial weights and seed of each run.
    optimizer : callable
        Returns a new Keras optimiser; called once a worker.
    workers : int
        Runs under way at the same time.  Two keep two cores busy, which one small network
        cannot.
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
    _check(steps=steps, batch_size=batch_size, every=every, workers=workers)
    tensors = blockwise.to_tensors(data)
    measured = _to_tensors(measures or {}, data, tensors)
    waiting: SimpleQueue[_Session] = SimpleQueue()
    for _ in range(min(workers, len(starts))):
        waiting.put(
            _Session(
                build(),
                optimizer(),
                tensors,
                loss,
                batch_size,
                every,
                measured,
                jit_compile,
            )
        )

    def own(start: Start) -> list[tf.Tensor]:
        if start.data is None or all(a is b for a, b in zip(start.data, data, strict=False)):
            return tensors
        return blockwise.to_tensors(start.data)

    def run(start: Start) -> Run:
        session = waiting.get()
        try:
            session.reset(start.weights)
            history = session.run(own(start), steps, start.seed, bar.update)
            return Run(session.model.get_weights(), history)
        finally:
            waiting.put(session)

    with progress.bar(steps * len(starts), description) as bar, ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(run, start) for start in starts]
        try:
            return [future.result() for future in futures]
        except BaseException:
            for future in futures:
                future.cancel()
            raise


def _check(**counts: int) -> None:
    for name, value in counts.items():
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
            raise ValueError(f"{name}: expected a whole number of at least 1, received {value!r}")


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


class _Session:
    """A model, its optimiser and what was compiled for them, ready for one run after another."""

    def __init__(
        self,
        model: keras.Layer,
        optimizer: keras.Optimizer,
        data: list[tf.Tensor],
        loss: Loss,
        batch_size: int,
        every: int,
        measures: dict[str, tuple[blockwise.RowFunction, list[tf.Tensor] | None]],
        jit_compile: bool,
    ) -> None:
        self.model = model
        self._batch_size = batch_size
        self._every = every
        self._block = _compile_block(model, optimizer, data, loss, (every, batch_size), jit_compile)
        # Not the data themselves: compiled functions live on in cycles until the next collection.
        self._form = _form(data)
        # What is no weight of the model but changes while it trains: the optimiser's moments, and
        # the random numbers of dropout layers.
        weights = {id(variable) for variable in model.weights}
        others = [variable for variable in model.variables if id(variable) not in weights]
        self._fresh = [(variable, variable.numpy()) for variable in [*optimizer.variables, *others]]
        self._measures = {
            name: (blockwise.compile_mean(function, model, tensors or data), tensors)
            for name, (function, tensors) in measures.items()
        }

    def reset(self, weights: list[np.ndarray]) -> None:
        """Go back to these weights and to an optimiser that has seen nothing."""
        self.model.set_weights(weights)
        for variable, value in self._fresh:
            variable.assign(value)

    def run(
        self, data: list[tf.Tensor], steps: int, seed: int, advance: Callable[[int], object]
    ) -> History:
        """Make ``steps`` steps, measuring before the first and after every ``every``."""
        if _form(data) != self._form:
            raise ValueError(f"data of a run: expected {self._form}, received {_form(data)}")
        every = self._every
        losses, measured = [], [self._measure(data)]
        blocks = batch_rows(
            len(data[0]), batch_size=self._batch_size, steps=steps, seed=seed, block=every
        )
        for done, rows in zip(range(0, steps, every), blocks, strict=True):
            losses.append(self._block(data, rows))
            _check_finite(losses[-1], done)
            measured.append(self._measure(data))
            advance(len(rows))
        return History(
            losses=np.concatenate(losses),
            steps=np.minimum(np.arange(len(measured)) * every, steps),
            measures={name: np.array([m[name] for m in measured]) for name in self._measures},
        )

    def _measure(self, data: list[tf.Tensor]) -> dict[str, float]:
        return {name: float(mean(own or data)) for name, (mean, own) in self._measures.items()}


def _compile_block(
    model: keras.Layer,
    optimizer: keras.Optimizer,
    data: list[tf.Tensor],
    loss: Loss,
    shape: tuple[int, int],
    jit_compile: bool,
) -> Callable[[list[tf.Tensor], np.ndarray], np.ndarray]:
    """Compile a training step for each of up to ``shape[0]`` mini-batches into one call."""
    variables = model.trainable_variables
    optimizer.build(variables)

    def step(data: list[tf.Tensor], rows: tf.Tensor) -> tf.Tensor:
        batch = [tf.gather(array, rows) for array in data]
        with tf.GradientTape() as tape:
            value = loss(model, *batch)
        if value.shape != ():
            raise ValueError(f"loss: expected a scalar, received a tensor of shape {value.shape}")
        gradients = tape.gradient(value, variables)
        if not variables or all(gradient is None for gradient in gradients):
            raise ValueError("loss: expected a dependence on some trainable weight, found none")
        optimizer.apply(gradients, variables)
        return value

    @tf.function(jit_compile=jit_compile, autograph=False)
    def block(data: list[tf.Tensor], rows: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
        def body(i: tf.Tensor, losses: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            value = step(data, rows[i])
            return i + 1, tf.tensor_scatter_nd_update(losses, [[i]], [value])

        _, losses = tf.while_loop(lambda i, _: i < count, body, [0, tf.zeros(shape[0])])
        return losses

    concrete = block.get_concrete_function(
        data, tf.TensorSpec(shape, tf.int32), tf.TensorSpec([], tf.int32)
    )

    def run(data: list[tf.Tensor], rows: np.ndarray) -> np.ndarray:
        # A shorter last block is padded: a new shape would have to be compiled anew.
        padded = np.pad(rows, [(0, shape[0] - len(rows)), (0, 0)])
        losses = concrete(data, tf.constant(padded), tf.constant(len(rows)))
        return losses.numpy()[: len(rows)]

    return run


def _check_finite(losses: np.ndarray, done: int) -> None:
    bad = np.flatnonzero(~np.isfinite(losses))
    if len(bad):
        raise FloatingPointError(
            f"the loss is {losses[bad[0]]} at step {done + bad[0] + 1}: expected a finite number; "
            "a smaller learning rate or smaller initial weights usually help"
        )
