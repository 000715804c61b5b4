"""The benchmark's ways do the same work, and its goals follow from the times."""

import importlib
import json
from itertools import pairwise

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks import __main__ as command
from benchmarks import goals, measure, report
from benchmarks.work import CLASSIFIER, DEEP, Work
from helpers.training import batch_rows

WORKS = pytest.mark.parametrize("work", [CLASSIFIER, DEEP], ids=["classifier", "deep"])
STEPS = 6


@pytest.fixture(autouse=True)
def _sample(monkeypatch):
    monkeypatch.setenv("COURSE_DATA", "sample")


def losses(work: Work, module: str, **settings: object) -> np.ndarray:
    count = len(work.data()[0])
    (rows,) = batch_rows(count, batch_size=work.batch_size, steps=STEPS, seed=0, block=STEPS)
    way = importlib.import_module(f"benchmarks.ways.{module}")
    return np.asarray(way.prepare(work, rows, **settings)())


@WORKS
def test_all_ways_do_the_same_work(work):
    eager = losses(work, "eager")
    assert eager.shape == (STEPS,)
    for module, settings in [
        ("course", {}),
        ("course", {"arms": 2}),
        ("eager", {"compiled": True}),
        ("session", {}),
    ]:
        np.testing.assert_allclose(losses(work, module, **settings), eager, rtol=1e-4)
    fit = losses(work, "keras_fit", steps_per_execution=3, jit_compile=False)
    np.testing.assert_allclose(fit, [eager.mean()], rtol=1e-4)


@pytest.mark.parametrize(
    ("module", "settings"),
    [("pytorch", {"threads": 1, "compiled": False}), ("jax_scan", {})],
)
@WORKS
def test_other_packages_do_the_same_work(work, module, settings, monkeypatch):
    pytest.importorskip({"pytorch": "torch", "jax_scan": "jax"}[module])
    if module == "jax_scan":
        monkeypatch.setattr("benchmarks.ways.jax_scan.BLOCK", STEPS)
    np.testing.assert_allclose(losses(work, module, **settings), losses(work, "eager"), rtol=1e-3)


@WORKS
def test_flops_are_those_of_the_products(work):
    layers = list(pairwise(work.sizes))
    forward = sum(2 * work.batch_size * a * b for a, b in layers)
    to_inputs = forward - 2 * work.batch_size * layers[0][0] * layers[0][1]
    assert work.flops() == 2 * forward + to_inputs


def test_every_way_names_a_module():
    for way in measure.WAYS:
        assert importlib.util.find_spec(f"benchmarks.ways.{way.module}")
    assert len({way.name for way in measure.WAYS}) == len(measure.WAYS)


def medians(**changed: float) -> dict[str, dict[str, float]]:
    times = dict.fromkeys((way.name for way in measure.WAYS), 10.0) | {"course": 1.0}
    times |= {"large products, NumPy": 0.9} | changed
    return {"classifier": times, "deep": dict(times)}


def test_goals_take_the_best_of_the_others():
    met = goals.of_ways(medians())
    assert all(goal.met for goal in met)
    slower = goals.of_ways(medians(**{"PyTorch, compiled": 1.5}))
    missed = [goal.text for goal in slower if not goal.met]
    assert missed == [f"{w}: course / PyTorch, compiled" for w in ("classifier", "deep")]


def test_goals_say_what_the_products_alone_would_reach():
    reached = {goal.text: goal for goal in goals.of_ways(medians(**{"products of a step": 0.8}))}
    assert reached["deep: course / large products, NumPy"].products == pytest.approx(0.8 / 0.9)
    assert reached["classifier: course / JAX scan"].products == pytest.approx(0.08)


def test_goals_leave_out_what_was_not_measured():
    times = medians()
    for by_way in times.values():
        for way in (*goals.PYTORCH, *goals.JAX):
            del by_way[way]
    texts = " ".join(goal.text for goal in goals.of_ways(times))
    assert "PyTorch" not in texts
    assert "JAX" not in texts
    assert "Keras fit" in texts


def test_losses_that_are_no_numbers_cost_no_times(tmp_path, monkeypatch):
    def measured(work: Work, ways: object, **_: int) -> dict[str, measure.Timing]:
        losses = {"Keras fit": np.array([np.nan]), "course": np.array([1.0, np.inf])}
        return {
            name: measure.Timing([time], losses.get(name, np.ones(2)), 900.0)
            for name, time in medians()["deep"].items()
        }

    monkeypatch.setenv("COURSE_BUILD_DIR", str(tmp_path))
    monkeypatch.setattr(command, "measure", measured)
    result = CliRunner().invoke(command.main, ["--ways-only"])
    assert result.exit_code == 1
    assert "not the same work" in result.output
    assert "'deep, Keras fit': nan" in result.output
    assert "JAX" not in result.output.partition("not the same work")[2]
    kept = json.loads((tmp_path / "benchmarks" / "results.json").read_text("utf-8"))
    assert kept["milliseconds_per_step"]["deep"]["course"] == [1.0]
    deviations = kept["largest_deviation_of_losses"]["deep"]
    assert deviations["Keras fit"] is deviations["course"] is None
    assert deviations["JAX scan"] == 0
    assert (tmp_path / "benchmarks" / "results.md").is_file()


def test_the_report_shows_times_goals_and_a_figure(tmp_path):
    times = medians()
    results = {
        "machine": {"cores": 2},
        "data": "sample",
        "packages": {"tensorflow": "2.21.0", "torch": None},
        "gflop_per_second": {"classifier": 200.0, "deep": 210.0},
        "milliseconds_per_step": {
            k: {w: [t, 2 * t] for w, t in v.items()} for k, v in times.items()
        },
        "peak_mib": {k: dict.fromkeys(v, 900.0) for k, v in times.items()},
        "largest_deviation_of_losses": {k: {"course": 1e-7} for k in times},
        "goals": [
            {"text": "course / other", "limit": 0.5, "ratio": 0.7, "products": 0.6, "met": False},
            {"text": "together", "limit": 2.0, "ratio": 1.9, "products": None, "met": True},
        ],
    }
    text = report.text(results)
    assert "tensorflow 2.21.0" in text
    assert "torch" not in text
    rows = [[part.strip() for part in line.split("|")[1:-1]] for line in text.splitlines()[-2:]]
    assert rows == [
        ["course / other", "0.5", "0.7", "missed", "0.6"],
        ["together", "2", "1.9", "met", ""],
    ]
    report.draw(results, tmp_path / "ratios.png")
    assert (tmp_path / "ratios.png").read_bytes().startswith(b"\x89PNG")
