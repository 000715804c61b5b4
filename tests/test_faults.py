"""Faults that belong to no single module: machines, settings and files of other people.

``tests/README.md`` lists every fault with the test that causes it, in whichever file that stands.
"""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import nbformat
import pytest
import setuptools
import yaml
from conftest import AS_ANYBODY, NOTEBOOKS
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = NOTEBOOKS.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
make = pytest.mark.skipif(os.name != "posix", reason="needs make")
# Under `make test` a make that a test calls would speak as a part of that one, with its PYTHON.
OF_MAKE = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "PYTHON")
OUTSIDE = {k: v for k, v in os.environ.items() if k not in OF_MAKE}


def run(*command: object, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess:
    """Run a command and return what it said, output and errors as one."""
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=OUTSIDE | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )


# ------------------------------------------------------------------------------------ environment

TINY = """[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "made-up"
version = "1"
[tool.setuptools]
packages = []
"""


@make
def test_an_environment_is_replaced_only_by_one_that_is_complete(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    lock, project, link = (tmp_path / n for n in ("requirements.lock", "pyproject.toml", ".venv"))
    lock.write_text("# nothing\n")
    project.write_text(TINY)
    # No index, as without network; setuptools from a folder stands in for the lock's.
    packages = Path(setuptools.__file__).parents[1]
    for part in (*packages.glob("setuptools*"), packages / "_distutils_hack"):
        shutil.copytree(part, tmp_path / "lib" / part.name)
    offline = {"PYTHONPATH": str(tmp_path / "lib"), "PIP_NO_INDEX": "1", "PIP_USER": "1"}

    def made(*options: str) -> tuple[int, str]:
        found = run(
            "make", "environment", f"PYTHON={sys.executable}", *options, cwd=tmp_path, **offline
        )
        return found.returncode, found.stdout

    link.mkdir()  # of a course from before there were links
    code, said = made()
    assert code == 0, said
    first = os.readlink(link)
    (link / "mine").touch()  # what a user has installed
    os.utime(lock)
    os.utime(project)
    assert made() == (0, "")  # newer, and the same
    other = re.sub(r"[\d.]+$", "3.9", first)  # as if it were one of another Python
    shutil.copytree(tmp_path / first, tmp_path / other, symlinks=True)
    link.unlink()
    link.symlink_to(other)
    assert run("make", "environment", cwd=tmp_path, **offline).stdout == ""  # none is named
    assert made()[0] == 0
    assert os.readlink(link) == first
    assert (link / "mine").exists()
    shutil.rmtree(tmp_path / other)
    for unsuitable in ("/usr/bin/false", "python2.7", ""):
        code, said = made(f"PYTHON={unsuitable}")
        assert code != 0
        assert said.startswith("This course needs Python 3.11, 3.12 or 3.13")
    project.write_text(TINY + "# edited\n")
    assert made()[0] == 0
    assert (link / "mine").exists()
    lock.write_text("nowhere==1 --hash=sha256:" + 64 * "0")
    code, said = made()
    assert code != 0
    assert "could not be made, see above. .venv is what it was." in said
    assert (os.readlink(link), (link / "mine").exists()) == (first, True)
    lock.write_text("# nothing, in other words\n")
    assert made()[0] == 0
    assert os.readlink(link) != first
    assert [path.name for path in tmp_path.glob(".venv-*")] == [os.readlink(link)]


@make
def test_make_says_in_one_sentence_that_a_checkout_is_read_only(tmp_path):
    for name in ("Makefile", "requirements.lock"):
        shutil.copy(ROOT / name, tmp_path)
    tmp_path.chmod(0o555)
    found = run(*AS_ANYBODY, "make", "--silent", "course", cwd=tmp_path)
    tmp_path.chmod(0o755)
    assert found.returncode != 0
    sentence, *of_make = found.stdout.splitlines()
    assert sentence == "This folder cannot be written: copy the course to one that can."
    assert all(line.startswith("make") for line in of_make)


def test_the_lock_has_what_pyproject_and_environment_ask_for():
    groups = PROJECT["dependency-groups"]
    asked = PROJECT["project"]["dependencies"] + groups["course"] + groups["dev"]
    text = (ROOT / "requirements.lock").read_text("utf-8")
    entries = re.split(r"\n(?=\S)", text)
    locked: dict[str, list[str]] = {}
    for entry in entries:
        name, version = re.match(r"([\w.-]+)(?:\[[\w,-]+\])?==([^ ;]+)", entry).groups()
        locked.setdefault(name, []).append(version)
        assert "--hash=sha256:" in entry, name
    for requirement in [Requirement(line) for line in asked if isinstance(line, str)]:
        assert requirement.name in locked, f"{requirement.name}: run make lock"
        assert all(version in requirement.specifier for version in locked[requirement.name])
    assert "://" not in text  # no index
    conda = yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))["dependencies"]
    assert conda[-1] == {"pip": ["--requirement requirements.lock"]}
    (python,) = [line.partition("=")[2] for line in conda[:-1] if line.startswith("python=")]
    assert python in SpecifierSet(PROJECT["project"]["requires-python"])


def test_ci_runs_every_python_checks_the_lock_and_audits_it_each_week():
    folder = ROOT / ".github" / "workflows"
    ci, audit = (yaml.safe_load((folder / f"{n}.yml").read_text("utf-8")) for n in ("ci", "audit"))
    for job in ("unix", "windows"):
        assert ci["jobs"][job]["strategy"]["matrix"]["python"] == ["3.11", "3.12", "3.13"]
    assert {"run": "make lock"} in ci["jobs"]["lock"]["steps"]
    assert {"run": "git diff --exit-code requirements.lock"} in ci["jobs"]["lock"]["steps"]
    assert audit[True]["schedule"]  # YAML reads `on` as true
    assert "pip-audit --requirement requirements.lock" in str(audit["jobs"])


