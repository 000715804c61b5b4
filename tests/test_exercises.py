"""Each check tells right from nearly right, from wrong, and from not attempted yet."""

import math
from collections.abc import Callable
from functools import partial

import boltzmann_answers as boltzmann
import generative_answers as generative
import numpy as np
import pretraining_answers as later
import pytest
from scipy.special import logit

from helpers import exercises

IMAGES = np.random.default_rng(9).random([30, 5])


def loss(images, reconstructions, encoder, decoder, weight_decay, *, half=0.5, averaged=()):
    error = np.square(images - reconstructions).mean(axis=averaged).sum()
    weights = np.square(encoder).sum() + np.square(decoder).sum()
    return error + half * weight_decay * weights


def reconstruct(weights, images, *, code=(0, np.inf), output=-np.inf, biases=(1, 1)):
    w_enc, b_enc, w_dec, b_dec = weights
    codes = np.clip(images @ w_enc + biases[0] * b_enc, *code)
    return np.maximum(codes @ w_dec + biases[1] * b_dec, output)


class Projection:
    """An autoencoder that keeps the first principal components, not all of their lengths."""

    def __init__(self, size, *, share=1.0, rectified=False):
        mean, directions = IMAGES.mean(axis=0), np.linalg.svd(IMAGES - IMAGES.mean(axis=0))[2]
        kept = directions[:size]
        low = 0 if rectified else -np.inf
        self.encoder = lambda images: np.maximum((images - mean) @ kept.T, low)
        self.decoder = lambda codes: share * codes @ kept + mean

    def __call__(self, images):
        return self.decoder(self.encoder(images))


class Cheat(Projection):
    """It does not reconstruct from the code."""

    def __call__(self, images):
        return images


def cross_entropy(labels, logits, *, stable=True, mean=True):
    if stable:
        each = np.logaddexp(0, logits) - labels * logits
    else:
        p = 1 / (1 + np.exp(-logits))
        each = -(labels * np.log(p) + (1 - labels) * np.log(1 - p))
    return each.mean() if mean else each.sum()


def branches(labels, logits):
    positive = logits - labels * logits + np.log1p(np.exp(-logits))
    return np.where(logits > 0, positive, np.log1p(np.exp(logits)) - labels * logits).mean()


def one_by_one(labels, logits):
    pairs = zip(labels.flat, logits.flat, strict=True)
    return sum(math.log1p(math.exp(a)) - x * a for x, a in pairs) / labels.size


def quantise(codes, *, axis=0, values=True, rounded=np.round, dtype=np.float64, steps=255):
    codes = codes.astype(dtype)
    low, high = codes.min(axis=axis), codes.max(axis=axis)
    levels = rounded((codes - low) / (high - low) * steps)
    return low + levels / steps * (high - low) if values else levels


def in_list(answer):
    return lambda *arguments: [answer(*arguments)]


def unscale(row, *, rounded=True, dtype=np.uint8):
    grey = 255 * row
    return (np.round(grey) if rounded else grey).astype(dtype).reshape(28, 28)


def pca_by_hand(images, k, *, centred=True, restored=True, first=False, rows=False, codes=False):
    mean = images.mean(axis=0)
    deviations = images - mean if centred else images
    vectors = np.linalg.eigh(deviations.T @ deviations)[1]
    vectors = vectors.T if rows else vectors
    directions = vectors[:, :k] if first else vectors[:, -k:]
    if codes:
        return deviations @ directions
    return deviations @ directions @ directions.T + (mean if restored else 0)


def projects_uncentred(images, k):
    directions = np.linalg.eigh(np.cov(images, rowvar=False))[1][:, -k:]
    return images @ directions @ directions.T


def by_singular_values(images, k):
    mean = images.mean(axis=0)
    left, values, right = np.linalg.svd(images - mean, full_matrices=False)
    return mean + left[:, :k] * values[:k] @ right[:k]


def corrupt(images, share, rng, *, size=None, flip=False, value=0.0):
    holes = rng.random(size or images.shape) < share
    return np.where(holes ^ flip, value, images)


def corrupts_in_place(images, share, rng):
    images[rng.random(images.shape) < share] = 0
    return images


EVEN = np.random.default_rng(9).uniform(0.3, 0.55, [50, 1]).repeat(784, axis=1)


def fills(holed, share=1.0):
    return logit(share * np.broadcast_to(holed.max(axis=1, keepdims=True), holed.shape))


def copies(holed):
    return logit(np.clip(holed, 1e-6, 1 - 1e-6))


def checks_denoises(answer):
    exercises.check_denoises(answer, copies, EVEN)


def checks_mean_image(answer):
    exercises.check_mean_image_error(answer, IMAGES)


def checks_reaches_pca(answer):
    exercises.check_reaches_pca(answer, IMAGES)


