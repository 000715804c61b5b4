"""What several test modules need to know about the notebooks."""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat
import pytest

# What a person has set for other work reaches no kernel and no pytest that a test starts.
for variable in (
    *("JUPYTER_PATH", "MPLBACKEND", "PYTEST_ADDOPTS"),
    *("PYTHONSTARTUP", "PYTHONWARNINGS", "XLA_FLAGS"),
):
    os.environ.pop(variable, None)
PERSONAL = tempfile.TemporaryDirectory()
for variable in (
    *("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR"),
    *("JUPYTER_RUNTIME_DIR", "MPLCONFIGDIR"),
):
    os.environ[variable] = PERSONAL.name
os.environ["MATPLOTLIBRC"] = os.devnull

# Root writes everywhere, but where it has given that power up.
AS_ANYBODY = []
if sys.platform == "linux" and os.geteuid() == 0:
    AS_ANYBODY = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
os.environ["PYTHONPATH"] = str(NOTEBOOKS.parent)  # before somebody's helpers.py beside a notebook
LESSONS = [
    path  # a learner's copy of a lesson has no solution, and is none
    for path in sorted(NOTEBOOKS.glob("[0-9]*.ipynb"))
    if (NOTEBOOKS / "solutions" / path.name).is_file()
]
SOLUTIONS = [NOTEBOOKS / "solutions" / path.name for path in LESSONS]


def name(path: Path) -> str:
    """Return a notebook's path below notebooks/, without its ending: the name of a test case."""
    return path.relative_to(NOTEBOOKS).with_suffix("").as_posix()


def cells(path: Path, kind: str = "code") -> list[nbformat.NotebookNode]:
    """Return a notebook's code or Markdown cells."""
    return [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == kind]


def tags(cell: nbformat.NotebookNode) -> list[str]:
    """Return a cell's tags."""
    return cell.metadata.get("tags", [])


def nbval(notebook: Path, build: Path) -> subprocess.CompletedProcess:
    """Execute a notebook and compare its outputs with the stored ones."""
    command = [sys.executable, "-m", "pytest", "--nbval", "--nbval-current-env", "-q"]
    mask = Path(__file__).with_name("nbval_sanitize.cfg")
    options = ["--nbval-cell-timeout", "900", "--nbval-sanitize-with", mask]
    return subprocess.run(
        [*command, *options, "-p", "no:cacheprovider", "--rootdir", notebook.parent, notebook],
        env=os.environ | {"COURSE_BUILD_DIR": str(build)},
        capture_output=True,
        text=True,
        timeout=1800,
    )


def passed(run: subprocess.CompletedProcess) -> bool:
    """Return whether each cell of an nbval run shows what is stored, and none was left out."""
    counted = re.search(r"\d+ passed", run.stdout)
    return run.returncode == 0 and bool(counted) and "skipped" not in run.stdout


each_lesson = pytest.mark.parametrize("path", LESSONS, ids=name)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the module that takes longest: the others run beside it (``make test``)."""
    items.sort(key=lambda item: item.path.stem != "test_stored_outputs")
