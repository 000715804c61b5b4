"""Restricted Boltzmann machines, trained by contrastive divergence (Hinton 2002)."""

from helpers import noise
from helpers.backend import keras, tf


class RBM(keras.Layer):
    """Visible and hidden units with weights between the two layers and none within.

    Units are 0 or 1, and grey values stand for probabilities; ``linear`` hidden ones are Gaussian
    with variance 1, as in the code of Hinton and Salakhutdinov (2006).  The weights: ``kernel``,
    shape [n_visible, n_hidden], ``hidden_bias`` and ``visible_bias``, which start at 0.
    """

    def __init__(
        self,
        n_visible: int,
        n_hidden: int,
        *,
        initializer: keras.Initializer | str,
        linear: bool = False,
    ) -> None:
        super().__init__()
        self.linear = linear
        self.kernel = self.add_weight((n_visible, n_hidden), initializer, name="kernel")
        self.hidden_bias = self.add_weight((n_hidden,), "zeros", name="hidden_bias")
        self.visible_bias = self.add_weight((n_visible,), "zeros", name="visible_bias")
        self.built = True

    def sums(self, rows: tf.Tensor) -> tf.Tensor:
        """Return what the hidden units receive from visible ones, shape [n, n_hidden]."""
        return tf.matmul(rows, self.kernel) + self.hidden_bias

    def hidden(self, rows: tf.Tensor) -> tf.Tensor:
        """Return the hidden units' means given visible ones, shape [n, n_hidden]."""
        return self.sums(rows) if self.linear else tf.sigmoid(self.sums(rows))

    def visible(self, states: tf.Tensor) -> tf.Tensor:
        """Return the probabilities of visible units given hidden ones, shape [n, n_visible]."""
        return tf.sigmoid(tf.matmul(states, self.kernel, transpose_b=True) + self.visible_bias)

    def call(self, rows: tf.Tensor) -> tf.Tensor:
        """Return reconstructions without a draw: from the means of the hidden units."""
        return self.visible(self.hidden(rows))


def free_energy(rbm: RBM, rows: tf.Tensor) -> tf.Tensor:
    """Return F(v), shape [n], where exp(-F(v)) is proportional to the probability of v.

    It is -log of the sum of exp(-E(v, h)) over all h, where E(v, h) = -v·b - h·(vW + c); for linear
    units of the integral, up to a constant, with h·h / 2 added to E.
    """
    sums = rbm.sums(rows)
    of_hidden = tf.square(sums) / 2 if rbm.linear else tf.nn.softplus(sums)
    return -tf.linalg.matvec(rows, rbm.visible_bias) - tf.reduce_sum(of_hidden, axis=1)


def reconstruct(rbm: RBM, rows: tf.Tensor, numbers: tf.Tensor) -> tf.Tensor:
    """Return the visible units' probabilities after one draw of the hidden ones, shape [n, …]."""
    means = rbm.hidden(rows)
    shape = tuple(means.shape)
    if rbm.linear:
        return rbm.visible(means + noise.normal(shape, numbers))
    return rbm.visible(tf.cast(noise.uniform(shape, numbers) < means, tf.float32))


def contrastive_divergence(rbm: RBM, rows: tf.Tensor, numbers: tf.Tensor) -> tf.Tensor:
    """Return CD-1 as a loss for `training`, a scalar: its gradient is what it is for.

    The mean of F(v) - F(v₁) over rows, shape [n, n_visible], float32; v₁ is held fixed, made by one
    draw that the rows' numbers seed, and left as probabilities.  With a sample of the model in its
    place the gradient would be that of minus the mean log likelihood.
    """
    reconstruction = tf.stop_gradient(reconstruct(rbm, rows, numbers))
    return tf.reduce_mean(free_energy(rbm, rows) - free_energy(rbm, reconstruction))
