"""The yardsticks against NumPy, scikit-learn and cases with a known answer."""

import tracemalloc

import numpy as np
import pytest
from scipy.linalg import sqrtm
from scipy.stats import multivariate_normal
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_info, threadpool_limits

from helpers import evaluation, models, pretraining, training
from helpers.backend import keras


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """Return 300 images of 12 pixels with a mean that is not 0 and falling eigenvalues."""
    rng = np.random.default_rng(0)
    mixed = rng.normal(size=[300, 12]) * np.geomspace(1, 0.05, 12) @ rng.normal(size=[12, 12])
    return (0.5 + 0.3 * mixed).astype(np.float32)


@pytest.fixture(scope="module")
def pca(images) -> PCA:
    return evaluation.fit_pca(images)


def mean_squared_error(images: np.ndarray, reconstructions: np.ndarray) -> float:
    return float(np.mean(np.sum((reconstructions - images) ** 2, axis=1)))


@pytest.mark.parametrize("count", [1, 300, 1000, 2345])
def test_reconstruction_error_is_that_of_numpy(count):
    images, reconstructions = np.random.default_rng(0).random([2, count, 7])
    expected = mean_squared_error(images, reconstructions)
    assert evaluation.reconstruction_error(images, reconstructions) == pytest.approx(expected)


def test_whole_grey_values_do_not_wrap_around():
    black, white = np.zeros([2, 4], np.uint8), np.full([2, 4], 255, np.uint8)
    assert evaluation.reconstruction_error(white, black) == 4 * 255**2


def test_reconstruction_error_refuses_to_repeat_a_row(images):
    with pytest.raises(ValueError, match=r"expected the shape of the images, \(300, 12\)"):
        evaluation.reconstruction_error(images, images[:1])


@pytest.mark.parametrize("code_size", [0, 1, 3, 7, 12])
def test_pca_error_is_that_of_images_rebuilt_and_of_what_is_discarded(images, pca, code_size):
    error = evaluation.pca_error(pca, code_size)
    eigenvalues = np.linalg.eigvalsh(np.cov(images.T.astype(np.float64), bias=True))[::-1]
    assert error == pytest.approx(eigenvalues[code_size:].sum(), rel=1e-9, abs=1e-12)
    actual = mean_squared_error(images, evaluation.pca_reconstruct(pca, images, code_size))
    assert error == pytest.approx(actual, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("code_size", [1, 3, 7, 12])
def test_pca_rebuilds_seen_and_unseen_images_as_scikit_learn_does(images, pca, code_size):
    theirs = PCA(code_size, svd_solver="full").fit(images.astype(np.float64))
    for rows in (images, np.random.default_rng(1).normal(size=[20, 12])):
        rebuilt = evaluation.pca_reconstruct(pca, rows, code_size)
        expected = theirs.inverse_transform(theirs.transform(rows))
        assert rebuilt.dtype == np.float64
        np.testing.assert_allclose(rebuilt, expected, rtol=1e-9, atol=1e-9)


def test_fewer_images_than_pixels_can_be_rebuilt_exactly():
    pca = evaluation.fit_pca(np.random.default_rng(2).normal(size=[5, 12]))
    assert evaluation.pca_error(pca, 4) == pytest.approx(0, abs=1e-9)
    assert evaluation.pca_error(pca, 3) > 0.1


@pytest.mark.parametrize("activation", [None, "relu"], ids=["linear", "ReLU"])
def test_no_trained_autoencoder_falls_below_the_pca_error(images, pca, activation):
    initializer = models.normal(0.3, 0)
    model = models.basic_autoencoder(12, 4, initializer=initializer, activation=activation)
    history = training.train(
        model,
        [images],
        loss=pretraining.summed_squared_error,
        optimizer=keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.01, 4000)),
        steps=4000,
        batch_size=100,
        seed=0,
        every=500,
        measures={"error": (pretraining.squared_error, [images])},
    )
    bound = evaluation.pca_error(pca, 4)
    errors = history.measures["error"]
    assert errors.min() >= bound * (1 - 1e-6)
    if activation is None:  # the bound is reached: a smaller one would be wrong, a larger one too
        assert errors[-1] <= bound * 1.01


