"""One training loop for the whole course: many steps in one compiled call.

Networks this small spend their time in overhead, not in arithmetic.  So the data stays in
TensorFlow's memory, a block of row numbers goes in, a hundred steps or more run inside one
XLA-compiled loop, and the losses come back as an array.  Measuring, the progress bar and the
check that the loss is still a number happen between blocks.

`compiled` has what happens inside a call; here is what happens between calls.
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
from helpers.compiled import Loss, Measures, Network, Program, StackedNetwork

BLOCK_STEPS = 100
"""Most steps of one compiled call; between two the bar moves and an interrupt is heard."""

_ADVICE = "a smaller learning rate or smaller initial weights usually help"


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

    The rows are shuffled anew for every epoch and dealt out without gaps: each row comes once an
    epoch, and a mini-batch that an epoch cannot fill takes its last rows from the next one.  The
    order comes from NumPy, so it is the same on every machine, whatever ``block`` is.

    Yields
    ------
    numpy.ndarray, shape [block or, at the end, fewer, batch_size], int32
        Numbers from 0 to ``n_rows`` - 1.
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
    program = Program(network, data, tensors, loss, block, measures or {}, jit_compile)
    with progress.bar(steps, description) as bar:
        (history,) = _run(program, network, tensors, steps, seed, every, bar.update)
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
    may_diverge: bool = False,
    description: str = "training",
) -> list[Run]:
    """Train one architecture from several starts, side by side and compiled only once.

    On one machine a run is the same, bit for bit, whatever runs beside it: with ``together=1`` it
    is what `train` makes of it, with more it is what its group makes without the other groups.
    (Where a run stands in a group decides in which order some sums are made, so in another place,
    or in no group, it is the same but for rounding.)

    Parameters
    ----------
    build, optimizer : callable
        Return a new, built model of the architecture, and a new Keras optimiser.
    starts : sequence of Start
        Initial weights and seed of each run, and what else it has of its own.
    together : int
        Starts computed as one group, where they have the same seed, data, steps and learning rate:
        what each network does with a mini-batch becomes one larger, and faster, product.  Needs
        Adam or SGD, and a model without state beside its trainable weights.
    workers : int
        Groups under way at the same time.  One small network cannot keep two cores busy; more
        runs than cores leave none of them idle when three or four are left.
    may_diverge : bool
        Let a run whose loss, or a weight after its last step, is not finite end without an error:
        the others go on, its history says at which step it ``diverged``, and its weights are void.
    data, loss, steps, batch_size, every, measures, jit_compile, description
        As in `train`, which raises the same errors.

    Returns
    -------
    list of Run
        In the order of ``starts``.
    """
    _check(steps=steps, batch_size=batch_size, every=1 if every is None else every)
    _check(together=together, workers=workers)
    for start in starts:
        _check(0, seed=start.seed)
        _check(steps=steps if start.steps is None else start.steps)
        _check_rate(start.learning_rate)
    groups = _groups(starts, data, steps, together)
    tensors = blockwise.to_tensors(data)
    networks = [
        Network(build(), optimizer())
        if together == 1
        else StackedNetwork(build(), optimizer(), together)
        for _ in range(min(workers, len(groups)))
    ]
    if not networks:
        return []
    block = min(every or BLOCK_STEPS, BLOCK_STEPS), batch_size
    program = Program(networks[0], data, tensors, loss, block, measures or {}, jit_compile)
    idle: SimpleQueue[Network] = SimpleQueue()
    for network in networks:
        idle.put(network)
    stopped = threading.Event()

    def run(group: list[int]) -> list[Run]:
        first, *_ = members = [starts[i] for i in group]

        def advance(count: int) -> None:
            if stopped.is_set():
                raise CancelledError
            bar.update(count * len(members))

        network = idle.get()
        try:
            network.reset([start.weights for start in members], first.learning_rate)
            own = tensors if _same(first.data, data) else blockwise.to_tensors(first.data)
            histories = _run(
                program,
                network,
                own,
                first.steps or steps,
                first.seed,
                every,
                advance,
                may_diverge,
            )
            return list(map(Run, network.weights(), histories))[: len(members)]
        finally:
            idle.put(network)

    runs: dict[int, Run] = {}
    total = sum(start.steps or steps for start in starts)
    with progress.bar(total, description) as bar, ThreadPoolExecutor(workers) as pool:
        futures = {pool.submit(run, group): group for group in groups}
        try:
            for future in as_completed(futures):  # the first that fails ends all
                runs |= zip(futures[future], future.result(), strict=True)
        except BaseException:
            stopped.set()  # those under way end with their block
            for future in futures:
                future.cancel()
            raise
    return [runs[i] for i in range(len(starts))]


def _run(
    program: Program,
    network: Network,
    data: list[tf.Tensor],
    steps: int,
    seed: int,
    every: int | None,
    advance: Callable[[int], object],
    may_diverge: bool = False,
) -> list[History]:
    """Make ``steps`` steps, measuring before and after every ``every``, or only at the end.

    Returns a history for each copy of the network.  When all copies have diverged, the steps that
    are left are not made.
    """
    program.use(network, data)
    length, batch_size = program.block
    losses, measured_at = [], [0] if every else []
    measured = [program.measure(data) for _ in measured_at]
    every = every or steps
    rounds = batch_rows(len(data[0]), batch_size=batch_size, steps=steps, seed=seed, block=every)
    done, lost = 0, np.zeros(network.shape, bool)
    for rows in rounds:
        for first in range(0, len(rows), length):
            part = rows[first : first + length]
            if np.all(lost):
                losses.append(np.full((len(part), *network.shape), np.nan, np.float32))
            else:
                losses.append(program.steps(data, part))
            if not may_diverge:
                _check_finite(losses[-1], done)
            lost = lost | ~np.isfinite(losses[-1]).all(axis=0)
            done += len(part)
            advance(len(part))
        measured_at.append(done)
        measured.append(program.measure(data))
    if not may_diverge:
        _check_weights(network, steps)
    each = np.concatenate(losses).reshape(steps, -1)
    histories = []
    for i, weights in enumerate(network.weights()):
        curve, steps_at = each[:, i].copy(), np.array(measured_at)
        curves = {name: np.array([m[name][i] for m in measured]) for name in measured[-1]}
        diverged = _diverged(curve, weights) if may_diverge else None
        if diverged:
            curve[diverged - 1 :] = np.nan
            curves = {n: np.where(steps_at < diverged, c, np.nan) for n, c in curves.items()}
        histories.append(History(curve, steps_at, curves, diverged))
    return histories


def _diverged(losses: np.ndarray, weights: list[np.ndarray]) -> int | None:
    """Return the first step whose loss is not finite, or the last if it has ruined a weight."""
    bad = np.flatnonzero(~np.isfinite(losses))
    if len(bad):
        return int(bad[0]) + 1
    return None if all(np.isfinite(array).all() for array in weights) else len(losses)


def _check_finite(losses: np.ndarray, done: int) -> None:
    bad = np.argwhere(~np.isfinite(losses))
    if len(bad):
        value, step = losses[tuple(bad[0])], done + bad[0][0] + 1
        raise FloatingPointError(
            f"the loss is {value} at step {step}: expected a finite number; {_ADVICE}"
        )


def _check_weights(network: Network, steps: int) -> None:
    """Refuse what the last update has ruined: no later loss would tell."""
    for variable in network.trained:
        if not np.isfinite(variable.numpy()).all():
            raise FloatingPointError(
                f"{variable.name} after step {steps}: expected finite numbers; {_ADVICE}"
            )


def _groups(starts: Sequence[Start], data: Sequence, steps: int, size: int) -> list[list[int]]:
    """Return the numbers of the starts in groups that share their mini-batches."""
    alike: dict[tuple, list[int]] = {}
    for number, start in enumerate(starts):
        own = () if _same(start.data, data) else tuple(map(id, start.data))
        key = start.seed, own, start.steps or steps, start.learning_rate
        alike.setdefault(key, []).append(number)
    return [group[i : i + size] for group in alike.values() for i in range(0, len(group), size)]


def _same(own: Sequence | None, data: Sequence) -> bool:
    return own is None or list(map(id, own)) == list(map(id, data))


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
