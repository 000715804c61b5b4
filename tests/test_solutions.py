"""Every notebook of solutions shows what its stored outputs show, three times in a row, too.

In a module of its own, which runs beside that of the lessons.
"""

import re
import shutil

import nbformat
import pytest
from conftest import NOTEBOOKS, SOLUTIONS, name, nbval, passed

pytestmark = pytest.mark.notebooks


@pytest.mark.parametrize("path", SOLUTIONS, ids=name)
def test_solutions_show_what_their_stored_outputs_show(path, tmp_path):
    run = nbval(path, tmp_path)
    assert passed(run), run.stdout + run.stderr


def test_one_changed_word_is_found(tmp_path):
    path = tmp_path / "solution.ipynb"
    shutil.copy(NOTEBOOKS / "solutions" / "01_data_loading.ipynb", path)
    for _ in range(3):
        assert passed(nbval(path, tmp_path / "build"))
    notebook = nbformat.read(path, as_version=4)
    changed = next(
        output
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if output.get("text") == "Right.\n"
    )
    changed.text = "Wrong.\n"
    nbformat.write(notebook, path)
    run = nbval(path, tmp_path / "build")
    assert run.returncode == 1
    assert re.search(r"1 failed, \d+ passed", run.stdout)
