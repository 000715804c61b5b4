"""The study over many seeds: what is run, what is put together, what is published."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from scipy.stats import permutation_test

from helpers import files, reference, side_by_side, study
from helpers.course import cli
from helpers.reference import Reference

PARAMETERS = {"dataset": "mnist", "steps": 30000, "units": [5, 5], "label_counts": [100, 1000]}


@pytest.fixture
def build(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("COURSE_BUILD_DIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    """Return a folder that stands for the repository."""
    monkeypatch.setattr(files, "ROOT", tmp_path)
    return tmp_path


def leave_result(seed: int, **changes: object) -> None:
    """Write what lesson 5 leaves after a run with one seed."""
    rng = np.random.default_rng(seed)
    numbers = {f"test_accuracy_{arm}": [float(rng.uniform(0.9, 1))] for arm in study.ARMS}
    content = {
        "lesson": study.LESSON,
        "dataset": "mnist",
        "source": "full",
        "parameters": {**PARAMETERS, "first_seed": seed, "n_seeds": 1},
        "versions": {"tensorflow": "2.21.0"},
        "numbers": {**numbers, "few": [0.1, 0.2], "scalar": 3.0, "levels": [[1.0, 2.0]]},
        "claims": [],
        "seconds": 1.0,
        **changes,
    }
    path = study.folder("mnist", seed) / "results" / f"{study.LESSON}.json"
    files.write(path, json.dumps(content))


def make(scores: dict[str, list[float]], seeds: list[int] | None = None) -> Reference:
    return Reference(
        dataset="mnist",
        source="full",
        seeds=seeds or list(range(len(scores["normal"]))),
        parameters=PARAMETERS,
        versions={"tensorflow": "2.21.0"},
        machine="test",
        numbers={
            **{f"test_accuracy_{arm}": values for arm, values in scores.items()},
            **{f"steps_to_90_{arm}": [1000.0] * len(values) for arm, values in scores.items()},
        },
    )


def scores(seed: int = 0, count: int = 20) -> dict[str, list[float]]:
    rng = np.random.default_rng(seed)
    return {arm: list(rng.uniform(0.9, 0.98, count)) for arm in study.ARMS}


def test_results_are_put_together_seed_by_seed(build):
    for seed in (4, 5, 6):
        leave_result(seed)
    found = study.collect("mnist", [4, 5, 6])
    assert found.seeds == [4, 5, 6]
    expected = [np.random.default_rng(seed).uniform(0.9, 1) for seed in (4, 5, 6)]
    assert found.numbers["test_accuracy_normal"] == pytest.approx(expected, rel=1e-4)
    assert found.numbers["few"] == [[0.1, 0.2]] * 3
    assert found.numbers["levels"] == [[1.0, 2.0]] * 3
    assert found.numbers["scalar"] == [3.0] * 3
    assert found.parameters == PARAMETERS
    assert "first_seed" not in found.parameters


@pytest.mark.parametrize(
    "changes",
    [
        {"source": "sample"},
        {"versions": {"tensorflow": "2.20.0"}},
        {"parameters": {**PARAMETERS, "steps": 100, "first_seed": 1, "n_seeds": 1}},
    ],
    ids=["data", "versions", "parameters"],
)
def test_runs_that_differ_are_not_put_together(build, changes):
    leave_result(0)
    leave_result(1, **changes)
    with pytest.raises(ValueError, match="seed 1: expected a run like the first"):
        study.collect("mnist", [0, 1])


def test_a_missing_run_is_an_error(build):
    leave_result(0)
    with pytest.raises(OSError, match="seed_001"):
        study.collect("mnist", [0, 1])


def test_a_reference_survives_its_file(root):
    written = make(scores())
    files.write(reference.path("mnist"), reference.text(written))
    assert reference.load("mnist") == written
    assert reference.load("fashion_mnist") is None


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"dataset": "mnist"}'])
def test_a_broken_reference_is_refused_by_name(root, content):
    files.write(reference.path("mnist"), content)
    with pytest.raises(ValueError, match=r"mnist\.json: expected reference results"):
        reference.load("mnist")


def test_a_broken_reference_ends_the_command_with_a_message(root):
    files.write(reference.path("mnist"), "{")
    result = CliRunner().invoke(cli, ["study"])
    assert result.exit_code == 1
    assert "Error: mnist.json: expected reference results" in result.output


def test_a_study_of_other_notebooks_is_refused(tmp_path):
    result = CliRunner().invoke(cli, ["--notebooks", str(tmp_path), "study"])
    assert result.exit_code == 2
    assert "--notebooks: a study repeats the course's own lesson 5" in result.output


def test_p_value_is_that_of_scipy_for_either_direction():
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=5), rng.normal(0.8, 1, size=6)
    exact = permutation_test(
        (one, other), lambda a, b, axis: np.mean(a, axis) - np.mean(b, axis), vectorized=True
    )
    assert study.p_value(one, other) == study.p_value(other, one)
    # 462 ways to deal: all are tried. SciPy doubles the smaller tail; we count |difference|.
    assert study.p_value(one, other) == pytest.approx(exact.pvalue, abs=0.02)
    # Of 252 ways, only this one and its mirror image lie so far apart.
    assert study.p_value(one, one + 100) == pytest.approx(2 / 252)


def test_bands_hold_every_run_of_the_study():
    drawn = scores()
    drawn["pretrained"][3] = 0.1
    bands = study.bands(make(drawn))
    for arm in study.ARMS:
        for i in range(3):
            low, high = bands[f"test_accuracy_{arm}[{i}]"]
            assert 0 <= low <= min(drawn[arm]) <= max(drawn[arm]) <= high <= 1
    low, high = bands["test_accuracy_He[0]"]
    assert high - low < 0.2


@pytest.mark.parametrize("options", [["--seeds", "2"], ["--first-seed", "20"]])
def test_fewer_or_other_seeds_never_replace_the_published_ones(options):
    result = CliRunner().invoke(cli, ["study", "--publish", *options])
    assert result.exit_code == 2
    assert "expected at least the 20 seeds that are published, 0 to 19" in result.output


def test_publishing_writes_reference_bands_and_table(root):
    drawn = scores()
    drawn["normal"][0] = 0.0980  # stuck
    files.write(root / "README.md", "before\n<!-- study -->\nold\n<!-- end of study -->\nafter\n")
    kept = {"other": [0.5, 1], "test_accuracy_He[0]": [0, 1]}
    expected = {"full": {study.LESSON: kept}, "sample": {}}
    files.write(root / "tests" / "expected_results.json", json.dumps(expected))

    published = study.publish(make(drawn))
    assert published == [
        reference.path("mnist"),
        root / "tests" / "expected_results.json",
        root / "README.md",
    ]
    readme = (root / "README.md").read_text(encoding="utf-8")
    assert readme.startswith("before\n<!-- study -->\n| test accuracy (%), 20 seeds |")
    assert readme.endswith("<!-- end of study -->\nafter\n")
    assert "old" not in readme
    (normal,) = [line for line in readme.splitlines() if line.startswith("| normal |")]
    learned = np.array(drawn["normal"][1:])
    assert normal.endswith(f"| 1 | {100 * learned.mean():.1f} | 1,000 |")
    text = (root / "tests" / "expected_results.json").read_text(encoding="utf-8")
    bands = json.loads(text)["full"][study.LESSON]
    assert bands["other"] == [0.5, 1]
    assert bands["test_accuracy_He[0]"][0] > 0.8
    assert '"other": [0.5, 1]' in text


def test_publishing_again_changes_nothing(root):
    files.write(root / "README.md", "<!-- study -->\n<!-- end of study -->\n")
    files.write(root / "tests" / "expected_results.json", f'{{"full": {{"{study.LESSON}": {{}}}}}}')
    study.publish(make(scores()))
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    study.publish(make(scores()))
    assert before == {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_half_of_the_runs_above_90_percent_are_needed_for_a_median():
    found = make(scores(count=3))
    found.numbers["steps_to_90_He"] = [500, PARAMETERS["steps"] + 1, PARAMETERS["steps"] + 1]
    text = study.with_table("<!-- study -->\n<!-- end of study -->\n", found)
    (row,) = [line for line in text.splitlines() if line.startswith("| He |")]
    assert row.endswith("| never |")


def test_where_all_runs_are_stuck_there_are_no_others():
    found = make(scores(count=3))
    found.numbers["test_accuracy_He"] = [0.1, 0.11, 0.1]
    text = study.with_table("<!-- study -->\n<!-- end of study -->\n", found)
    (row,) = [line for line in text.splitlines() if line.startswith("| He |")]
    assert "| 3 |  |" in row


def test_nothing_is_published_if_a_part_cannot_be_made(root):
    files.write(root / "README.md", "no marks\n")
    files.write(root / "tests" / "expected_results.json", f'{{"full": {{"{study.LESSON}": {{}}}}}}')
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match="marks"):
        study.publish(make(scores()))
    assert before == {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_a_readme_without_marks_is_refused():
    with pytest.raises(ValueError, match="marks"):
        study.with_table("no marks\n", make(scores()))


def test_the_summary_counts_stuck_runs():
    drawn = scores()
    drawn["normal"][:2] = [0.1, 0.11]
    lines = study.summary(make(drawn)).splitlines()
    (normal,) = [line for line in lines if line.startswith("normal")]
    assert normal.split()[-1] == "2"


def test_two_sets_of_runs_are_compared_arm_by_arm():
    lines = study.against(make(scores(0)), make(scores(1))).splitlines()
    assert [line.split()[0] for line in lines[2:]] == list(study.ARMS)
    assert all(0 < float(line.split()[-1]) <= 1 for line in lines[2:])


def test_a_clear_difference_has_no_p_value_of_zero():
    low, high = ({arm: list(np.linspace(x, x + 0.1, 20)) for arm in study.ARMS} for x in (0.1, 0.8))
    lines = study.against(make(low), make(high)).splitlines()
    assert all(line.endswith("< 0.001") for line in lines[2:])


@pytest.fixture
def runner(monkeypatch):
    """Let a small script stand for `course run`; it notes its seed in a file."""
    begun = subprocess.Popen

    def start(command: list[str], **options: object) -> subprocess.Popen:
        seed = command[command.index("first_seed") + 1]
        return begun([sys.executable, "-c", runner_script, seed], **options)

    def use(script: str) -> None:
        nonlocal runner_script
        runner_script = script

    runner_script = ""
    monkeypatch.setattr(side_by_side.subprocess, "Popen", start)
    return use


def test_every_seed_is_run_once_and_told(build, runner):
    runner("import sys; print('05_comparison  done', sys.argv[1])")
    told = []
    study.run("mnist", range(5), jobs=2, tell=told.append)
    assert sorted(told) == [f"seed {seed}    05_comparison  done {seed}" for seed in range(5)]


def test_a_failed_run_stops_the_study(build, runner):
    runner("import sys, time\nif sys.argv[1] == '0': sys.exit('no')\ntime.sleep(600)")
    started = time.monotonic()
    with pytest.raises(RuntimeError, match="seed 0: the lesson failed\nno"):
        study.run("mnist", range(4), jobs=2, tell=print)
    assert time.monotonic() - started < 300


@pytest.mark.skipif(os.name == "nt", reason="no SIGTERM on Windows")
def test_a_study_that_is_stopped_leaves_no_process(tmp_path):
    script = (
        "import subprocess, sys\n"
        "from helpers import course, side_by_side\n"
        "begun = subprocess.Popen\n"
        "side_by_side.subprocess.Popen = lambda command, **options: begun(\n"
        "    [sys.executable, '-c', 'import os, time; "
        'open(os.environ["COURSE_BUILD_DIR"][-3:], "w").write(str(os.getpid())); '
        "time.sleep(600)'], **options)\n"
        "sys.argv = ['course', 'study']\n"
        "course.main()\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script], cwd=tmp_path)
    deadline = time.monotonic() + 120
    while len([p for p in tmp_path.glob("0*") if p.read_text()]) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(120) == 128 + signal.SIGTERM
    for path in tmp_path.glob("0*"):
        with pytest.raises(ProcessLookupError):
            os.kill(int(path.read_text()), 0)


# ------------------------------------------------------------- what the repository says about it


def test_the_readme_shows_what_the_study_found():
    readme = (files.ROOT / "README.md").read_text(encoding="utf-8")
    assert study.with_table(readme, reference.load("mnist")) == readme


def test_the_bands_are_those_of_the_study():
    expected = json.loads((files.ROOT / "tests" / "expected_results.json").read_text("utf-8"))
    kept = expected["full"][study.LESSON]
    bands = study.bands(reference.load("mnist"))
    assert {name: kept[name] for name in bands} == bands


def test_the_published_study_is_the_lesson_at_full_size():
    published = reference.load("mnist")
    assert (published.source, published.parameters["steps"]) == ("full", 30_000)
    assert len(published.seeds) == len(set(published.seeds)) == 20
    for name, values in published.numbers.items():
        assert len(values) == 20, name


def test_the_readme_tells_what_was_found_on_fashion_mnist():
    found = reference.load("fashion_mnist")
    runs = {arm: 100 * np.array(found.numbers[f"test_accuracy_{arm}"]) for arm in study.ARMS}
    means = [f"{scores.mean():.1f}" for scores in runs.values()]
    stuck = [int((scores < 20).sum()) for scores in runs.values()]
    first, *others, last = means
    sentence = f"means of {first} ({stuck[0]} runs stuck), {', '.join(others)} and {last} %"
    readme = (files.ROOT / "README.md").read_text(encoding="utf-8")
    assert sentence in " ".join(readme.split())
    assert stuck[1:] == [0, 0, 0, 0]
