"""The page of claims shows every claim, and says where numbers are not the lesson's own."""

import json
from pathlib import Path

import claims
import nbformat
import pytest
from conftest import NOTEBOOKS

from helpers import results

PARAMETERS = "steps: int = 10  # steps\nunits: list[int] = [3, 2]  # sizes"


def lesson(path: Path, *extra: str, steps: str = "") -> Path:
    """Write a lesson, as it is or as papermill executes it with a number of steps."""
    cells = [nbformat.v4.new_markdown_cell("# 1 · A title"), nbformat.v4.new_code_cell(PARAMETERS)]
    cells[1].metadata.tags = ["parameters"]
    if steps:
        cells.append(nbformat.v4.new_code_cell(steps))
        cells[-1].metadata.tags = ["injected-parameters"]
    cells += [nbformat.v4.new_code_cell(source) for source in ("print(steps)", *extra)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


@pytest.mark.parametrize(
    ("source", "steps", "extra", "marks"),
    [
        ("full", 10, [], ""),
        ("sample", 10, [], "Measured from the **sample**.\n"),
        ("full", 11, [], "Measured with **other parameters** (steps = 11, not 10).\n"),
        ("full", 10, ["print('new')"], "Measured by an **older state** of the lesson.\n"),
        ("sample", 11, [], "**sample**, with **other parameters** (steps = 11, not 10).\n"),
    ],
)
def test_numbers_that_are_not_the_lessons_own_are_marked(source, steps, extra, marks, tmp_path):
    given = f"# Parameters\nsteps = {steps}\n" if steps != 10 else ""
    executed = lesson(tmp_path / "executed.ipynb", steps=given)
    current = lesson(tmp_path / "01_lesson.ipynb", *extra)
    place = tmp_path / "build"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COURSE_BUILD_DIR", str(place))
        saved = results.save(
            "01_lesson",
            parameters={"steps": steps, "units": [3, 2]},
            dataset="mnist",
            source=source,
            numbers={},
            claims=[results.Claim("a | b", "", "1.5 %", "holds")],
        )
    page = claims.page([saved], [executed], [current])
    assert "## [1 · A title](notebooks/01_lesson.ipynb)" in page
    assert "| a \\| b | — | 1.5 % | **holds** |" in page
    assert marks in page
    assert ("Measured" in page) == bool(marks)


def test_what_html_would_read_is_escaped(tmp_path):
    bad = "<script>alert(1)</script>"
    run = {
        "lesson": "01_lesson", "dataset": bad, "source": "full", "parameters": {"steps": bad},
        "claims": [dict.fromkeys(("claim", "reported", "measured", "verdict"), bad)],
        "versions": {}, "machine": bad, "seconds": 1, "peak_mib": 1,
    }  # fmt: skip
    saved, notebook = tmp_path / "01_lesson.json", lesson(tmp_path / "01_lesson.ipynb")
    saved.write_text(json.dumps(run))
    page = claims.page([saved], [notebook], [notebook])
    assert "<script" not in page
    assert page.count("&lt;script&gt;alert(1)") == 7


def test_a_lesson_as_committed_is_no_older_state():
    (path,) = NOTEBOOKS.glob("05*.ipynb")
    parameters = {"parameters": {"steps": 30000}, "source": "full"}
    assert claims._marks(parameters, path, path) == ""
