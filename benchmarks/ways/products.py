"""Nothing but matrix products: what the arithmetic of a step costs at the least."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from benchmarks.work import Work

SIDE = 2000
BLOCK = 100


def prepare(work: Work, rows: np.ndarray, *, kind: str, arms: int = 1) -> Callable[[], np.ndarray]:
    """Return the products to time.

    ``"numpy"`` and ``"xla"``: as many operations as the steps need, in large products, which run
    at the best rate there is.  ``"step"``: the products of every step at their real shapes, in
    one compiled loop, for one or more arms side by side.
    """
    if kind == "step":
        return _products_of_steps(work, len(rows), arms)
    flops = len(rows) * work.flops()
    count = -(-flops // (2 * SIDE**2 * 4000))
    columns = round(flops / (2 * SIDE**2 * count))
    rng = np.random.default_rng(0)
    left, right = (rng.random(s, dtype=np.float32) for s in ((SIDE, SIDE), (SIDE, columns)))
    if kind == "numpy":
        product = np.matmul
    else:
        from helpers.backend import tf

        left, right = tf.constant(left), tf.constant(right)
        compiled = tf.function(tf.matmul, jit_compile=True)

        def product(left: tf.Tensor, right: tf.Tensor) -> np.ndarray:
            return compiled(left, right)[0, 0].numpy()

    def run() -> np.ndarray:
        for _ in range(count):
            product(left, right)
        return np.empty(0)

    return run


def _products_of_steps(work: Work, steps: int, arms: int) -> Callable[[], np.ndarray]:
    from helpers.backend import tf

    rng = np.random.default_rng(0)

    def arm() -> Callable[[], None]:
        units = [tf.constant(rng.random((work.batch_size, n), np.float32)) for n in work.sizes]
        kernels = [tf.constant(kernel) for kernel in work.weights()[::2]]

        def step(last: tf.Tensor) -> tf.Tensor:
            corners = []
            for layer, kernel in enumerate(kernels):
                # Adding what the last step gave keeps the products inside the loop.
                below, above = units[layer] + last, units[layer + 1] + last
                corners.append(tf.matmul(below, kernel)[0, 0])
                corners.append(tf.matmul(below, above, transpose_a=True)[0, 0])
                if layer:
                    corners.append(tf.matmul(above, kernel, transpose_b=True)[0, 0])
            return tf.add_n(corners) * 1e-30

        @tf.function(jit_compile=True, autograph=False)
        def block() -> tf.Tensor:
            def body(i: tf.Tensor, last: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
                return i + 1, step(last)

            return tf.while_loop(lambda i, _: i < BLOCK, body, [0, tf.zeros([])])[1]

        concrete = block.get_concrete_function()
        return lambda: [concrete().numpy() for _ in range(steps // BLOCK)]

    programs = [arm() for _ in range(arms)]
    pool = ThreadPoolExecutor(arms)

    def run() -> np.ndarray:
        list(pool.map(lambda program: program(), programs))
        return np.empty(0)

    return run
