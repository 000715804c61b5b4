"""Answers to the exercises of lesson 7, for test_exercises.py."""

from functools import partial

import numpy as np
from scipy.special import logit

from helpers.boltzmann_exercises import check_deep, check_free_energy, check_unroll


def free_energy(rows, weights, hidden, visible, *, signs=(-1, -1), each=None, reduce=np.sum):
    sums = rows @ weights + hidden
    return signs[0] * rows @ visible + signs[1] * reduce((each or softplus)(sums), axis=1)


def softplus(sums):
    return np.logaddexp(0, sums)


def without_hidden_bias(rows, weights, hidden, visible):
    return free_energy(rows, weights, 0 * hidden, visible)


def unroll(rbms, *, reverse=True, count=8):
    up = [(weights, hidden) for weights, hidden, _ in rbms]
    down = [(weights.T, visible) for weights, _, visible in rbms]
    return [array for pair in up + down[:: -1 if reverse else 1] for array in pair][:count]


def encoders_only_with_wrong_biases(rbms):
    return [array.T for array in unroll(rbms)]


DEEP_IMAGES = np.random.default_rng(5).uniform(0.1, 0.9, (40, 784)).astype(np.float32)


def checks_deep(network):
    check_deep(network, DEEP_IMAGES, 5.0)


def rebuilt(lost):
    """A network that loses a share of each image's distance from the mean image."""
    mean = DEEP_IMAGES.mean(axis=0)
    return lambda images: logit((1 - lost) * images + lost * mean)


RIGHT = [(check_free_energy, free_energy), (check_unroll, unroll), (checks_deep, rebuilt(0.1))]
ALSO_RIGHT = [
    (check_unroll, lambda rbms: tuple(unroll(rbms))),
    (checks_deep, rebuilt(0.2)),
]
NEARLY = [
    (check_free_energy, partial(free_energy, signs=(1, 1)), "the sign is wrong"),
    (check_free_energy, partial(free_energy, signs=(0, -1)), "of the visible biases is missing"),
    (check_free_energy, partial(free_energy, signs=(1, -1)), "count with a minus, too"),
    (check_free_energy, without_hidden_bias, "belong into the sum of each hidden unit"),
    (check_free_energy, partial(free_energy, reduce=np.mean), "do not average"),
    (check_free_energy, partial(free_energy, each=np.asarray), "log(1 + e^a), not a itself"),
    (check_unroll, partial(unroll, reverse=False), "the decoder of the topmost RBM comes first"),
    (checks_deep, rebuilt(0.5), "it is not there yet"),
]
NOT_YET = [
    (check_free_energy, lambda *_: np.zeros(4), "expected shape (5,), received shape (4,)"),
    (check_unroll, partial(unroll, count=4), "two arrays each, received 4"),
    (check_unroll, encoders_only_with_wrong_biases, "in this order"),
    (checks_deep, rebuilt(1.0), "it gives the mean image"),
    (checks_deep, lambda images: images[:, :30], "expected shape (40, 784)"),
]
