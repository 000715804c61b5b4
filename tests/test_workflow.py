"""The workflow on a small made-up course: what runs again, and what an accident leaves."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
import pages
import psutil
import pytest
from conftest import NOTEBOOKS

pytestmark = pytest.mark.notebooks
posix = pytest.mark.skipif(os.name != "posix", reason="sends signals to a group of processes")

SCORES = "title: score, scale: 1, scores: {a: score}"
PLAN = "01_one: {{seed: first_seed, seeds: {seeds}, parameters: {{steps: 7}}, {scores}}}"
PARAMETERS = """steps: int = 10  # a
first_seed: int = 0  # b
dataset: str = 'mnist'  # c
sizes: list[int] = [5]  # d
fast: bool = False  # e"""
BODY = """from time import sleep
from helpers import parameters, results
any_text, number = parameters.choice([dataset]), parameters.integer(0)
parameters.check(globals(), steps=number, first_seed=number, dataset=any_text,
                 sizes=parameters.integers(), fast=parameters.flag())
folder = results.ROOT
print({name!r}, steps, first_seed, file=open(folder / "ran.txt", "a"), flush=True)"""
SAVE = """results.save({name!r}, parameters=parameters.declared(globals()), dataset=dataset,
             source="full", numbers={{"score": [0.1 * first_seed]}},
             claims=[results.Claim("It runs", "", f"{{steps}} steps", "holds")])"""
WAIT = "(folder / 'waits').touch(); [sleep(0.1) for _ in iter((folder / 'go').exists, True)]"
BOTH = ["01_one 10 0", "02_two 10 0"]


class Course:
    """A copy of the course's workflow with two lessons that note in a file when they run."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.started = folder, []
        for part in ("workflow", "profiles", "helpers"):
            shutil.copytree(NOTEBOOKS.parent / part, folder / part)
        for part in ("Snakefile", "requirements.lock"):
            shutil.copy(NOTEBOOKS.parent / part, folder / part)
        (folder / "workflow" / "study.yaml").write_text(PLAN.format(seeds=9, scores=SCORES))
        (folder / "notebooks" / "solutions").mkdir(parents=True)
        self.write("01_one")
        self.write("02_two")

    def write(self, name: str, extra: str = "") -> None:
        sources = [PARAMETERS, BODY.format(name=name), extra, SAVE.format(name=name)]
        cells = [nbformat.v4.new_markdown_cell(f"# {name}")]
        cells += [nbformat.v4.new_code_cell(source) for source in sources]
        cells[1].metadata.tags = ["parameters"]
        form = {"kernelspec": {"name": "python3", "display_name": "", "language": "python"}}
        notebook = nbformat.v4.new_notebook(cells=cells, metadata=form)
        for place in ("notebooks", "notebooks/solutions"):  # what has a solution is a lesson
            nbformat.write(notebook, self.folder / place / f"{name}.ipynb")

    def start(
        self, *options: str, target: str = "build/claims.md", before: tuple = (), **environment: str
    ) -> subprocess.Popen:
        inherited = {k: v for k, v in os.environ.items() if k != "COURSE_BUILD_DIR"}
        process = subprocess.Popen(
            [*before, sys.executable, "-m", "snakemake", *options, "--", target],
            cwd=self.folder,
            env=inherited | {"PYTHONPATH": str(self.folder)} | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # a terminal of its own, as it were: Ctrl-C reaches all of it
        )
        self.started.append(process)
        return process

    def run(self, *options: str, **how: object) -> tuple[int, str, list[str]]:
        """Return the exit code, what was said, and which lessons ran with which steps and seed."""
        (self.folder / "ran.txt").write_text("")
        process = self.start(*options, **how)
        said, _ = process.communicate(timeout=300)
        return process.returncode, said, sorted((self.folder / "ran.txt").read_text().splitlines())

    def due(self, *options: str) -> int:
        """Return how many lessons a command would run."""
        said, _ = self.start("--dry-run", "--quiet", "host", *options).communicate(timeout=60)
        return int(re.search(r"^lesson +(\d+)$", f"{said}\nlesson 0", re.MULTILINE)[1])

    def wait_for_the_last(self, runs: int) -> None:
        """Wait until all runs have begun, and Snakemake has taken note that all but one have ended.

        Which are first is Snakemake's choice: the run that waits may not be the last to begin.
        """
        unfinished, begun = self.folder / ".snakemake" / "incomplete", self.folder / "ran.txt"
        wait_for((self.folder / "waits").exists)
        wait_for(lambda: len(begun.read_text("utf-8").splitlines()) == runs)
        wait_for(lambda: len(list(unfinished.glob("*"))) == 2)  # its two outputs

    def numbers(self, path: str) -> dict:
        return json.loads((self.folder / "build" / path).read_text("utf-8"))["numbers"]


@pytest.fixture
def course(tmp_path) -> Iterator[Course]:
    # A command in the background of a shell ignores Ctrl-C, and so would all that it starts.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield (made := Course(tmp_path))
    for process in made.started:  # a test that failed has not waited for them
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    signal.signal(signal.SIGINT, before)


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def command(process: psutil.Process) -> str:
    """Return what a process runs, or nothing where it has just ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def test_what_has_changed_runs_again_and_nothing_else(course):
    assert course.run()[::2] == (0, BOTH)
    assert "It runs" in (course.folder / "build" / "claims.md").read_text("utf-8")
    changes = {"notebooks/02_two.ipynb": 1, "helpers/tables.py": 2, "requirements.lock": 2}
    for file, lessons in changes.items():
        before = (course.folder / file).read_text("utf-8")
        (course.folder / file).write_text(before + "\n", "utf-8")
        assert course.due() == lessons, file
        (course.folder / file).write_text(before, "utf-8")
    assert course.due() == 0
    one = {"target": "build/results/01_one.json"}
    given = {"steps": 11, "sizes": [32, 64], "fast": True}
    options = ("steps=11", "sizes=[32, 64]", "fast=true", "quick=false")
    assert course.run("--config", *options, **one)[::2] == (0, ["01_one 11 0"])
    results = json.loads((course.folder / one["target"]).read_text("utf-8"))
    assert results["parameters"] | given == results["parameters"]
    code, said, ran = course.run("--config", "step=3")
    assert (code, ran) == (1, [])
    assert "01_one has no parameter step, only steps, first_seed, dataset, sizes, fast" in said


