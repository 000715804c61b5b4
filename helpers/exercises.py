"""Checks of the exercises of lessons 1 to 3: right, nearly right and why, or not attempted yet.

Every check takes a learner's answer and prints one line.  A wrong answer is no error: the
notebook stays runnable from top to bottom.
"""

from collections.abc import Callable

import numpy as np
from scipy.special import expit

from helpers import evaluation
from helpers.judging import DIFFERENT, RIGHT, compare, judged, to_numbers


@judged
def check_unscale(unscale: Callable[[np.ndarray], np.ndarray]) -> str:
    """Check lesson 1, exercise 2: floats from 0 to 1 back to a 28 × 28 image of uint8."""
    image = np.resize(np.arange(256, dtype=np.uint8), (28, 28))
    row = image.reshape(-1).astype(np.float32) / 255
    # Off by less than rounding allows, as after a reconstruction or in lower precision.
    row = np.clip(row + np.float32(1e-4) * (-1) ** np.arange(784), 0, 1).astype(np.float32)
    answer = unscale(row.copy())
    cut = (row * 255).astype(np.uint8).reshape(28, 28)
    near = {
        "round before you convert, cutting off loses one": cut,
        "grey values are whole numbers: round, then convert": 255 * row.reshape(28, 28),
    }
    verdict = compare(answer, image, near)
    received = getattr(answer, "dtype", f"a {type(answer).__name__}")
    if verdict == RIGHT and received != np.uint8:
        return f"Nearly: expected an array of dtype uint8, received {received}."
    return verdict


@judged
def check_noise_directions(share: float) -> str:
    """Check lesson 1, exercise 1: the share of directions that hold 90 % of pure noise."""
    near = {
        "give the share of the directions, from 0 to 1, not their number": 0.9 * 784,
        "give the share from 0 to 1, not in per cent": 90.0,
    }
    verdict = compare(share, 0.9, near, rtol=0.005)
    if verdict == RIGHT:
        return "Right. In noise every direction holds the same share."
    if verdict == DIFFERENT:
        return (
            "Not yet: what is the share of one direction, if all have the same variance? "
            "(Among a few images some directions hold more, by chance.)"
        )
    return verdict


@judged
def check_pca_by_hand(pca_by_hand: Callable[[np.ndarray, int], np.ndarray]) -> str:
    """Check lesson 1, exercise 3: images rebuilt from their k leading directions."""
    rng = np.random.default_rng()
    images = rng.normal(size=(30, 6), scale=[6, 5, 4, 3, 2, 1]) + rng.uniform(5, 9, size=6)
    k = int(rng.integers(2, 5))
    answer = pca_by_hand(images.copy(), k)
    if np.shape(answer) == (30, k):
        return "Nearly: these are the codes; turn them back into images."
    centred, mean = images - images.mean(axis=0), images.mean(axis=0)
    vectors = np.linalg.eigh(centred.T @ centred)[1]
    leading, trailing, rows = vectors[:, -k:], vectors[:, :k], vectors[-k:].T
    raw = np.linalg.eigh(images.T @ images)[1][:, -k:]
    near = {
        "subtract the mean image before you look for directions": images @ raw @ raw.T,
        "subtract the mean image from the images that you project": images @ leading @ leading.T,
        "subtracted from the images, the mean image is added once": mean + images @ raw @ raw.T,
        "add the mean image back in the end": centred @ leading @ leading.T,
        "`eigh` begins with the smallest eigenvalue": mean + centred @ trailing @ trailing.T,
        "the directions of `eigh` are columns, not rows": mean + centred @ rows @ rows.T,
    }
    return compare(answer, mean + centred @ leading @ leading.T, near)


@judged
def check_winners_excess(points: float) -> str:
    """Check lesson 1, exercise 4: how far the best of 200 guessers comes above 10 %, in points."""
    right = np.random.default_rng().binomial(5000, 0.1, size=(500, 200))
    excess = 100 * right.max(axis=1).mean() / 5000 - 10
    near = {
        "give how far above 10 %, not the winner's share itself": 10 + excess,
        "give points (one per cent of the images is one point), not a share": excess / 100,
        "that is the winner's excess with 500 images; with more it is smaller": excess * 10**0.5,
        "too small: spread falls with the root of the number of images": excess / 10**0.5,
    }
    verdict = compare(points, excess, near, rtol=0.2)
    if verdict == RIGHT:
        return f"Right. Drawn here it is {excess:.1f} points: spread falls with the root of ten."
    if verdict == DIFFERENT:
        return f"Not yet: too {'large' if points > excess else 'small'}."
    return verdict


