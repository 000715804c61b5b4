"""What a study publishes follows from its reference results, and what is published still does."""

import ast
import json

import papermill
import pytest
import study
import yaml
from conftest import NOTEBOOKS

from helpers import datasets, results

ROOT = NOTEBOOKS.parent
PLANS = yaml.safe_load((ROOT / "workflow" / "study.yaml").read_text("utf-8"))
each_with_scores = pytest.mark.parametrize("lesson", [k for k, v in PLANS.items() if "scores" in v])


def run(seed: int, **changes: object) -> dict:
    """Return a run's results as a lesson saves them."""
    base = {
        "dataset": "mnist",
        "source": "full",
        "versions": {"tensorflow": "2"},
        "machine": f"m{seed % 2}",
    }
    numbers = {"accuracy": [0.5 + seed / 100], "curve": [[1.0, 2.0]], "one": 1 / 3}
    numbers["study_mean"] = 7.0  # read from an earlier study: no result of the run
    return base | {"parameters": {"seed": seed, "steps": 3}, "numbers": numbers} | changes


def test_runs_that_differ_in_their_seed_become_one_reference():
    reference = study.collect({seed: run(seed) for seed in (3, 4)}, "seed")
    assert (reference.seeds, reference.parameters) == ([3, 4], {"steps": 3})
    assert reference.numbers == {
        "accuracy": [0.53, 0.54], "curve": [[1.0, 2.0]] * 2, "one": [0.33333] * 2
    }  # fmt: skip
    assert reference.machine == "m0; m1"
    assert results.Reference(**json.loads(study.text(reference))) == reference


def test_a_study_of_one_seed_has_no_spread():
    plan = {"title": "accuracy", "scores": {"a": "accuracy"}}
    one, two = (study.collect({s: run(s) for s in seeds}, "seed") for seeds in ([0], [1, 2]))
    assert study.report("x", one, two, plan) == "x: 1 seeds, mnist (full data)"
    assert study.report("x", two, two, {}) == "x: 2 seeds, mnist (full data)"
    assert "±" in study.report("x", two, None, plan)
    third = study.collect({s: run(s) for s in (3, 4)}, "seed")
    assert "these seeds" in study.report("x", two, third, plan)
    assert "these seeds" not in study.report("x", two, two, plan)


@pytest.mark.parametrize("dataset", datasets.NAMES)
def test_a_plan_without_scores_publishes_the_reference_and_nothing_else(
    dataset, tmp_path, monkeypatch
):
    monkeypatch.setattr(results, "ROOT", tmp_path)
    reference = study.collect({0: run(0, dataset=dataset)}, "seed")
    study.publish("03_deep", reference, {"seed": "seed", "seeds": 1, "parameters": {}})
    assert results.reference("03_deep", dataset) == reference
    files = [path.name for path in tmp_path.rglob("*") if path.is_file()]
    assert files == [f"03_deep_{dataset}.json"]


def test_snakemakes_part_stays_small():
    assert len((ROOT / "Snakefile").read_text("utf-8").splitlines()) <= 120
    parts = (ROOT / "workflow").glob("*.py")
    assert sum(len(path.read_text("utf-8").splitlines()) for path in parts) <= 400


@pytest.mark.parametrize("change", [{"source": "sample"}, {"parameters": {"seed": 4, "steps": 9}}])
def test_runs_that_differ_in_more_are_refused(change):
    with pytest.raises(ValueError, match="seed 4: expected a run like the first"):
        study.collect({3: run(3), 4: run(4, **change)}, "seed")


@pytest.mark.parametrize(
    ("name", "dataset"),
    [(k, d) for k, v in PLANS.items() for d in v.get("datasets", datasets.NAMES)],
)
def test_a_published_reference_is_what_its_plan_says_of_the_lesson_as_it_is(name, dataset):
    plan, reference = PLANS[name], results.reference(name, dataset)
    assert reference, f"run: snakemake --config publish=True -- build/study/{name}/{dataset}.json"
    assert study.text(reference) == results.reference_path(name, dataset).read_text("utf-8")
    assert reference.seeds == list(range(plan["seeds"]))
    # Runs, not figures to fill a place: seeds differ.
    if plan["seeds"] > 1:
        assert any(first != second for first, second, *_ in reference.numbers.values())
    notebook = NOTEBOOKS / f"{plan.get('lesson', name)}.ipynb"
    declared = papermill.inspect_notebook(str(notebook)).values()
    defaults = {p["name"]: ast.literal_eval(p["default"]) for p in declared}
    expected = defaults | plan["parameters"] | {"dataset": dataset}
    counts = ("n_seeds", plan["seed"])  # a run has one seed
    assert {k: v for k, v in expected.items() if k not in counts} == {
        k: v for k, v in reference.parameters.items() if k not in counts
    }


@each_with_scores
def test_what_is_published_follows_from_the_reference(lesson):
    plan, reference = PLANS[lesson], results.reference(lesson, "mnist")
    expected = json.loads((ROOT / "tests" / "expected_results.json").read_text("utf-8"))
    assert study.bands(reference, plan).items() <= expected["full"][lesson].items()
    readme = (ROOT / "README.md").read_text("utf-8")
    assert study.with_table(readme, lesson, reference, plan) == readme
    assert study.against(reference, reference, plan).count("1.0000") == len(plan["scores"])
