"""Draws that depend on a mini-batch's row numbers and on nothing else."""

import numpy as np
import pytest

from helpers import models, noise, training
from helpers.backend import keras, tf

ONES = np.ones([60, 40], np.float32)


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
def test_the_share_of_pixels_set_to_zero_is_the_one_asked_for(share):
    rows = tf.ones([500, 200])
    gone = noise.mask(rows, share, tf.range(500)).numpy() == 0
    assert gone.mean() == pytest.approx(share, abs=0.01)  # the standard error is 0.0016 at most
    # For each pixel of each image anew: rows and columns scatter as binomial draws do.
    assert gone.mean(axis=0).std() == pytest.approx(np.sqrt(share * (1 - share) / 500), rel=0.2)
    assert gone.mean(axis=1).std() == pytest.approx(np.sqrt(share * (1 - share) / 200), rel=0.2)


def test_pixels_that_are_not_masked_stay_what_they_are():
    rows = np.random.default_rng(0).uniform(0.1, 1, [30, 20]).astype(np.float32)
    masked = noise.mask(tf.constant(rows), 0.3, tf.range(30)).numpy()
    np.testing.assert_array_equal(masked[masked != 0], rows[masked != 0])
    np.testing.assert_array_equal(noise.mask(tf.constant(rows), 0, tf.range(30)), rows)
    assert not noise.mask(tf.constant(rows), 1, tf.range(30)).numpy().any()


@pytest.mark.parametrize("share", [-0.1, 1.1, 25, float("nan")])
def test_a_share_that_is_no_probability_is_refused(share):
    with pytest.raises(ValueError, match="share: expected a number from 0 to 1, received"):
        noise.mask(tf.ones([2, 2]), share, tf.range(2))


@pytest.mark.parametrize("draw", [noise.uniform, noise.normal])
def test_draws_repeat_with_the_same_numbers_and_differ_with_others(draw):
    first = draw((3, 4), tf.constant([5, 1, 8])).numpy()
    np.testing.assert_array_equal(first, draw((3, 4), tf.constant([5, 2, 8])))
    for others in ([5, 1, 9], [6, 1, 8], [8, 1, 5]):
        assert (first != draw((3, 4), tf.constant(others)).numpy()).all()
    for jit_compile in (True, False):
        compiled = tf.function(lambda n: draw((3, 4), n), jit_compile=jit_compile)
        np.testing.assert_allclose(compiled(tf.constant([5, 1, 8])), first, rtol=1e-5)


def test_a_mini_batch_of_one_row_has_a_seed_too():
    assert noise.seed(tf.constant([7])).numpy().tolist() == [7, 7]


def build() -> keras.layers.Dense:
    layer = keras.layers.Dense(1, kernel_initializer=models.normal(1, 0))
    layer.build([None, ONES.shape[1]])
    return layer


def masked_sum(model: keras.Layer, rows: tf.Tensor, numbers: tf.Tensor) -> tf.Tensor:
    """Return what only the masks can change, as all rows are equal and no weight moves."""
    return tf.reduce_mean(model(noise.mask(rows, 0.5, numbers)))


def masked_sums(seeds: list[int], **changes: object) -> list[list[float]]:
    options = {"steps": 8, "batch_size": 10, "every": None, "workers": 2}
    runs = training.train_many(
        build,
        [training.Start(build().get_weights(), seed) for seed in seeds],
        [ONES, noise.column(len(ONES))],
        loss=masked_sum,
        optimizer=lambda: keras.optimizers.SGD(0.0),
        **options | changes,
    )
    return [run.history.losses.tolist() for run in runs]


def test_several_runs_share_no_noise_and_no_step_repeats_another():
    first, second, again = masked_sums([1, 2, 1])
    assert first == again
    assert len({*first, *second}) == 16
    assert masked_sums([2]) == [second]


def test_without_xla_the_noise_is_the_same():
    np.testing.assert_allclose(masked_sums([1], jit_compile=False), masked_sums([1]), rtol=1e-5)
