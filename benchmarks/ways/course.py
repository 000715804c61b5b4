"""The course's loop: many steps in one compiled call, one or more arms side by side."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from benchmarks.ways.keras_parts import adam, loss, network
from benchmarks.work import Work
from helpers import blockwise, training


def prepare(
    work: Work, rows: np.ndarray, *, arms: int = 1, together: int = 1, every: int = 100
) -> Callable[[], np.ndarray]:
    """Compile; batches are drawn anew in each call, from the seed that gave ``rows``.

    ``together`` arms are one program, which sees one order of batches; the programs run side by
    side.
    """
    data = blockwise.to_tensors(work.data())

    # `training.train` compiles on every call. Here only the steps are to be timed.
    def session() -> training._Session:
        model = network(work)
        members = training._One(model) if together == 1 else training._Several(model, together)
        made = training._Session(members, adam())
        made.reset([work.weights()])
        return made

    sessions = [session() for _ in range(arms // together)]
    program = training._Program(
        sessions[0], data, loss(work), work.batch_size, every, {}, jit_compile=True
    )
    pool = ThreadPoolExecutor(len(sessions))

    def train(session: training._Session) -> np.ndarray:
        return program.run(session, data, len(rows), 0, lambda _: None)[0].losses

    def run() -> np.ndarray:
        first, *_ = pool.map(train, sessions)
        return first

    return run