@judged
def check_loss(loss: Callable[..., float]) -> str:
    """Check lesson 2, exercise 1: summed squared error plus penalty, in NumPy."""
    rng = np.random.default_rng()
    images, reconstructions = rng.random((2, 6, 9))
    encoder, decoder = rng.normal(size=(9, 4)), rng.normal(size=(4, 9))
    error = np.square(images - reconstructions).sum()
    penalty = 0.15 * (np.square(encoder).sum() + np.square(decoder).sum())
    answer = loss(images, reconstructions, encoder, decoder, 0.3)
    summed = "the squared error is summed over images and pixels, not averaged over"
    near = {
        "the penalty has half of the squared weights": error + 2 * penalty,
        f"{summed} pixels": error / 9 + penalty,
        f"{summed} images": error / 6 + penalty,
        "the squared error is summed, not averaged": error / 54 + penalty,
        "the penalty is missing": error,
    }
    return compare(answer, error + penalty, near)


@judged
def check_mean_image_error(answer: float, images: np.ndarray) -> str:
    """Check lesson 2, exercise 2: squared error per image of the mean image."""
    # In float64 without a copy of all images.
    squares = np.einsum("ij,ij->j", images, images, dtype=np.float64) / len(images)
    variance = squares - np.square(images.mean(axis=0, dtype=np.float64))
    near = {
        "sum over the pixels instead of averaging over them": variance.mean(),
        "this is the error of an all-black image": squares.sum(),
        "average over the images": variance.sum() * len(images),
    }
    return compare(answer, variance.sum(), near, rtol=1e-3)


@judged
def check_reconstruct(reconstruct: Callable[[list[np.ndarray], np.ndarray], np.ndarray]) -> str:
    """Check lesson 2, exercise 3: images through encoder and decoder with a ReLU code."""
    rng = np.random.default_rng()
    images = rng.random((8, 9))
    w_enc, b_enc, w_dec, b_dec = (rng.normal(size=size) for size in [(9, 7), 7, (7, 9), 9])
    code = images @ w_enc + b_enc
    right = np.maximum(code, 0) @ w_dec + b_dec
    near = {
        "the rectifier is missing, negative numbers reach the decoder": code @ w_dec + b_dec,
        "the output has no rectifier": np.maximum(right, 0),
        "the encoder's biases are missing": np.maximum(code - b_enc, 0) @ w_dec + b_dec,
        "the decoder's biases are missing": right - b_dec,
        "all biases are missing": np.maximum(code - b_enc, 0) @ w_dec,
    }
    return compare(reconstruct([w_enc, b_enc, w_dec, b_dec], images.copy()), right, near)


@judged
def check_reaches_pca(model: Callable[[np.ndarray], np.ndarray], images: np.ndarray) -> str:
    """Check lesson 2, exercise 4: a linear autoencoder within 3 % of PCA's error."""
    to_numbers(model(images[:2]), (2, images.shape[1]))
    codes, rebuilt = np.asarray(model.encoder(images)), np.asarray(model(images))
    bound = evaluation.pca_error(evaluation.fit_pca(images), codes.shape[1])
    ratio = evaluation.reconstruction_error(images, rebuilt) / bound
    found = f"{ratio:.3f} times PCA's error with {codes.shape[1]} numbers"
    if ratio < 1 - 1e-3:
        return f"Not yet: {found}. No linear decoder gets below 1: there is a bug."
    if ratio <= 1.03:
        return f"Right. {found}."
    if codes.min() >= 0:
        return f"Nearly: {found}, and no code is negative: leave the rectifier out."
    return f"Nearly: {found}: train longer, or with a larger learning rate at first."


