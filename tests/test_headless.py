"""Lessons without anybody watching: papermill's own command line, from any folder."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import psutil
import pytest
import yaml
from click.testing import CliRunner
from conftest import AS_ANYBODY, LESSONS, NOTEBOOKS, name
from papermill import cli

pytestmark = pytest.mark.notebooks

LINUX = sys.platform == "linux"
QUICK = yaml.safe_load((NOTEBOOKS / "quick.yaml").read_text("utf-8"))


def papermill(folder: Path, lesson: str, **parameters: object) -> subprocess.CompletedProcess:
    """Run a lesson on the sample as a user would, in a folder that is not the course's.

    On Linux with a home that cannot be written, and nothing that names another place.
    """
    environment = os.environ | {"COURSE_DATA": "sample", "COURSE_BUILD_DIR": str(folder / "build")}
    if LINUX:
        personal = ("IPYTHON", "JUPYTER", "MPL", "XDG")
        environment = {k: v for k, v in environment.items() if not k.startswith(personal)}
        environment["HOME"] = str(folder / "home")
        (folder / "home").mkdir(mode=0o555)
    given = folder / "parameters.yaml"
    given.write_text(yaml.safe_dump(parameters), "utf-8")
    command = [sys.executable, "-m", "papermill", "--no-progress-bar", "--parameters_file", given]
    return subprocess.run(
        [*AS_ANYBODY, *command, NOTEBOOKS / f"{lesson}.ipynb", folder / "out.ipynb"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )


def test_papermill_runs_a_lesson_from_any_folder_and_without_a_home_that_can_be_written(tmp_path):
    # That all run with other parameters on the other data set is tested where they run twice.
    lesson, other = "03_deep_autoencoder", "fashion_mnist"
    run = papermill(tmp_path, lesson, dataset=other, **QUICK[lesson])
    assert run.returncode == 0, run.stderr
    notebook = nbformat.read(tmp_path / "out.ipynb", as_version=4)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    said = "".join(output.text for output in outputs if output.get("name") == "stderr")
    warned = r"mkdir -p failed .*\nMatplotlib created .* MPLCONFIGDIR .*\n" if LINUX else ""
    assert re.fullmatch(warned, said)
    results = json.loads((tmp_path / "build" / "results" / f"{lesson}.json").read_text("utf-8"))
    assert results["dataset"] == other
    assert results["source"] == "sample"
    assert results["parameters"] | QUICK[lesson] == results["parameters"]
    assert results["claims"]
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"build", "out.ipynb", "parameters.yaml"} | ({"home"} if LINUX else set())


@pytest.mark.skipif(os.name != "posix", reason="sends signals to a group of processes")
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_papermill_that_is_stopped_leaves_its_notebook_no_kernel_and_no_results(stop, tmp_path):
    out, build = tmp_path / "out.ipynb", tmp_path / "build"
    command = [sys.executable, "-m", "papermill", "--no-progress-bar", "--autosave-cell-every", "1"]
    process = subprocess.Popen(
        [*command, NOTEBOOKS / "02_basic_autoencoder.ipynb", out],
        cwd=tmp_path,
        env=os.environ | {"COURSE_DATA": "sample", "COURSE_BUILD_DIR": str(build)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        start_new_session=True,
    )
    end = time.monotonic() + 120
    while not (out.exists() and "SAMPLE only" in out.read_text("utf-8")):
        assert time.monotonic() < end
        time.sleep(0.1)
    (kernel,) = psutil.Process(process.pid).children()
    os.killpg(process.pid, stop)
    _, said = process.communicate(timeout=60)
    assert process.returncode in (1, -stop)
    kernel.wait(timeout=60)  # raises where it goes on
    assert "Aborted!" in said or stop == signal.SIGTERM
    assert not build.exists()
    assert nbformat.read(out, as_version=4).cells


@pytest.mark.parametrize(
    ("lesson", "options", "message"),
    [
        ("01_data_loading", ["-p", "step", "5"], "step: this lesson has none of that name"),
        ("01_data_loading", ["-p", "batch_size", "-5"], "batch_size: expected a whole number"),
        ("01_data_loading", ["-p", "dataset", "cifar"], "dataset: expected one of 'mnist'"),
        ("01_data_loading", ["-y", "batch_size: true"], "batch_size: expected a whole number"),
        ("02_basic_autoencoder", ["-p", "learning_rate", "nan"], "learning_rate: expected a"),
        ("02_basic_autoencoder", ["-p", "code_sizes", "[5]"], "code_sizes: expected a list"),
    ],
    ids=["unknown", "negative", "choice", "truth", "nan", "list as text"],
)
def test_a_bad_parameter_ends_a_lesson_with_what_is_allowed(lesson, options, message, tmp_path):
    notebook = NOTEBOOKS / f"{lesson}.ipynb"
    command = [sys.executable, "-m", "papermill", "--no-progress-bar", *options]
    run = subprocess.run(
        [*command, notebook, tmp_path / "out.ipynb"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 1
    assert f"ValueError: parameter {message}" in run.stderr
    assert ("(with papermill: -y" in run.stderr) == ("[5]" in options)
    executed = nbformat.read(tmp_path / "out.ipynb", as_version=4).cells
    (failed,) = [i for i, cell in enumerate(executed) if "ValueError" in str(cell.get("outputs"))]
    assert not any(cell.get("outputs") for cell in executed[failed + 1 :])  # nothing ran after it


@pytest.mark.parametrize("path", LESSONS, ids=name)
def test_papermill_explains_every_parameter(path):
    shown = CliRunner().invoke(cli.papermill, ["--help-notebook", str(path)]).output
    (cell,) = [
        cell
        for cell in nbformat.read(path, as_version=4).cells
        if "parameters" in cell.metadata.get("tags", [])
    ]
    text = " ".join(shown.split())
    for line in cell.source.splitlines():
        declared, meaning = (part.strip() for part in line.split("  # "))
        parameter, rest = declared.split(": ", 1)
        kind, default = rest.split(" = ")
        assert f"{parameter}: {kind} (default {default})" in text
        assert " ".join(meaning.split()) in text
