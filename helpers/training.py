"""One training loop for the whole course: many steps in one compiled call.

Networks this small spend their time in overhead, not in arithmetic.  So the data stays in
TensorFlow's memory, a block of row numbers goes in, a hundred steps or more run inside one
XLA-compiled loop, and the losses come back as an array.  Measuring, the progress bar and the
check that the loss is still a number happen between blocks; what happens inside is in `compiled`.
"""

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from queue import SimpleQueue

import numpy as np

from helpers import blockwise, progress
from helpers.backend import keras, tf
from helpers.compiled import Loss, Measures, Network, Program

BLOCK_STEPS = 100
"""Most steps of one compiled call; between two the bar moves and an interrupt is heard."""


@dataclass(frozen=True)
class History:
    """What happened during training."""

    losses: np.ndarray  # shape [steps], float32: of each mini-batch, before that step's update
    steps: np.ndarray  # shape [m]: how many were made at each measurement
    measures: dict[str, np.ndarray]  # shape [m] each, float64: means over all rows at those steps
    diverged: int | None = None  # the step from which on losses and measures are NaN, if any


@dataclass(frozen=True)
class Start:
    """Where one of several trainings starts from, and what else it has of its own."""

    weights: list[np.ndarray]  # in the order of ``model.get_weights()``
    seed: int  # of the order of the mini-batches
    data: Sequence[np.ndarray] | None = None  # of the same shapes and dtypes as the others'
    steps: int | None = None
    learning_rate: float | None = None  # above 0; then the optimiser has no schedule


@dataclass(frozen=True)
class Run:
    """One of several trainings, finished: ``model.get_weights()``, and what happened."""

    weights: list[np.ndarray]
    history: History


