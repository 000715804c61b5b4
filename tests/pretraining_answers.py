"""Answers to the exercises of lessons 4 and 5, for test_exercises.py."""

from functools import partial
from itertools import combinations

import numpy as np
from scipy.stats import permutation_test

from helpers.pretraining_exercises import check_decode_down, check_permutation_p_value


def decode(codes, decoders, *, downwards=True, rectified=0):
    for number, decoder in enumerate(reversed(decoders) if downwards else decoders, start=1):
        codes = decoder(codes)
        if number <= rectified:
            codes = np.maximum(codes, 0)
    return codes


def p_value(one, other, *, two_sided=True, allowance=1e-9):
    pooled, measured = np.concatenate([one, other]), np.mean(one) - np.mean(other)
    differences = []
    for chosen in combinations(range(len(pooled)), len(one)):
        first = np.isin(np.arange(len(pooled)), chosen)
        differences.append(pooled[first].mean() - pooled[~first].mean())
    if two_sided:
        return np.mean(np.abs(differences) >= abs(measured) - allowance)
    sign = np.sign(measured) or 1
    return np.mean(sign * np.array(differences) >= abs(measured) - 1e-9)


def doubled(one, other):
    return permutation_test((one, other), lambda a, b: np.mean(a) - np.mean(b)).pvalue


def p_value_without_repeats(one, other):
    pooled, measured = sorted([*one, *other]), abs(np.mean(one) - np.mean(other))
    firsts = set(combinations(pooled, len(one)))
    means = np.array([(sum(first), sum(pooled) - sum(first)) for first in firsts])
    means /= len(one), len(other)
    return np.mean(np.abs(np.diff(means)) >= measured - 1e-9)


RIGHT = [
    (check_decode_down, decode),
    (check_permutation_p_value, p_value),
]
ALSO_RIGHT = []
NEARLY = [
    (check_decode_down, partial(decode, downwards=False), "topmost decoder"),
    (
        check_decode_down,
        partial(decode, rectified=2),
        "the rectifiers between the levels",
    ),
    (check_decode_down, lambda codes, decoders: codes, "every decoder has its turn."),
    (check_decode_down, partial(decode, rectified=3), "leave all rectifiers out"),
    (check_decode_down, lambda c, decoders: decoders[-1](c), "not only the topmost"),
    (check_decode_down, lambda c, decoders: decoders[0](c), "the one before it gave"),
    (check_permutation_p_value, partial(p_value, two_sided=False), "one direction"),
    (check_permutation_p_value, doubled, "counted twice"),
    (check_permutation_p_value, partial(p_value, allowance=-1e-9), "equal differences"),
    (check_permutation_p_value, partial(p_value, allowance=0), "rounding"),
]
NOT_YET = [
    (check_permutation_p_value, lambda *groups: [p_value(*groups)], "a single number"),
    (check_permutation_p_value, p_value_without_repeats, "expected 0.133"),
]
