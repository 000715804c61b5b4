"""The signals that ask a program to end: Ctrl-C, SIGTERM, and a terminal that was closed.

One that is ignored when the program starts stays ignored: so ``nohup`` outlives its terminal.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


def _heeded() -> list[int]:
    names = ("SIGINT", "SIGTERM", "SIGHUP")  # Windows has no SIGHUP
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    return [number for number in numbers if signal.getsignal(number) != signal.SIG_IGN]


def leave() -> None:
    """From now on, end the program with 128 plus the signal's number."""
    for number in _heeded():
        signal.signal(number, _leave)


def _leave(number: int, _frame: object) -> None:
    raise SystemExit(128 + number)


@contextmanager
def answered_by(stop: Callable[[int], None]) -> Iterator[None]:
    """Call ``stop`` with a signal's number instead of what else would happen."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread can say what a signal does
        return
    before = {n: signal.signal(n, lambda number, _frame: stop(number)) for n in _heeded()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
