import html
import json
import os
import re
import signal
import subprocess
import sys
import time
from copy import deepcopy
from pathlib import Path

import click.testing
import nbformat
import psutil
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from helpers import course, execution, lessons, normal_form, report, stamps

PARAMETERS = """\
steps: int = 1000  # weight updates
rate: float = 0.1  # size of a step
dataset: str = "mnist"  # name of the data set
noisy: bool = True  # whether noise is added
sizes: list[int] = [784, 100]  # units of each layer"""

RESULTS = """\
import json, os, pathlib
folder = pathlib.Path(os.environ["COURSE_BUILD_DIR"]) / "results"
folder.mkdir()
claim = {"claim": "Deep <b>beats</b> PCA & more", "reported": "", "measured": f"{steps} steps",
         "verdict": "<script>alert(1)</script>"}
text = json.dumps({"lesson": "LESSON", "dataset": "mnist", "source": "sample", "numbers": {},
                   "parameters": {"steps": steps, "rate": rate}, "claims": [claim],
                   "versions": {"python": "3.11"}, "seconds": 0.1})
(folder / "LESSON.json").write_text(text);"""


class Course:
    """A course in a temporary folder, and the command line on it."""

    def __init__(self, root):
        self.notebooks, self.build = root / "notebooks", root / "build"
        (self.notebooks / "solutions").mkdir(parents=True)

    def add(self, name, *sources, heading="# A lesson", metadata=None, tags=()):
        results = RESULTS.replace("LESSON", Path(name).name)
        cells = [
            new_markdown_cell(f"{heading}\n\nIt has $x_i^2$ in it.", id="title"),
            new_code_cell(PARAMETERS, id="parameters", metadata={"tags": ["parameters"]}),
        ]
        for number, source in enumerate([results, *sources]):
            cells.append(new_code_cell(source, id=f"cell-{number}", metadata={"tags": list(tags)}))
        path = self.notebooks / f"{name}.ipynb"
        nbformat.write(new_notebook(cells=cells, metadata=metadata or {}), path)
        return path

    def __call__(self, *arguments):
        command = ["--notebooks", str(self.notebooks), *arguments]
        return click.testing.CliRunner().invoke(course.cli, command)

    def stamp(self, name, build=None):
        return stamps.load(name, build or self.build)

    def content(self):
        paths = (path for path in self.build.rglob("*") if path.is_file())
        return {path.relative_to(self.build).as_posix(): path.read_bytes() for path in paths}

    def files(self):
        return sorted(self.content())


@pytest.fixture
def a_course(tmp_path, monkeypatch):
    made = Course(tmp_path)
    monkeypatch.setenv("COURSE_BUILD_DIR", str(made.build))
    monkeypatch.delenv("COURSE_DATA", raising=False)
    monkeypatch.delenv("COURSE_DATA_DIR", raising=False)
    return made


def test_command_starts_without_the_heavy_packages():
    heavy = "{'tensorflow', 'keras', 'papermill', 'nbconvert', 'nbformat'}"
    code = f"import sys, helpers.course; assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_list_shows_titles_parameters_and_state(a_course):
    a_course.add("01_first", heading="# Loading `data`, *with care*")
    a_course.add("02_second")
    short = a_course("list").stdout
    assert re.search(r"^01_first +not run +Loading data, with care$", short, re.MULTILINE)
    assert "steps" not in short
    long = a_course("list", "-l", "2").stdout
    assert "01_first" not in long
    assert re.search(r"rate: float = 0\.1 +size of a step", long)
    assert re.search(r"sizes: list\[int\] = \[784, 100\] +units of each layer", long)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ((), ["01_first", "02_second", "03_seconds"]),
        (("3", "1"), ["01_first", "03_seconds"]),
        (("01_first", "1", "first"), ["01_first"]),
        (("02_s", "notebooks/01_first.ipynb"), ["01_first", "02_second"]),
        (("02_second",), ["02_second"]),
    ],
)
def test_lessons_are_named_in_several_ways(a_course, wanted, expected):
    for name in ("01_first", "02_second", "03_seconds"):
        a_course.add(name)
    chosen = lessons.select(lessons.find(a_course.notebooks), wanted)
    assert [lesson.name for lesson in chosen] == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["9"], "no such lesson: '9'; expected one of: 01_first, 02_second"),
        (["0"], "no such lesson: '0'"),
        ([""], "no such lesson: ''"),
        (["1", "-p", "stpes", "3"], "01_first has no parameter 'stpes'; expected one of: steps,"),
        (["-p", "steps", "3.0"], "parameter steps: expected int (such as 1000), received 3.0"),
        (["-p", "steps", "true"], "parameter steps: expected int"),
        (["-p", "steps", "__import__('os')"], "parameter steps: expected int"),
        (["-p", "rate", "fast"], "parameter rate: expected float (such as 0.1), received 'fast'"),
        (["-p", "noisy", "0"], "parameter noisy: expected bool (such as True), received 0"),
        (["-p", "sizes", "784,a"], "parameter sizes: expected list[int]"),
        (["-p", "sizes", "[1.5]"], "parameter sizes: expected list[int]"),
        (["--timeout", "0"], "--timeout"),
        (["--quick"], "quick.yaml: expected small parameters for each lesson"),
    ],
)
def test_wrong_commands_are_refused_before_anything_runs(a_course, arguments, message):
    a_course.add("01_first")
    a_course.add("02_second")
    result = a_course("run", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert not a_course.build.exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("03_third: {steps: 1}", "expected sections named after lessons (01_first)"),
        ("01_first: 5", "expected sections named after lessons"),
        ("01_first: {stpes: 1}", "quick.yaml: 01_first has no parameter 'stpes'"),
        ("01_first: {rate: 1e-3}", "quick.yaml: parameter rate: expected float"),
        ("01_first: [", "quick.yaml: expected small parameters"),
        ("- steps: 1", "quick.yaml: expected a section for each lesson, received ["),
    ],
)
def test_wrong_quick_parameters_are_refused(a_course, text, message):
    a_course.add("01_first")
    (a_course.notebooks / "quick.yaml").write_text(text)
    result = a_course("run", "--quick")
    assert result.exit_code == 2
    assert message in result.stderr


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("int", "-5", -5),
        ("float", "1", 1.0),
        ("float", "1e-3", 0.001),
        ("float", ".5", 0.5),
        ("bool", "false", False),
        ("bool", "True", True),
        ("str", "12", "12"),
        ("list[int]", "784, 100", [784, 100]),
        ("list[int]", "[784]", [784]),
        ("list[int]", "784", [784]),
    ],
)
def test_values_from_the_command_line(kind, text, value):
    received = lessons.from_text(lessons.Parameter("name", kind, None, ""), text)
    assert (received, type(received)) == (value, type(value))


