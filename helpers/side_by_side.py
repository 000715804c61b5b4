"""Several calls of the command `course` at a time, none of which outlives a failure or a signal."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from threading import Event

# Side by side, the threads of NumPy and of scikit-learn spend their time waiting for each other.
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Call:
    """One call of the command.

    Attributes
    ----------
    name : str
        What it is called in messages.
    arguments : sequence of str
        What stands behind ``course``.
    environment : mapping
        Environment variables, beside those of this process.
    """

    name: str
    arguments: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)


class CallFailed(RuntimeError):
    """A call ended with another exit code than 0.

    Attributes
    ----------
    call : Call
        Which one.
    said : str
        What it wrote, errors included.
    """

    def __init__(self, call: Call, said: str) -> None:
        super().__init__(f"{call.name}: the lesson failed\n{said}")
        self.call, self.said = call, said


def run(calls: Sequence[Call], *, jobs: int, ended: Callable[[Call, str], None]) -> None:
    """Make the calls, each in a process of its own.

    Parameters
    ----------
    calls : sequence of Call
        The calls, begun in this order.
    jobs : int
        How many are under way at a time.
    ended : callable
        ``ended(call, said)``, called for each that ended well, with what it wrote.

    Raises
    ------
    CallFailed
        If one failed; the others that had begun are stopped.
    """
    running: set[subprocess.Popen] = set()
    stopped = Event()

    def one(call: Call) -> None:
        if stopped.is_set():
            return
        process = subprocess.Popen(
            # Without the working directory in its path, as the command `course` is without it.
            [sys.executable, "-P", "-m", "helpers.course", *call.arguments],
            env={**os.environ, **_ONE_THREAD, **call.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        running.add(process)
        if stopped.is_set():  # while it began
            process.terminate()
        said = process.communicate()[0].strip()
        running.discard(process)
        if stopped.is_set():
            return  # it was stopped, or it does not matter any more
        if process.returncode:
            stopped.set()
            raise CallFailed(call, said)
        ended(call, said)

    with ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(one, call) for call in calls]
        try:
            done = wait(futures, return_when=FIRST_EXCEPTION).done
            for future in done:
                future.result()
        except BaseException:
            stopped.set()
            for process in list(running):
                process.terminate()
            raise
