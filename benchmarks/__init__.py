"""Speed and memory, each against the form it replaces. Every module is a command: `python -m benchmarks.train_step`."""

from neural_similarity.quiet import import_tensorflow

import_tensorflow()

import tensorflow as tf  # noqa: E402

tf.get_logger().setLevel("ERROR")  # many steps side by side look to TensorFlow like one that is traced again and again
