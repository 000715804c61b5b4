"""A restricted Boltzmann machine of 6 × 4 units, against all its states and against NumPy."""

from itertools import product

import numpy as np
import pytest
from scipy.special import expit, logsumexp

from helpers import boltzmann, models, noise, training
from helpers.backend import keras, tf

N_VISIBLE, N_HIDDEN = 6, 4
COPIES = 600  # of every row, for expectations: the standard error of a mean is 0.003 at most

ALL_VISIBLE = np.array(list(product([0, 1], repeat=N_VISIBLE)), np.float32)
ALL_HIDDEN = np.array(list(product([0, 1], repeat=N_HIDDEN)), np.float32)


def build(seed: int = 0, linear: bool = False) -> boltzmann.RBM:
    """Return a machine with weights and biases that are not small."""
    rbm = boltzmann.RBM(N_VISIBLE, N_HIDDEN, initializer="zeros", linear=linear)
    rng = np.random.default_rng(seed)
    rbm.set_weights([rng.normal(0, 0.6, array.shape) for array in rbm.get_weights()])
    return rbm


@pytest.fixture
def rbm() -> boltzmann.RBM:
    return build()


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    """Return fifty rows of 0 and 1 in which pixels of the same half are often equal."""
    rng = np.random.default_rng(3)
    halves = np.repeat(rng.random([50, 2]) < 0.5, 3, axis=1)
    return (halves ^ (rng.random(halves.shape) < 0.1)).astype(np.float32)


@pytest.fixture(scope="module")
def grey() -> np.ndarray:
    return np.random.default_rng(4).random([50, N_VISIBLE], np.float32)