def test_linear_probe_reads_classes_that_a_plane_separates():
    rng = np.random.default_rng(3)
    labels = np.arange(300) % 3
    centres = np.array([[0, 0], [900, 0], [0, 0.009]])  # standardising makes the scales alike
    codes = centres[labels] + rng.normal(size=[300, 2]) * [50, 0.0005]
    assert evaluation.linear_probe(codes[:200], labels[:200], codes[200:], labels[200:]) == 1.0


def test_linear_probe_is_measured_on_the_test_codes():
    codes = np.linspace(-1, 1, 40)[:, None]
    labels = (codes[:, 0] > 0).astype(int)
    assert evaluation.linear_probe(codes, labels, codes, 1 - labels) == 0
    assert evaluation.linear_probe(codes, labels, codes, np.arange(40) % 2) == 0.5


def one_axis() -> tuple[np.ndarray, np.ndarray]:
    """Return ten classes along one axis, which ask for large weights."""
    labels = np.arange(800) % 10
    return labels[:, None] + 0.2 * np.random.default_rng(0).normal(size=[800, 1]), labels


def many_weak_columns() -> tuple[np.ndarray, np.ndarray]:
    """Return two classes of which 50 of 250 columns tell a little, which ask for small weights."""
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 2, 800)
    return labels[:, None] * (np.arange(250) < 50) + 2 * rng.normal(size=[800, 250]), labels


def test_linear_probe_fits_on_one_thread_and_leaves_the_threads_as_they_were(monkeypatch):
    def threads() -> list[int]:
        return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]

    during = []

    class Watched(LogisticRegression):
        def fit(self, rows: np.ndarray, labels: np.ndarray) -> LogisticRegression:
            during.extend(threads())
            return super().fit(rows, labels)

    monkeypatch.setattr(evaluation, "LogisticRegression", Watched)
    codes, labels = np.arange(120).reshape(60, 2) % 2.0, np.arange(60) % 2
    with threadpool_limits(3):
        before = threads()
        evaluation.linear_probe(codes, labels, codes, labels)
        assert threads() == before
    assert during == [1] * (3 * len(before))


@pytest.mark.parametrize(
    ("make", "better", "worse"), [(one_axis, 1.0, 0.01), (many_weak_columns, 0.01, 1.0)]
)
def test_linear_probe_chooses_the_better_regularisation(make, better, worse):
    codes, labels = make()
    scaled = (codes - codes[:400].mean(axis=0)) / codes[:400].std(axis=0)

    def fixed(c: float) -> float:
        model = LogisticRegression(C=c, max_iter=1000, tol=1e-3).fit(scaled[:400], labels[:400])
        return model.score(scaled[400:], labels[400:])

    assert fixed(better) > fixed(worse) + 0.01
    chosen = evaluation.linear_probe(codes[:400], labels[:400], codes[400:], labels[400:])
    assert chosen == pytest.approx(fixed(better), abs=0.005)


def test_a_common_scale_keeps_a_rare_column_from_drowning_the_others():
    # Nine columns are black in all images but one; the class is in the tenth.
    rng = np.random.default_rng(4)
    labels = np.arange(20) % 2
    codes = np.zeros([20, 10], np.float32)
    codes[:9, :9] = 0.01 * np.eye(9)
    codes[:, 9] = labels + 0.1 * rng.normal(size=20)
    test_labels = np.arange(200) % 2
    test_codes = rng.random([200, 10], np.float32)
    test_codes[:, 9] = test_labels + 0.1 * rng.normal(size=200)
    split = codes, labels, test_codes, test_labels
    assert evaluation.linear_probe(*split, per_column=False) > 0.95
    assert evaluation.linear_probe(*split) < 0.9


def test_neighbours_are_counted_as_by_sorting_all_distances():
    rng = np.random.default_rng(7)
    points, labels = rng.normal(size=[50, 4]), rng.integers(0, 3, 50)
    distances = np.linalg.norm(points[:, None] - points, axis=2) + np.diag([np.inf] * 50)
    nearest = np.argsort(distances, axis=1)[:, :10]
    expected = np.mean([labels[rows] == label for rows, label in zip(nearest, labels, strict=True)])
    assert evaluation.neighbour_agreement(points, labels) == pytest.approx(expected)