def test_parameters_without_a_type_are_refused(a_course):
    path = a_course.add("01_first")
    path.write_text(path.read_text("utf-8").replace("steps: int = 1000", "steps = 1000"))
    result = a_course("list")
    assert result.exit_code == 2
    assert "01_first.ipynb: the parameters cell: expected lines like" in result.stderr


@pytest.mark.parametrize(
    "changes",
    [{"cells": 3}, {"metadata": []}, {"metadata": {"tags": 3}}, {"source": 3}, {"source": None}],
    ids=str,
)
def test_broken_notebook_is_named(a_course, changes):
    cell = {"cell_type": "code", "metadata": {}, "source": "", **changes}
    text = json.dumps({"cells": [cell], **changes})
    (a_course.notebooks / "01_first.ipynb").write_text(text)
    result = a_course("run")
    assert result.exit_code == 2
    assert "01_first.ipynb: expected a notebook of format 4" in result.stderr


@pytest.mark.parametrize("text", ["", "{}", "[]", "3"])
def test_file_that_is_no_notebook_is_named(a_course, text):
    (a_course.notebooks / "01_first.ipynb").write_text(text)
    for command in ("run", "report", "list"):
        result = a_course(command)
        assert result.exit_code == 2
        assert "01_first.ipynb: expected a notebook of format 4" in result.stderr


@pytest.mark.parametrize("default", ["{[]: 1}", "steps()", "1 +"])
def test_default_that_is_no_plain_value_is_refused(a_course, default):
    path = a_course.add("01_first")
    path.write_text(path.read_text("utf-8").replace("int = 1000", f"int = {default}"))
    result = a_course("list")
    assert result.exit_code == 2
    assert "01_first.ipynb: the parameters cell: " in result.stderr