VARIANCE = IMAGES.var(axis=0)
RIGHT = [
    (exercises.check_unscale, unscale),
    (exercises.check_noise_directions, 0.9),
    (exercises.check_pca_by_hand, pca_by_hand),
    (exercises.check_winners_excess, 1.2),
    (exercises.check_loss, loss),
    (checks_mean_image, VARIANCE.sum()),
    (exercises.check_reconstruct, reconstruct),
    (checks_reaches_pca, Projection(2)),
    (exercises.check_cross_entropy, cross_entropy),
    (exercises.check_quantise, quantise),
    (exercises.check_corrupt, corrupt),
    (checks_denoises, fills),
]
ALSO_RIGHT = [
    (exercises.check_pca_by_hand, by_singular_values),
    (exercises.check_winners_excess, 1.3),
    (exercises.check_winners_excess, 1),
    (exercises.check_quantise, partial(quantise, dtype=np.float32)),
    (exercises.check_quantise, lambda codes: quantise(codes).tolist()),
]
NEARLY = [
    (exercises.check_unscale, partial(unscale, rounded=False), "round before"),
    (exercises.check_unscale, partial(unscale, dtype=np.int64), "of dtype uint8, received int64"),
    (exercises.check_unscale, lambda row: unscale(row).tolist(), "dtype uint8, received a list"),
    (exercises.check_unscale, partial(unscale, rounded=False, dtype=float), "whole numbers"),
    (exercises.check_noise_directions, 705.6, "not their number"),
    (exercises.check_noise_directions, 90, "not in per cent"),
    (exercises.check_pca_by_hand, partial(pca_by_hand, centred=False), "added once"),
    (
        exercises.check_pca_by_hand,
        partial(pca_by_hand, centred=False, restored=False),
        "before you look for directions",
    ),
    (exercises.check_pca_by_hand, projects_uncentred, "that you project"),
    (exercises.check_pca_by_hand, partial(pca_by_hand, restored=False), "add the mean image back"),
    (exercises.check_pca_by_hand, partial(pca_by_hand, first=True), "smallest eigenvalue"),
    (exercises.check_pca_by_hand, partial(pca_by_hand, rows=True), "columns, not rows"),
    (exercises.check_pca_by_hand, partial(pca_by_hand, codes=True), "these are the codes"),
    (exercises.check_winners_excess, 11.2, "not the winner's share"),
    (exercises.check_winners_excess, 0.012, "not a share"),
    (exercises.check_winners_excess, 3.9, "with 500 images"),
    (exercises.check_winners_excess, 0.39, "the root of the number of images"),
    (exercises.check_loss, partial(loss, half=1), "half of the squared weights"),
    (exercises.check_loss, partial(loss, half=0), "the penalty is missing"),
    (exercises.check_loss, partial(loss, averaged=(0, 1)), "summed, not averaged."),
    (exercises.check_loss, partial(loss, averaged=0), "not averaged over images"),
    (exercises.check_loss, partial(loss, averaged=1), "not averaged over pixels"),
    (checks_mean_image, VARIANCE.mean(), "sum over the pixels"),
    (checks_mean_image, VARIANCE.sum() * len(IMAGES), "average over the images"),
    (checks_mean_image, np.square(IMAGES).sum() / len(IMAGES), "all-black"),
    (exercises.check_reconstruct, partial(reconstruct, code=(None, None)), "rectifier is missing"),
    (exercises.check_reconstruct, partial(reconstruct, output=0), "the output has no rectifier"),
    (exercises.check_reconstruct, partial(reconstruct, biases=(0, 1)), "the encoder's biases"),
    (exercises.check_reconstruct, partial(reconstruct, biases=(1, 0)), "the decoder's biases"),
    (exercises.check_reconstruct, partial(reconstruct, biases=(0, 0)), "all biases are missing"),
    (checks_reaches_pca, Projection(2, share=0.5), "train longer, or with a larger learning rate"),
    (checks_reaches_pca, Projection(2, rectified=True), "leave the rectifier out"),
    (exercises.check_cross_entropy, partial(cross_entropy, mean=False), "average over everything"),
    (exercises.check_cross_entropy, partial(cross_entropy, stable=False), "±1000"),
    (exercises.check_cross_entropy, lambda x, a: -cross_entropy(x, a), "the sign is wrong"),
    (exercises.check_cross_entropy, branches, "an intermediate result overflows"),
    (exercises.check_cross_entropy, one_by_one, "an intermediate result overflows"),
    (exercises.check_cross_entropy, lambda x, a: 7 * cross_entropy(x, a), "the columns, too"),
    (exercises.check_quantise, partial(quantise, values=False), "back into values"),
    (exercises.check_quantise, partial(quantise, axis=None), "of its own"),
    (exercises.check_quantise, partial(quantise, rounded=np.floor), "the nearest level"),
    (exercises.check_quantise, partial(quantise, steps=256), "255 steps"),
    (exercises.check_corrupt, corrupts_in_place, "work on a copy"),
    (exercises.check_corrupt, partial(corrupt, size=[1, 784]), "anew"),
    (exercises.check_corrupt, partial(corrupt, size=[300, 1]), "anew"),
    (exercises.check_corrupt, partial(corrupt, flip=True), "that are kept"),
    (checks_denoises, copies, "too dark"),
    (checks_denoises, partial(fills, share=1.65), "train longer"),
]
NOT_YET = [
    (exercises.check_corrupt, partial(corrupt, value=0.5), "stay what they are"),
    (exercises.check_corrupt, lambda x, share, rng: corrupt(x, share / 2, rng), "% of the pixels"),
    (checks_denoises, partial(fills, share=1.8), "no better than a network"),
    (checks_denoises, lambda holed: fills(holed)[:, :20], "expected shape (50, 784)"),
    (exercises.check_noise_directions, [0.9, 0.9], "a single number, received shape (2,)"),
    (exercises.check_pca_by_hand, lambda images, k: images @ images.T, "shape (30, 6)"),
    (exercises.check_pca_by_hand, lambda images, k: images, "the numbers differ"),
    (exercises.check_winners_excess, 2, "too large"),
    (exercises.check_winners_excess, 0.7, "too small."),
    (exercises.check_loss, in_list(loss), "a single number, received shape (1,)"),
    (checks_mean_image, np.mean, "expected numbers"),
    (exercises.check_reconstruct, lambda w, images: images[0], "expected shape (8, 9)"),
    (checks_reaches_pca, Cheat(2), "there is a bug"),
    (checks_reaches_pca, lambda images: images[:, :2], "shape (2, 5), received shape (2, 2)"),
]

