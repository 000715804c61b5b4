"""Checks of the exercises of lessons 4 and 5, as `exercises` has them for the first three."""

from collections.abc import Callable

import numpy as np
from scipy.stats import permutation_test

from helpers import evaluation
from helpers.judging import RIGHT, attempted, compare, judged, to_numbers

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
def check_revive(revive: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]) -> str:
    """Check lesson 4, exercise 2: biases with which dead units are above zero now and then."""
    rng = np.random.default_rng()
    weights, bias, inputs = rng.normal(size=(6, 9)), rng.normal(size=9), rng.random((400, 6))
    bias[:4] -= (inputs @ weights + bias)[:, :4].max(axis=0) + rng.uniform(0.5, 1, 4)
    bias[4:] -= np.quantile(inputs @ weights + bias, 0.7, axis=0)[4:]  # these are live
    answer = revive(weights, given := bias.copy(), inputs)
    if not np.array_equal(given, bias):
        return "Nearly: the biases handed in were changed: work on a copy."
    sums, dead = inputs @ weights + bias, np.arange(9) < 4
    high, low, least = (np.quantile(sums, share, axis=0) for share in (0.99, 0.01, 1))
    near = {
        "only the biases of dead units change": bias - high,
        "the sign is wrong: a dead unit's bias has to rise": np.where(dead, bias + high, bias),
        "one input in a hundred is above the quantile 0.99": np.where(dead, bias - low, bias),
        "now they are above zero for no input, as before": np.where(dead, bias - least, bias),
        "a unit's sum has its bias in it": np.where(dead, 2 * bias - high, bias),
        "these units are still dead": bias,
    }
    return compare(answer, np.where(dead, bias - high, bias), near)


@judged
def check_no_dead_unit(autoencoder: Callable, images: np.ndarray, usual: float) -> str:
    """Check lesson 4, exercise 3: all units in use, squared error at most 5 % above the usual."""
    to_numbers(autoencoder(images[:50]), images[:50].shape)
    blocks = np.array_split(images, -(-len(images) // 5000))
    codes = [np.asarray(autoencoder.encoder(block)) for block in blocks]
    rebuilt = np.concatenate([np.asarray(autoencoder.decoder(block)) for block in codes])
    codes, error = np.concatenate(codes), evaluation.reconstruction_error(images, rebuilt)
    dead = codes.shape[1] - (codes > 0).any(axis=0).sum()
    measured = f"dead units {dead}, squared error {error:.2f}, the lesson's {usual:.2f}"
    if codes.shape[1] < 100:
        return f"Not yet: expected 100 units, received {codes.shape[1]}."
    if dead and error > 1.05 * usual:
        return f"Not yet: units are dead, and the error is too large ({measured})."
    if dead:
        return f"Nearly: some units are still dead ({measured})."
    if error > 1.05 * usual:
        return f"Nearly: no unit is dead, but the error is too large ({measured})."
    return f"{RIGHT} ({measured})"


@judged
def check_control(control: Callable[..., list[np.ndarray]]) -> str:
    """Check lesson 5, exercise 1: matrices drawn anew with the mean and spread of the old ones."""
    rng = np.random.default_rng()
    weights = [rng.normal(*rng.uniform(0.5, 2, 2), (60, 50)), rng.normal(size=50)]
    weights += [rng.normal(*rng.uniform(-2, -0.5, 1), rng.uniform(3, 5), (50, 40)), np.ones(40)]
    answer = control([array.copy() for array in weights], np.random.default_rng(1))
    attempted(answer)
    if [np.shape(array) for array in answer] != [array.shape for array in weights]:
        return "Not yet: expected arrays of the same shapes, in the same order."
    answer = [to_numbers(array, np.shape(array)) for array in answer]
    for i in (1, 3):
        if not np.array_equal(answer[i], weights[i]):
            return "Nearly: the biases stay as they are."
    for before, after in zip(weights[::2], answer[::2], strict=True):
        if np.array_equal(np.sort(before, axis=None), np.sort(after, axis=None)):
            return "Nearly: these are the old numbers in another order: draw new ones."
        if abs(np.corrcoef(before.ravel(), after.ravel())[0, 1]) > 0.1:
            return "Nearly: something of the order of the old numbers is left."
        if abs(after.std() / before.std() - 1) > 0.1:
            return "Nearly: each matrix keeps its own spread, its standard deviation."
        if abs(after.mean() - before.mean()) > 0.2 * before.std():
            return "Nearly: each matrix keeps its own mean."
    other = control([array.copy() for array in weights], np.random.default_rng(2))
    if np.array_equal(answer[0], other[0]):
        return "Nearly: another generator must draw other numbers."
    return RIGHT


@judged
def check_rescued(network: Callable[[np.ndarray], object], images: np.ndarray, labels) -> str:
    """Check lesson 5, exercise 2: a network that would have lost a layer, above 50 %."""
    logits = to_numbers(network(images), (len(images), 10))
    accuracy = 100 * np.mean(logits.argmax(axis=1) == labels)
    if accuracy > 50:
        return f"{RIGHT} It classifies {accuracy:.1f} % of the images."
    if np.ptp(logits, axis=0).max() == 0:
        return "Not yet: it answers the same for all images: a layer is dead."
    return f"Nearly: no layer is dead, but {accuracy:.1f} % are right: train longer."


@judged
def check_permutation_p_value(p_value: Callable[[np.ndarray, np.ndarray], float]) -> str:
    """Check lesson 5, exercise 3: an exact permutation test of two means, in both directions."""
    # Groups of different sizes, equal numbers, and differences that are equal but for rounding.
    one, other = [0.2, 0.6, 0.7, 0.2], [0.9, 0.4]
    answer = to_numbers(p_value(np.array(one), np.array(other)))
    dealt = permutation_test((one, other), _difference).null_distribution
    measured = _difference(one, other)  # below 0: its size has to be taken, too
    right = np.mean(np.abs(dealt) >= abs(measured) - ROUNDING)
    if np.isclose(answer, right):
        return RIGHT
    larger = np.mean(np.abs(dealt) > abs(measured) + ROUNDING)
    lower, higher = np.mean(dealt <= measured + ROUNDING), np.mean(dealt >= measured - ROUNDING)
    where = f"for {one} and {other}"
    if np.isclose(answer, [lower, higher, right - lower]).any():
        return f"Nearly: {where} only one direction was counted."
    if np.isclose(answer, 2 * lower):
        return f"Nearly: {where} one direction was counted twice: count both."
    if larger <= answer < right:  # as by `>`, or by `>=` without an allowance
        return f"Nearly: {where} equal differences count; rounding may tell them apart."
    return f"Not yet: {where} expected {right:.3f}, received {answer}."


def _difference(one: np.ndarray, other: np.ndarray, axis: int = 0) -> np.ndarray:
    return np.mean(one, axis) - np.mean(other, axis)
