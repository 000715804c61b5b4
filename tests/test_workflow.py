"""The workflow on a small made-up course: what runs again, and what an accident leaves."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import nbformat
import psutil
import pytest
from conftest import NOTEBOOKS

pytestmark = pytest.mark.notebooks

ROOT = NOTEBOOKS.parent
PLAN = "{seed: first_seed, parameters: {steps: 7}, title: score, scale: 1, scores: {a: score}}"
PARAMETERS = """steps: int = 10  # steps to make
first_seed: int = 0  # seed
dataset: str = "mnist"  # data"""
BODY = """from pathlib import Path
from time import sleep
from helpers import parameters, results
parameters.check(globals(), steps=parameters.integer(1), first_seed=parameters.integer(0),
                 dataset=parameters.choice(["mnist"]))
folder = results.ROOT
with open(folder / "ran.txt", "a") as file:
    print({name!r}, steps, first_seed, file=file)"""
SAVE = """results.save({name!r}, parameters=parameters.declared(globals()), dataset=dataset,
             source="full", numbers={{"score": [0.1 * first_seed]}},
             claims=[results.Claim("It runs", "", f"{{steps}} steps", "holds")])"""
WAIT = "(folder / 'waits').touch(); sleep(100 * (not (folder / 'go').exists()))"
WHOLE = "build/claims.md"


class Course:
    """A copy of the course's workflow with two lessons that note in a file when they run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for part in ("workflow", "profiles", "helpers"):
            shutil.copytree(ROOT / part, folder / part)
        for part in ("Snakefile", "requirements.lock"):
            shutil.copy(ROOT / part, folder / part)
        (folder / "workflow" / "study.yaml").write_text(f"01_one: {PLAN}\n")
        (folder / "notebooks").mkdir()
        self.write("01_one")
        self.write("02_two")

    def write(self, name: str, extra: str = "") -> None:
        sources = [PARAMETERS, BODY.format(name=name), extra, SAVE.format(name=name)]
        cells = [nbformat.v4.new_markdown_cell(f"# {name}")]
        cells += [nbformat.v4.new_code_cell(source) for source in sources]
        cells[1].metadata.tags = ["parameters"]
        kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
        notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
        nbformat.write(notebook, self.folder / "notebooks" / f"{name}.ipynb")

    def start(self, *config: str, target: str = WHOLE) -> subprocess.Popen:
        given = ["--config", *config] if config else []
        environment = {k: v for k, v in os.environ.items() if k != "COURSE_BUILD_DIR"}
        return subprocess.Popen(
            [sys.executable, "-m", "snakemake", *given, "--", target],
            cwd=self.folder,
            env=environment | {"PYTHONPATH": str(self.folder)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # a terminal of its own, as it were: Ctrl-C reaches all of it
        )

    def run(self, *config: str, target: str = WHOLE) -> tuple[int, str, list[str]]:
        """Return the exit code, what was said, and which lessons ran with which steps and seed."""
        (self.folder / "ran.txt").write_text("")
        process = self.start(*config, target=target)
        said, _ = process.communicate(timeout=300)
        return process.returncode, said, self.ran()

    def ran(self) -> list[str]:
        return sorted((self.folder / "ran.txt").read_text().splitlines())

    def results(self, name: str) -> Path:
        return self.folder / "build" / "results" / f"{name}.json"


@pytest.fixture
def course(tmp_path) -> Course:
    return Course(tmp_path)


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def kernels(course: Course) -> list[psutil.Process]:
    """Return the kernels that run in the course's folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if "ipykernel_launcher" in process.cmdline() and str(course.folder) in process.cwd():
                found.append(process)
        except psutil.Error:  # gone already
            pass
    return found


def one_is_under_way(course: Course) -> bool:
    """Tell whether Snakemake has taken note of the end of all jobs but the one that waits."""
    unfinished = list((course.folder / ".snakemake" / "incomplete").glob("*"))
    return (course.folder / "waits").exists() and len(unfinished) == 2  # its two outputs


def test_what_has_changed_runs_again_and_nothing_else(course):
    both = ["01_one 10 0", "02_two 10 0"]
    assert course.run()[::2] == (0, both)
    assert "It runs" in (course.folder / WHOLE).read_text("utf-8")
    assert course.run()[::2] == (0, [])
    course.write("02_two", "print('changed')")
    assert course.run()[::2] == (0, both[1:])
    for file in ("helpers/tables.py", "requirements.lock"):
        with (course.folder / file).open("a") as opened:
            opened.write("# changed\n")
        assert course.run()[::2] == (0, both)
    assert course.run("steps=11", target="build/results/01_one.json")[::2] == (0, ["01_one 11 0"])
    code, said, ran = course.run("step=3")
    assert (code, ran) == (1, [])
    assert "01_one has no parameter step, only steps, first_seed, dataset" in said


def test_a_lesson_that_fails_is_named_and_leaves_its_notebook_to_read(course):
    course.write("02_two", "print('so far')\n1 / 0")
    code, said, _ = course.run()
    assert code == 1
    assert "02_two failed: cell [3] ended with ZeroDivisionError: division by zero" in said
    assert "so far" in (course.folder / "build" / "log" / "02_two.ipynb").read_text("utf-8")
    assert not course.results("02_two").exists()
    assert json.loads(course.results("01_one").read_text("utf-8"))["numbers"] == {"score": [0]}


def test_a_kernel_that_is_killed_ends_the_command_and_the_next_one_goes_on(course):
    course.write("02_two", WAIT)
    process = course.start()
    wait_for(lambda: one_is_under_way(course))
    for kernel in kernels(course):
        kernel.kill()
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "02_two failed: DeadKernelError" in said
    (course.folder / "go").touch()
    assert course.run()[::2] == (0, ["02_two 10 0"])


def test_ctrl_c_ends_everything_within_seconds_and_the_next_command_does_the_rest(course):
    course.write("02_two", WAIT)
    process = course.start()
    wait_for(lambda: one_is_under_way(course))
    code, said, _ = course.run()  # a second command meanwhile
    assert code == 1
    assert "--unlock" in said
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode != 0
    wait_for(lambda: not kernels(course))
    assert course.results("01_one").exists()
    (course.folder / "go").touch()
    assert course.run()[::2] == (0, ["02_two 10 0"])


def test_a_study_that_is_stopped_goes_on_where_it_was(course):
    course.write("01_one", f"if first_seed == 2:\n    {WAIT}")
    target = "build/study/01_one/mnist.json"
    process = course.start("seeds=3", target=target)
    wait_for(lambda: one_is_under_way(course))
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=20)
    (course.folder / "go").touch()
    code, said, ran = course.run("seeds=4", target=target)
    assert (code, ran) == (0, ["01_one 7 2", "01_one 7 3"])
    assert "| a" in said
    found = json.loads((course.folder / target).read_text("utf-8"))
    assert found["seeds"] == [0, 1, 2, 3]
    assert found["numbers"]["score"] == pytest.approx([0, 0.1, 0.2, 0.3])
    assert found["parameters"] == {"steps": 7, "dataset": "mnist"}
