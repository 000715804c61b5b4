"""Executes one notebook in a fresh kernel, which is gone afterwards, whatever happens.

Decisions
---------
* The kernel is the Python that runs this module, whatever kernel the notebook names.
* A signal to stop kills the kernel, and the execution then ends the way it ends when a kernel
  dies.  Raising an exception in the middle of an event loop would leave its tasks behind.
"""

import logging
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import nbformat
import papermill
import psutil
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpec
from nbclient.exceptions import DeadKernelError
from nbformat import NotebookNode
from papermill.exceptions import PapermillExecutionError

from helpers import signals

# Its messages repeat what is reported here; a handler that does nothing keeps them off stderr.
logging.getLogger("papermill").addHandler(logging.NullHandler())

_START_SECONDS = 60  # a kernel that has not answered by then is not coming
_OUTPUT_SECONDS = 60  # between the end of a cell and its last output, on a busy machine
_SAMPLE_SECONDS = 0.2
# The C library of Linux gives every thread a heap of its own, and XLA compiles in many threads:
# what they have freed would stay with the kernel, 100 MiB and more.
_FEW_HEAPS = {"MALLOC_ARENA_MAX": "2"}
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class Execution:
    """A notebook after its execution.

    Attributes
    ----------
    notebook : NotebookNode or None
        The notebook with its outputs; None if no kernel started.
    seconds : float
        Wall time.
    peak_mib : float
        Most resident memory of the kernel and its children together, in MiB, sampled five
        times a second.
    failure : str
        Which cell failed and why; empty if all went well.
    """

    notebook: NotebookNode | None
    seconds: float
    peak_mib: float
    failure: str


def execute(
    path: Path,
    given: Mapping[str, object],
    environment: Mapping[str, str],
    *,
    timeout: float,
    title: str,
) -> Execution:
    """Run a notebook from its first cell in a kernel of its own.

    The working directory is the notebook's folder, as in JupyterLab.  A kernel that does not
    start is tried once more.  On a terminal a bar shows how many cells are done.

    Parameters
    ----------
    path : pathlib.Path
        The notebook, which is not changed.
    given : mapping
        Parameters for papermill; where there are none, no cell is injected.
    environment : mapping
        Environment variables of the kernel, beside those of this process.
    timeout : float
        Seconds after which the notebook is stopped.
    title : str
        What the bar says.

    Raises
    ------
    SystemExit
        With 128 plus the signal's number after a signal to stop.
    """
    for transport in _transports():
        watch = _Watch(environment, transport, timeout)
        execution = _attempt(path, given, watch, title)
        if watch.answered:
            break
    return execution


def _transports() -> tuple[str, str]:
    """Return how to reach the kernel, first and second try.

    Ports are chosen before the kernel binds them, so another program can be quicker ("Address
    already in use").  Sockets in a folder of their own have no such rival, but their path must
    be short, and Windows has none.
    """
    sockets = os.name == "posix" and len(tempfile.gettempdir()) < 60
    return ("ipc" if sockets else "tcp", "tcp")


def _attempt(path: Path, given: Mapping[str, object], watch: "_Watch", title: str) -> Execution:
    """Run a notebook once; a kernel that does not start is a failure without a notebook."""
    error: Exception | None = None
    with signals.answered_by(watch.stop), watch:
        try:
            papermill.execute_notebook(
                # papermill fills in braces in paths
                str(path.resolve()).replace("{", "{{").replace("}", "}}"),
                None,
                parameters=dict(given),
                kernel_name="python3",
                language="python",
                progress_bar=_bar(title),
                start_timeout=_START_SECONDS,
                iopub_timeout=_OUTPUT_SECONDS,
                cwd=path.parent,
                kernel_manager_class=_kernel_manager(watch),
                on_notebook_start=watch.notebook_started,
                on_cell_start=watch.cell_started,
                timeout_func=watch.remaining,
                coalesce_streams=True,
                record_timing=False,
            )
        except Exception as problem:  # whatever it is, it belongs to this notebook
            error = problem
    if watch.stopped is not None:
        raise SystemExit(128 + watch.stopped)
    return Execution(watch.notebook, watch.seconds, watch.family.peak_mib, watch.failure(error))


def _bar(title: str) -> dict[str, object] | bool:
    return {"desc": title, "unit": "cell", "leave": False} if sys.stderr.isatty() else False


def _kernel_manager(watch: "_Watch") -> type[AsyncKernelManager]:
    """Return a kernel manager that starts this very Python and tells ``watch`` about it."""

    class ThisPython(AsyncKernelManager):
        @property
        def kernel_spec(self) -> KernelSpec:
            launcher = ["-m", "ipykernel_launcher", "-f", "{connection_file}"]
            return KernelSpec(argv=[sys.executable, *launcher], language="python")

        async def start_kernel(self, **options: object) -> None:
            if watch.transport == "ipc":
                self.transport = "ipc"
                self.connection_file = str(watch.folder / "kernel.json")
            environment = {**_FEW_HEAPS, **os.environ, **watch.environment}
            # What cells write to stderr reaches the notebook.  This is the rest: chatter at the
            # start and end of the kernel, or the reason why it died.
            with watch.stderr.open("wb") as stderr:
                await super().start_kernel(env=environment, stderr=stderr, **options)
            watch.kernel_started(self.provisioner.process)

    return ThisPython


