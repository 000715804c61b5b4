"""The two pieces of work that every way is given: networks, data, mini-batches, Adam's settings.

Nothing here imports TensorFlow, so that each way's memory is its own.
"""

from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO

import numpy as np

from helpers import datasets

LEARNING_RATE = 0.001
# So small that it does not matter whether it is added before or after the correction of bias: Keras
# and TensorFlow do the one, PyTorch and optax the other.
EPSILON = 1e-12


@dataclass(frozen=True)
class Work:
    """A network and how it is trained.

    Attributes
    ----------
    name : str
        What tables and figures call it.
    sizes : tuple of int
        Width of the input and of every layer.
    linear : frozenset of int
        Layers without a rectifier, counted from 0.
    batch_size : int
        Images in a mini-batch.
    labelled : bool
        True for the summed cross-entropy of classes; False for the mean binary cross-entropy of
        the images' own pixels.
    """

    name: str
    sizes: tuple[int, ...]
    linear: frozenset[int]
    batch_size: int
    labelled: bool

    def data(self) -> list[np.ndarray]:
        """Return MNIST's training images, and their labels where they are used."""
        with redirect_stdout(StringIO()):  # says which data were found; `measure` says it once
            train = datasets.split(datasets.load("mnist")).train
        return [train.images, train.labels] if self.labelled else [train.images]

    def weights(self, seed: int = 0) -> list[np.ndarray]:
        """Return initial weights (He et al. 2015) and biases, layer by layer."""
        rng = np.random.default_rng(seed)
        arrays = []
        for below, size in zip(self.sizes, self.sizes[1:], strict=False):
            arrays += [rng.normal(0, np.sqrt(2 / below), (below, size)), np.zeros(size)]
        return [array.astype(np.float32) for array in arrays]

    def flops(self) -> int:
        """Return the floating-point operations of one step's matrix products.

        Forward, gradient of the weights, and, but for the first layer, gradient of the inputs.
        """
        products = [a * b for a, b in zip(self.sizes, self.sizes[1:], strict=False)]
        return 2 * self.batch_size * (3 * sum(products) - products[0])


CLASSIFIER = Work(
    "classifier of lesson 5", (784, 100, 50, 25, 12, 5, 5, 10), frozenset({6}), 100, labelled=True
)
DEEP = Work(
    "deep autoencoder of lesson 3",
    (784, 256, 128, 20, 128, 256, 784),
    frozenset({2, 5}),
    512,
    labelled=False,
)