RIGHT += later.RIGHT + generative.RIGHT + boltzmann.RIGHT
ALSO_RIGHT += later.ALSO_RIGHT + generative.ALSO_RIGHT + boltzmann.ALSO_RIGHT
NEARLY += later.NEARLY + generative.NEARLY + boltzmann.NEARLY
NOT_YET += later.NOT_YET + generative.NOT_YET + boltzmann.NOT_YET
NETWORKS = [checks_reaches_pca, checks_denoises, later.checks_no_dead_unit, later.checks_rescued]
NETWORKS += [generative.checks_stronger, boltzmann.checks_deep]


def said(capsys: pytest.CaptureFixture, check: Callable[[object], None], answer: object) -> str:
    assert check(answer) is None
    out, err = capsys.readouterr()
    assert err == ""
    assert out.count("\n") == 1
    return out


@pytest.mark.parametrize(("check", "answer"), [*RIGHT, *ALSO_RIGHT])
def test_a_right_answer_is_right(capsys, check, answer):
    assert said(capsys, check, answer).startswith("Right.")


@pytest.mark.parametrize(("check", "answer", "hint"), NEARLY)
def test_a_well_known_slip_is_named(capsys, check, answer, hint):
    out = said(capsys, check, answer)
    assert out.startswith("Nearly:")
    assert hint in out


@pytest.mark.parametrize(("check", "answer", "hint"), NOT_YET)
def test_what_was_expected_is_said(capsys, check, answer, hint):
    out = said(capsys, check, answer)
    assert out.startswith("Not yet: ")
    assert "raised" not in out
    assert hint in out


@pytest.mark.parametrize(("check", "answer"), RIGHT)
def test_an_answer_left_open_is_not_attempted(capsys, check, answer):
    empty = (lambda *_: ...) if callable(answer) else ...
    assert said(capsys, check, empty).startswith("Not attempted yet")


@pytest.mark.parametrize("check", NETWORKS)
def test_a_network_left_open_is_not_attempted(capsys, check):
    assert said(capsys, check, ...).startswith("Not attempted yet")


@pytest.mark.parametrize(("check", "answer"), RIGHT)
def test_a_wrong_answer_is_not_right(capsys, check, answer):
    wrong = (lambda *_: np.float64(-3.25)) if callable(answer) else np.float64(-3.25)
    assert said(capsys, check, wrong).startswith("Not yet")


@pytest.mark.parametrize("check", [check for check, answer in RIGHT if callable(answer)])
def test_an_answer_that_fails_or_returns_nothing_leaves_the_notebook_runnable(capsys, check):
    def failing(*_: object) -> None:
        raise KeyError("forgotten")

    assert "your answer raised KeyError: 'forgotten'" in said(capsys, check, failing)
    assert "received None" in said(capsys, check, lambda *_: None)


class Spoilt:
    """A right answer in which the first of the numbers is none."""

    def __init__(self, answer):
        self.answer = answer

    def __call__(self, *given):
        return spoilt(self.answer(*given))

    def __getattr__(self, name):
        return Spoilt(getattr(self.answer, name))


def spoilt(numbers):
    if isinstance(numbers, list):
        return [spoilt(each) for each in numbers]
    numbers = np.array(numbers, float)
    numbers.flat[0] = np.nan
    return numbers


@pytest.mark.parametrize(("check", "answer"), RIGHT)
def test_what_is_no_number_is_not_right(capsys, check, answer):
    wrong = Spoilt(answer) if callable(answer) else spoilt(answer)
    assert said(capsys, check, wrong).startswith("Not yet")


def test_noise_in_single_precision_will_do(capsys):
    corrupt = dict(RIGHT)[exercises.check_corrupt]
    single = lambda *given: corrupt(*given).astype(np.float32)  # noqa: E731
    assert said(capsys, exercises.check_corrupt, single).startswith("Right.")
