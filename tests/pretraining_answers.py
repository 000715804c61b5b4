"""Answers to the exercises of lessons 4 and 5, for test_exercises.py."""

from functools import partial
from itertools import combinations

import numpy as np
from scipy.stats import permutation_test

from helpers.pretraining_exercises import (
    check_control,
    check_decode_down,
    check_no_dead_unit,
    check_permutation_p_value,
    check_rescued,
    check_revive,
)


def decode(codes, decoders, *, downwards=True, rectified=0):
    for number, decoder in enumerate(reversed(decoders) if downwards else decoders, start=1):
        codes = decoder(codes)
        if number <= rectified:
            codes = np.maximum(codes, 0)
    return codes


def revive(weights, bias, inputs, *, share=0.99, sign=-1, dead=None, biased=True, axis=0):
    sums = inputs @ weights + bias
    dead = (sums <= 0).all(axis=0) if dead is None else dead
    enough = np.quantile(sums if biased else sums - bias, share, axis=axis)
    return np.where(dead, bias + sign * enough, bias)


def revives_in_place(weights, bias, inputs):
    bias[:] = revive(weights, bias, inputs)
    return bias


class Level:
    """An autoencoder that gives images back as they are, less a part, with some units dead."""

    def __init__(self, *, dead=0, lost=0.0, size=100):
        live = (np.arange(size) >= dead).astype(np.float32)
        self.encoder = lambda images: np.asarray(images)[:, :size] * live
        self.decoder = lambda codes: LEVEL_IMAGES * np.float32(1 - lost)

    def __call__(self, images):
        return images


LEVEL_IMAGES = np.random.default_rng(3).uniform(0.5, 1, (60, 784)).astype(np.float32)
LEVEL_ERROR = float(np.square(0.1 * LEVEL_IMAGES).sum(axis=1).mean())


def checks_no_dead_unit(level):
    check_no_dead_unit(level, LEVEL_IMAGES, LEVEL_ERROR)


def control(weights, rng, *, mean=True, spread=1.0, biases=True, mixed=0.0):
    drawn = [
        rng.normal(w.mean() if mean else 0, spread * w.std(), w.shape) + mixed * w for w in weights
    ]
    if not biases:
        return drawn
    return [old if old.ndim == 1 else new for old, new in zip(weights, drawn, strict=True)]


def shuffles(weights, rng):
    return [w if w.ndim == 1 else rng.permutation(w.ravel()).reshape(w.shape) for w in weights]


RESCUED_LABELS = np.arange(60) % 10


def classifies(share):
    """A network that is right about this share of the images, in turn."""
    guesses = np.where(np.arange(60) < share * 60, RESCUED_LABELS, RESCUED_LABELS + 1) % 10
    return lambda images: np.eye(10)[guesses]


def checks_rescued(network):
    check_rescued(network, np.zeros([60, 784]), RESCUED_LABELS)


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


def scipys(one, other, alternative):
    def difference(a, b):
        return np.mean(a) - np.mean(b)

    return permutation_test((one, other), difference, alternative=alternative).pvalue


def p_value_without_repeats(one, other):
    pooled, measured = sorted([*one, *other]), abs(np.mean(one) - np.mean(other))
    firsts = set(combinations(pooled, len(one)))
    means = np.array([(sum(first), sum(pooled) - sum(first)) for first in firsts])
    means /= len(one), len(other)
    return np.mean(np.abs(np.diff(means)) >= measured - 1e-9)


RIGHT = [
    (check_decode_down, decode),
    (check_revive, revive),
    (checks_no_dead_unit, Level(lost=0.1)),
    (check_permutation_p_value, p_value),
    (check_control, control),
    (checks_rescued, classifies(0.9)),
]
ALSO_RIGHT = [(checks_no_dead_unit, Level(lost=0.102))]
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
    (check_revive, revives_in_place, "work on a copy"),
    (check_revive, partial(revive, dead=True), "only the biases of dead units change."),
    (check_revive, partial(revive, sign=1), "the sign is wrong"),
    (check_revive, partial(revive, share=0.01), "above the quantile 0.99"),
    (check_revive, partial(revive, share=1), "for no input, as before"),
    (check_revive, partial(revive, biased=False), "has its bias in it"),
    (check_revive, lambda weights, bias, inputs: bias, "still dead"),
    (checks_no_dead_unit, Level(dead=3, lost=0.1), "some units are still dead"),
    (checks_no_dead_unit, Level(lost=0.2), "the error is too large"),
    (check_permutation_p_value, partial(p_value, two_sided=False), "one direction"),
    (check_permutation_p_value, partial(scipys, alternative="greater"), "one direction"),
    (check_permutation_p_value, partial(scipys, alternative="less"), "one direction"),
    (check_permutation_p_value, partial(scipys, alternative="two-sided"), "counted twice"),
    (check_permutation_p_value, partial(p_value, allowance=-1e-9), "equal differences"),
    (check_permutation_p_value, partial(p_value, allowance=0), "rounding"),
    (check_control, shuffles, "in another order"),
    (check_control, partial(control, biases=False), "the biases stay"),
    (check_control, partial(control, mean=False), "its own mean"),
    (check_control, partial(control, spread=0.5), "its own spread"),
    (check_control, partial(control, mixed=1.0), "something of the order"),
    (check_control, lambda w, _: control(w, np.random.default_rng(0)), "another generator"),
    (checks_rescued, classifies(0.3), "train longer"),
]
NOT_YET = [
    (check_revive, lambda weights, bias, inputs: weights, "expected shape (9,)"),
    (check_revive, lambda weights, bias, inputs: 2 * bias, "the numbers differ"),
    (checks_no_dead_unit, Level(dead=3, lost=0.2), "units are dead, and the error"),
    (checks_no_dead_unit, Level(size=20), "expected 100 units, received 20"),
    (checks_no_dead_unit, lambda images: images[:, :9], "expected shape (50, 784)"),
    (check_permutation_p_value, lambda *groups: [p_value(*groups)], "a single number"),
    (check_permutation_p_value, p_value_without_repeats, "expected 0.467"),
    (check_control, lambda weights, rng: weights[:2], "of the same shapes"),
    (checks_rescued, lambda images: np.zeros([60, 10]), "a layer is dead"),
    (checks_rescued, lambda images: np.zeros([60, 5]), "shape (60, 10), received shape (60, 5)"),
]