def test_a_lesson_that_fails_is_named_and_leaves_its_notebook_to_read(course):
    course.write("02_two", "print('so far')\n1 / 0")
    code, said, _ = course.run()
    assert code == 1
    assert "02_two failed: cell [3] ended with ZeroDivisionError: division by zero" in said
    assert "so far" in (course.folder / "build" / "log" / "02_two.ipynb").read_text("utf-8")
    assert not (course.folder / "build" / "results" / "02_two.json").exists()
    assert course.numbers("results/01_one.json") == {"score": [0]}


@posix
@pytest.mark.parametrize("accident", ["Ctrl-C", "SIGTERM", "a killed kernel"])
def test_after_an_accident_the_next_command_does_the_rest(course, accident):
    course.write("02_two", WAIT)
    process = course.start()
    course.wait_for_the_last(2)
    family = psutil.Process(process.pid).children(recursive=True)
    (kernel,) = [member for member in family if "ipykernel_launcher" in command(member)]
    if accident == "Ctrl-C":
        code, said, _ = course.run()  # a second command meanwhile
        assert (code, "--unlock" in said) == (1, True)
        os.killpg(process.pid, signal.SIGINT)
    elif accident == "SIGTERM":  # as a system that shuts down sends it
        os.killpg(process.pid, signal.SIGTERM)
    else:
        kernel.kill()
    said, _ = process.communicate(timeout=120)
    assert process.returncode != 0
    reason = "DeadKernelE" if accident == "a killed kernel" else "stopped by Ctrl-C or SIGTERM"
    assert f"02_two failed: {reason}" in said
    wait_for(lambda: not kernel.is_running())
    assert course.numbers("results/01_one.json") == {"score": [0]}
    (course.folder / "go").touch()
    assert course.run()[::2] == (0, BOTH[1:])


@posix
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_a_study_that_is_stopped_goes_on_where_it_was(course, stop):
    course.write("01_one", f"if first_seed == 1:\n    {WAIT}")
    target = "build/study/01_one/mnist.json"
    process = course.start("--config", "seeds=2", target=target)
    course.wait_for_the_last(2)
    os.killpg(process.pid, stop)
    process.communicate(timeout=120)
    (course.folder / "go").touch()
    code, said, ran = course.run("--config", "seeds=3", target=target)
    assert (code, ran) == (0, ["01_one 7 1", "01_one 7 2"])
    assert "| a" in said
    assert course.numbers("study/01_one/mnist.json")["score"] == pytest.approx([0, 0.1, 0.2])


