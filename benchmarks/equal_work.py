"""Finds the plain network that needs about as many multiply-adds as another one."""

import itertools
import math

from neural_similarity.models import cnn9
from neural_similarity.reporting.multiply_adds import multiply_adds

# The plain network's widths are multiples of what its convolution kernels compute at once. Other widths would slow it
# down, and it is there to show how fast so many multiply-adds can be.
_WIDTH_STEP = 16


def widths_of_equal_work(total):
    """The three widths, multiples of 16, of the plain CNN-9 whose multiply-adds come nearest to `total`."""
    base = (32, 64, 128)
    scale = math.sqrt(total / multiply_adds(cnn9(10, widths=base)))
    nearby = [[_WIDTH_STEP * max(1, round(scale * width / _WIDTH_STEP) + i) for i in (-1, 0, 1)] for width in base]
    return min(itertools.product(*nearby), key=lambda widths: abs(multiply_adds(cnn9(10, widths=widths)) - total))
