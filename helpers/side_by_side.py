"""Several calls of the command `course` at a time, none of which outlives a failure or a signal."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Event

import psutil

from helpers import files

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
    with files.scratch(files.build_dir()) as folder:
        _run(calls, jobs, ended, {**os.environ, **_ONE_THREAD, "COURSE_SCRATCH_DIR": str(folder)})


def _run(
    calls: Sequence[Call],
    jobs: int,
    ended: Callable[[Call, str], None],
    environment: Mapping[str, str],
) -> None:
    running: set[subprocess.Popen] = set()
    stopped = Event()

    def one(call: Call) -> None:
        if stopped.is_set():
            return
        process = subprocess.Popen(
            # Without the working directory in its path, as the command `course` is without it.
            [sys.executable, "-P", "-m", "helpers.course", *call.arguments],
            env={**environment, **call.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        running.add(process)
        if stopped.is_set():  # while it began
            _stop(process)
        said = process.communicate()[0].strip()
        running.discard(process)
        if stopped.is_set():
            return  # it was stopped, or it does not matter any more
        if process.returncode:
            stopped.set()
            raise CallFailed(call, said or f"ended with exit code {process.returncode}")
        ended(call, said)

    with ThreadPoolExecutor(jobs) as pool:
        try:
            futures = [pool.submit(one, call) for call in calls]
            done = wait(futures, return_when=FIRST_EXCEPTION).done
            for future in done:
                future.result()
        except BaseException:
            stopped.set()
            for process in list(running):
                _stop(process)
            raise


def _stop(process: subprocess.Popen) -> None:
    if os.name == "nt":  # where it is killed, and cannot end what it has started
        with suppress(psutil.Error):
            for child in psutil.Process(process.pid).children(recursive=True):
                child.kill()
    process.terminate()