def test_a_study_has_its_own_number_of_seeds_and_publishes_no_others(course):
    (course.folder / "workflow" / "study.yaml").write_text(PLAN.format(seeds=2, scores=""))
    target = "build/study/01_one/mnist.json"
    for others in ("first_seed=1", "steps=3"):
        code, said, ran = course.run("--config", "publish=True", others, target=target)
        assert (code, ran) == (1, [])
        assert "publish: expected the seeds of workflow/study.yaml" in said
    assert course.run("--config", "publish=True", target=target)[::2] == (
        0,
        ["01_one 7 0", "01_one 7 1"],
    )
    published = course.folder / "data" / "reference" / "01_one_mnist.json"
    assert json.loads(published.read_text("utf-8"))["seeds"] == [0, 1]
    others = course.run("--config", "first_seed=1", target=target)
    assert others[::2] == (0, ["01_one 7 2"])
    assert "01_one: 2 seeds, mnist (full data)" in others[1]
    assert json.loads(published.read_text("utf-8"))["seeds"] == [0, 1]


def test_a_copy_of_a_lesson_is_no_lesson(course):
    notebooks = course.folder / "notebooks"
    for copy in ("01_one-Copy1", "02_two (1)"):
        shutil.copy(notebooks / "01_one.ipynb", notebooks / f"{copy}.ipynb")
    assert course.run()[::2] == (0, BOTH)
    assert set(os.listdir(course.folder / "build" / "results")) == {"01_one.json", "02_two.json"}


def test_a_build_folder_that_cannot_be_made_is_one_sentence(course):
    code, said, ran = course.run(COURSE_BUILD_DIR="Snakefile/build")
    assert (code, ran) == (1, [])
    assert "Snakefile/build: Not a directory. Name another folder with COURSE_BUILD_DIR" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("folder", ["", ".."])
def test_a_build_folder_in_which_the_course_lies_is_refused(course, folder):
    before = (course.folder / "notebooks" / "01_one.ipynb").read_bytes()
    build = str(course.folder / folder)
    code, said, ran = course.run(target=f"{build}/results/01_one.json", COURSE_BUILD_DIR=build)
    assert (code, ran) == (1, [])
    assert "the course itself lies in it. Name another folder with COURSE_BUILD_DIR" in said
    assert (course.folder / "notebooks" / "01_one.ipynb").read_bytes() == before


@pytest.mark.parametrize("name", ["pages", "site"])
def test_a_folder_of_somebody_else_is_not_replaced_by_the_site(tmp_path, name):
    essay = tmp_path / name / "essay.md"
    essay.parent.mkdir()
    essay.touch()
    with pytest.raises(SystemExit, match=f"{name} is somebody's own: name another with COURSE_BUI"):
        pages.build(tmp_path / "pages", tmp_path / "site", notebooks=[], claims=tmp_path)
    assert essay.exists()


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("quick=maybe", "quick: expected one of True, False, received 'maybe'"),
        ("seeds=", "seeds: expected a whole number, at least 1, at most 1,000,000,000, received N"),
        ("first_seed=-1", "first_seed: expected a whole number, at least 0,"),
    ],
)
def test_a_bad_option_ends_the_command_with_what_is_allowed(course, option, expected):
    code, said, ran = course.run("--config", option, target="build/study/01_one/mnist.json")
    assert (code, ran) == (1, [])
    assert expected in said


def test_a_cell_that_takes_too_long_ends_its_lesson(course):
    script = course.folder / "workflow" / "lesson.py"
    script.write_text(script.read_text("utf-8").replace("CELL_SECONDS = 1800", "CELL_SECONDS = 2"))
    course.write("02_two", WAIT)
    code, said, _ = course.run()
    assert code == 1
    assert "02_two failed: CellTimeoutError: A cell timed out" in said
    assert course.numbers("results/01_one.json") == {"score": [0]}
    (course.folder / "go").touch()
    assert course.run("--rerun-triggers", "mtime")[::2] == (0, BOTH[1:])


def test_a_build_folder_that_is_deleted_meanwhile_is_made_again(course):
    course.write("02_two", WAIT)
    process = course.start()
    course.wait_for_the_last(2)
    shutil.rmtree(course.folder / "build")
    (course.folder / "go").touch()
    process.communicate(timeout=120)
    assert course.run()[0] == 0
    for lesson in ("01_one", "02_two"):
        assert course.numbers(f"results/{lesson}.json") == {"score": [0]}