def test_no_point_is_its_own_neighbour():
    # Each point is of a class of its own.
    points = np.random.default_rng(8).normal(size=[30, 2])
    assert evaluation.neighbour_agreement(points, np.arange(30)) == 0


def orthogonal_codes(scales: list[float]) -> np.ndarray:
    """Return centred codes with these singular values."""
    centred = np.random.default_rng(4).normal(size=[50, len(scales)])
    centred -= centred.mean(axis=0)
    return np.linalg.qr(centred)[0] * scales


@pytest.mark.parametrize(("equal", "units"), [(1, 1), (1, 5), (3, 5), (5, 5)])
def test_equal_directions_give_their_number_as_effective_rank(equal, units):
    codes = orthogonal_codes([2.0] * equal + [0.0] * (units - equal))
    rotation = np.linalg.qr(np.random.default_rng(5).normal(size=[units, units]))[0]
    assert evaluation.effective_rank(codes @ rotation + 7) == pytest.approx(equal, rel=1e-4)


@pytest.mark.parametrize("scales", [[4, 2, 2], [1, 1e-4, 1e-4]])
def test_unequal_directions_count_by_their_shares(scales):
    shares = np.array(scales) / np.sum(scales)
    expected = np.exp(-(shares * np.log(shares)).sum())
    assert evaluation.effective_rank(orthogonal_codes(scales)) == pytest.approx(expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("value", [0.0, 1.0, 0.1])
def test_equal_codes_have_effective_rank_zero(dtype, value):
    assert evaluation.effective_rank(np.full([7, 4], value, dtype)) == 0


def test_a_p_value_tells_equal_sets_from_different_ones():
    rng = np.random.default_rng(0)
    one, same, other = rng.normal(0, 1, 20), rng.normal(0, 1, 20), rng.normal(3, 1, 20)
    assert evaluation.p_value(one, same) > 0.05
    assert evaluation.p_value(one, other) < 0.001
    assert evaluation.p_value(np.array([1.0, 2, 3]), np.array([4.0, 5, 6])) == pytest.approx(0.1)


@pytest.mark.parametrize("paired", [True, False])
def test_scores_that_are_not_numbers_have_no_p_value(paired):
    with pytest.raises(ValueError, match="scores: expected finite numbers"):
        evaluation.p_value(np.array([1, np.nan, 3]), np.array([2.0, 3, 4]), paired=paired)


def test_a_p_value_of_pairs_exchanges_only_partners():
    pairs = np.array([[1.0, 5.0, 9.0, 13.0], [2.0, 6.0, 10.0, 14.0]])
    # All four differences have one sign: two of sixteen ways to exchange are as far apart.
    assert evaluation.p_value(*pairs, paired=True) == pytest.approx(2 / 16)
    assert evaluation.p_value(*pairs) > 0.5
    assert evaluation.p_value(pairs[0], pairs[0], paired=True) == 1


def test_frechet_distance_of_gaussians_on_a_line_is_known():
    # Of N(m, s²) and N(m', s'²) it is (m - m')² + (s - s')².
    rows = np.random.default_rng(0).normal(size=[1000, 1])
    rows = (rows - rows.mean()) / rows.std(ddof=1)
    found = evaluation.frechet_distance(2 * rows + 1, 5 * rows - 3)
    assert found == pytest.approx(16 + 9, rel=1e-9)


def test_frechet_distance_is_that_of_the_matrix_square_root():
    rng = np.random.default_rng(1)
    one, other = (
        rng.normal(size=[50, 4]) @ rng.normal(size=[4, 4]) + rng.normal(size=4) for _ in "ab"
    )
    cov, other_cov = np.cov(one.T), np.cov(other.T)
    root = sqrtm(cov @ other_cov).real
    expected = np.square(one.mean(axis=0) - other.mean(axis=0)).sum()
    expected += np.trace(cov + other_cov - 2 * root)
    assert evaluation.frechet_distance(one, other) == pytest.approx(expected, rel=1e-8)
    assert evaluation.frechet_distance(other, one) == pytest.approx(expected, rel=1e-8)
    assert evaluation.frechet_distance(one, one[::-1]) == pytest.approx(0, abs=1e-8)


def test_frechet_distance_bears_units_that_never_change():
    rows = np.random.default_rng(2).normal(size=[20, 3]) * [1, 0, 2]
    assert evaluation.frechet_distance(rows, rows + np.array([0, 3, 0])) == pytest.approx(
        9, rel=1e-8
    )


@pytest.mark.parametrize("k", [1, 3])
def test_precision_and_recall_are_those_of_every_pair(k):
    rng = np.random.default_rng(3)
    real, drawn = rng.normal(size=[1100, 3]), rng.normal(size=[700, 3]) * 0.6 + 0.5

    def share(rows, centres):
        own = np.linalg.norm(centres[:, None] - centres, axis=2)
        radii = np.sort(own, axis=1)[:, k]  # the nearest row of all is the row itself
        return (np.linalg.norm(rows[:, None] - centres, axis=2) <= radii).any(axis=1).mean()

    found = evaluation.precision_recall(real, drawn, k=k)
    assert found == pytest.approx((share(drawn, real), share(real, drawn)), abs=1e-12)
    assert 0.2 < found[1] < found[0] < 1


def test_precision_and_recall_tell_a_part_from_a_spread():
    real = np.random.default_rng(4).normal(size=[500, 2])
    precise, narrow = evaluation.precision_recall(real, real[real[:, 0] > 1])
    wide = evaluation.precision_recall(real, 5 * real)
    assert precise == 1
    assert narrow < 0.3
    assert wide[0] < 0.5 < wide[1]


def test_precision_and_recall_never_hold_the_distances_of_all_pairs():
    rows = np.random.default_rng(5).random([8000, 4])
    tracemalloc.start()
    evaluation.precision_recall(rows, rows + 0.01)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 8000 * 8000 * 8 / 4


@pytest.mark.parametrize("measure", [evaluation.frechet_distance, evaluation.precision_recall])
@pytest.mark.parametrize("shape", [(50, 4), (1, 3), (50,)])
def test_sets_of_features_that_do_not_fit_are_refused(measure, shape):
    with pytest.raises(ValueError, match=r"with the same number of columns, received shapes"):
        measure(np.ones([50, 3]), np.ones(shape))


def test_bounds_bracket_a_likelihood_that_is_known():
    # z from N(0, I), x = z + noise of variance 1/4: x is from N(0, 5/4 I), and q is not the best.
    rng = np.random.default_rng(6)
    x = rng.normal(scale=np.sqrt(1.25), size=[400, 2])
    truth = multivariate_normal(np.zeros(2), 1.25 * np.eye(2)).logpdf(x).mean()

    def log_joint(z):
        prior = multivariate_normal(np.zeros(2)).logpdf(z)
        return prior + multivariate_normal(np.zeros(2), 0.25 * np.eye(2)).logpdf(x - z)

    q = 0.7 * x, np.array([0.5, 0.6])
    elbo, weighted = np.mean(evaluation.bounds(log_joint, *q, 200, rng), axis=1)
    # KL(q || p(z | x)), with the posterior N(0.8 x, 0.2 I), is what the first one lacks.
    gap = (np.log(0.2 / q[1] ** 2) - 1 + q[1] ** 2 / 0.2 + (0.1 * x) ** 2 / 0.2).sum(axis=1) / 2
    assert elbo == pytest.approx(truth - gap.mean(), abs=0.02)
    assert elbo < weighted < truth + 0.01
    assert weighted == pytest.approx(truth, abs=0.02)
    # With the posterior itself both are the truth, for every image.
    best = evaluation.bounds(log_joint, 0.8 * x, np.sqrt(np.full(2, 0.2)), 3, rng)
    each = multivariate_normal(np.zeros(2), 1.25 * np.eye(2)).logpdf(x)
    np.testing.assert_allclose(best, [each, each], rtol=1e-9)
