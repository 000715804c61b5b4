"""Run one notebook with papermill, in a kernel of its own."""

import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import papermill
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from papermill.exceptions import PapermillExecutionError
from traitlets.config import Config

CELL_SECONDS = 1800


def execute(notebook: Path, copy: Path, given: dict[str, object]) -> None:
    """Execute a notebook in its own folder, writing a copy with its outputs cell by cell.

    Raises
    ------
    SystemExit
        If a cell fails or the kernel ends, with where, why, and where to read how far it came.
    """
    # The C library of Linux gives every thread a heap of its own, and XLA compiles in many: what
    # they have freed would stay with the kernel, 100 MiB and more.
    os.environ.setdefault("MALLOC_ARENA_MAX", "2")
    # Nobody's own settings reach a kernel, no home needs to be writable, and paths may have any
    # letters: without UTF-8 TensorFlow compiles no code that lies in such a path.
    own = str(Path(".snakemake", "kernels").absolute())
    os.environ |= dict.fromkeys(("IPYTHONDIR", "MPLCONFIGDIR"), own) | {"MATPLOTLIBRC": os.devnull}
    ours = os.getcwd() + os.pathsep + os.environ.get("PYTHONPATH", "")  # before others' `helpers`
    os.environ |= {"PYTHONSTARTUP": "", "PYTHONPATH": ours, "PYTHONUTF8": "1"}
    os.environ |= {"PYTHONWARNINGS": "", "JUPYTER_PATH": "", "JUPYTER_PREFER_ENV_PATH": "1"}
    os.environ.pop("MPLBACKEND", None)  # then a kernel takes its own
    with tempfile.TemporaryDirectory(prefix="k-") as folder:
        # TCP ports clash when kernels start side by side; a socket's path must be short.
        ipc = os.name == "posix" and len(folder) < 60
        connection = {"transport": "ipc", "connection_file": f"{folder}/kernel.json"}
        try:
            papermill.execute_notebook(
                str(notebook),
                str(copy),
                given,
                cwd=notebook.parent,
                kernel_name="python3",
                progress_bar=False,
                start_timeout=60,
                execution_timeout=CELL_SECONDS,
                coalesce_streams=True,
                config=Config({"KernelManager": connection if ipc else {}}),
            )
        except PapermillExecutionError as error:
            why = f"cell [{error.exec_count}] ended with {error.ename}: {error.evalue}"
        except (CellTimeoutError, DeadKernelError) as error:
            why = f"{type(error).__name__}: {error}"
        except KeyboardInterrupt:
            why = "stopped by Ctrl-C or SIGTERM"
        else:
            return
    raise SystemExit(f"\n{notebook.stem} failed: {why}\nRead how far it came in {copy}\n")


if "snakemake" in globals():
    job = globals()["snakemake"]  # what the rule says
    os.environ |= job.params.environment
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    execute(Path(job.input.notebook), Path(job.log[0]), job.params.given)
    # In place only when it is complete; where the lesson fails, the log is what stays.
    shutil.copyfile(job.log[0], job.output.notebook)
    print(f"{job.output.notebook} is complete", file=sys.stderr)
