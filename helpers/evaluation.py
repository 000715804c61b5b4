"""Yardsticks: principal components, probes, effective rank, p-values, sets of images."""

from collections.abc import Callable

import numpy as np
from scipy.special import logsumexp
from scipy.stats import permutation_test
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import euclidean_distances
from sklearn.neighbors import NearestNeighbors
from threadpoolctl import threadpool_limits


def fit_pca(images: np.ndarray) -> PCA:
    """Fit all principal components of images, shape [n, n_pixels].

    In float64, so that sums of small eigenvalues are exact enough to be a bound.
    """
    return PCA(svd_solver="covariance_eigh").fit(images.astype(np.float64))


def pca_error(pca: PCA, code_size: int) -> float:
    """Return the smallest squared error that a linear code can reach on the images PCA saw.

    The sum of the discarded eigenvalues of the covariance matrix (Eckart and Young 1936; Baldi and
    Hornik 1989): summed over the pixels, mean over the images.
    """
    # scikit-learn divides by n - 1, a mean over the images divides by n.
    eigenvalues = pca.explained_variance_ * (pca.n_samples_ - 1) / pca.n_samples_
    return float(eigenvalues[code_size:].sum())


def pca_reconstruct(pca: PCA, images: np.ndarray, code_size: int) -> np.ndarray:
    """Return images, shape [n, n_pixels], seen by PCA or not, rebuilt from leading components."""
    directions = pca.components_[:code_size]
    return pca.mean_ + (images - pca.mean_) @ directions.T @ directions


def reconstruction_error(images: np.ndarray, reconstructions: np.ndarray) -> float:
    """Return the squared error of reconstructions, summed over the pixels, mean over the images.

    Both have shape [n, n_pixels]; no copy of all of them is made.  Raises a ValueError if the
    shapes differ: NumPy would repeat a single row in silence.
    """
    if images.shape != reconstructions.shape:
        raise ValueError(
            f"reconstructions: expected the shape of the images, {images.shape}, "
            f"received {reconstructions.shape}"
        )
    kind = np.result_type(images, reconstructions, np.float32)  # bytes would wrap around
    blocks = [slice(start, start + 1000) for start in range(0, len(images), 1000)]
    errors = (np.subtract(reconstructions[b], images[b], dtype=kind) for b in blocks)
    sums = [np.square(error).sum(dtype=np.float64) for error in errors]
    return float(np.sum(sums) / len(images))


def linear_probe(
    codes: np.ndarray,
    labels: np.ndarray,
    test_codes: np.ndarray,
    test_labels: np.ndarray,
    *,
    per_column: bool = True,
) -> float:
    """Return the accuracy, 0 to 1, of a linear classifier that sees nothing but codes.

    Logistic regression on standardised codes: what a code makes easy to read off, not what it
    contains (Alain and Bengio 2016).  Its regularisation is the better of a weak and a strong one
    on a held-out fifth of the codes (of the first 10,000): wide inputs need more of it.

    It is fitted to codes and labels, shapes [n, code_size] and [n], and measured on others.  Each
    column is divided by its own spread or, unless ``per_column``, by their common one: a pixel that
    is black in nearly all of a few images has next to no spread, and would be huge in others.
    """
    # Standardised by hand: scikit-learn's scaler takes three times the memory of wide codes.
    mean = codes.mean(axis=0, dtype=np.float64)
    squares = np.einsum("ij,ij->j", codes, codes, dtype=np.float64) / len(codes)
    variance = squares - mean**2
    kind = np.result_type(codes, np.float32)
    # What never changes is left as it is; rounding may leave it a spread.
    variance = np.where(variance > 1e-12 * squares, variance, 0)
    if not per_column:
        variance = np.full_like(variance, variance.mean())
    scale = np.sqrt(np.where(variance > 0, variance, 1)).astype(kind)
    mean = mean.astype(kind)
    rows = codes - mean
    rows /= scale
    chosen_on = min(len(rows), 10_000)
    known, held = slice(chosen_on * 4 // 5), slice(chosen_on * 4 // 5, chosen_on)
    # Fitting is many small products. Split over threads they take up to three times as long, and
    # much longer beside another program: each waits for the other's.
    with threadpool_limits(1):
        weak, strong = (
            _logistic(c).fit(rows[known], labels[known]).score(rows[held], labels[held])
            for c in (1.0, 0.01)
        )
        probe = _logistic(1.0 if weak >= strong else 0.01).fit(rows, labels)
    return float(probe.score((test_codes - mean) / scale, test_labels))


def _logistic(c: float) -> LogisticRegression:
    return LogisticRegression(C=c, max_iter=1000, tol=1e-3)


def neighbour_agreement(codes: np.ndarray, labels: np.ndarray) -> float:
    """Return the share, 0 to 1, of the ten nearest neighbours that have the same class.

    Points, shape [n, k], are pixels, principal components or codes, compared by Euclidean distance;
    labels, shape [n], are their classes.
    """
    neighbours = NearestNeighbors(n_neighbors=10, algorithm="brute").fit(codes)
    rows = neighbours.kneighbors(return_distance=False)
    return float((labels[rows] == labels[:, None]).mean())


def effective_rank(codes: np.ndarray) -> float:
    """Return over how many directions codes, shape [n, code_size], really spread.

    The exponential of the entropy of the normalised singular values of the centred codes: k equal
    directions give k, equal codes 0 (Roy and Vetterli 2007).
    """
    centred = codes - codes.mean(axis=0, dtype=np.float64)
    squares = np.linalg.eigvalsh(centred.T @ centred)
    # Rounding leaves equal codes a spread of their last digits.
    values = np.sqrt(squares[squares > 1e-12 * np.square(codes, dtype=np.float64).sum()])
    if not len(values):
        return 0.0
    shares = values / values.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def frechet_distance(one: np.ndarray, other: np.ndarray) -> float:
    """Return the squared Fréchet distance of two sets of features, each seen as a Gaussian.

    ``|m - m'|² + tr(C + C' - 2 (C C')^½)`` with their means and covariance matrices: 0 where both
    agree, whatever else differs (Dowson and Landau 1982; Heusel et al. 2017).  Both have an image a
    row, shapes [n, k] and [m, k].  Raises a ValueError if the numbers of columns differ, or one has
    fewer than two rows.
    """
    _check_features(one, other, 2)
    (mean, cov), (other_mean, other_cov) = (
        (rows.mean(axis=0, dtype=np.float64), np.atleast_2d(np.cov(rows, rowvar=False)))
        for rows in (one, other)
    )
    # (C C')^½ has the trace of the symmetric (C^½ C' C^½)^½, which has real roots.
    values, vectors = np.linalg.eigh(cov)
    root = vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T
    common = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ other_cov @ root), 0)).sum()
    gap = mean - other_mean
    # Rounding may leave less than nothing.
    return max(0.0, float(gap @ gap + np.trace(cov) + np.trace(other_cov) - 2 * common))