def test_run_uses_this_python_and_gives_the_parameters(a_course, tmp_path, monkeypatch):
    # A kernel named python3 that leads elsewhere, and a notebook that asks for yet another.
    spec = tmp_path / "jupyter" / "kernels" / "python3" / "kernel.json"
    spec.parent.mkdir(parents=True)
    spec.write_text(json.dumps({"argv": ["nowhere"], "display_name": "x", "language": "r"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    a_course.add(
        "01_first",
        "import sys; print(sys.executable)",
        "print(steps, rate, noisy, sizes, pathlib.Path.cwd().name)",
        metadata={"kernelspec": {"name": "ir", "display_name": "R", "language": "R"}},
    )
    result = a_course("run", "first", "-p", "noisy", "false", "-p", "rate", "1")
    assert result.exit_code == 0, result.output
    assert re.search(r"^01_first  done +\d+\.\d s +\d+ MiB$", result.stdout, re.MULTILINE)
    assert result.stdout.splitlines()[-1].endswith("index.html")
    executed = nbformat.read(a_course.build / "notebooks" / "01_first.ipynb", as_version=4)
    assert executed.cells[-2].outputs[0].text == f"{sys.executable}\n"
    assert executed.cells[-1].outputs[0].text == "1000 1.0 False [784, 100] notebooks\n"
    stamp = a_course.stamp("01_first")
    assert stamp.parameters == {"noisy": False, "rate": 1.0}
    assert stamp.seconds > 0
    assert stamp.peak_mib > 20


def test_finished_lessons_run_again_only_if_something_changed(a_course, monkeypatch):
    path = a_course.add("01_first")
    assert a_course("run").exit_code == 0
    first = a_course.stamp("01_first")
    assert "up to date" in a_course("run").stdout
    assert a_course.stamp("01_first") == first
    assert re.search(r"01_first +done ", a_course("list").stdout)

    def changed():
        lesson = lessons.read(path)
        return stamps.changed(first, lesson, {}, a_course.build)

    assert changed() == []
    assert stamps.changed(first, lessons.read(path), {"steps": 1}, a_course.build) == ["parameters"]
    with monkeypatch.context() as patch:
        patch.setenv("COURSE_DATA", "sample")
        assert changed() == ["data"]
    with monkeypatch.context() as patch:
        patch.setattr(stamps.platform, "python_version", lambda: "3.12.0")
        assert changed() == ["versions"]
    results = a_course.build / "results" / "01_first.json"
    before = results.read_text("utf-8")
    results.write_text(before.replace("1000 steps", "7 steps"))
    assert changed() == ["outputs"]
    assert stamps.results("01_first", a_course.build) == {}  # they are of another run
    a_course("report")
    page = (a_course.build / "index.html").read_text("utf-8")
    assert "out of date: outputs changed" in page
    assert "7 steps" not in page
    results.write_text(before)
    assert stamps.results("01_first", a_course.build) != {}
    path.write_text(path.read_text("utf-8").replace("# A lesson", "# Another lesson"))
    assert changed() == ["notebook"]
    assert "changed: notebook" in a_course("list").stdout
    assert "done" in a_course("run").stdout
    assert "done" in a_course("run", "--force").stdout


def test_downloaded_data_is_a_change(a_course, tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_DATA_DIR", str(tmp_path / "data"))
    lesson = lessons.read(a_course.add("01_first"))
    before = stamps.inputs(lesson, {})
    folder = tmp_path / "data" / "mnist"
    folder.mkdir(parents=True)
    (folder / "train-images-idx3-ubyte.gz").write_bytes(b"x")
    after = stamps.inputs(lesson, {})
    assert [name for name in before if before[name] != after[name]] == ["data"]


def test_results_from_the_sample_are_called_so_unless_it_was_asked_for(a_course, monkeypatch):
    note = (
        "from the sample, as the complete data could not be had: 01_first; "
        "`course run --force` tries the complete data again\n"
    )
    a_course.add("01_first")
    # This one found the complete data.
    a_course.add(
        "02_second", '(folder / "02_second.json").write_text(text.replace("sample", "full"));'
    )
    assert note not in a_course("list").stdout
    for state in ("done", "up to date"):
        ran = a_course("run").stdout
        assert re.findall(r"^0\d_\w+ +(done|up to date)  ", ran, re.MULTILINE) == [state] * 2
        assert note in ran
    shown = a_course("list").stdout
    assert re.search(r"^01_first +done \(sample\)  ", shown, re.MULTILINE)
    assert re.search(r"^02_second +done  ", shown, re.MULTILINE)
    assert shown.endswith(note)
    assert "from the sample" not in a_course("run", "2").stdout
    monkeypatch.setenv("COURSE_DATA", "sample")
    for command in ("run", "run", "list"):
        shown = a_course(command).stdout
        assert "01_first" in shown
        assert "from the sample" not in shown
        assert "(sample)" not in shown


def test_quick_writes_elsewhere(a_course):
    a_course.add("01_first")
    a_course.add("02_second")
    (a_course.notebooks / "quick.yaml").write_text("01_first:\n  steps: 5\n  rate: 1\n02_second:\n")
    assert a_course("run", "1", "--quick", "-p", "steps", "7").exit_code == 0
    quick = a_course.build / "quick"
    assert a_course.stamp("01_first", quick).parameters == {"steps": 7, "rate": 1.0}
    assert (
        json.loads((quick / "results" / "01_first.json").read_text("utf-8"))["parameters"]["steps"]
        == 7
    )
    page = (quick / "index.html").read_text("utf-8")
    assert "Quick run." in page
    assert "steps = 7, not 1000; rate = 1.0, not 0.1" in page
    assert {path.name for path in a_course.build.iterdir()} == {"quick"}
    assert a_course("report", "--quick").exit_code == 0


def test_failing_lesson_stops_the_run_and_takes_its_old_results_with_it(a_course):
    a_course.add("01_first")
    a_course.add("02_second")
    assert a_course("run", "1").exit_code == 0
    a_course.add("01_first", "import math\nvalue = 1\nmath.sqrt(-value)")
    result = a_course("run", "--jobs", "1")
    assert result.exit_code == 1
    assert "ValueError" in result.stderr
    assert "line 3: math.sqrt(-value)" in result.stderr
    assert "01_first.failed.ipynb" in result.stderr
    assert "Traceback" not in result.output
    assert "02_second" not in result.output
    assert a_course.files() == [
        "html/01_first.html",
        "index.html",
        "notebooks/01_first.failed.ipynb",
        "notebooks/01_first.json",
    ]
    assert "failed" in a_course("list").stdout
    assert "math.sqrt(-value)" in (a_course.build / "index.html").read_text("utf-8")
    a_course.add("01_first")
    assert a_course("run", "1").exit_code == 0
    assert "notebooks/01_first.failed.ipynb" not in a_course.files()


def test_a_page_stays_until_the_next_report_writes_it_anew(a_course):
    a_course.add("01_first", "print('first version')")
    assert a_course("run", "1").exit_code == 0
    page = a_course.build / "html" / "01_first.html"
    in_an_hour = time.time() + 3600  # a page that was written by another clock
    os.utime(page, (in_an_hour, in_an_hour))
    a_course.add("01_first", "print('second version')")
    assert a_course("run", "1", "--no-report").exit_code == 0
    assert "first version" in page.read_text("utf-8")  # as the index says, which leads there
    assert a_course("run", "1").exit_code == 0
    assert "first version" not in page.read_text("utf-8")


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("import time; time.sleep(600)", ["--timeout", "500"], "took longer than 500 s"),
        ("import os; os._exit(3)", [], "the kernel ended with exit code 3"),
    ],
)
def test_stuck_and_dead_kernels_are_failures(a_course, monkeypatch, source, options, message):
    begun = execution._Watch.cell_started

    def cell_started(watch, cell, cell_index):
        begun(watch, cell, cell_index)
        if "sleep" in cell.source:  # a second is left: the kernel and other cells have had theirs
            watch._started = time.monotonic() - watch._timeout + 1

    monkeypatch.setattr(execution._Watch, "cell_started", cell_started)
    a_course.add("01_first", f"#\n{source}", "after = 1")
    started = time.monotonic()
    result = a_course("run", *options)
    assert time.monotonic() - started < 300
    assert result.exit_code == 1
    assert message in result.stderr
    failed = nbformat.read(a_course.build / "notebooks" / "01_first.failed.ipynb", as_version=4)
    status = [cell.metadata.papermill.status for cell in failed.cells]
    assert status == ["completed"] * 3 + ["failed", "pending"]
    assert message in failed.cells[3].outputs[-1].evalue
    assert not a_course.stamp("01_first").outputs.keys() & {"results/01_first.json"}
    assert not list(a_course.build.glob(".running-*"))


def test_kernel_that_does_not_start_is_tried_once_more(a_course):
    a_course.add("01_first")
    # The kernel's working directory comes first on its path.
    launcher = a_course.notebooks / "ipykernel_launcher.py"
    launcher.write_text("import os, sys\nos.remove(__file__)\nsys.exit('Address already in use')")
    assert a_course("run").exit_code == 0
    launcher.write_text("import sys\nsys.exit('Address already in use')")
    result = a_course("run", "--force")
    assert result.exit_code == 1
    assert "the kernel did not start" in result.stderr
    assert "Address already in use" in result.stderr
    # The lesson is the same as before, so is what it left.
    assert "results/01_first.json" in a_course.files()
    assert not a_course.stamp("01_first").failure


def test_a_changed_lesson_whose_kernel_does_not_start_has_no_page(a_course):
    a_course.add("01_first", "print('first version')")
    assert a_course("run").exit_code == 0
    a_course.add("01_first", "print('second version')")
    (a_course.notebooks / "ipykernel_launcher.py").write_text("import sys\nsys.exit(1)")
    assert a_course("run").exit_code == 1
    assert a_course.files() == ["index.html", "notebooks/01_first.json"]


@pytest.mark.parametrize("name", ["inputs", "parameters", "outputs"])
def test_a_damaged_stamp_is_none(a_course, name):
    a_course.add("01_first")
    assert a_course("run").exit_code == 0
    place = stamps.place("01_first", a_course.build)
    place.write_text(json.dumps({**json.loads(place.read_text("utf-8")), name: None}))
    assert "not run" in a_course("list").stdout
    assert a_course("report").exit_code == 0
    assert "up to date" not in a_course("run").stdout


def test_a_bad_value_does_not_cost_the_results_of_a_run_before(a_course):
    a_course.add("01_first", "assert steps != 13, 'steps: expected another number'")
    assert a_course("run").exit_code == 0
    before = a_course.files()
    result = a_course("run", "1", "-p", "steps", "13")
    assert result.exit_code == 1
    assert "expected another number" in result.stderr
    assert a_course.files() == sorted([*before, "notebooks/01_first.failed.ipynb"])
    assert "done" in a_course("list").stdout


@pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_signals_leave_nothing_behind(a_course, tmp_path, name):
    number = getattr(signal, name)
    note = tmp_path / "pids"
    a_course.add("01_first")
    assert a_course("run", "1").exit_code == 0
    before = a_course.content()
    a_course.add(
        "01_first",
        "import os, pathlib, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"pathlib.Path({str(tmp_path / 'part')!r}).write_text(f'{{os.getpid()}} {{child.pid}}')\n"
        f"os.rename({str(tmp_path / 'part')!r}, {str(note)!r})\n"
        "time.sleep(600)",
    )
    # A shell may have started the tests with the signal ignored, which children inherit.
    code = (
        f"import signal; signal.signal(signal.{name}, signal.SIG_DFL)\n"
        "from helpers.course import main; main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, "--notebooks", str(a_course.notebooks), "run"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    _wait_for(note.exists)
    pids = [int(pid) for pid in note.read_text("utf-8").split()]
    process.send_signal(number)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 128 + number
    assert errors == "01_first  stopped; finished lessons are kept\n"
    _wait_for(lambda: not any(psutil.pid_exists(pid) for pid in pids))
    assert a_course.content() == before
    assert not list(a_course.build.glob(".running-*"))


@pytest.mark.skipif(os.name != "posix", reason="sends a POSIX signal")
def test_a_signal_that_was_ignored_stays_ignored():
    code = (
        "import os, signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "from helpers import signals\n"
        "signals.leave()\n"
        "os.kill(os.getpid(), signal.SIGHUP)\n"
        "print('still here', flush=True)\n"
        "os.kill(os.getpid(), signal.SIGTERM)\n"
        "print('no more')"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout == "still here\n"
    assert result.returncode == 128 + signal.SIGTERM, result.stderr


WAIT_FOR_THE_OTHER = """\
import time
here = pathlib.Path("LESSON.here").resolve()
here.write_text("")
while not all(here.with_name(f"{name}.here").exists() for name in ("02_second", "03_third")):
    time.sleep(0.05)"""


@pytest.mark.parametrize("options", [[], ["--quick"]])
def test_lessons_run_side_by_side(a_course, monkeypatch, options):
    monkeypatch.setenv("COURSE_DATA", "sample")
    a_course.add("01_first", tags=["timing"])
    for name in ("02_second", "03_third"):
        a_course.add(name, WAIT_FOR_THE_OTHER.replace("LESSON", name))
    (a_course.notebooks / "quick.yaml").write_text("03_third:\n  rate: 1\n")
    result = a_course("run", "-p", "steps", "7", "--timeout", "300", *options)
    assert result.exit_code == 0, result.output
    *ran, last = result.stdout.splitlines()
    assert last.startswith("report: ")
    both = "02_second, 03_third"
    ran.remove(f"side by side: 01_first, {both}" if options else f"side by side: {both}")
    assert all(re.search(r"^0\d_\w+ +done +\d+\.\d s +\d+ MiB$", line) for line in ran)
    assert sorted(line.split()[0] for line in ran) == ["01_first", "02_second", "03_third"]
    assert len({line.index("done") for line in ran}) == 1
    build = a_course.build / "quick" if options else a_course.build
    third = {"steps": 7, "rate": 1.0} if options else {"steps": 7}
    assert a_course.stamp("03_third", build).parameters == third
    page = (build / "index.html").read_text("utf-8")
    assert all(f"html/0{name}.html" in page for name in ("1_first", "2_second", "3_third"))
    again = a_course("run", "-p", "steps", "7", *options).stdout
    assert again.count("up to date") == 3
    assert "side by side" not in again


def test_lessons_that_take_times_run_first_and_alone(a_course, tmp_path):
    note = tmp_path / "notes"
    noting = (
        "import time\n"
        "def note(what):\n"
        f"    with open({str(note)!r}, 'a') as file: print('LESSON', what, file=file)\n"
        "note('begins'); time.sleep(0.5); note('ends')"
    )
    for name in ("01_first", "02_second", "03_third"):
        timing = ["timing"] if name == "02_second" else []
        a_course.add(name, noting.replace("LESSON", name), tags=timing)
    assert [lesson.takes_times for lesson in lessons.find(a_course.notebooks)] == [0, 1, 0]
    assert a_course("run").exit_code == 0
    assert note.read_text("utf-8").splitlines()[:2] == ["02_second begins", "02_second ends"]
    note.unlink()
    assert a_course("run", "--force", "--jobs", "1").exit_code == 0
    assert [line.split()[0][:2] for line in note.read_text("utf-8").splitlines()] == [
        "01",
        "01",
        "02",
        "02",
        "03",
        "03",
    ]


def test_a_failure_stops_what_runs_beside_it(a_course, tmp_path):
    note = tmp_path / "pid"
    wait = "import os, pathlib, time\nwhile not pathlib.Path({!r}).exists(): time.sleep(0.05)\n"
    a_course.add("01_first", wait.format(str(note)) + "1 / 0")
    a_course.add(
        "02_second",
        "import os, pathlib, time\n"
        f"pathlib.Path({str(tmp_path / 'part')!r}).write_text(str(os.getpid()))\n"
        f"os.rename({str(tmp_path / 'part')!r}, {str(note)!r})\n"
        "time.sleep(600)",
    )
    a_course.add("03_third")
    started = time.monotonic()
    result = a_course("run")
    assert time.monotonic() - started < 300
    assert result.exit_code == 1
    assert "ZeroDivisionError" in result.stderr
    assert "01_first.failed.ipynb" in result.stderr
    assert result.stderr.startswith("01_first: the lesson failed\n")
    assert "03_third  " not in result.output
    assert a_course.files() == [
        "html/01_first.html",
        "index.html",
        "notebooks/01_first.failed.ipynb",
        "notebooks/01_first.json",
    ]
    _wait_for(lambda: not psutil.pid_exists(int(note.read_text("utf-8"))))
    assert not list(a_course.build.glob(".running-*"))


@pytest.mark.skipif(os.name != "posix", reason="sends a POSIX signal")
def test_a_killed_lesson_is_named_and_leaves_nothing(a_course):
    # The kernel ends with its parent, which is the command that runs this lesson.
    a_course.add("01_first", "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)")
    a_course.add("02_second", "import time; time.sleep(600)")
    result = a_course("run")
    assert result.exit_code == 1
    assert result.stderr == "01_first: the lesson failed\nended with exit code -9\n"
    assert a_course.files() == ["index.html"]
    assert not list(a_course.build.glob(".running-*"))


@pytest.mark.skipif(os.name != "posix", reason="sends a POSIX signal")
def test_a_signal_reaches_all_that_run_side_by_side(a_course, tmp_path):
    for name in ("01_first", "02_second"):
        a_course.add(
            name,
            "import os, pathlib, time\n"
            f"part = pathlib.Path({str(tmp_path)!r}) / '{name}.part'\n"
            "part.write_text(str(os.getpid()))\n"
            "part.rename(part.with_suffix('.pid'))\n"
            "time.sleep(600)",
        )
    command = [sys.executable, "-m", "helpers.course", "--notebooks", str(a_course.notebooks)]
    process = subprocess.Popen(
        [*command, "run"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    _wait_for(lambda: len(list(tmp_path.glob("*.pid"))) == 2)
    process.send_signal(signal.SIGTERM)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGTERM
    assert output == "side by side: 01_first, 02_second\n"
    assert errors == "stopped; finished lessons are kept\n"
    pids = [int(path.read_text("utf-8")) for path in tmp_path.glob("*.pid")]
    _wait_for(lambda: not any(psutil.pid_exists(pid) for pid in pids))
    assert a_course.files() == []


def _wait_for(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def test_report_escapes_and_needs_no_network(a_course):
    a_course.add("01_first", heading="# One & <i>only</i>")
    a_course.add("02_second")
    assert a_course("run", "1").exit_code == 0
    page = (a_course.build / "index.html").read_text("utf-8")
    assert "One &amp; &lt;i&gt;only&lt;/i&gt;" in page
    assert "Deep &lt;b&gt;beats&lt;/b&gt; PCA &amp; more" in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert 'data-label="Reported">—<' in page
    assert '<span class="badge">sample</span>' in page
    assert "small sample of the data sets" in page
    assert "not run" in page  # the second lesson
    lesson = (a_course.build / "html" / "01_first.html").read_text("utf-8")
    assert "<math" in lesson
    for text in (page, lesson):
        assert "<script src" not in text
        assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//""", text)
        assert not re.search(r"@import|url\(['\"]?http", text)


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff"])
def test_damaged_results_are_no_results(a_course, content):
    a_course.add("01_first")
    assert a_course("run").exit_code == 0
    (a_course.build / "results" / "01_first.json").write_bytes(content)
    result = a_course("report")
    assert result.exit_code == 0, result.output
    page = (a_course.build / "index.html").read_text("utf-8")
    assert "No lesson has left results yet." in page
    assert "out of date: outputs changed" in page
    assert "changed: outputs" in a_course("list").stdout


def test_formulas_that_cannot_be_translated_stay_readable():
    assert "<msup>" in report.mathml("$x^2$")
    assert report.mathml(r"$\left( <$") == r"<code>\left( &lt;</code>"


def _output(name, text):
    return new_output("stream", name=name, text=text)


def _untidy():
    """Return a notebook as an execution leaves it."""
    ran = new_code_cell("1 + 1", id="a", execution_count=7)
    ran.outputs = [
        _output("stdout", "a"),
        _output("stdout", "b\n"),
        new_output("display_data", {"application/vnd.jupyter.widget-view+json": {}}),
        new_output("execute_result", {"text/plain": "2"}, execution_count=7),
    ]
    ran.metadata = {"tags": ["x"], "execution": {"a": "1"}, "papermill": {}, "collapsed": False}
    injected = new_code_cell("steps = 2", id="b", metadata={"tags": ["injected-parameters"]})
    empty = new_code_cell("", id="e", execution_count=3, metadata={"tags": []})
    cells = [new_markdown_cell("# Title", id="c"), injected, ran, empty, new_code_cell("2", id="d")]
    metadata = {
        "kernelspec": {"name": "ir", "display_name": "R"},
        "language_info": {"name": "python", "version": "3.11.2"},
        "papermill": {"duration": 1},
        "widgets": {"state": {}},
    }
    notebook = new_notebook(cells=cells, metadata=metadata)
    empty.id = "a"  # which is taken
    return notebook


def test_normal_form():
    untidy = _untidy()
    before = deepcopy(untidy)
    tidy = normal_form.normal_form(untidy)
    assert untidy == before
    nbformat.validate(tidy)
    assert tidy.metadata == {
        "kernelspec": {
            "display_name": "Python 3 (ipykernel)",
            "language": "python",
            "name": "python3",
        },
        "language_info": {"file_extension": ".py", "name": "python"},
    }
    title, ran, empty, last = tidy.cells
    assert [cell.execution_count for cell in (ran, empty, last)] == [1, None, 2]
    assert [output.output_type for output in ran.outputs] == ["stream", "execute_result"]
    assert ran.outputs[0].text == "ab\n"
    assert ran.outputs[1].execution_count == 1
    assert ran.metadata == {"tags": ["x"]}
    assert empty.metadata == {}
    assert [title.id, ran.id, last.id] == ["c", "a", "d"]
    assert empty.id != "a"
    assert normal_form.normal_form(tidy) == tidy
    assert normal_form.normal_form(untidy) == tidy
    assert normal_form.text(tidy).endswith("}\n")


@pytest.mark.parametrize(
    "content",
    [
        {},
        [],
        {"nbformat": 3, "nbformat_minor": 0, "metadata": {}, "worksheets": []},
        {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": 3},
        {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [{"metadata": []}]},
    ],
    ids=["nothing", "a list", "format 3", "no cells", "a wrong cell"],
)
def test_what_is_no_notebook_has_no_normal_form(tmp_path, content):
    path = tmp_path / "a.ipynb"
    path.write_text(json.dumps(content))
    (found,) = normal_form.deviations(path)
    assert found.startswith("expected a notebook of format 4 (")
    path.write_text("{")
    (found,) = normal_form.deviations(path)
    assert found.startswith("expected a notebook of format 4 (")


# nbformat complains about the ids, too.
@pytest.mark.filterwarnings("ignore::nbformat.warnings.MissingIDFieldWarning")
@pytest.mark.filterwarnings("ignore::nbformat.warnings.DuplicateCellId")
@pytest.mark.parametrize("minor", [4, 5])
def test_an_untidy_notebook_is_one_all_the_same(tmp_path, minor):
    notebook = json.loads(nbformat.v4.writes(_untidy()))
    notebook["nbformat_minor"] = minor
    del notebook["cells"][0]["id"]
    path = tmp_path / "a.ipynb"
    path.write_text(json.dumps(notebook))
    (found,) = normal_form.deviations(path)
    assert found.startswith("line 1: expected '{\\n', received ")


def _with_widgets():
    """Return a notebook with a widget that has a picture and one that has none."""
    widget = {"application/vnd.jupyter.widget-view+json": {"model_id": "1"}}
    cell = new_code_cell("explore()", id="a", execution_count=1)
    cell.outputs = [
        new_output("display_data", {**widget, "image/png": "AAAA", "text/plain": "A grid."}),
        new_output("display_data", {**widget, "text/plain": "HBox()"}),
        new_output("display_data", {"text/plain": "no widget"}),
    ]
    cells = [new_markdown_cell("# Title", id="b"), cell]
    return new_notebook(cells=cells, metadata={"widgets": {"state": {}}})


@pytest.mark.parametrize("tidy", [normal_form.without_widgets, normal_form.normal_form])
def test_of_a_widget_the_picture_stays(tidy):
    notebook = _with_widgets()
    before = deepcopy(notebook)
    cell = tidy(notebook).cells[1]
    assert notebook == before
    assert [dict(output.data) for output in cell.outputs] == [
        {"image/png": "AAAA", "text/plain": "A grid."},
        {"text/plain": "no widget"},
    ]
    assert "widgets" not in tidy(notebook).metadata


def test_a_page_shows_the_picture_of_a_widget_and_loads_no_script(tmp_path):
    path = tmp_path / "a.ipynb"
    nbformat.write(_with_widgets(), path)
    page = report.render(path, "A", tmp_path)
    assert "data:image/png;base64,AAAA" in page
    assert "widget-view" not in page
    assert "html-manager" not in page


def test_a_figure_on_a_page_has_its_text_alternative(tmp_path):
    path = tmp_path / "a.ipynb"
    cell = new_code_cell("show()", id="a", execution_count=1)
    alt = {"image/png": {"alt": 'A "curve", x < 1.'}}
    cell.outputs = [new_output("display_data", {"image/png": "AAAA"}, metadata=alt)]
    nbformat.write(new_notebook(cells=[new_markdown_cell("# A", id="b"), cell]), path)
    (image,) = re.findall("<img [^>]*AAAA[^>]*>", report.render(path, "A", tmp_path))
    (shown,) = re.findall("alt=(?:\"[^\"]*\"|'[^']*')", image)
    assert html.unescape(shown[5:-1]) == 'A "curve", x < 1.'


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("saved in /home/somebody/course/x.png\n", "absolute path in the output: /home/somebody"),
        (r"C:\Users\somebody\x.png", r"absolute path in the output: C:\Users"),
        ("<Figure at 0x7f3a10c2d3d0>", "memory address in the output: at 0x7f3a10c2d3d0"),
        ("see https://example.org/home/page, build/results/x.json, 3/4", None),
        ("data:image/png;base64,abc/tmp/x/home/y", None),
    ],
)
def test_what_may_not_be_committed(text, problem):
    found = normal_form.problems(
        new_notebook(cells=[new_code_cell("1", outputs=[_output("stdout", text)])])
    )
    assert [problem in line for line in found] == ([True] if problem else [])


def test_large_notebooks_may_not_be_committed():
    notebook = new_notebook(cells=[new_markdown_cell("x" * normal_form.LIMIT)])
    assert normal_form.problems(notebook) == ["expected less than 1 MB, received 1.00 MB"]


def test_refresh_writes_normal_form_on_the_complete_data(a_course):
    path = a_course.add("01_first", "print(os.environ['COURSE_DATA'])", "", "steps")
    solution = a_course.add("solutions/01_first_solutions", "print('solved')")
    other = a_course.add("02_second")
    untouched = other.read_bytes()
    check = a_course("refresh", "--check")
    assert check.exit_code == 1
    assert check.stdout.count("not in normal form") == 3
    assert "line " in check.stderr
    result = a_course("refresh", "1")
    assert result.exit_code == 0, result.output
    assert "solutions/01_first_solutions.ipynb  refreshed\n" in result.stdout
    notebook = nbformat.read(path, as_version=4)
    assert [cell.get("execution_count") for cell in notebook.cells[1:]] == [1, 2, 3, None, 4]
    assert notebook.cells[3].outputs[0].text == "full\n"
    assert notebook.cells[1].metadata == {"tags": ["parameters"]}
    assert [cell.id for cell in notebook.cells[:3]] == ["title", "parameters", "cell-0"]
    assert "solved" in solution.read_text("utf-8")
    assert a_course("refresh", "1", "--check").exit_code == 0
    assert other.read_bytes() == untouched
    assert not a_course.build.exists()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import sys; print('careful', file=sys.stderr)", "output on stderr: careful"),
        ("import tempfile; print('/tmp/' + 'x')", "absolute path in the output: /tmp/x"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
    ],
)
def test_refresh_refuses_what_may_not_be_committed(a_course, source, message):
    path = a_course.add("01_first", source)
    before = path.read_bytes()
    result = a_course("refresh")
    assert result.exit_code == 1
    assert message in result.stderr
    assert path.read_bytes() == before
    assert a_course.files() == ["refresh/01_first.ipynb"]
    # What was kept is of no use to somebody who asks about the form of another text.
    assert "kept for reading" not in a_course("refresh", "--check").stderr


def test_a_cell_tagged_as_a_picture_has_to_show_one():
    cell = new_code_cell("print('none')", execution_count=1, metadata={"tags": ["picture"]})
    cell.outputs = [new_output("stream", name="stdout", text="none\n")]
    notebook = new_notebook(cells=[cell])
    assert normal_form.picture(notebook) is None
    (problem,) = normal_form.problems(notebook)
    assert problem == "cell 1: expected a picture, as its tag says, and found none"


@pytest.mark.parametrize("text", ["1e999", "nan", "9" * 400, "{[]: 1}"])
def test_a_rate_that_is_no_finite_number_is_refused_before_anything_runs(a_course, text):
    a_course.add("01_first")
    result = a_course("run", "1", "-p", "rate", text)
    assert result.exit_code == 2
    assert "parameter rate: expected float" in result.stderr
    assert not a_course.files()
