"""Which module may import which, what needs TensorFlow, and that everything is described."""

import ast
import os
import subprocess
import sys
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import helpers
from helpers import backend, stamps

FOLDER = Path(helpers.__file__).parent


@dataclass(frozen=True)
class Module:
    """What a module of the package may import.

    Attributes
    ----------
    siblings : set of str
        Modules of the package it may import.
    tensorflow : bool
        Whether importing it may import TensorFlow, which takes seconds.
    """

    siblings: frozenset[str] = frozenset()
    tensorflow: bool = False


def module(*siblings: str, tensorflow: bool = False) -> Module:
    return Module(frozenset(siblings), tensorflow)


# Imports run one way, from the bottom of this table upwards.  A new module gets a line here.
MODULES = {
    "__init__": module(),
    # What everything else may stand on.
    "backend": module(tensorflow=True),
    "files": module(),
    "parameters": module(),
    "progress": module(),
    "tables": module(),
    # What the lessons share.
    "datasets": module("files", "progress"),
    "evaluation": module(),
    "exercises": module(),
    "plotting": module(),
    "reference": module("files"),
    "results": module("files", "tables"),
    "blockwise": module("backend", tensorflow=True),
    "models": module("backend", tensorflow=True),
    "training": module("blockwise", "progress", "backend", tensorflow=True),
    "pretraining": module("models", "training", "backend", tensorflow=True),
}

# The modules of the command line start kernels and read notebooks: they may use one another and
# everything else that does without TensorFlow and figures.
COMMAND_LINE = {
    "course",
    "execution",
    "lessons",
    "normal_form",
    "report",
    "runner",
    "side_by_side",
    "signals",
    "stamps",
    "study",
}
NEVER_IMPORTED = {"plotting", "course"}

WITHOUT_TENSORFLOW = {name for name, rule in MODULES.items() if not rule.tensorflow} | COMMAND_LINE
MODULES |= {
    name: module(*(WITHOUT_TENSORFLOW - NEVER_IMPORTED - {name, "__init__"}))
    for name in COMMAND_LINE
}


def name_of(source: Path) -> str:
    return source.relative_to(FOLDER).with_suffix("").as_posix()


SOURCES = sorted(FOLDER.rglob("*.py"))
NAMES = [name_of(source) for source in SOURCES]
every_module = pytest.mark.parametrize("source", SOURCES, ids=NAMES)


def imported(tree: ast.AST) -> set[str]:
    """Return the dotted names that a module imports, wherever in it the import stands."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            origin = ".".join(filter(None, ["helpers" * bool(node.level), node.module]))
            # `from helpers import files` imports a module, `from helpers.files import x` a name.
            names |= {f"{origin}.{alias.name}" for alias in node.names}
    return names


def siblings(tree: ast.AST) -> set[str]:
    """Return the modules of the package that a module imports."""
    dotted = [name.split(".") for name in imported(tree)]
    return {parts[1] if len(parts) > 1 else "__init__" for parts in dotted if parts[0] == "helpers"}


def parse(source: Path) -> ast.Module:
    return ast.parse(source.read_text(encoding="utf-8"))


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    """Run code in a new interpreter that knows nothing of what this one has set for libraries."""
    ours = ("TF_", "KERAS_", "OPENBLAS_", "OMP_")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )


def test_the_parser_sees_every_way_to_import_a_sibling():
    code = """
import helpers.files, numpy
from helpers import models as m, training
from helpers.results import save
from . import progress
from .backend import tf
def late():
    from helpers import plotting