def precision_recall(real: np.ndarray, drawn: np.ndarray, *, k: int = 3) -> tuple[float, float]:
    """Return which share, 0 to 1, of drawn images could be real ones, and the other way round.

    A row of one set counts where it is no further from some row of the other set than that row's
    ``k``-th nearest neighbour in its own set (Kynkäänniemi et al. 2019).  Both have an image's
    features a row, shapes [n, d] and [m, d], and more than ``k`` rows, or it is a ValueError.
    """
    _check_features(real, drawn, k + 1)
    # scikit-learn computes distances in float64, and would convert each block anew.
    real, drawn = real.astype(np.float64), drawn.astype(np.float64)
    radii, own = _radii(real, k), _radii(drawn, k)
    passes, could = [], np.zeros(len(real), bool)
    # In blocks: the distances of all pairs would not fit into memory.
    for start in range(0, len(drawn), 500):
        block = slice(start, start + 500)
        distances = euclidean_distances(drawn[block], real)
        passes.append((distances <= radii).any(axis=1))
        could |= (distances <= own[block, np.newaxis]).any(axis=0)
    return float(np.concatenate(passes).mean()), float(could.mean())


def _radii(rows: np.ndarray, k: int) -> np.ndarray:
    """Return each row's distance to its ``k``-th nearest neighbour."""
    neighbours = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(rows)
    return neighbours.kneighbors()[0][:, -1]


def bounds(
    log_joint: Callable[[np.ndarray], np.ndarray],
    mean: np.ndarray,
    spread: np.ndarray,
    count: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Return two lower bounds of the log likelihood of each image, in nats, by draws of codes.

    The evidence lower bound, the mean of log p(x, z) - log q(z) for codes z drawn from q
    (Kingma and Welling 2014), and the importance-weighted bound, the log of a mean of ``count``
    weights p(x, z) / q(z), which lies between the first and the truth (Burda et al. 2016).

    For a code for each image, shape [n, k], ``log_joint`` returns log p(x, z) of each, shape [n].
    The Gaussians q have a mean, shape [n, k], and a spread (standard deviation) that fits it.
    """
    weights = []
    for _ in range(count):
        noise = rng.normal(size=mean.shape)
        log_q = -(noise**2 + np.log(2 * np.pi)) / 2 - np.log(spread)
        weights.append(log_joint(mean + spread * noise) - log_q.sum(axis=1))
    return np.mean(weights, axis=0), logsumexp(weights, axis=0) - np.log(count)


def _check_features(one: np.ndarray, other: np.ndarray, least: int) -> None:
    shapes = one.shape, other.shape
    fits = one.ndim == other.ndim == 2 and one.shape[1] == other.shape[1]
    if not fits or min(len(one), len(other)) < least:
        wanted = f"two arrays of {least} rows or more with the same number of columns"
        raise ValueError(f"features: expected {wanted}, received shapes {shapes}")


def p_value(one: np.ndarray, other: np.ndarray, *, paired: bool = False) -> float:
    """Return the p-value of a two-sided permutation test for the difference of two means.

    The scores, shape [n] each, are dealt out again at random, or in all ways where these are few
    (Fisher 1935); paired ones change places with their partner only.  NaN is a ValueError.
    """
    if not np.isfinite([*one, *other]).all():
        raise ValueError("scores: expected finite numbers, received NaN or infinity")
    test = permutation_test(
        (one, other),
        lambda a, b, axis: np.abs(np.mean(a, axis) - np.mean(b, axis)),
        permutation_type="samples" if paired else "independent",
        alternative="greater",  # of the size of the difference, which has no direction
        vectorized=True,
        rng=0,
    )
    return float(test.pvalue)
