"""What a study publishes follows from its reference results, and what is published still does."""

import json

import numpy as np
import pytest
import study
import yaml
from conftest import NOTEBOOKS

from helpers import results

ROOT = NOTEBOOKS.parent
PLANS = yaml.safe_load((ROOT / "workflow" / "study.yaml").read_text("utf-8"))
each_plan = pytest.mark.parametrize("lesson", PLANS)


def run(seed: int, **changes: object) -> dict:
    """Return a run's results as a lesson saves them."""
    base = {
        "dataset": "mnist",
        "source": "full",
        "versions": {"numpy": "2"},
        "machine": f"m{seed % 2}",
    }
    numbers = {"accuracy": [0.5 + seed / 100], "curve": [[1.0, 2.0]], "one": 1 / 3}
    return base | {"parameters": {"seed": seed, "steps": 3}, "numbers": numbers} | changes


def test_runs_that_differ_in_their_seed_become_one_reference():
    reference = study.collect({seed: run(seed) for seed in (3, 4)}, "seed")
    assert (reference.seeds, reference.parameters) == ([3, 4], {"steps": 3})
    assert reference.numbers == {
        "accuracy": [0.53, 0.54], "curve": [[1.0, 2.0]] * 2, "one": [0.33333] * 2
    }  # fmt: skip
    assert reference.machine == "m0; m1"
    assert results.Reference(**json.loads(study.text(reference))) == reference


@pytest.mark.parametrize("change", [{"source": "sample"}, {"parameters": {"seed": 4, "steps": 9}}])
def test_runs_that_differ_in_more_are_refused(change):
    with pytest.raises(ValueError, match="seed 4: expected a run like the first"):
        study.collect({3: run(3), 4: run(4, **change)}, "seed")


def test_the_permutation_test_tells_equal_sets_from_different_ones():
    rng = np.random.default_rng(0)
    one, same, other = rng.normal(0, 1, 20), rng.normal(0, 1, 20), rng.normal(3, 1, 20)
    assert study.p_value(one, same) > 0.05
    assert study.p_value(one, other) < 0.001
    assert study.p_value(np.array([1.0, 2, 3]), np.array([4.0, 5, 6])) == pytest.approx(2 / 20)


@each_plan
def test_what_is_published_follows_from_the_reference(lesson):
    plan, reference = PLANS[lesson], results.reference(lesson, "mnist")
    assert study.text(reference) == results.reference_path(lesson, "mnist").read_text("utf-8")
    expected = json.loads((ROOT / "tests" / "expected_results.json").read_text("utf-8"))
    assert study.bands(reference, plan).items() <= expected["full"][lesson].items()
    readme = (ROOT / "README.md").read_text("utf-8")
    assert study.with_table(readme, lesson, reference, plan) == readme
    assert study.against(reference, reference, plan).count("1.0000") == len(plan["scores"])
