"""Imports run one way, nothing in the package is idle, and everything is described."""

import ast
import json
import os
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from conftest import NOTEBOOKS

import helpers
from helpers import backend

FOLDER = Path(helpers.__file__).parent
SOURCES = sorted(FOLDER.glob("*.py"))
MODULES = {source.stem: source.read_text("utf-8") for source in SOURCES}
every_module = pytest.mark.parametrize("name", MODULES)

WITH_TENSORFLOW = {"backend", "blockwise", "boltzmann", "compiled", "few_labels", "models"}
WITH_TENSORFLOW |= {"noise", "pretraining", "training"}
"""Importing any other module must not take the seconds that TensorFlow takes."""


def imported(source: str) -> set[str]:
    """Return the dotted names that code imports, wherever in it the import stands."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            # `from helpers import models` imports a module, `from helpers.models import x` a name.
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def siblings(source: str) -> set[str]:
    """Return the modules of the package that code imports."""
    dotted = [name.split(".") for name in imported(source)]
    return {parts[1] for parts in dotted if parts[0] == "helpers" and len(parts) > 1}


def notebooks_code() -> str:
    paths = NOTEBOOKS.rglob("*.ipynb")
    cells = [cell for path in paths for cell in json.loads(path.read_text("utf-8"))["cells"]]
    return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    """Run code in a new interpreter that knows nothing of what this one has set for libraries."""
    ours = ("TF_", "KERAS_", "OPENBLAS_", "OMP_")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )


def test_imports_run_one_way():
    # A CycleError names the modules.
    TopologicalSorter({name: siblings(source) for name, source in MODULES.items()}).prepare()
    for source in MODULES.values():
        assert not {n for n in imported(source) if re.match(r"(notebooks|tests|workflow)\b", n)}


def test_every_module_is_used_by_a_lesson_or_by_another_module():
    used = siblings(notebooks_code()).union(*map(siblings, MODULES.values()))
    assert used == MODULES.keys() - {"__init__"}


def test_everything_public_is_used_by_a_lesson_or_by_another_module():
    lessons = notebooks_code()
    for module, source in MODULES.items():
        others = "\n".join([lessons, *(text for name, text in MODULES.items() if name != module)])
        workflow = "\n".join(
            p.read_text("utf-8") for p in (FOLDER.parent / "workflow").glob("*.py")
        )
        for node in ast.parse(source).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                within = len(re.findall(rf"\b{node.name}\b", source)) - 1
                assert within or re.search(rf"\b{node.name}\b", others + workflow), (
                    f"helpers/{module}.py: nothing uses {node.name}"
                )


def test_the_package_stays_small():
    lengths = {name: len(source.splitlines()) for name, source in MODULES.items()}
    assert max(lengths.values()) <= 400, lengths
    assert sum(lengths.values()) <= 3000, lengths


@every_module
def test_only_the_backend_imports_tensorflow_itself(name):
    found = {dotted.split(".")[0] for dotted in imported(MODULES[name])} & {"tensorflow", "keras"}
    assert found == ({"tensorflow", "keras"} if name == "backend" else set())


def test_what_needs_no_tensorflow_imports_none():
    names = sorted(MODULES.keys() - WITH_TENSORFLOW - {"__init__"})
    code = f"""
import importlib, sys
for name in {names!r}:
    importlib.import_module("helpers." + name)
    found = {{"tensorflow", "keras"}} & set(sys.modules)
    assert not found, f"helpers.{{name}} imports {{sorted(found)}}"
"""
    result = run_python(code)
    assert result.returncode == 0, result.stderr


def test_tensorflow_starts_and_compiles_in_silence_and_blas_has_one_thread():
    result = run_python(
        """
from helpers.backend import keras, tf
print(float(tf.add(1.0, 2.0)))
print(float(tf.function(lambda x: 2 * x, jit_compile=True)(tf.constant(3.0))))
import numpy, scipy.linalg, sklearn.decomposition
from threadpoolctl import threadpool_info
print({found["num_threads"] for found in threadpool_info() if found["user_api"] == "blas"})
"""
    )
    threads = "set()" if sys.platform == "darwin" else "{1}"  # Apple's Accelerate has no number
    assert result.stdout in {f"3.0\n6.0\n{threads}\n", "3.0\n6.0\n{1}\n"}, result.stderr
    assert result.stderr == ""


def test_the_backend_passes_on_what_is_no_known_chatter(capfd):
    with backend._without_chatter():
        os.write(2, b"I0000 cudart_stub.cc:31] Could not find cuda drivers\n")
        os.write(2, b"E0000 something.cc:7] Out of memory\n")
    assert capfd.readouterr().err == "E0000 something.cc:7] Out of memory\n"
    os.write(2, b"later\n")
    assert capfd.readouterr().err == "later\n"


def undescribed(node: ast.Module | ast.ClassDef) -> list[str]:
    """Return the public functions, classes and methods without a docstring."""
    missing = []
    for child in node.body:
        public = isinstance(child, ast.FunctionDef | ast.ClassDef)
        if public and not child.name.startswith("_"):
            missing += [child.name] * (not ast.get_docstring(child))
            missing += undescribed(child) if isinstance(child, ast.ClassDef) else []
    return missing


@every_module
def test_everything_public_has_a_docstring(name):
    tree = ast.parse(MODULES[name])
    assert ast.get_docstring(tree), f"helpers/{name}.py has no docstring"
    assert undescribed(tree) == []


def test_no_module_is_named_for_holding_anything():
    assert not {"utils", "util", "misc", "common"} & MODULES.keys()
