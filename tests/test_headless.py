"""Lessons without anybody watching: papermill's own command line, from any folder."""

import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import yaml
from conftest import LESSONS, NOTEBOOKS, name

pytestmark = pytest.mark.notebooks

QUICK = yaml.safe_load((NOTEBOOKS / "quick.yaml").read_text("utf-8"))


def papermill(folder: Path, lesson: str, **parameters: object) -> subprocess.CompletedProcess:
    """Run a lesson on the sample as a user would, in a folder that is not the course's."""
    given = folder / "parameters.yaml"
    given.write_text(yaml.safe_dump(parameters), "utf-8")
    command = [sys.executable, "-m", "papermill", "--no-progress-bar", "--parameters_file", given]
    return subprocess.run(
        [*command, NOTEBOOKS / f"{lesson}.ipynb", folder / "out.ipynb"],
        cwd=folder,
        env=os.environ | {"COURSE_DATA": "sample", "COURSE_BUILD_DIR": str(folder / "build")},
        capture_output=True,
        text=True,
        timeout=600,
    )


def test_papermill_runs_a_lesson_from_any_folder(tmp_path):
    # That all run with other parameters on the other data set is tested where they run twice.
    lesson, other = "03_deep_autoencoder", "fashion_mnist"
    run = papermill(tmp_path, lesson, dataset=other, **QUICK[lesson])
    assert run.returncode == 0, run.stderr
    notebook = nbformat.read(tmp_path / "out.ipynb", as_version=4)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert not [output for output in outputs if output.get("name") == "stderr"]
    results = json.loads((tmp_path / "build" / "results" / f"{lesson}.json").read_text("utf-8"))
    assert results["dataset"] == other
    assert results["source"] == "sample"
    assert results["parameters"] | QUICK[lesson] == results["parameters"]
    assert results["claims"]
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"build", "out.ipynb", "parameters.yaml"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-p", "step", "5"], "parameter step: this lesson has none of that name, expected one of"),
        (["-p", "steps", "-5"], "parameter steps: expected a whole number, at least 10, at"),
        (["-p", "dataset", "cifar"], "parameter dataset: expected one of 'mnist', 'fashion_mnist'"),
        (["-p", "learning_rate", "nan"], "parameter learning_rate: expected a number, greater"),
        (["-y", "steps: true"], "parameter steps: expected a whole number, at least 10, at"),
        (["-p", "code_sizes", "[5]"], "expected a list of whole numbers, each from 1 to 784 (with"),
    ],
    ids=["unknown", "negative", "choice", "nan", "truth", "list as text"],
)
def test_a_bad_parameter_ends_a_lesson_with_what_is_allowed(options, message, tmp_path):
    notebook = NOTEBOOKS / "02_basic_autoencoder.ipynb"
    command = [sys.executable, "-m", "papermill", "--no-progress-bar", *options]
    run = subprocess.run(
        [*command, notebook, tmp_path / "out.ipynb"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 1
    assert f"ValueError: {message}" in run.stderr or message in run.stderr.split("ValueError")[-1]
    executed = [
        c for c in nbformat.read(tmp_path / "out.ipynb", as_version=4).cells if c.get("outputs")
    ]
    assert all("Training" not in str(cell.outputs) for cell in executed)


@pytest.mark.parametrize("path", LESSONS, ids=name)
def test_papermill_explains_every_parameter(path):
    command = [sys.executable, "-m", "papermill", "--help-notebook", path]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
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