NETWORK = """import matplotlib.pyplot as plt, numpy as np
from helpers import models, plotting, training
from helpers.backend import keras, tf
plt.style.use(plotting.STYLE)
plotting.show(plotting.picture(np.eye(9), title="A × title"), "a picture")
images = np.random.default_rng(0).random([999, 784], np.float32)
network = models.basic_autoencoder(784, 20, initializer=models.normal(0.1, 0))
history = training.train(
    network, loss=lambda model, images: tf.reduce_mean((images - model(images)) ** 2),
    data=[images], optimizer=keras.optimizers.Adam(), steps=50, batch_size=100, seed=0)
print(network(images[:1]).dtype, history.losses.tolist())"""
START_UP = "import numpy; numpy.set_printoptions(precision=1); del numpy\nprint('hello')\n"
SETTINGS = {
    "keras/keras.json": '{"floatx": "float64", "backend": "jax", "epsilon": 0.1}',
    "mpl/matplotlibrc": "text.usetex: True\nsavefig.dpi: 20\nbackend: TkAgg\n",
    "ipython/profile_default/startup/00.py": START_UP,
    "ipython/profile_default/ipython_config.py": "c.InteractiveShellApp.exec_lines = ['1 / 0']",
    "start_up.py": START_UP,
    "jupyter/kernels/python3/kernel.json": '{"argv": ["false"], "display_name": "another"}',
    "other/helpers/__init__.py": "raise RuntimeError('a package of somebody else')",
    "../Kürs mit Lücke/notebooks/helpers.py": "raise RuntimeError('a file of somebody else')",
}
VARIABLES = {
    "HOME": os.devnull, "KERAS_BACKEND": "torch", "KERAS_HOME": "keras", "MPLBACKEND": "TkAgg",
    "MATPLOTLIBRC": "mpl", "MPLCONFIGDIR": "mpl", "IPYTHONDIR": "ipython", "XLA_FLAGS": "--unknown",
    "TF_XLA_FLAGS": "--unknown", "TF_ENABLE_ONEDNN_OPTS": "1", "TF_CPP_MIN_LOG_LEVEL": "0",
    "PYTHONSTARTUP": "start_up.py", "PYTHONWARNINGS": "always", "JUPYTER_PATH": "jupyter",
    "JUPYTER_DATA_DIR": "jupyter", "DISPLAY": "", "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0",
    "PYTHONUTF8": "0",
}  # fmt: skip


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory and processors as Linux does")
def test_settings_and_machines_change_no_result(tmp_path):
    course = Course(tmp_path / "Kürs mit Lücke")
    course.write("01_one", NETWORK)
    one = {"target": "build/results/01_one.json"}
    outcomes = []
    person = tmp_path / "person"
    for name, text in SETTINGS.items():
        (person / name).parent.mkdir(parents=True, exist_ok=True)
        (person / name).write_text(text)
    paths = {k: str(person / v) if (person / v).exists() else v for k, v in VARIABLES.items()}
    paths["PYTHONPATH"] = str(person / "other")
    narrow = ("prlimit", f"--as={3 * 2**30}", "taskset", "--cpu-list", "0")
    for how in ({}, {"before": narrow, **paths}):
        code, said, _ = course.run("--forceall", **one, **how)
        assert code == 0, said
        results = json.loads((course.folder / one["target"]).read_text("utf-8"))
        executed = course.folder / "build" / "notebooks" / "01_one.ipynb"
        outputs = [
            o for c in nbformat.read(executed, as_version=4).cells for o in c.get("outputs", [])
        ]
        assert not [o for o in outputs if o.get("name") == "stderr"]
        del results["seconds"], results["peak_mib"]
        outcomes.append((results, outputs))
    assert outcomes[0] == outcomes[1]
    assert "float32" in str(outcomes[0])


@posix
def test_a_study_on_two_workers_of_which_one_is_killed_completes(course):
    pytest.importorskip("snakemake_executor_plugin_cluster_sync")
    course.write("01_one", f"if first_seed == 1:\n    {WAIT}")
    target = "build/study/01_one/mnist.json"
    elsewhere = ("--executor", "cluster-sync", "--cluster-sync-submit-cmd", "sh", "--retries", "2")
    soon = ("--seconds-between-status-checks", "1")
    process = course.start("--config", "seeds=2", "--jobs", "2", *soon, *elsewhere, target=target)
    wait_for((course.folder / "waits").exists)
    family = psutil.Process(process.pid).children(recursive=True)
    (worker,) = [member for member in family if "seed=1" in command(member)]
    for member in [*worker.children(recursive=True), worker]:
        member.kill()
    (course.folder / "go").touch()
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert course.numbers("study/01_one/mnist.json")["score"] == pytest.approx([0, 0.1])
    ran = sorted((course.folder / "ran.txt").read_text().splitlines())
    assert ran == ["01_one 7 0", "01_one 7 1", "01_one 7 1"]
