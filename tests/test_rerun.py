"""After a full run every cell can be run again: nothing is used up, no name means two things.

Each lesson runs on the sample of the data set that is not its default, with its quick parameters;
then all its cells run once more, from last to first.  On Linux they do so on one core and in 3 GiB.
"""

import json
import os
import sys
from pathlib import Path

import nbformat
import pytest
import yaml
from conftest import NOTEBOOKS, each_lesson, tags
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook
from traitlets.config import Config

pytestmark = pytest.mark.notebooks

QUICK = yaml.safe_load((NOTEBOOKS / "quick.yaml").read_text("utf-8"))
OTHER = {"01_data_loading": "mnist"}
"""The data set that is not a lesson's default: Fashion-MNIST, but for lesson 1."""


def narrow(kernel: int) -> None:
    """Give a process that has just begun one core, and an address space of 3 GiB."""
    if sys.platform == "linux":
        import resource

        cores = sorted(os.sched_getaffinity(0))
        # Each of pytest's workers takes another one.
        worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
        os.sched_setaffinity(kernel, {cores[worker % len(cores)]})
        resource.prlimit(kernel, resource.RLIMIT_AS, (3 * 2**30, 3 * 2**30))


def run_twice(notebook: nbformat.NotebookNode, results: Path, folder: Path) -> tuple[dict, dict]:
    """Run a notebook, then its cells from last to first; return what both times saved.

    The first code cell begins the book-keeping anew, and what a `timing` cell measures differs
    from run to run: these run again at the end, when nothing is saved any more.
    """
    ipc = {"transport": "ipc", "connection_file": str(folder / "kernel.json")}
    config = Config({"KernelManager": ipc if os.name == "posix" else {}})
    where = {"metadata": {"path": str(folder)}}  # any: nbval runs lessons in their own
    client = NotebookClient(
        notebook, kernel_name="python3", timeout=600, resources=where, config=config
    )
    code = [i for i, cell in enumerate(notebook.cells) if cell.cell_type == "code"]
    with client.setup_kernel():
        narrow(client.km.provisioner.pid)
        for i in code:
            client.execute_cell(notebook.cells[i], i)
        first = json.loads(results.read_text("utf-8"))
        results.unlink()
        last = [i for i in code if i == code[0] or "timing" in tags(notebook.cells[i])]
        (saving,) = [i for i in code if "results.save(" in notebook.cells[i].source]
        for i in [*(i for i in reversed(code) if i not in last), saving]:
            client.execute_cell(notebook.cells[i], i)
        again = json.loads(results.read_text("utf-8"))
        for i in last:
            client.execute_cell(notebook.cells[i], i)
    return first, again


def differences(first: dict, again: dict) -> dict[str, object]:
    """Return the numbers and claims that are not the same: name or sentence -> both."""
    claims = ({c["claim"]: c for c in saved["claims"]} for saved in (first, again))
    both = [
        saved["numbers"] | claimed for saved, claimed in zip((first, again), claims, strict=True)
    ]
    names = both[0].keys() | both[1].keys()
    pairs = {name: (both[0].get(name), both[1].get(name)) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


@pytest.fixture
def folder(tmp_path_factory, monkeypatch) -> Path:
    """Return a folder for what a kernel saves, with a path that is short enough for a socket."""
    folder = tmp_path_factory.mktemp("r")
    monkeypatch.setenv("COURSE_DATA", "sample")
    monkeypatch.setenv("COURSE_BUILD_DIR", str(folder))
    monkeypatch.setenv("MALLOC_ARENA_MAX", "2")  # as workflow/lesson.py sets it
    return folder


@each_lesson
def test_every_lesson_runs_on_the_other_data_set_and_all_its_cells_run_again(path, folder):
    saved = folder / "results" / f"{path.stem}.json"
    given = QUICK[path.stem] | {"dataset": OTHER.get(path.stem, "fashion_mnist")}
    notebook = parameterize_notebook(load_notebook_node(str(path)), given)
    first, again = run_twice(notebook, saved, folder)
    assert differences(first, again) == {}
    assert not [
        o for cell in notebook.cells for o in cell.get("outputs", []) if o.get("name") == "stderr"
    ]
    assert (first["dataset"], first["source"]) == (given["dataset"], "sample")
    assert first["parameters"] | given == first["parameters"]
    assert first["claims"]


MADE_UP = [
    "import json, os, pathlib\nnumbers, claims = {}, {}",
    "errors = [1.0, 2.0]",
    'numbers["errors"] = errors',
    "rows = iter([3])",
    "PROBE",
    "folder = pathlib.Path(os.environ['COURSE_BUILD_DIR'])\n"
    "text = json.dumps({'numbers': numbers, 'claims': []})\n"
    "(folder / 'saved.json').write_text(text)  # results.save(",
]


@pytest.mark.parametrize(
    ("probe", "differing"),
    [
        ("x = 1", set()),
        ("errors = [9.0]", {"errors"}),
        ("errors.append(3.0)", {"errors"}),
        ("numbers['more'] = len(numbers) + numbers.get('more', 0)", {"more"}),
    ],
)
def test_what_a_second_run_changes_is_found(probe, differing, folder):
    sources = [probe if source == "PROBE" else source for source in MADE_UP]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(s) for s in sources])
    assert differences(*run_twice(notebook, folder / "saved.json", folder)).keys() == differing


def test_what_a_first_run_has_used_up_is_found(folder):
    sources = ["next(rows)" if source == "PROBE" else source for source in MADE_UP]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(s) for s in sources])
    with pytest.raises(CellExecutionError, match="StopIteration"):
        run_twice(notebook, folder / "saved.json", folder)