@pytest.mark.parametrize("version", [(3, 11), (3, 12), (3, 13)], ids=str)
def test_the_code_is_that_of_every_python_that_is_supported(version, tmp_path):
    for path in [
        p for part in ("helpers", "workflow", "tests") for p in (ROOT / part).glob("*.py")
    ]:
        ast.parse(path.read_text("utf-8"), feature_version=version)
    python = shutil.which("python{}.{}".format(*version))
    if python and run(python, "-c", "").returncode == 0:  # where it is on this machine, itself
        shutil.copytree(ROOT / "helpers", tmp_path / "helpers")
        assert run(python, "-m", "compileall", "-q", tmp_path).returncode == 0


# --------------------------------------------------------------------------------- other people's

KERAS = """from helpers.backend import keras, tf
config = keras.config
print(config.backend(), config.floatx(), config.dtype_policy().name, config.epsilon())
print(float(tf.function(lambda x: 2 * x, jit_compile=True)(tf.constant(3.0))))"""


def test_settings_of_keras_and_xla_are_none_of_the_courses(tmp_path):
    (tmp_path / "keras.json").write_text(
        '{"floatx": "mixed_float16", "backend": "jax", "epsilon": 0.1}'
    )
    leaks = {"KERAS_HOME": str(tmp_path), "XLA_FLAGS": "--unknown", "TF_XLA_FLAGS": "--unknown"}
    found = run(sys.executable, "-c", KERAS, KERAS_BACKEND="torch", **leaks)
    assert found.stdout == "tensorflow float32 float32 1e-07\n6.0\n"


def test_tensorflow_imported_before_the_helpers_is_refused_in_one_sentence():
    found = run(sys.executable, "-c", f"import tensorflow\n{KERAS}")
    assert found.returncode == 1
    last = found.stdout.splitlines()[-1]
    assert last.startswith("ImportError: helpers.backend makes settings that TensorFlow and Keras")
    assert last.endswith("Restart, and import it first.")


@pytest.mark.skipif(sys.platform != "linux", reason="others read all paths as UTF-8")
def test_a_folder_that_the_locale_cannot_read_is_refused_in_one_sentence(tmp_path):
    here = tmp_path / "Kürs"
    shutil.copytree(ROOT / "helpers", here / "helpers")
    command = (sys.executable, "-c", KERAS)
    ascii_only = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"}
    assert run(*command, cwd=here, PYTHONUTF8="1", **ascii_only).stdout.endswith("\n6.0\n")
    found = run(*command, cwd=here, PYTHONUTF8="0", **ascii_only)
    assert found.returncode == 1
    last = found.stdout.splitlines()[-1]
    assert last.startswith("ImportError: TensorFlow compiles nothing in a folder whose name has")
    assert last.endswith("Set PYTHONUTF8=1 and restart, or move the course.")


def test_helpers_of_the_users_own_are_named_with_their_place_or_passed_over(tmp_path):
    (tmp_path / "helpers.py").touch()
    notebook = nbformat.read(NOTEBOOKS / "01_data_loading.ipynb", as_version=4)
    notebook.cells = [next(cell for cell in notebook.cells if "helpers" in cell.source)]
    nbformat.write(notebook, tmp_path / "in.ipynb")
    command = (sys.executable, "-m", "papermill", "in.ipynb", "out.ipynb")
    found = run(*command, cwd=tmp_path, PYTHONPATH="")
    assert found.returncode == 1
    place = rf"\(.*{tmp_path.name}.helpers\.py\)"
    assert re.search(
        f"ImportError: cannot import name 'datasets' from 'helpers' {place}", found.stdout
    )
    found = run(*command, cwd=tmp_path, PYTHONPATH=str(ROOT))  # as `make lab` and all tests
    assert found.returncode == 0, found.stdout


def test_options_for_pytest_reach_no_notebook(tmp_path):
    test = tmp_path / "test_it.py"
    test.write_text("import os\ndef test(): assert 'PYTEST_ADDOPTS' not in os.environ\n")
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path)
    command = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", tmp_path, test)
    assert run(sys.executable, *command, PYTEST_ADDOPTS="-p no:xdist").returncode == 0


def test_nothing_unpickles_and_no_shell_reads_what_was_given():
    sources = [p for part in ("helpers", "workflow", "data") for p in (ROOT / part).rglob("*.py")]
    for path in sources:
        text = path.read_text("utf-8")
        for word in (
            "pickle.load",
            "import pickle",
            "allow_pickle=True",
            "shell=True",
            "os.system",
        ):
            assert word not in text, f"{path.name}: {word}"
        assert "verify=False" not in text
        assert not re.search(r"np\.load\((?!.*allow_pickle=False)", text), path.name


# ------------------------------------------------------------------------------------ their table


def test_every_test_that_the_table_of_faults_names_is_there():
    text = (ROOT / "tests" / "README.md").read_text("utf-8")
    rows = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")][2:]
    assert len(rows) >= 60
    for fault, seen, tests in rows:
        assert seen.strip(), fault
        names = re.findall(r"`(test_\w+)\.(test_\w+)`", tests)
        assert names, fault
        for module, test in names:
            tree = ast.parse((ROOT / "tests" / f"{module}.py").read_text("utf-8"))
            assert test in [node.name for node in tree.body if isinstance(node, ast.FunctionDef)], (
                test
            )
    assert "by hand" not in text
