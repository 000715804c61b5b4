"""Each check tells right from nearly right, from wrong, and from not attempted yet."""

from collections.abc import Callable
from functools import partial
from itertools import combinations

import numpy as np
import pytest

from helpers import exercises

IMAGES = np.random.default_rng(9).random([30, 5])
UNITS = [7, 3]


def loss(images, reconstructions, encoder, decoder, weight_decay, *, half=0.5, mean=False):
    error = np.square(images - reconstructions).sum()
    weights = np.square(encoder).sum() + np.square(decoder).sum()
    return error / (images.size if mean else 1) + half * weight_decay * weights


def cross_entropy(labels, logits, *, stable=True, mean=True):
    if stable:
        each = np.logaddexp(0, logits) - labels * logits
    else:
        p = 1 / (1 + np.exp(-logits))
        each = -(labels * np.log(p) + (1 - labels) * np.log(1 - p))
    return each.mean() if mean else each.sum()


def quantise(codes, *, axis=0, values=True):
    low, high = codes.min(axis=axis), codes.max(axis=axis)
    levels = np.round((codes - low) / (high - low) * 255)
    return low + levels / 255 * (high - low) if values else levels


def decode(codes, decoders, *, downwards=True):
    for decoder in reversed(decoders) if downwards else decoders:
        codes = decoder(codes)
    return codes


def steps_to(steps, values, level, *, last=False, strict=False, default=None):
    reached = np.flatnonzero(values > level if strict else values >= level)
    return int(steps[reached[-1 if last else 0]]) if len(reached) else default


def p_value(one, other, *, two_sided=True):
    pooled, measured = np.concatenate([one, other]), np.mean(one) - np.mean(other)
    differences = []
    for chosen in combinations(range(len(pooled)), len(one)):
        first = np.isin(np.arange(len(pooled)), chosen)
        differences.append(pooled[first].mean() - pooled[~first].mean())
    if two_sided:
        return np.mean(np.abs(differences) >= abs(measured) - 1e-9)
    sign = np.sign(measured) or 1
    return np.mean(sign * np.array(differences) >= abs(measured) - 1e-9)


def unscale(row, *, rounded=True, dtype=np.uint8):
    grey = 255 * row
    return (np.round(grey) if rounded else grey).astype(dtype).reshape(28, 28)


def checks_weights(answer):
    exercises.check_weights_per_step(answer, 11, UNITS)


def checks_mean_image(answer):
    exercises.check_mean_image_error(answer, IMAGES)


VARIANCE = IMAGES.var(axis=0)
RIGHT = [
    (exercises.check_unscale, unscale),
    (exercises.check_noise_directions, 0.9),
    (exercises.check_loss, loss),
    (checks_mean_image, VARIANCE.sum()),
    (exercises.check_cross_entropy, cross_entropy),
    (exercises.check_quantise, quantise),
    (checks_weights, [2 * 77 + 18, 2 * 21 + 10]),
    (exercises.check_decode_down, decode),
    (exercises.check_steps_to, steps_to),
    (exercises.check_permutation_p_value, p_value),
]
NEARLY = [
    (exercises.check_unscale, partial(unscale, rounded=False), "round before"),
    (exercises.check_unscale, partial(unscale, dtype=np.int64), "expected dtype uint8"),
    (exercises.check_noise_directions, 705.6, "from 0 to 1"),
    (exercises.check_loss, partial(loss, half=1), "half of the squared weights"),
    (exercises.check_loss, partial(loss, mean=True), "summed, not averaged"),
    (checks_mean_image, VARIANCE.mean(), "sum over the pixels"),
    (checks_mean_image, np.square(IMAGES).sum() / len(IMAGES), "all-black"),
    (exercises.check_cross_entropy, partial(cross_entropy, mean=False), "average over everything"),
    (exercises.check_cross_entropy, partial(cross_entropy, stable=False), "±1000"),
    (exercises.check_quantise, partial(quantise, values=False), "back into values"),
    (exercises.check_quantise, partial(quantise, axis=None), "of its own"),
    (checks_weights, [77 + 7, 21 + 3], "the decoder is trained"),
    (exercises.check_decode_down, partial(decode, downwards=False), "topmost decoder"),
    (exercises.check_steps_to, partial(steps_to, last=True), "the first time counts"),
    (exercises.check_steps_to, partial(steps_to, strict=True), "exactly counts"),
    (exercises.check_steps_to, partial(steps_to, default=0), "gives None"),
    (exercises.check_permutation_p_value, partial(p_value, two_sided=False), "one direction"),
]


def said(capsys: pytest.CaptureFixture, check: Callable[[object], None], answer: object) -> str:
    assert check(answer) is None
    out, err = capsys.readouterr()
    assert err == ""
    assert out.count("\n") == 1
    return out


@pytest.mark.parametrize(("check", "answer"), RIGHT)
def test_a_right_answer_is_right(capsys, check, answer):
    assert said(capsys, check, answer).startswith("Right.")


@pytest.mark.parametrize(("check", "answer", "hint"), NEARLY)
def test_a_well_known_slip_is_named(capsys, check, answer, hint):
    out = said(capsys, check, answer)
    assert out.startswith("Nearly:")
    assert hint in out


@pytest.mark.parametrize(("check", "answer"), RIGHT)
def test_an_answer_left_open_is_not_attempted(capsys, check, answer):
    empty = (lambda *_: ...) if callable(answer) else ...
    assert said(capsys, check, empty).startswith("Not attempted yet")


@pytest.mark.parametrize(("check", "answer"), RIGHT)
def test_a_wrong_answer_is_not_right(capsys, check, answer):
    wrong = (lambda *_: np.float64(-3.25)) if callable(answer) else np.float64(-3.25)
    assert said(capsys, check, wrong).startswith("Not yet")


@pytest.mark.parametrize(("check", "answer"), RIGHT)
def test_a_function_without_return_is_told_so(capsys, check, answer):
    if check is exercises.check_steps_to or not callable(answer):
        pytest.skip("None is one of its answers, or a number is asked for")
    assert "received None" in said(capsys, check, lambda *_: None)


@pytest.mark.parametrize(("check", "answer"), RIGHT)
def test_an_answer_that_fails_leaves_the_notebook_runnable(capsys, check, answer):
    if not callable(answer):
        pytest.skip("a number cannot fail")

    def failing(*_: object) -> None:
        raise KeyError("forgotten")

    assert "your answer raised KeyError: 'forgotten'" in said(capsys, check, failing)
