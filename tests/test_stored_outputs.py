"""Every lesson, executed from top to bottom, shows what its stored outputs show.

nbval compares strictly: each output of each cell, except in cells tagged with a reason, with
decimals masked.  The numbers behind the decimals are held against bands.
"""

import json
from pathlib import Path

import pytest
from conftest import LESSONS, name, nbval, passed

pytestmark = pytest.mark.notebooks

BANDS = json.loads(Path(__file__).with_name("expected_results.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def build(tmp_path_factory) -> Path:
    """Return the folder in which this module's executions leave their results."""
    return tmp_path_factory.mktemp("build")


@pytest.mark.parametrize("path", LESSONS, ids=name)
def test_a_lesson_shows_what_its_stored_outputs_show(path, build):
    run = nbval(path, build)
    assert passed(run), run.stdout + run.stderr


@pytest.mark.parametrize("path", LESSONS, ids=name)
def test_a_lessons_numbers_lie_in_their_bands(path, build):
    file = build / "results" / f"{path.stem}.json"
    if not file.exists():
        pytest.skip("the lesson was not executed in this run")
    results = json.loads(file.read_text("utf-8"))
    bands = BANDS[results["source"]][path.stem]
    assert bands
    measured = {number: _find(results["numbers"], number) for number in bands}
    outside = {
        number: f"expected {low} to {high}, measured {measured[number]}"
        for number, (low, high) in bands.items()
        if not low <= measured[number] <= high
    }
    assert outside == {}


@pytest.mark.parametrize("path", LESSONS, ids=name)
def test_a_lesson_needs_less_than_three_gigabytes(path, build):
    file = build / "results" / f"{path.stem}.json"
    if not file.exists():
        pytest.skip("the lesson was not executed in this run")
    assert json.loads(file.read_text("utf-8"))["peak_mib"] < 3 * 1024


def _find(numbers: dict[str, float | list[float]], number: str) -> float:
    """Return a number by its name, or one of a list: ``name[0]``, ``name[-1]``."""
    name, _, position = number.rstrip("]").partition("[")
    return numbers[name][int(position)] if position else numbers[name]


def test_no_autoencoder_is_reported_better_than_pca_on_its_training_images(build):
    file = build / "results" / "02_basic_autoencoder.json"
    if not file.exists():
        pytest.skip("the lesson was not executed in this run")
    numbers = json.loads(file.read_text("utf-8"))["numbers"]
    assert numbers["squared_error_training"][-1] >= numbers["pca_error"]
    ratios = [values for name, values in numbers.items() if name.startswith("ratio (")]
    assert len(ratios) == 5
    assert min(map(min, ratios)) >= 1
