"""Checks of a lesson's parameters: a bad value ends with a message that says what is allowed."""

import math
from collections.abc import Mapping, Sequence


def _refuse(name: str, value: object, allowed: str) -> None:
    raise ValueError(f"parameter {name}: expected {allowed}, received {value!r}")


def declared(namespace: Mapping[str, object]) -> dict[str, object]:
    """Return a notebook's parameters by name: the parameters cell is where names are annotated.

    Parameters
    ----------
    namespace : mapping
        The notebook's ``globals()``.
    """
    return {name: namespace[name] for name in namespace["__annotations__"]}


def integer(name: str, value: object, *, minimum: int, maximum: int | None = None) -> None:
    """Check a whole number.

    Raises
    ------
    ValueError
        If ``value`` is not an int between ``minimum`` and ``maximum`` (both allowed).
    """
    limits = f"at least {minimum}" if maximum is None else f"from {minimum} to {maximum}"
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole or value < minimum or (maximum is not None and value > maximum):
        _refuse(name, value, f"a whole number, {limits}")


def number(name: str, value: object, *, above: float | None = None, minimum: float = 0.0) -> None:
    """Check a finite number.

    Raises
    ------
    ValueError
        If ``value`` is no finite number greater than ``above``, or, where ``above`` is not
        given, no finite number of at least ``minimum``.
    """
    limits = f"at least {minimum:g}" if above is None else f"greater than {above:g}"
    real = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not real or (value < minimum if above is None else value <= above):
        _refuse(name, value, f"a number, {limits}")


def choice(name: str, value: object, allowed: Sequence[str]) -> None:
    """Check a choice among names.

    Raises
    ------
    ValueError
        If ``value`` is not one of ``allowed``.
    """
    if value not in allowed:
        _refuse(name, value, "one of " + ", ".join(repr(option) for option in allowed))


def flag(name: str, value: object) -> None:
    """Check a truth value.

    Raises
    ------
    ValueError
        If ``value`` is not True or False (on papermill's command line ``-p x false`` gives the
        text "false": write ``-y "x: false"``).
    """
    if not isinstance(value, bool):
        _refuse(name, value, "True or False (with papermill: -y 'NAME: false')")


def sizes(name: str, value: object, *, minimum: int = 1, count: int | None = None) -> None:
    """Check a list of layer sizes.

    Raises
    ------
    ValueError
        If ``value`` is not a non-empty list of whole numbers of at least ``minimum``, or not of
        ``count`` numbers where that is given.
    """
    listed = isinstance(value, list | tuple) and (len(value) == count or (not count and value))
    if not listed or any(type(size) is not int or size < minimum for size in value):
        length = "a list of" if count is None else f"a list of {count}"
        _refuse(name, value, f"{length} whole numbers, each at least {minimum}")
