"""TensorFlow and Keras, imported without start-up log lines and set to repeat their numbers.

Every module and lesson that uses TensorFlow imports this module first.  A few lines of C++ ("Could
not find cuda drivers") are written to file descriptor 2 before TensorFlow's log level takes effect.
Only these known lines are dropped there: anything else TensorFlow says is passed on.

The last digits of a product depend on the number of threads that share its sums.  So oneDNN stays
off, and the BLAS of NumPy and SciPy gets one thread (Apple's Accelerate cannot be told so).
"""

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import threadpool_limits

if {"keras", "tensorflow"} & sys.modules.keys():
    raise ImportError(
        "helpers.backend makes settings that TensorFlow and Keras read when they are imported: "
        "expected to be imported before them, found them imported. Restart, and import it first."
    )
if "\udc80" <= max(__file__) <= "\udcff":  # stands for a byte that Python could not read
    raise ImportError(
        "TensorFlow compiles nothing in a folder whose name has letters that the locale lacks: "
        "expected a locale with UTF-8. Set PYTHONUTF8=1 and restart, or move the course."
    )
# What a person has set for other work would end a lesson, or change its numbers in silence.
for _name in [name for name in os.environ if name.startswith(("KERAS_", "TF_", "XLA_"))]:
    del os.environ[_name]
os.environ |= {"KERAS_BACKEND": "tensorflow", "KERAS_HOME": os.devnull}  # no keras.json
os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "2", "TF_ENABLE_ONEDNN_OPTS": "0"}

_CHATTER = re.compile(
    r"All log messages before absl::InitializeLog"
    r"|cudart_stub\.cc|cpu_feature_guard\.cc|To enable the following instructions"
    r"|failed call to cuInit|port\.cc.*oneDNN"
)


@contextmanager
def _without_chatter() -> Iterator[None]:
    """Hold back file descriptor 2, then pass on every line that is not known chatter."""
    try:
        stderr = os.dup(2)
    except OSError:  # no file descriptor 2 (pythonw on Windows): nothing to keep quiet
        yield
        return
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            held.seek(0)
            for line in held.read().decode(errors="replace").splitlines():
                if not _CHATTER.search(line):
                    print(line, file=sys.stderr)


with _without_chatter():
    import keras
    import tensorflow as tf

    # Looking for devices is when TensorFlow reports a missing GPU; do it while it is held back.
    tf.config.list_physical_devices()

threadpool_limits(1, user_api="blas")  # Keras has loaded both of them by now

__all__ = ["keras", "tf"]
