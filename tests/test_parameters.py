"""Good values pass in silence; bad ones are refused by name, value and what is allowed."""

import math
import re
from collections.abc import Callable

import pytest
from conftest import cells, each_lesson, tags

from helpers import datasets, parameters
from helpers.parameters import choice, flag, integer, integers, number

NAN, INFINITY = math.nan, math.inf
SOURCES = ("full", "sample", "auto")

GOOD = [
    *((integer(2), value) for value in (2, 3, 10**9)),
    *((integer(2, 9), value) for value in (2, 9)),
    *((number(), value) for value in (0, 0.0, 1, 1e-9, 1e300)),
    *((number(above=0), value) for value in (1e-9, 1)),
    *((number(above=-1), value) for value in (0, -0.5)),
    *((number(0.5), value) for value in (0.5, 1)),
    *((choice(SOURCES), value) for value in SOURCES),
    *((flag(), value) for value in (True, False)),
    *((integers(), value) for value in ([1], [100, 50], (3, 2))),
    (integers(2, 3), [2, 3]),
    (integers(count=2), [1, 5]),
]

BAD = [
    *((integer(2), value, "a whole number, at least 2") for value in (1, -5, 2.0, True, "3")),
    *((integer(2), value, "a whole number, at least 2") for value in (None, [3], NAN)),
    (integer(2), 10**18, "a whole number, at least 2, at most 1,000,000,000"),
    (integers(), [10**6], "a list of whole numbers, each from 1 to 100000"),
    *((integer(2, 9), value, "a whole number, from 2 to 9") for value in (1, 10, 5.5, False)),
    *((number(), value, "a number, at least 0") for value in (-1e-9, NAN, INFINITY, -INFINITY)),
    *((number(), value, "a number, at least 0") for value in (True, "0.1", None, 1j, [1.0])),
    *((number(above=0), value, "a number, greater than 0") for value in (0, -1, NAN, INFINITY)),
    (number(above=-1), -1, "a number, greater than -1"),
    (number(0.5), 0.4, "a number, at least 0.5"),
    *((choice(SOURCES), v, "one of 'full', 'sample', 'auto'") for v in ("Full", "", None, 0)),
    *((flag(), value, "True or False (with papermill: -y ") for value in (0, 1, "false", None)),
    *(
        (integers(), value, "a list of whole numbers, each from 1 to 100000")
        for value in ([], (), 3)
    ),
    *(
        (integers(), value, "a list of whole numbers, each from 1 to 100000")
        for value in ([0], [5, -1])
    ),
    *(
        (integers(), value, "a list of whole numbers, each from 1 to 100000")
        for value in ([2.0], [True])
    ),
    *(
        (integers(), value, "a list of whole numbers, each from 1 to 100000")
        for value in (None, [[1]])
    ),
    (integers(), "[3]", "a list of whole numbers, each from 1 to 100000 (with papermill: -y "),
    (integers(2, 9), [2, 10], "a list of whole numbers, each from 2 to 9"),
    *((integers(count=2), v, "a list of 2 whole numbers, each") for v in ([], [1], [1, 2, 3])),
    (integers(count=2), [0, 5], "a list of 2 whole numbers, each from 1 to"),
]


def notebook(source: str, *cells: str) -> dict[str, object]:
    """Return the names of a notebook after some cells, as IPython keeps them."""
    names: dict[str, object] = {"In": ["", source, *cells]}
    for cell in (source, *cells):
        exec(cell, names)
    return names


def test_the_annotated_names_of_a_notebook_are_its_parameters():
    names = notebook("code_size: int = 100\nfree = 1\nsource: str = 'auto'", "code_size = 7")
    assert parameters.declared(names) == {"code_size": 7, "source": "auto"}


@pytest.mark.parametrize(("allowed", "value"), GOOD)
def test_a_good_value_passes(allowed: Callable, value: object):
    names = notebook("code_size: object = None") | {"code_size": value}
    parameters.check(names, code_size=allowed)


