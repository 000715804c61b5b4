"""Checks of the exercises of lessons 4 and 5, as `exercises` has them for the first three."""

from collections.abc import Callable

import numpy as np
from scipy.stats import permutation_test

from helpers.judging import RIGHT, compare, judged, to_numbers

ROUNDING = 1e-9  # more than the order of a sum makes


@judged
def check_decode_down(decode_down: Callable[[np.ndarray, list], np.ndarray]) -> str:
    """Check lesson 4, exercise 1: top codes back to pixels through the stacked decoders."""
    rng = np.random.default_rng(4)
    matrices = [rng.normal(size=(4, 4)) for _ in range(3)]
    decoders = [lambda codes, m=matrix: codes @ m for matrix in matrices]
    codes = rng.random((5, 4))  # not below 0, as after the rectifier of the top level
    bottom, middle, top = matrices
    down = codes @ top @ middle @ bottom
    rectified = np.maximum(np.maximum(codes @ top, 0) @ middle, 0) @ bottom
    near = {
        "the topmost decoder comes first": codes @ bottom @ middle @ top,
        "leave the rectifiers between the levels out, as the exercise says": rectified,
        "leave all rectifiers out, the one after the last decoder, too": np.maximum(rectified, 0),
        "every decoder has its turn": codes,
        "every decoder has its turn, not only the topmost": codes @ top,
        "each decoder gets what the one before it gave": codes @ bottom,
    }
    return compare(decode_down(codes, decoders), down, near)


@judged
def check_permutation_p_value(p_value: Callable[[np.ndarray, np.ndarray], float]) -> str:
    """Check lesson 5, exercise 4: an exact permutation test of two means, in both directions."""
    cases = [
        ([0.3, 0.1, 0.7, 0.2], [0.6, 0.5, 0.9]),  # groups of different sizes
        ([4.0, 5.0, 6.0], [1.0, 2.0, 3.0]),
        ([1.0, 1.0], [1.0, 1.0, 1.0]),
        ([1.0, 2.0, 1.0, 1.0], [3.0, 2.0]),  # equal numbers
        ([0.2, 0.6, 0.7], [0.5, 0.8, 0.9]),  # differences that are equal but for rounding
    ]
    for one, other in cases:
        answer = to_numbers(p_value(np.array(one), np.array(other)))
        if isinstance(answer, str):
            return answer
        dealt = permutation_test((one, other), _difference).null_distribution
        measured = _difference(one, other)
        right = np.mean(np.abs(dealt) >= abs(measured) - ROUNDING)
        if np.isclose(answer, right):
            continue
        larger = np.mean(np.abs(dealt) > abs(measured) + ROUNDING)
        directed = [
            np.mean(differences >= -ROUNDING)
            for differences in (dealt - measured, measured - dealt)
        ]
        where = f"for {one} and {other}"
        if np.isclose(answer, directed).any():
            return f"Nearly: {where} only one direction was counted."
        doubled = 2 * min(directed)
        if np.isclose(answer, [doubled, min(doubled, 1)]).any():
            return f"Nearly: {where} one direction was counted twice: count both."
        if larger <= answer < right:  # as by `>`, or by `>=` without an allowance
            return f"Nearly: {where} equal differences count; rounding may tell them apart."
        return f"Not yet: {where} expected {right:.3f}, received {answer}."
    return RIGHT


def _difference(one: np.ndarray, other: np.ndarray, axis: int = 0) -> np.ndarray:
    return np.mean(one, axis) - np.mean(other, axis)
