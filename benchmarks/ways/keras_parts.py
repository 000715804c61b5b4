"""Network, loss and optimiser in Keras, for the ways that use it."""

from collections.abc import Callable

from benchmarks.work import EPSILON, LEARNING_RATE, Work
from helpers import models
from helpers.backend import keras, tf


def network(work: Work) -> keras.Layer:
    """Return the network, as the course builds it."""
    if work.labelled:
        *units, n_classes = work.sizes[1:]
        zeros = keras.initializers.Zeros()
        return models.dense_stack(work.sizes[0], [*units, n_classes], initializer=zeros)
    middle = len(work.sizes) // 2
    return models.deep_autoencoder(work.sizes[0], work.sizes[1:middle], work.sizes[middle], seed=0)


def loss(work: Work) -> Callable[..., tf.Tensor]:
    """Return the loss, as the lessons write it."""

    def of_classes(model: keras.Layer, images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(
            tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=model(images))
        )

    def of_pixels(model: keras.Layer, images: tf.Tensor) -> tf.Tensor:
        return tf.reduce_mean(
            tf.nn.sigmoid_cross_entropy_with_logits(labels=images, logits=model(images))
        )

    return of_classes if work.labelled else of_pixels


def adam() -> keras.Optimizer:
    """Return Adam with the settings that all ways share."""
    return keras.optimizers.Adam(LEARNING_RATE, epsilon=EPSILON)
