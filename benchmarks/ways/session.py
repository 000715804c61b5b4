"""A TensorFlow 1 session fed with NumPy arrays step by step, as source B was written."""

from collections.abc import Callable

import numpy as np

from benchmarks.work import EPSILON, LEARNING_RATE, Work
from helpers.backend import tf

tf1 = tf.compat.v1


def prepare(work: Work, rows: np.ndarray) -> Callable[[], np.ndarray]:
    """Build the graph; each step is one ``session.run`` with a feed_dict."""
    arrays = work.data()
    with tf.Graph().as_default():
        fed = [tf1.placeholder(array.dtype, [None, *array.shape[1:]]) for array in arrays]
        hidden, weights = fed[0], work.weights()
        for layer in range(len(weights) // 2):
            kernel, bias = (tf1.Variable(array) for array in weights[2 * layer : 2 * layer + 2])
            hidden = tf.matmul(hidden, kernel) + bias
            if layer not in work.linear:
                hidden = tf.nn.relu(hidden)
        if work.labelled:
            each = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=fed[1], logits=hidden)
            loss = tf.reduce_sum(each)
        else:
            each = tf.nn.sigmoid_cross_entropy_with_logits(labels=fed[0], logits=hidden)
            loss = tf.reduce_mean(each)
        train = tf1.train.AdamOptimizer(LEARNING_RATE, epsilon=EPSILON).minimize(loss)
        session = tf1.Session()
        session.run(tf1.global_variables_initializer())

    def run() -> np.ndarray:
        losses = []
        for r in rows:
            batch = {place: array[r] for place, array in zip(fed, arrays, strict=True)}
            losses.append(session.run([loss, train], batch)[0])
        return np.array(losses)

    return run
