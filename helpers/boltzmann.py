"""Restricted Boltzmann machines, trained by contrastive divergence (Hinton 2002)."""

from helpers import noise
from helpers.backend import keras, tf


class RBM(keras.Layer):
    """Visible and hidden units with weights between the two layers and none within.

    The visible units are 0 or 1, and grey values from 0 to 1 stand for their probabilities.  So
    are the hidden units; ``linear`` ones are real numbers, Gaussian with variance 1, as in the code
    layer of Hinton and Salakhutdinov (2006).  The weights, in this order: ``kernel``, shape
    [n_visible, n_hidden], which the initialiser draws, ``hidden_bias`` and ``visible_bias``; biases
    start at 0.
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

    It is -log of the sum of exp(-E(v, h)) over all hidden states, with the energy
    E(v, h) = -v·b - h·(vW + c); for linear units of the integral, up to a constant, where h·h / 2
    is added to the energy.
    """
    sums = rbm.sums(rows)
    of_hidden = tf.square(sums) / 2 if rbm.linear else tf.nn.softplus(sums)
    return -tf.linalg.matvec(rows, rbm.visible_bias) - tf.reduce_sum(of_hidden, axis=1)


def reconstruct(rbm: RBM, rows: tf.Tensor, numbers: tf.Tensor) -> tf.Tensor:
    """Return the visible units' probabilities after one draw of the hidden ones, shape [n, …]."""
    means = rbm.hidden(rows)
    if rbm.linear:
        states = means + noise.normal(tuple(means.shape), numbers)
    else:
        states = tf.cast(noise.uniform(tuple(means.shape), numbers) < means, tf.float32)
    return rbm.visible(states)


def contrastive_divergence(rbm: RBM, rows: tf.Tensor, numbers: tf.Tensor) -> tf.Tensor:
    """Return CD-1 as a loss for `training`, a scalar: its gradient is what it is for.

    The mean over the mini-batch of F(v) - F(v₁), v₁ held fixed: a reconstruction left as
    probabilities (Hinton and Salakhutdinov 2006).  With a sample of the model in place of v₁ the
    gradient would be that of minus the mean log likelihood; the value says nothing of its size.
    Rows, shape [n, n_visible], float32, are grey values from 0 to 1; their numbers, shape [n],
    seed the draw (see `noise`).
    """
    reconstruction = tf.stop_gradient(reconstruct(rbm, rows, numbers))
    return tf.reduce_mean(free_energy(rbm, rows) - free_energy(rbm, reconstruction))
