"""Answers to the exercises of lesson 6, for test_exercises.py."""

from functools import partial
from types import SimpleNamespace

import numpy as np
from scipy.spatial.distance import cdist
from scipy.stats import norm

from helpers.generative_exercises import (
    check_divergence,
    check_find_copies,
    check_stronger,
)


def divergence(mean, log_variance, *, half=0.5, scale=1, reduced=np.sum, axis=1):
    log_variance = scale * log_variance
    each = mean**2 + np.exp(log_variance) - log_variance - 1
    return half * reduced(each, axis=axis)


def by_entropies(mean, log_variance):
    crossed = 0.5 * (mean**2 + np.exp(log_variance) + np.log(2 * np.pi))
    return (crossed - norm.entropy(scale=np.exp(log_variance / 2))).sum(axis=1)


def reversed_divergence(mean, log_variance):
    return 0.5 * np.sum((1 + mean**2) / np.exp(log_variance) + log_variance - 1, axis=1)


def find_copies(drawn, known, *, limit=0.5, axis=1):
    return np.flatnonzero(cdist(drawn, known).min(axis=axis) < limit)


def by_ratio(drawn, known):
    nearest, second = np.sort(cdist(drawn, known), axis=1)[:, :2].T
    return np.flatnonzero(nearest < 0.3 * second)[::-1]


def by_largest_difference(drawn, known):
    return [i for i, image in enumerate(drawn) if (abs(known - image).max(axis=1) < 2e-3).any()]


VAE_IMAGES = np.tile(np.float32([[0], [2**0.5]]), (1003, 784))
VAE_IMAGES[2000:] = np.nan  # the check leaves these out


def encoder(*scales, log_variance=0):
    """Means are multiples of pixels, whose mean square is 1; the last numbers are as the prior."""
    matrix, bias = np.zeros([784, 12], np.float32), np.zeros(12, np.float32)
    matrix[range(len(scales)), range(len(scales))] = scales
    bias[6 : 6 + len(scales)] = log_variance
    return lambda images: images @ matrix + bias


PLAIN = encoder(2, 2, 2, 2, 0.1, log_variance=-0.5)  # 4 times 2.05 nats, and 0.06


def checks_stronger(answer):
    model = answer if answer is ... else SimpleNamespace(encoder=answer)
    check_stronger(model, SimpleNamespace(encoder=PLAIN), VAE_IMAGES)


RIGHT = [
    (check_divergence, divergence),
    (check_find_copies, find_copies),
    (checks_stronger, encoder(2, 2, log_variance=-1)),
]
ALSO_RIGHT = [
    (check_divergence, by_entropies),
    (check_find_copies, by_ratio),
    (check_find_copies, by_largest_difference),
    (check_find_copies, partial(find_copies, limit=0.05)),
    (check_find_copies, partial(find_copies, limit=2)),
    (checks_stronger, encoder(1.5, 1.5, 1.5, 1.5, log_variance=-0.5)),
]
NEARLY = [
    (check_divergence, partial(divergence, reduced=np.mean), "sum over the numbers"),
    (check_divergence, reversed_divergence, "not the reverse"),
    (check_divergence, partial(divergence, scale=2), "not the standard deviation"),
    (check_divergence, partial(divergence, half=1), "the half is missing"),
    (check_divergence, partial(divergence, half=-0.5), "the sign is wrong"),
    (check_find_copies, partial(find_copies, limit=1e-3), "only exact copies"),
    (check_find_copies, partial(find_copies, axis=0), "rows of the training images"),
    (check_find_copies, lambda *images: cdist(*images).min(axis=1) < 0.5, "not True or False"),
    (check_find_copies, partial(find_copies, limit=8), "0 of nine copies missed, 51 images"),
    (checks_stronger, encoder(0.1, 0.1), "nothing is left in the code"),
    (checks_stronger, encoder(*6 * [0.9]), "(6 numbers in use, 2.4 nats; with β = 1: 4, 8.3 nats)"),
    (checks_stronger, PLAIN, "was β applied?"),
    (checks_stronger, encoder(2, 2, 2, 1.5, log_variance=-0.5), "Is it too small?"),
]
NOT_YET = [
    (check_divergence, partial(divergence, axis=0), "expected shape (5,), received shape (3,)"),
    (check_find_copies, partial(find_copies, limit=0), "nothing is found"),
    (check_find_copies, lambda *_: np.arange(0), "nothing is found"),
    (check_find_copies, lambda *images: find_copies(*images)[:7], "2 of nine copies missed, 0"),
    (check_find_copies, lambda *images: np.where(cdist(*images) < 0.5), "shape (2, 9)"),
    (checks_stronger, encoder(3, 3, 3, 3), "β belongs before the divergence"),
    (checks_stronger, encoder(np.nan), "expected finite numbers"),
    (checks_stronger, lambda images: images[:, :6], "shape (2, 12), received shape (2, 6)"),
]
