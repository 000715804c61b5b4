"""Checks of the exercises of lesson 6, as `exercises` has them for the first three."""

from collections.abc import Callable

import numpy as np

from helpers.judging import RIGHT, compare, judged, to_numbers


def _divergence(mean: np.ndarray, log_variance: np.ndarray) -> np.ndarray:
    return 0.5 * (np.square(mean) + np.exp(log_variance) - log_variance - 1)


@judged
def check_divergence(divergence: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> str:
    """Check lesson 6, exercise 1: the divergence of codes' normal distributions from N(0, 1)."""
    mean, log_variance = np.random.default_rng().normal(size=(2, 5, 3))
    right = _divergence(mean, log_variance).sum(axis=1)
    other = _divergence(mean / np.exp(log_variance / 2), -log_variance).sum(axis=1)
    squared = _divergence(mean, 2 * log_variance).sum(axis=1)
    near = {
        "sum over the numbers of a code instead of averaging over them": right / 3,
        "this is the divergence of N(0, 1) from the code's distribution, not the reverse": other,
        "exp(log_variance) is the variance, not the standard deviation": squared,
        "the half is missing": 2 * right,
        "the sign is wrong: a divergence is never below 0": -right,
    }
    return compare(divergence(mean.copy(), log_variance.copy()), right, near)


@judged
def check_find_copies(find_copies: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> str:
    """Check lesson 6, exercise 2: the rows of drawn images that are copies of training images."""
    rng = np.random.default_rng()
    kinds, shuffled = rng.uniform(0.2, 0.8, (10, 784)), rng.permutation(60)
    drawn, known = np.clip(rng.normal(np.tile(kinds, (2, 6, 1)), 0.1), 0, 1).astype(np.float32)
    copies, sources = shuffled[:9], shuffled[9:18]
    drawn[copies] = known[sources]  # at a distance below 0.03; images of a kind are 4 apart
    drawn[copies[4:]] += rng.uniform(-1e-3, 1e-3, (5, 784)).astype(np.float32)
    answer = find_copies(drawn, known.copy())
    numbers = to_numbers(answer, np.shape(answer))
    if np.asarray(answer).dtype == bool:
        return "Nearly: give the numbers of the rows, as `np.flatnonzero` does, not True or False."
    if numbers.ndim != 1:
        return f"Not yet: expected an array of row numbers, received shape {numbers.shape}."
    found, right = set(numbers), set(copies)
    if found == right:
        return RIGHT
    if not found:
        return "Not yet: nothing is found, but nine of the images are copies."
    if found == set(copies[:4]):
        return "Nearly: only exact copies are found: others differ by up to 0.001 in each pixel."
    if found <= set(sources):
        return "Nearly: these are rows of the training images: give those of the drawn images."
    missed, extra = len(right - found), len(found - right)
    verdict = "Not yet" if missed else "Nearly"
    return f"{verdict}: {missed} of nine copies missed, {extra} images found that are only similar."


@judged
def check_stronger(stronger: Callable, plain: Callable, images: np.ndarray) -> str:
    """Check lesson 6, exercise 3: a VAE trained with β above 1, beside one with β = 1."""
    from helpers import blockwise  # here, as TensorFlow takes seconds

    to_numbers(stronger.encoder(images[:2]), np.shape(plain.encoder(images[:2])))
    codes = [blockwise.apply(model.encoder, images[:2000]) for model in (stronger, plain)]
    each = [_divergence(*np.split(halves, 2, axis=1)).mean(axis=0) for halves in codes]
    (used, most), (total, usual) = np.greater(each, 0.1).sum(axis=1), np.sum(each, axis=1)
    found = f"{used} numbers in use, {total:.1f} nats; with β = 1: {most}, {usual:.1f} nats"
    if total < 0.5:
        return f"Nearly: nothing is left in the code: take a smaller β ({found})."
    if total < 0.8 * usual:
        more = f"Nearly: the divergence is smaller, but more numbers are in use ({found})."
        return more if used > most else f"{RIGHT} ({found})"
    if total < 1.05 * usual:
        return f"Nearly: almost as large as with β = 1: was β applied? Is it too small? ({found})"
    return f"Not yet: too large: β belongs before the divergence, and it is above 1 here ({found})."