def batch_rows(
    n_rows: int, *, batch_size: int, steps: int, seed: int, block: int
) -> Iterator[np.ndarray]:
    """Yield the row numbers of mini-batches, a block of steps at a time.

    The rows are shuffled anew for every epoch and dealt out without gaps: a mini-batch that an
    epoch cannot fill takes its last rows from the next one.  The order is NumPy's, the same on
    every machine.  The numbers, int32, have shape [block or, at the end, fewer, batch_size].
    """
    _check(n_rows=n_rows, batch_size=batch_size, block=block)
    _check(0, seed=seed)
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
    model, optimizer : keras.Layer, keras.Optimizer
        Any built Keras model or layer; an optimiser that has not been used with another.
    data : sequence of arrays, each of shape [n, ...]
        What a mini-batch is drawn from: ``[images]``, or ``[images, labels]``.
    loss : callable
        ``loss(model, *batch)``, a float32 scalar.
    steps, batch_size : int
        Number of updates, and the rows of each.
    seed : int
        Seed of the order of the mini-batches.
    every : int or None
        Steps between measurements, the first of which comes before any step; None for a single
        one after the last step.
    measures : Measures, optional
        Name -> (function, arrays): what is averaged over all rows of the arrays.
    jit_compile : bool
        Compile with XLA.  On a CPU this is faster for dense layers and slower for convolutions.
    description : str
        What the progress bar calls this.

    Raises
    ------
    ValueError
        If a number is below 1, the seed is none, the arrays do not fit each other, the loss is not
        a scalar, or no trainable weight has an influence on it.
    FloatingPointError
        If the loss, or a weight after the last step, is not finite; the message names the step.
    """
    _check(steps=steps, batch_size=batch_size, every=1 if every is None else every)
    _check(0, seed=seed)
    tensors = blockwise.to_tensors(data)
    network = Network(model, optimizer)
    block = min(every or BLOCK_STEPS, BLOCK_STEPS), batch_size
    program = Program(network, tensors, loss, block, measures or {}, jit_compile)
    with progress.bar(steps, description) as bar:
        return _run(program, network, tensors, steps, seed, every, bar.update)


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
    workers: int = 4,
    may_diverge: bool = False,
    description: str = "training",
) -> list[Run]:
    """Train one architecture from several starts, side by side and compiled only once.

    Returns the runs in the order of the starts.  On one machine a run is what `train` makes of it,
    bit for bit, whatever runs beside it.

    Parameters
    ----------
    build, optimizer : callable
        Return a new, built model of the architecture, and a new Keras optimiser.
    starts : sequence of Start
        Initial weights and seed of each run, and what else it has of its own.
    workers : int
        Runs under way at the same time; one small network cannot keep two cores busy.
    may_diverge : bool
        Let a run that is not finite end without an error: the others go on, its history says at
        which step it ``diverged``, and its weights are void.
    data, loss, steps, batch_size, every, measures, jit_compile, description
        As in `train`, which raises the same errors.
    """
    _check(steps=steps, batch_size=batch_size, every=1 if every is None else every)
    _check(workers=workers)
    for start in starts:
        _check(0, seed=start.seed)
        _check(steps=steps if start.steps is None else start.steps)
        _check_rate(start.learning_rate)
    tensors = blockwise.to_tensors(data)
    networks = [Network(build(), optimizer()) for _ in range(min(workers, len(starts)))]
    if not networks:
        return []
    if len({id(part) for n in networks for part in (n.model, n.optimizer)}) < 2 * len(networks):
        raise ValueError("build, optimizer: expected a new one at each call, received one again")
    block = min(every or BLOCK_STEPS, BLOCK_STEPS), batch_size
    program = Program(networks[0], tensors, loss, block, measures or {}, jit_compile)
    idle: SimpleQueue[Network] = SimpleQueue()
    for network in networks:
        idle.put(network)
    stopped = threading.Event()

    def run(start: Start) -> Run:
        def advance(count: int) -> None:
            if stopped.is_set():
                raise CancelledError
            bar.update(count)

        network = idle.get()
        try:
            network.reset(start.weights, start.learning_rate)
            own = tensors if start.data is None else blockwise.to_tensors(start.data)
            count = start.steps or steps
            history = _run(program, network, own, count, start.seed, every, advance, may_diverge)
            return Run(network.model.get_weights(), history)
        finally:
            idle.put(network)

    total = sum(start.steps or steps for start in starts)
    with progress.bar(total, description) as bar, ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(run, start) for start in starts]
        try:
            for future in as_completed(futures):  # the first that fails ends all
                future.result()
        except BaseException:
            stopped.set()  # those under way end with their block
            for future in futures:
                future.cancel()
            raise
    return [future.result() for future in futures]


def _run(
    program: Program,
    network: Network,
    data: list[tf.Tensor],
    steps: int,
    seed: int,
    every: int | None,
    advance: Callable[[int], object],
    may_diverge: bool = False,
) -> History:
    """Make ``steps`` steps, measuring before and after every ``every``, or only at the end.

    Of a run that has diverged, the steps that are left are not made.
    """
    program.use(network, data)
    length, batch_size = program.block
    losses, diverged = np.full(steps, np.nan, np.float32), None
    measured_at = [0] if every else []
    measured = [program.measure(data) for _ in measured_at]
    every = every or steps
    done = 0
    for rows in batch_rows(
        len(data[0]), batch_size=batch_size, steps=steps, seed=seed, block=every
    ):
        for first in range(0, len(rows), length):
            part = rows[first : first + length]
            if not diverged:
                made = losses[done : done + len(part)] = program.steps(data, part)
                bad = np.flatnonzero(~np.isfinite(made))
                if len(bad):
                    diverged = done + int(bad[0]) + 1
                    _refuse(f"the loss is {made[bad[0]]} at step {diverged}", may_diverge)
            done += len(part)
            advance(len(part))
        measured_at.append(done)
        measured.append(program.measure(data))
    for variable in network.model.weights:
        if not diverged and not np.isfinite(variable.numpy()).all():
            diverged = steps  # the last update has ruined it: no later loss would tell
            _refuse(f"{variable.name} after step {steps}", may_diverge)
    steps_at = np.array(measured_at)
    measures = {name: np.array([means[name] for means in measured]) for name in measured[-1]}
    if diverged:
        losses[diverged - 1 :] = np.nan
        for curve in measures.values():
            curve[steps_at >= diverged] = np.nan
    return History(losses, steps_at, measures, diverged)


def _refuse(finding: str, may_diverge: bool) -> None:
    if not may_diverge:
        raise FloatingPointError(
            f"{finding}: expected finite numbers; "
            "a smaller learning rate or smaller initial weights usually help, if labels are right"
        )


def _check(minimum: int = 1, **counts: int) -> None:
    for name, value in counts.items():
        whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
        if not whole or value < minimum:
            wanted = f"a whole number of at least {minimum}"
            raise ValueError(f"{name}: expected {wanted}, received {value!r}")


def _check_rate(rate: float | None) -> None:
    number = isinstance(rate, int | float | np.floating) and not isinstance(rate, bool)
    if rate is not None and not (number and 0 < rate < math.inf):
        raise ValueError(f"learning_rate: expected a number above 0, received {rate!r}")
