"""The course's loop: many steps in one compiled call, one or more arms side by side."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from benchmarks.ways.keras_parts import adam, loss, network
from benchmarks.work import Work
from helpers import blockwise, training
from helpers.compiled import Network, Program


def prepare(
    work: Work, rows: np.ndarray, *, arms: int = 1, every: int = 100
) -> Callable[[], np.ndarray]:
    """Compile; batches are drawn anew in each call, from the seed that gave ``rows``."""
    data = blockwise.to_tensors(work.data())

    # `training.train` compiles on every call. Here only the steps are to be timed.
    def started() -> Network:
        made = Network(network(work), adam())
        made.reset(work.weights(), None)
        return made

    networks = [started() for _ in range(arms)]
    block = min(every, training.BLOCK_STEPS), work.batch_size
    program = Program(networks[0], data, loss(work), block, {}, jit_compile=True)
    pool = ThreadPoolExecutor(len(networks))

    def train(trained: Network) -> np.ndarray:
        steps = len(rows)
        return training._run(program, trained, data, steps, 0, every, lambda _: None).losses

    def run() -> np.ndarray:
        first, *_ = pool.map(train, networks)
        return first

    return run
