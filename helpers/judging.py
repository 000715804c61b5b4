"""How an exercise's answer is judged, whatever the exercise is."""

from collections.abc import Callable
from functools import wraps

import numpy as np

RIGHT = "Right."
NOT_ATTEMPTED = "Not attempted yet: put your answer in place of the dots."
NOTHING = "Not yet: received None; does the function end with `return`?"
DIFFERENT = "Not yet: the numbers differ from the expected ones."


class Unfit(Exception):
    """Says of an answer in a sentence that it cannot be judged, and why."""


def judged(check: Callable[..., str]) -> Callable[..., None]:
    """Let a check print its judgement, or the error that the answer itself raised."""

    @wraps(check)
    def judged(*answer: object) -> None:
        try:
            attempted(answer[0])
            print(check(*answer))
        except Unfit as verdict:
            print(verdict)
        except Exception as error:  # whatever a learner's code may raise
            print(f"Not yet: your answer raised {type(error).__name__}: {error}")

    return judged


def compare(
    answer: object, expected: object, near: dict[str, object], *, rtol: float = 1e-5
) -> str:
    """Compare an answer with the expected one and with what well-known slips give."""
    numbers = to_numbers(answer, np.shape(expected))
    # Single precision loses digits of small numbers that come from large ones.
    atol = rtol / 10 * np.abs(expected).max()
    if np.allclose(numbers, expected, rtol=rtol, atol=atol):
        return RIGHT
    for hint, slip in near.items():
        if np.shape(slip) == numbers.shape and np.allclose(numbers, slip, rtol=rtol, atol=atol):
            return f"Nearly: {hint}."
    return DIFFERENT


def attempted(answer: object) -> None:
    """Raise `Unfit` where there is no answer yet."""
    if answer is ...:
        raise Unfit(NOT_ATTEMPTED)
    if answer is None:
        raise Unfit(NOTHING)


def to_numbers(answer: object, shape: tuple[int, ...] = ()) -> np.ndarray:
    """Turn an answer into numbers of the expected shape, or raise `Unfit`."""
    attempted(answer)
    try:
        numbers = np.asarray(answer, dtype=float)
    except (TypeError, ValueError) as error:
        kind = type(answer).__name__
        raise Unfit(f"Not yet: expected numbers, received a value of type {kind}.") from error
    if numbers.shape != shape:
        expected, received = (
            f"shape {lengths}" if lengths else "a single number"
            for lengths in (shape, numbers.shape)
        )
        raise Unfit(f"Not yet: expected {expected}, received {received}.")
    if not np.isfinite(numbers).all():
        raise Unfit("Not yet: expected finite numbers, received NaN or infinity.")
    return numbers