class _Watch:
    """What is known about a notebook while it runs, and the way to stop it."""

    def __init__(self, environment: Mapping[str, str], transport: str, timeout: float) -> None:
        self.environment = environment
        self.transport = transport
        self.notebook: NotebookNode | None = None
        self.stopped: int | None = None
        self.seconds = 0.0
        self.family = _Family()
        self._own = tempfile.TemporaryDirectory(prefix="k-", ignore_cleanup_errors=True)
        self.folder = Path(self._own.name)
        self.stderr = self.folder / "stderr.txt"
        self._timeout = timeout
        self._started = time.monotonic()
        self._process: subprocess.Popen | None = None
        self._cell: NotebookNode | None = None
        self._last_words: list[str] = []

    def __enter__(self) -> "_Watch":
        return self

    def __exit__(self, *_: object) -> None:
        self.family.end()
        with suppress(OSError):
            self._last_words = self.stderr.read_text(errors="replace").strip().splitlines()[-3:]
        self._own.cleanup()
        self.seconds = time.monotonic() - self._started

    @property
    def answered(self) -> bool:
        """Whether the kernel got as far as the first cell."""
        return self.notebook is not None

    def kernel_started(self, process: subprocess.Popen) -> None:
        self._process = process
        self.family.follow(process.pid)
        if self.stopped is not None:
            self.family.kill()

    def notebook_started(self, notebook: NotebookNode) -> None:
        self.notebook = notebook

    def cell_started(self, cell: NotebookNode, cell_index: int) -> None:
        if self.stopped is not None:
            raise InterruptedError("stopped by a signal")
        if cell.cell_type == "code":
            self._cell = cell

    def stop(self, number: int) -> None:
        """End the kernel because of a signal."""
        self.stopped = number
        self.family.kill()

    def remaining(self, _cell: NotebookNode) -> float:
        """Return the seconds that are left to the notebook; never 0, which means no limit."""
        return max(self._started + self._timeout - time.monotonic(), 0.1)

    def failure(self, error: Exception | None) -> str:
        """Return where and why the notebook failed, and mark it there; empty without error."""
        if error is None:
            return ""
        if not self.answered:
            problem = f"the kernel did not start: {error or type(error).__name__}"
            return "\n".join([problem, *self._last_words])
        if isinstance(error, PapermillExecutionError):
            line = _failing_line(error.traceback)
            return f"{_name(error.exec_count, error.source)}{line}\n{error.ename}: {error.evalue}"
        reason = self._reason(error)
        if self._cell is None:
            return reason
        _mark(self.notebook, self._cell, reason)
        return f"{_name(self._cell.execution_count, self._cell.source)}\n{reason}"

    def _reason(self, error: Exception) -> str:
        if isinstance(error, TimeoutError) and time.monotonic() >= self._started + self._timeout:
            return f"TimeoutError: the lesson took longer than {self._timeout:g} s (--timeout)"
        if isinstance(error, DeadKernelError):
            code = self._process.poll()
            killed = " (killed; is there enough memory?)" if code == -9 else ""
            problem = f"DeadKernelError: the kernel ended with exit code {code}{killed}"
            return "\n".join([problem, *self._last_words])
        return f"{type(error).__name__}: {error}"


def _name(count: int | None, source: str) -> str:
    first = next((line.strip() for line in source.splitlines() if line.strip()), "")
    return f"cell [{count or '*'}] that begins with: {first[:70]}"


def _failing_line(traceback: list[str]) -> str:
    """Return the cell's own line from IPython's traceback, which marks it with an arrow."""
    plain = _COLOUR.sub("", "\n".join(traceback))
    arrow = re.search(r"^-+> *(\d+) +(.+)$", plain, re.MULTILINE)
    return f"\nline {arrow[1]}: {arrow[2].strip()}" if arrow else ""


def _mark(notebook: NotebookNode, failed: NotebookNode, reason: str) -> None:
    """Write into a notebook in which cell it ended, where papermill has not done so."""
    kind, _, text = reason.partition(": ")
    failed.outputs = [
        *failed.outputs,
        nbformat.v4.new_output("error", ename=kind, evalue=text, traceback=[reason]),
    ]
    status = "completed"
    for cell in notebook.cells:
        ended = cell is failed
        cell.metadata.setdefault("papermill", NotebookNode())["status"] = (
            "failed" if ended else status
        )
        if ended:
            status = "pending"


class _Family:
    """A kernel and the processes it started: their memory, and their end."""

    def __init__(self) -> None:
        self._root: psutil.Process | None = None
        self._seen: set[psutil.Process] = set()
        self._peak_bytes = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    @property
    def peak_mib(self) -> float:
        return self._peak_bytes / 2**20

    def follow(self, pid: int) -> None:
        """Begin to watch a process."""
        with suppress(psutil.Error):
            self._root = psutil.Process(pid)
            self._seen.add(self._root)
            self._thread.start()

    def kill(self) -> None:
        """Kill every process of the family, also those whose parent is gone."""
        self._look()
        for process in list(self._seen):
            with suppress(psutil.Error):  # gone already
                process.kill()

    def end(self) -> None:
        """Stop watching and leave no process behind."""
        self._over.set()
        if self._thread.ident is not None:
            self._thread.join()
        self.kill()

    def _look(self) -> None:
        if self._root is not None:
            with suppress(psutil.Error):
                self._seen.update(self._root.children(recursive=True))

    def _sample(self) -> None:
        while not self._over.is_set():
            # A process that has just been forked seems to hold all that its parent holds.
            settled = list(self._seen)
            self._look()
            held = 0
            for process in settled:
                with suppress(psutil.Error):
                    held += process.memory_info().rss
            self._peak_bytes = max(self._peak_bytes, held)
            self._over.wait(_SAMPLE_SECONDS)
