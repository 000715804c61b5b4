"""Checks of a lesson's parameters: a bad one ends the lesson at once, and says what is allowed."""

import ast
import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

Check = Callable[[object], str]
"""``check(value)`` returns nothing for a value that is allowed, else in words what would be."""


def check(namespace: Mapping[str, object], **allowed: Check) -> None:
    """Check all parameters of a lesson, and print those that are not its defaults.

    ``namespace`` is the notebook's ``globals()``; ``allowed`` says what each parameter may be:
    `integer`, `number`, `choice`, `flag` or `integers`.  A parameter is a name that the parameters
    cell annotates.  papermill puts what it is given into a cell behind that one, and only warns
    about names the lesson does not have.

    Raises
    ------
    ValueError
        If a value is not allowed, a name is given that the lesson does not have, or a parameter
        has no check.
    """
    names = declared(namespace)
    for name in [*names, *allowed]:
        if name not in names or name not in allowed:
            raise ValueError(f"parameter {name}: expected a default and a check, found one of them")
    others = _injected(namespace)
    for name in others:
        if name not in names:
            raise ValueError(
                f"parameter {name}: this lesson has none of that name, expected one of "
                f"{', '.join(names)}"
            )
    for name, value in names.items():
        if expected := allowed[name](value):
            raise ValueError(f"parameter {name}: expected {expected}, received {value!r}")
    if others:
        given = ", ".join(f"{name} = {value}" for name, value in others.items())
        print(f"Parameters given: {given}. The text speaks of the default parameters.")


def declared(namespace: Mapping[str, object]) -> dict[str, object]:
    """Return a notebook's parameters by name; ``namespace`` is its ``globals()``."""
    return {name: namespace[name] for name in namespace["__annotations__"]}


def _injected(namespace: Mapping[str, object]) -> dict[str, str]:
    """Return what papermill's own cell changes; IPython keeps the sources in ``In``."""
    for before, source in pairwise(namespace.get("In", [])):
        if source.startswith("# Parameters\n"):
            defaults = _assigned(before)
            return {k: v for k, v in _assigned(source).items() if defaults.get(k) != v}
    return {}


def _assigned(source: str) -> dict[str, str]:
    lines = [ast.unparse(statement).partition(" = ") for statement in ast.parse(source).body]
    return {target.partition(":")[0]: value for target, _, value in lines}


def integer(minimum: int, maximum: int | None = None) -> Check:
    """Allow whole numbers from ``minimum`` to ``maximum``, both included."""
    named = f"at least {minimum}, at most 1,000,000,000"
    limits = named if maximum is None else f"from {minimum} to {maximum}"
    highest = 10**9 if maximum is None else maximum
    return lambda value: (
        "" if type(value) is int and minimum <= value <= highest else f"a whole number, {limits}"
    )


def number(minimum: float = 0.0, *, above: float | None = None) -> Check:
    """Allow finite numbers of at least ``minimum`` or, where that is given, above ``above``."""
    limits = f"at least {minimum:g}" if above is None else f"greater than {above:g}"

    def expected(value: object) -> str:
        real = type(value) in (int, float) and math.isfinite(value)
        fits = real and (value >= minimum if above is None else value > above)
        return "" if fits else f"a number, {limits}"

    return expected


def choice(names: Sequence[str]) -> Check:
    """Allow one of some names."""
    listed = "one of " + ", ".join(map(repr, names))
    return lambda value: "" if value in names else listed


def flag() -> Check:
    """Allow True and False; papermill's ``-p x false`` gives the text "false"."""
    return lambda value: (
        "" if isinstance(value, bool) else "True or False (with papermill: -y 'NAME: false')"
    )


def integers(minimum: int = 1, maximum: int | None = None, *, count: int | None = None) -> Check:
    """Allow a list of whole numbers, each from ``minimum`` to ``maximum``; ``count`` of them."""
    maximum = 100_000 if maximum is None else maximum  # more units would not fit into memory
    each, limits = integer(minimum, maximum), f"each from {minimum} to {maximum}"
    length = "a list of" if count is None else f"a list of {count}"

    def expected(value: object) -> str:
        listed = isinstance(value, list | tuple) and (len(value) == count or (not count and value))
        if listed and not any(map(each, value)):
            return ""
        hint = " (with papermill: -y 'NAME: [10, 5]')" if isinstance(value, str) else ""
        return f"{length} whole numbers, {limits}{hint}"

    return expected