@pytest.mark.parametrize(("allowed", "value", "expected"), BAD)
def test_a_bad_value_is_refused_with_what_is_allowed(allowed, value, expected):
    names = notebook("code_size: object = None") | {"code_size": value}
    with pytest.raises(
        ValueError, match=re.escape(f"parameter code_size: expected {expected}")
    ) as e:
        parameters.check(names, code_size=allowed)
    assert str(e.value).endswith(f", received {value!r}")


def test_a_name_that_papermill_injects_and_the_lesson_does_not_have_is_refused():
    names = notebook("steps: int = 10\nseed: int = 0", "# Parameters\nstep = 5\nseed = 1\n")
    with pytest.raises(ValueError, match=r"parameter step: this lesson has none .* steps, seed$"):
        parameters.check(names, steps=integer(1), seed=integer(0))


@pytest.mark.parametrize(
    ("injected", "said"),
    [
        (["# Parameters\nsteps = 10\nsizes = [1]\nrate = 1e-3\n"], ""),
        (["# Parameters\nsteps = 5\nname = 'b'\nrate = 0.001\n"], "steps = 5, name = 'b'"),
        (["# Parameters\nsizes = [1, 2]\n"], "sizes = [1, 2]"),
        ([], ""),
        (["steps = 5"], ""),
    ],
)
def test_parameters_that_are_not_the_defaults_are_said(injected, said, capsys):
    source = 'steps: int = 10  # a\nsizes: list[int] = [1]\nname: str = "a"\nrate: float = 0.001'
    allowed = {"steps": integer(1), "sizes": integers(), "name": choice("ab"), "rate": number()}
    parameters.check(notebook(source, *injected), **allowed)
    line = f"Parameters given: {said}. The text speaks of the default parameters.\n"
    assert capsys.readouterr().out == (line if said else "")


def test_names_of_later_cells_are_none_of_papermills():
    names = notebook("steps: int = 10", "# Parameters\nsteps = 5\n", "step = 3", "#\nother = 4")
    parameters.check(names, steps=integer(1))
    assert names["steps"] == 5


@pytest.mark.parametrize("checks", [{}, {"steps": integer(1), "seed": integer(0)}])
def test_a_parameter_without_a_check_and_a_check_without_a_parameter_are_refused(checks):
    with pytest.raises(ValueError, match=r"parameter (steps|seed): expected a default and a check"):
        parameters.check(notebook("steps: int = 10"), **checks)


WRONG = {
    "int": ["5", NAN, -1, 2.5, None, True, [1], 10**18],
    "float": ["0.1", NAN, INFINITY, -1, 0, None, True],
    "bool": ["false", 0, None],
    "str": ["../mnist", "cifar", "MNIST", "", 3],
    "list[int]": [[], "[5]", [0], [-1], [2.5], [10**9], 7, None],
}
WRONG_FOR = {"code_size": [0, 785], "batch_size": [0, 10**6], "code_sizes": [[785]], "steps": [0]}


@each_lesson
def test_a_lesson_refuses_every_wrong_value_of_every_parameter(path):
    code = cells(path)
    (at,) = [i for i, cell in enumerate(code) if "parameters" in tags(cell)]
    assert code[at + 1].source.startswith("parameters.check(")  # before any data, any network
    names = {"parameters": parameters, "datasets": datasets}
    exec(code[at].source, names)
    exec(code[at + 1].source, names)
    for name, kind in names["__annotations__"].items():
        kind = kind if isinstance(kind, str) else getattr(kind, "__name__", str(kind))
        kind = "list[int]" if kind == "list" else kind
        for value in [*WRONG[kind], *WRONG_FOR.get(name, [])]:
            with pytest.raises(
                ValueError, match=rf"^parameter {name}: expected .+, received "
            ) as e:
                exec(code[at + 1].source, names | {name: value})
            assert str(e.value).endswith(f"received {value!r}")