"""
    expected = {"files", "models", "training", "results", "progress", "backend", "plotting"}
    assert siblings(ast.parse(code)) == expected


def test_a_change_of_the_command_line_makes_no_lesson_out_of_date():
    assert {f"{name}.py" for name in COMMAND_LINE} == stamps._RUNNERS


@every_module
def test_every_module_has_a_line_in_the_table(source):
    name = name_of(source)
    assert name in MODULES, (
        f"helpers/{name}.py is not in the table: add it to MODULES in tests/test_architecture.py, "
        "with the modules it may import and whether it may import TensorFlow "
        "(or to COMMAND_LINE, if it belongs to the command `course`)"
    )


@every_module
def test_a_module_imports_no_siblings_but_the_allowed(source):
    rule = MODULES.get(name_of(source), module())
    forbidden = siblings(parse(source)) - rule.siblings
    assert not forbidden, (
        f"helpers/{source.name} imports {', '.join(sorted(forbidden))}: move what it needs, or "
        "allow it in MODULES in tests/test_architecture.py"
    )


def test_imports_do_not_run_in_circles():
    graph = {name: siblings(parse(source)) for name, source in zip(NAMES, SOURCES, strict=True)}
    TopologicalSorter(graph).prepare()  # a CycleError names the modules


def test_the_table_itself_keeps_to_the_rules():
    for name, rule in MODULES.items():
        assert not rule.siblings & NEVER_IMPORTED
        assert rule.siblings <= MODULES.keys() - {name}
        if not rule.tensorflow:
            assert not any(MODULES[sibling].tensorflow for sibling in rule.siblings), name


@every_module
def test_only_the_backend_imports_tensorflow_itself(source):
    found = {name.split(".")[0] for name in imported(parse(source))} & {"tensorflow", "keras"}
    assert found == ({"tensorflow", "keras"} if source.stem == "backend" else set())


def test_what_needs_no_tensorflow_imports_none():
    names = [name for name in NAMES if name in WITHOUT_TENSORFLOW and name != "__init__"]
    code = f"""
import importlib, sys
for name in {names!r}:
    importlib.import_module("helpers." + name)
    found = {{"tensorflow", "keras"}} & set(sys.modules)
    assert not found, f"helpers.{{name}} imports {{sorted(found)}}"
"""
    result = run_python(code)
    assert result.returncode == 0, result.stderr


def test_tensorflow_starts_and_compiles_in_silence():
    result = run_python(
        """
from helpers.backend import keras, tf
print(float(tf.add(1.0, 2.0)))
print(float(tf.function(lambda x: 2 * x, jit_compile=True)(tf.constant(3.0))))
"""
    )
    assert result.stdout == "3.0\n6.0\n", result.stderr
    assert result.stderr == ""


def test_products_of_numpy_and_scipy_have_one_thread():
    result = run_python(
        """
from helpers import backend
import numpy, scipy.linalg, sklearn.decomposition
from threadpoolctl import threadpool_info
print([found["num_threads"] for found in threadpool_info() if found["user_api"] == "blas"])
"""
    )
    # NumPy's and SciPy's own; Apple's Accelerate has no number of threads.
    expected = {"[1, 1]\n", "[1]\n", "[]\n"} if sys.platform == "darwin" else {"[1, 1]\n"}
    assert result.stdout in expected, result.stderr


def test_the_backend_passes_on_what_is_no_known_chatter(capfd):
    with backend._without_chatter():
        os.write(2, b"I0000 cudart_stub.cc:31] Could not find cuda drivers\n")
        os.write(2, b"E0000 something.cc:7] Out of memory\n")
    assert capfd.readouterr().err == "E0000 something.cc:7] Out of memory\n"
    os.write(2, b"later\n")
    assert capfd.readouterr().err == "later\n"


def undescribed(node: ast.Module | ast.ClassDef, prefix: str = "") -> list[str]:
    """Return the public functions, classes and methods without a docstring."""
    missing = []
    for child in node.body:
        public = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        if not public or child.name.startswith("_"):
            continue
        if not ast.get_docstring(child):
            missing.append(prefix + child.name)
        if isinstance(child, ast.ClassDef):
            missing += undescribed(child, f"{prefix}{child.name}.")
    return missing


@every_module
def test_everything_public_has_a_docstring(source):
    tree = parse(source)
    assert ast.get_docstring(tree), f"helpers/{source.name} has no docstring"
    assert undescribed(tree) == []


def test_the_package_itself_is_only_a_docstring():
    (docstring,) = parse(FOLDER / "__init__.py").body
    assert isinstance(docstring, ast.Expr)


def test_no_module_is_named_for_holding_anything():
    assert not {"utils", "util", "misc", "common"} & {Path(name).name for name in NAMES}
