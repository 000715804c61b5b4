"""Times every way in a process of its own, in interleaved rounds.

A machine's speed drifts; what is measured within one round has seen the same machine.
"""

import importlib
import importlib.util
import multiprocessing
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from time import perf_counter

import numpy as np
import psutil

from benchmarks.work import Work


@dataclass(frozen=True)
class Way:
    """One way to do the work.

    Attributes
    ----------
    name : str
        What tables and figures call it.
    module : str
        Module below `benchmarks.ways`.
    settings : mapping
        Keyword arguments of its ``prepare``.
    needs : str
        Package without which it is left out.
    slow : bool
        True for a way that makes fewer steps a round.
    arms : int
        Trainings side by side; times are per arm and step.
    """

    name: str
    module: str
    settings: Mapping[str, object] = field(default_factory=dict, hash=False)
    needs: str = "tensorflow"
    slow: bool = False
    arms: int = 1


@dataclass(frozen=True)
class Timing:
    """What was measured of one way.

    Attributes
    ----------
    milliseconds : list of float
        Per step, and per arm where there are several; one number a round.
    losses : numpy.ndarray
        Losses of the first call, from the common initial weights.
    peak_mib : float
        Most resident memory of its process.
    """

    milliseconds: list[float]
    losses: np.ndarray
    peak_mib: float

    @property
    def median(self) -> float:
        """Median over the rounds, in ms."""
        return float(np.median(self.milliseconds))


WAYS = (
    Way("course", "course"),
    Way("course, two arms", "course", {"arms": 2}, arms=2),
    Way("JAX scan", "jax_scan", needs="jax"),
    Way("TensorFlow 1 session", "session"),
    Way("one compiled step", "eager", {"compiled": True}),
    Way("eager tape", "eager", slow=True),
    Way("Keras fit", "keras_fit", {"steps_per_execution": 1, "jit_compile": "auto"}),
    Way("Keras fit, 100 steps", "keras_fit", {"steps_per_execution": 100, "jit_compile": "auto"}),
    Way(
        "Keras fit, 100 steps, no XLA",
        "keras_fit",
        {"steps_per_execution": 100, "jit_compile": False},
    ),
    Way("PyTorch, 1 thread", "pytorch", {"threads": 1, "compiled": False}, needs="torch"),
    Way("PyTorch, 2 threads", "pytorch", {"threads": 2, "compiled": False}, needs="torch"),
    Way("PyTorch, compiled", "pytorch", {"threads": 2, "compiled": True}, needs="torch"),
    Way("products of a step", "products", {"kind": "step"}),
    Way("products of a step, two arms", "products", {"kind": "step", "arms": 2}, arms=2),
    Way("large products, NumPy", "products", {"kind": "numpy"}),
    Way("large products, XLA", "products", {"kind": "xla"}),
)


def available() -> list[Way]:
    """Return the ways whose package is installed."""
    return [way for way in WAYS if importlib.util.find_spec(way.needs)]


def measure(
    work: Work, ways: Sequence[Way], *, rounds: int, steps: int, slow_steps: int
) -> dict[str, Timing]:
    """Time some ways side by side.

    Parameters
    ----------
    work : Work
        What each of them does.
    ways : sequence of Way
        Who does it.
    rounds : int
        Timed calls of each, after one that compiles and gives the losses to compare.
    steps, slow_steps : int
        Steps of one call, and of one call of the slow ways; whole hundreds.

    Returns
    -------
    dict of str to Timing
    """
    from helpers.training import batch_rows  # TensorFlow is none of the other processes' business

    n_rows = len(work.data()[0])
    with ExitStack() as stack:
        calls = {}
        for way in ways:
            count = slow_steps if way.slow else steps
            (rows,) = batch_rows(
                n_rows, batch_size=work.batch_size, steps=count, seed=0, block=count
            )
            calls[way] = stack.enter_context(_Process(way, work, rows))
        first = {way: call() for way, call in calls.items()}
        timed: dict[Way, list[float]] = {way: [] for way in ways}
        for number in range(rounds):
            for way, call in calls.items():
                count = (slow_steps if way.slow else steps) * way.arms
                seconds, _, peak = call()
                timed[way].append(1000 * seconds / count)
                first[way] = (*first[way][:2], peak)
            print(f"{work.name}: round {number + 1} of {rounds}", file=sys.stderr)
    return {way.name: Timing(timed[way], first[way][1], first[way][2]) for way in ways}


class _Process:
    """A way in a process of its own; calling it trains once more."""

    def __init__(self, way: Way, work: Work, rows: np.ndarray) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._name = way.name
        self._connection, theirs = spawn.Pipe()
        self._process = spawn.Process(target=_serve, args=(theirs, way, work, rows), daemon=True)

    def __enter__(self) -> Callable[[], tuple[float, np.ndarray, float]]:
        self._process.start()
        return self._call

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.join()

    def _call(self) -> tuple[float, np.ndarray, float]:
        self._connection.send(True)
        try:
            answer = self._connection.recv()
        except EOFError:
            self._process.join()
            raise RuntimeError(
                f"{self._name}: ended with exit code {self._process.exitcode}"
            ) from None
        if isinstance(answer, str):
            raise RuntimeError(answer)
        return answer


def _serve(connection: Connection, way: Way, work: Work, rows: np.ndarray) -> None:
    run = None
    while connection.recv():
        try:
            if run is None:
                module = importlib.import_module(f"benchmarks.ways.{way.module}")
                run = module.prepare(work, rows, **way.settings)
            start = perf_counter()
            losses = run()
            connection.send((perf_counter() - start, np.asarray(losses), peak_mib()))
        except Exception as error:
            connection.send(f"{way.name}: {type(error).__name__}: {error}")


def alone(function: Callable[[], object]) -> object:
    """Call a function in a new process, whose peak memory is its own."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as pool:
        return pool.submit(function).result()


def peak_mib() -> float:
    """Return the most resident memory that this process has had, in MiB."""
    status = Path("/proc/self/status")
    if status.is_file():  # Linux, where ru_maxrss begins with the peak of the parent process
        return int(re.search(r"VmHWM:\s*(\d+)", status.read_text())[1]) / 2**10
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset / 2**20
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # macOS counts bytes
