"""Checks of the exercises of lesson 7, as `exercises` has them for the first three."""

from collections.abc import Callable

import numpy as np
from scipy.special import expit, softplus

from helpers import evaluation
from helpers.judging import RIGHT, attempted, compare, judged, to_numbers


@judged
def check_free_energy(free_energy: Callable[..., np.ndarray]) -> str:
    """Check lesson 7, exercise 1: the free energy of rows of visible units."""
    rng = np.random.default_rng()
    weights, hidden, visible = rng.normal(size=(6, 4)), rng.normal(size=4), rng.normal(size=6)
    rows = rng.integers(0, 2, (5, 6)).astype(float)
    each, linear = softplus(rows @ weights + hidden), rows @ visible
    right = -linear - each.sum(axis=1)
    near = {
        "the sign is wrong: likely images have a low free energy": -right,
        "the term of the visible biases is missing": -each.sum(axis=1),
        "the visible biases count with a minus, too": linear - each.sum(axis=1),
        "the hidden biases belong into the sum of each hidden unit": -linear
        - softplus(rows @ weights).sum(axis=1),
        "sum over the hidden units, do not average": -linear - each.mean(axis=1),
        "log(1 + e^a), not a itself": -linear - (rows @ weights + hidden).sum(axis=1),
    }
    return compare(free_energy(rows, weights, hidden, visible), right, near)


@judged
def check_unroll(unroll: Callable[[list], list[np.ndarray]]) -> str:
    """Check lesson 7, exercise 2: the arrays of a deep autoencoder from those of two RBMs."""
    rng = np.random.default_rng()
    rbms = [[rng.normal(size=s) for s in ((n, m), m, n)] for n, m in ((5, 4), (4, 3))]
    attempted(answer := unroll(rbms))
    ups, downs = [(w, c) for w, c, _ in rbms], [(w.T, b) for w, _, b in rbms]
    expected, upside_down = (
        [array for pair in ups + down for array in pair] for down in (downs[::-1], downs)
    )
    if len(answer) != 8:
        return f"Not yet: two RBMs make four layers of two arrays each, received {len(answer)}."
    if all(map(np.array_equal, answer, expected)):
        return RIGHT
    if all(map(np.array_equal, answer, upside_down)):
        return "Nearly: the decoder of the topmost RBM comes first."
    shapes = ", ".join(str(array.shape) for array in expected)
    return f"Not yet: expected the RBMs' own numbers in arrays of shapes {shapes}, in this order."


@judged
def check_deep(network: Callable[[np.ndarray], object], images: np.ndarray, goal: float) -> str:
    """Check lesson 7, exercise 3: a deep network that gives logits, its error below a goal."""
    logits = to_numbers(network(images), images.shape)
    error = evaluation.reconstruction_error(images, expit(logits).astype(np.float32))
    mean = evaluation.reconstruction_error(images, np.broadcast_to(images.mean(0), images.shape))
    found = f"squared error {error:.1f}, goal {goal:.1f}"
    if error > 0.9 * mean:
        return f"Not yet: it gives the mean image, whatever it is shown ({found})."
    if error > goal:
        return f"Nearly: it learns, but it is not there yet: try another rate ({found})."
    return f"{RIGHT} ({found})"
