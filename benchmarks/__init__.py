"""Measures speed and memory of our forms, each beside the form that it replaces.

Most modules are commands, such as `python -m benchmarks.train_step`; docs/performance.md lists them and their results.
"""

from neural_similarity.data.streams import prepare
from neural_similarity.quiet import import_tensorflow

prepare()
import_tensorflow()

import tensorflow as tf  # noqa: E402

tf.get_logger().setLevel("ERROR")  # it would warn of retracing, as many steps are made from the same Python function
