"""Initial weights that are a function of a seed, without a trace in anybody else's random numbers."""

import contextlib
import random


@contextlib.contextmanager
def seeded(seed):
    """Makes the initial weights of whatever is built in this block depend on `seed` alone.

        with seeded(0):
            model = cnn9(10)

    A Keras initializer without a seed draws one from Python's `random` module; what follows is a function of that seed.
    So the block seeds `random`, and afterwards puts it back to where it was. NumPy, TensorFlow and Keras are not
    touched, whereas `keras.utils.set_random_seed` would reseed all of them for good.

    Args:
        seed: an integer.
    """
    before = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(before)