@judged
def check_cross_entropy(cross_entropy: Callable[[np.ndarray, np.ndarray], float]) -> str:
    """Check lesson 3, exercise 1: binary cross-entropy from logits, without overflow."""
    rng = np.random.default_rng()
    labels, logits = rng.random((5, 7)), rng.normal(size=(5, 7), scale=3)
    expected = np.mean(np.logaddexp(0, logits) - labels * logits)
    near = {
        "average over everything instead of summing": expected * labels.size,
        "average over the columns, too, not only over the rows": expected * labels.shape[1],
        "the sign is wrong: a cross-entropy is positive": -expected,
    }
    with np.errstate(all="ignore"):
        verdict = compare(cross_entropy(labels, logits), expected, near)
    if verdict != RIGHT:
        return verdict
    labels, logits = np.array([[1.0, 0.5]]), np.array([[1000.0, -1000.0]])
    try:
        # What `np.where` throws away counts as well.
        with np.errstate(over="raise", invalid="raise", divide="raise"):
            answer = cross_entropy(labels, logits)
    except ArithmeticError as error:  # of NumPy, or of the module math
        return (
            "Nearly: an intermediate result overflows or is undefined for logits of ±1000 "
            f"({error}): never take exp of a large number, nor log of 0, not even where the "
            "result is thrown away."
        )
    if not np.isclose(answer, 250):
        return "Nearly: right for small logits, but not for logits of ±1000."
    return RIGHT


@judged
def check_quantise(quantise: Callable[[np.ndarray], np.ndarray]) -> str:
    """Check lesson 3, exercise 2: each column rounded to 256 even levels."""
    codes = np.random.default_rng().normal(size=(200, 4)) * [1, 10, 0.1, 3]
    low, high = codes.min(axis=0), codes.max(axis=0)

    def values(low, high, steps=255, rounded=np.round):
        return low + rounded((codes - low) / (high - low) * steps) / steps * (high - low)

    floor = "round to the nearest level, cutting off takes the one below"
    levels = np.round((codes - low) / (high - low) * 255)
    near = {
        "these are the levels: turn them back into values": levels,
        "each column has a smallest and a largest value of its own": values(low.min(), high.max()),
        floor: values(low, high, rounded=np.floor),
        "256 levels have 255 steps between them": values(low, high, steps=256),
    }
    return compare(quantise(codes.copy()), values(low, high), near)


@judged
def check_corrupt(corrupt: Callable[[np.ndarray, float, np.random.Generator], np.ndarray]) -> str:
    """Check lesson 3, exercise 3: masking noise on images, shape [n, 784]."""
    rng = np.random.default_rng()
    images, share = rng.uniform(0.1, 1, (300, 784)), rng.uniform(0.2, 0.4)
    numbers = to_numbers(corrupt(given := images.copy(), share, rng), images.shape)
    gone = numbers == 0
    if not np.array_equal(given, images):
        return "Nearly: the images handed in were changed: work on a copy."
    if not np.allclose(numbers[~gone], images[~gone], rtol=1e-6):  # float32 will do
        return "Not yet: pixels that are not set to 0 stay what they are."
    if gone.all(axis=0).any() or gone.all(axis=1).any():
        return "Nearly: whole rows or columns are 0: draw for each pixel of each image anew."
    if abs(gone.mean() - (1 - share)) < 0.02:
        return "Nearly: this is the share of the pixels that are kept."
    if abs(gone.mean() - share) > 0.02:
        return f"Not yet: expected {share:.0%} of the pixels at 0, received {gone.mean():.0%}."
    return RIGHT


@judged
def check_denoises(
    denoising: Callable[[np.ndarray], object], plain: Callable, images: np.ndarray
) -> str:
    """Check lesson 3, exercise 3: a network that fills holes, beside one that never saw any.

    Both return logits for images, shape [n, 784].
    """
    images = images[:1000]
    holed = images * (np.random.default_rng().random(images.shape) > 0.5)
    answer, usual = (expit(to_numbers(f(holed), images.shape)) for f in (denoising, plain))
    error, holes, naive = (
        np.square(numbers - images).sum(axis=1).mean() for numbers in (answer, holed, usual)
    )
    compared = f"error {error:.1f}, of the holes {holes:.1f}, of the plain network {naive:.1f}"
    if answer.mean() < 0.7 * images.mean():
        return f"Nearly: its images are too dark: the target is the whole image ({compared})."
    if error < 0.75 * naive:
        return f"{RIGHT} ({compared})"
    if error < naive:
        return f"Nearly: it fills holes only a little: train longer ({compared})."
    return f"Not yet: no better than a network that never saw holes ({compared})."
