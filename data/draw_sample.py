"""Draw the sample of both data sets from the complete files: ``python data/draw_sample.py``.

The sample is what the course falls back on without network.  Drawing it again gives the same
images in the same order, and with the same NumPy and zlib the same bytes.
"""

import io

import numpy as np

from helpers import datasets, results

SEED = 20_170_825  # the day Fashion-MNIST was published
TRAIN_PER_CLASS = 400
TEST_PER_CLASS = 100


def choose(labels: np.ndarray, per_class: int, rng: np.random.Generator) -> np.ndarray:
    """Choose equally many rows of every class at random, in random order.

    Parameters
    ----------
    labels : np.ndarray, shape (n,)
        Classes, 0 to 9.
    per_class : int
        Number of rows of each class.
    rng : np.random.Generator
        What chance comes from.

    Returns
    -------
    np.ndarray, shape (10 * per_class,), int64
        Row numbers without repetition.
    """
    rows = [rng.choice(np.flatnonzero(labels == c), per_class, replace=False) for c in range(10)]
    return rng.permutation(np.concatenate(rows))


def draw(dataset: datasets.Dataset) -> dict[str, np.ndarray]:
    """Draw the sample of a complete data set: 4,000 training and 1,000 test images.

    Returns
    -------
    dict
        ``train_images``, ``train_labels``, ``test_images``, ``test_labels``, all uint8.
    """
    rng = np.random.default_rng(SEED)
    train = choose(dataset.train_labels, TRAIN_PER_CLASS, rng)
    test = choose(dataset.test_labels, TEST_PER_CLASS, rng)
    return {
        "train_images": dataset.train_images[train],
        "train_labels": dataset.train_labels[train],
        "test_images": dataset.test_images[test],
        "test_labels": dataset.test_labels[test],
    }


def main() -> None:
    """Draw and write the samples of all data sets."""
    for name in datasets.NAMES:
        buffer = io.BytesIO()  # NumPy gives every member of the archive the same date, 1980
        np.savez_compressed(buffer, **draw(datasets.load(name, "full")))
        path = results.ROOT / "data" / "sample" / f"{name}.npz"
        path.write_bytes(buffer.getvalue())
        print(f"{path.name}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