def energy(rbm: boltzmann.RBM, visible: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    """Return the energies of all pairs, shape [visible rows, hidden rows]."""
    kernel, hidden_bias, visible_bias = [array.astype(np.float64) for array in rbm.get_weights()]
    pairs = visible @ kernel @ hidden.T
    return -(visible @ visible_bias)[:, None] - hidden @ hidden_bias - pairs


def statistics(visible: np.ndarray, hidden: np.ndarray, weights: np.ndarray) -> list[np.ndarray]:
    """Return the means of v·h, h and v over pairs of states with weights that add up to 1."""
    return [
        np.einsum("vi,hj,vh->ij", visible, hidden, weights),
        np.einsum("hj,vh->j", hidden, weights),
        np.einsum("vi,vh->i", visible, weights),
    ]


def exact_gradients(rbm: boltzmann.RBM, rows: np.ndarray) -> list[np.ndarray]:
    """Return the gradients of minus the mean log likelihood, from all 2^6 × 2^4 states."""
    joint = -energy(rbm, ALL_VISIBLE, ALL_HIDDEN)
    of_model = statistics(ALL_VISIBLE, ALL_HIDDEN, np.exp(joint - logsumexp(joint)))
    given = -energy(rbm, rows, ALL_HIDDEN)
    given = np.exp(given - logsumexp(given, axis=1, keepdims=True)) / len(rows)
    of_data = statistics(rows, ALL_HIDDEN, given)
    return [model - data for model, data in zip(of_model, of_data, strict=True)]


def gradients(rbm: boltzmann.RBM, loss: object, *batch: np.ndarray) -> list[np.ndarray]:
    with tf.GradientTape() as tape:
        value = loss(rbm, *map(tf.constant, batch))
    return [gradient.numpy() for gradient in tape.gradient(value, rbm.trainable_variables)]


def flat(arrays: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([array.ravel() for array in arrays])


# ------------------------------------------------------------------------------- the free energy


@pytest.mark.parametrize("states", [ALL_VISIBLE, np.full([1, 6], 0.3, np.float32)])
def test_the_free_energy_is_that_of_all_hidden_states(rbm, states):
    expected = -logsumexp(-energy(rbm, states, ALL_HIDDEN), axis=1)
    np.testing.assert_allclose(boltzmann.free_energy(rbm, tf.constant(states)), expected, rtol=1e-5)


def test_the_free_energy_of_linear_units_is_an_integral(grey):
    rbm = build(linear=True)
    kernel, hidden_bias, visible_bias = rbm.get_weights()
    values = np.linspace(-20, 20, 4001)
    sums = grey.astype(np.float64) @ kernel + hidden_bias
    integrals = np.trapezoid(np.exp(sums[..., None] * values - values**2 / 2), values)
    expected = -grey @ visible_bias - np.log(integrals / np.sqrt(2 * np.pi)).sum(axis=1)
    found = boltzmann.free_energy(rbm, tf.constant(grey))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_means_are_those_of_all_states_of_the_other_layer(rbm):
    given = np.exp(-energy(rbm, ALL_VISIBLE, ALL_HIDDEN))
    hidden = given @ ALL_HIDDEN / given.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(rbm.hidden(tf.constant(ALL_VISIBLE)), hidden, rtol=1e-5)
    visible = given.T @ ALL_VISIBLE / given.sum(axis=0)[:, None]
    np.testing.assert_allclose(rbm.visible(tf.constant(ALL_HIDDEN)), visible, rtol=1e-5)


def test_linear_units_have_their_sums_as_means(grey):
    rbm = build(linear=True)
    kernel, hidden_bias, _ = rbm.get_weights()
    np.testing.assert_allclose(rbm.hidden(tf.constant(grey)), grey @ kernel + hidden_bias, 1e-5)


# ------------------------------------------------------------------------ contrastive divergence


def test_after_many_gibbs_steps_the_gradient_is_that_of_the_likelihood(rbm, rows):
    chains = np.tile(rows, [COPIES, 1])
    numbers, rng = noise.column(len(chains)), np.random.default_rng(5)
    for step in range(40):
        # One draw of the hidden units is the helper's, that of the visible ones is ours.
        given = boltzmann.reconstruct(rbm, tf.constant(chains), tf.constant(numbers + step))
        chains = (rng.random(chains.shape) < given.numpy()).astype(np.float32)

    def difference(rbm: boltzmann.RBM, rows: tf.Tensor, chains: tf.Tensor) -> tf.Tensor:
        energies = (boltzmann.free_energy(rbm, states) for states in (rows, chains))
        data, model = map(tf.reduce_mean, energies)
        return data - model

    found = flat(gradients(rbm, difference, rows, chains))
    expected = flat(exact_gradients(rbm, rows))
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(found, expected, atol=0.015)


@pytest.mark.parametrize("seed", range(5))
def test_cd_1_mostly_has_the_signs_of_the_exact_gradient(rows, seed):
    rbm, many = build(seed), np.tile(rows, [COPIES, 1])
    numbers = noise.column(len(many))
    found = flat(gradients(rbm, boltzmann.contrastive_divergence, many, numbers))
    expected = flat(exact_gradients(rbm, rows))
    clear = np.abs(expected) > 0.05
    assert clear.sum() > 10
    assert np.mean(np.sign(found) == np.sign(expected), where=clear) > 0.85
    assert np.corrcoef(found, expected)[0, 1] > 0.7


@pytest.mark.parametrize("linear", [False, True])
def test_the_gradient_of_cd_1_is_the_one_of_the_papers(grey, linear):
    rbm, numbers = build(linear=linear), noise.column(len(grey))
    kernel, hidden_bias, visible_bias = [array.astype(np.float64) for array in rbm.get_weights()]

    def hidden(visible: np.ndarray) -> np.ndarray:
        sums = visible @ kernel + hidden_bias
        return sums if linear else expit(sums)

    means = hidden(grey)
    if linear:
        states = means + noise.normal(means.shape, tf.constant(numbers)).numpy()
    else:
        states = noise.uniform(means.shape, tf.constant(numbers)).numpy() < means
    again = expit(states @ kernel.T + visible_bias)
    expected = [
        (again.T @ hidden(again) - grey.T @ means) / len(grey),
        (hidden(again) - means).mean(axis=0),
        (again - grey).mean(axis=0),
    ]
    found = gradients(rbm, boltzmann.contrastive_divergence, grey, numbers)
    np.testing.assert_allclose(flat(found), flat(expected), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("linear", [False, True])
def test_hidden_units_are_drawn_with_their_means_and_variances(monkeypatch, linear):
    rbm = build(linear=linear)
    given = np.tile(ALL_VISIBLE[11], [20_000, 1])
    monkeypatch.setattr(rbm, "visible", lambda states: states)
    states = boltzmann.reconstruct(rbm, tf.constant(given), tf.range(len(given))).numpy()
    means = rbm.hidden(tf.constant(given[:1])).numpy()[0]
    np.testing.assert_allclose(states.mean(axis=0), means, atol=0.03)
    variances = 1 if linear else means * (1 - means)
    np.testing.assert_allclose(states.var(axis=0), variances, atol=0.04)


# --------------------------------------------------------------------------------------- training


def train_many(data: np.ndarray, seeds: list[int], **changes: object) -> list[training.Run]:
    """Train machines that start alike and differ in the order of their mini-batches."""
    options = {
        "build": build,
        "loss": boltzmann.contrastive_divergence,
        "optimizer": lambda: keras.optimizers.SGD(0.1, momentum=0.5),
        "steps": 30,
        "batch_size": 10,
        "every": None,
    }
    starts = [training.Start(build().get_weights(), seed) for seed in seeds]
    data = [data, noise.column(len(data))]
    return training.train_many(starts=starts, data=data, **options | changes)


@pytest.mark.parametrize("linear", [False, True])
def test_a_run_repeats_by_its_seed_alone_or_among_others(grey, linear):
    changes = {"build": lambda: build(linear=linear)}
    first, other, again = train_many(grey, [1, 2, 1], **changes)
    (alone,) = train_many(grey, [1], **changes)
    for run in (again, alone):
        np.testing.assert_array_equal(run.history.losses, first.history.losses)
        np.testing.assert_array_equal(flat(run.weights), flat(first.weights))
    assert (other.history.losses != first.history.losses).all()


def test_runs_share_no_noise():
    # All rows are equal and no weight moves: only the draws can change the loss.
    same = np.tile(np.float32([0.9, 0.1, 0.7, 0.3, 0.5, 0.2]), [50, 1])
    still = {"optimizer": lambda: keras.optimizers.SGD(0.0)}
    first, second = (run.history.losses for run in train_many(same, [1, 2], **still))
    assert np.isin(second, first).mean() < 0.1  # a few sums are equal by chance
    assert min(len(np.unique(first)), len(np.unique(second))) > 25


def test_training_makes_the_rows_more_likely(rows):
    def log_likelihood(weights: list[np.ndarray]) -> float:
        rbm = build()
        rbm.set_weights(weights)
        energies, of_rows = (
            boltzmann.free_energy(rbm, tf.constant(v)) for v in (ALL_VISIBLE, rows)
        )
        return float(-np.mean(of_rows) - logsumexp(-energies.numpy()))

    (run,) = train_many(rows, [1], steps=600)
    assert log_likelihood(run.weights) > log_likelihood(build().get_weights()) + 0.5


def test_a_machine_starts_with_the_initializers_weights_and_no_biases():
    rbm = boltzmann.RBM(50, 40, initializer=models.normal(0.1, 0))
    kernel, hidden_bias, visible_bias = rbm.get_weights()
    assert kernel.shape == (50, 40)
    assert kernel.std() == pytest.approx(0.1, rel=0.1)
    assert hidden_bias.tolist() == [0] * 40
    assert visible_bias.tolist() == [0] * 50
