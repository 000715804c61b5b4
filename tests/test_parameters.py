"""Good values pass in silence; bad ones are refused by name, value and what is allowed."""

import math
import re
from collections.abc import Callable
from functools import partial

import pytest

from helpers import parameters

at_least_two = partial(parameters.integer, minimum=2)
two_to_nine = partial(parameters.integer, minimum=2, maximum=9)
number = parameters.number
positive = partial(parameters.number, above=0)
above_minus_one = partial(parameters.number, above=-1)
at_least_half = partial(parameters.number, minimum=0.5)
source = partial(parameters.choice, allowed=("full", "sample", "auto"))
sizes = parameters.sizes
sizes_from_two = partial(parameters.sizes, minimum=2)
pair_of_sizes = partial(parameters.sizes, count=2)

GOOD = [
    *((at_least_two, value) for value in (2, 3, 10**9)),
    *((two_to_nine, value) for value in (2, 9)),
    *((number, value) for value in (0, 0.0, 1, 1e-9, 1e300)),
    *((positive, value) for value in (1e-9, 1)),
    *((above_minus_one, value) for value in (0, -0.5)),
    *((at_least_half, value) for value in (0.5, 1)),
    *((source, value) for value in ("full", "sample", "auto")),
    *((parameters.flag, value) for value in (True, False)),
    *((sizes, value) for value in ([1], [100, 50], (3, 2))),
    (sizes_from_two, [2, 3]),
    (pair_of_sizes, [1, 5]),
]

NAN, INFINITY = math.nan, math.inf
BAD = [
    *((at_least_two, value, "a whole number, at least 2") for value in (1, -5, 2.0, True, "3")),
    *((at_least_two, value, "a whole number, at least 2") for value in (None, [3], NAN)),
    *((two_to_nine, value, "a whole number, from 2 to 9") for value in (1, 10, 5.5, False)),
    *((number, value, "a number, at least 0") for value in (-1e-9, NAN, INFINITY, -INFINITY)),
    *((number, value, "a number, at least 0") for value in (True, "0.1", None, 1j, [1.0])),
    *((positive, value, "a number, greater than 0") for value in (0, 0.0, -1, NAN, INFINITY)),
    (above_minus_one, -1, "a number, greater than -1"),
    (at_least_half, 0.4, "a number, at least 0.5"),
    *((source, value, "one of 'full', 'sample', 'auto'") for value in ("Full", "", None, 0)),
    *((parameters.flag, value, "True or False") for value in (0, 1, "false", None)),
    *((sizes, value, "a list of whole numbers, each at least 1") for value in ([], (), 3, "3")),
    *((sizes, value, "a list of whole numbers, each at least 1") for value in ([0], [5, -1])),
    *((sizes, value, "a list of whole numbers, each at least 1") for value in ([2.0], [True])),
    *((sizes, value, "a list of whole numbers, each at least 1") for value in (None, [[1]])),
    (sizes_from_two, [2, 1], "a list of whole numbers, each at least 2"),
    *((pair_of_sizes, value, "a list of 2 whole numbers") for value in ([], [1], [1, 2, 3])),
    (pair_of_sizes, [0, 5], "a list of 2 whole numbers, each at least 1"),
]


def test_the_annotated_names_of_a_notebook_are_its_parameters():
    notebook: dict[str, object] = {}
    exec("code_size: int = 100\nfree = 1\nsource: str = 'auto'\ncode_size = 7", notebook)
    assert parameters.declared(notebook) == {"code_size": 7, "source": "auto"}


@pytest.mark.parametrize(("check", "value"), GOOD)
def test_a_good_value_passes(check: Callable, value: object):
    assert check("code_size", value) is None


@pytest.mark.parametrize(("check", "value", "allowed"), BAD)
def test_a_bad_value_is_refused_with_what_is_allowed(check, value, allowed):
    expected = f"parameter code_size: expected {allowed}"
    with pytest.raises(ValueError, match=re.escape(expected)) as refusal:
        check("code_size", value)
    assert str(refusal.value).endswith(f", received {value!r}")


def test_a_refused_flag_tells_how_papermill_passes_one():
    with pytest.raises(ValueError, match="papermill: -y"):
        parameters.flag("shuffle", "false")
