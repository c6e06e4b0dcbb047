"""The sliding window of a convolution: which input pixel each tap of the kernel reads, and the way back."""

import functools
import math
import operator
from typing import NamedTuple

import tensorflow as tf

from neural_similarity.ops.shapes import dimensions
from neural_similarity.ops.wide import at_least_float32


class Window(NamedTuple):
    """Geometry of a 2-D convolution, with TensorFlow's meaning of `same` and `valid`.

    Attributes:
        kernel_size: `(kh, kw)`.
        strides: step between output pixels, for rows and for columns.
        padding: `"same"` (zeros outside the image) or `"valid"`.
        dilation_rate: step between taps, for rows and for columns.
    """

    kernel_size: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    padding: str = "same"
    dilation_rate: tuple[int, int] = (1, 1)

    def convolve(self, image, kernel):
        """The plain convolution: an image `(b, h, w, i)` and a kernel `(kh, kw, i, o)` give `(b, y, x, o)`."""
        # tf.nn.conv2d would not do: its gradient on a CPU lacks some dtypes where there is dilation. `data_format` is
        # given, as the second-order gradient needs it.
        padding, dilations = self.padding.upper(), self.dilation_rate
        return tf.nn.convolution(image, kernel, self.strides, padding, data_format="NHWC", dilations=dilations)

    def patches(self, image):
        """The patch of every output pixel: the input pixels that the kernel's taps read, zeros outside the image.

        Args:
            image: `(b, h, w, i)`.

        Returns:
            `(b, y, x, k, i)`, in the image's dtype.
        """
        batch, height, width, channels = dimensions(image)
        index, inside = self._flat_index(self._input_index(image, 0), self._input_index(image, 1), width)
        return _read(tf.reshape(image, (batch, height * width, channels)), index, inside)

    def fold(self, patches, image, weights=None):
        """Adds the pixels of all patches up where they came from in the image; the adjoint of `patches`.

        An input pixel that lies in four patches gets the sum of four pixels.

        Args:
            patches: `(b, y, x, k, i)`.
            image: `(b, h, w, i)`; only its shape matters.
            weights: `(b, y, x, k)`, a factor for every tap of every patch; by default 1.

        Returns:
            `(b, h, w, i)` in the dtype of `patches`; the sum is computed in float32 or wider.
        """
        if 0 in patches.shape.as_list():
            return tf.zeros_like(image, patches.dtype)
        batch, rows, columns, _, channels = dimensions(patches)
        taps = math.prod(self.kernel_size)
        index, inside = self._flat_index(self._output_index(image, 0), self._output_index(image, 1), columns)
        pixels = tf.reshape(patches, (batch, rows * columns * taps, channels))
        if weights is not None:
            weights = at_least_float32(tf.reshape(weights, (batch, rows * columns, taps)))

        def of_tap(t):
            pixel = at_least_float32(_read(pixels, index[..., t] * taps + t, inside[..., t]))  # (b, h, w, i)
            return pixel if weights is None else pixel * tf.gather(weights[..., t], index[..., t], axis=1)[..., None]

        # One tap after the other: XLA computes a sum over an axis of taps as a loop for each number, which was slower.
        total = functools.reduce(operator.add, map(of_tap, range(taps)))
        return tf.ensure_shape(tf.cast(total, patches.dtype), image.shape)

    def centres(self, pixel_map):
        """Reads a map at the pixel under the middle tap of every patch, for kernels of odd height and width.

        Args:
            pixel_map: `(b, h, w, …)`.

        Returns:
            `(b, y, x, …)`.
        """
        if self.strides == (1, 1) and self.padding == "same":
            return pixel_map  # the gradient of a slice is a copy, even if the slice is the whole map
        rows, columns = (self._padding_and_outputs(pixel_map, axis) for axis in (0, 1))
        index = []
        for axis, (before, outputs) in enumerate((rows, columns)):
            start = (self._extent(axis) - 1) // 2 - before
            index.append(slice(start, start + (outputs - 1) * self.strides[axis] + 1, self.strides[axis]))
        return pixel_map[:, index[0], index[1]]

    def _extent(self, axis):
        """How many pixels the kernel spans, those that a dilation skips included."""
        return (self.kernel_size[axis] - 1) * self.dilation_rate[axis] + 1

    def _padding_and_outputs(self, image, axis):
        """How many zeros stand before the first row (axis 0) or column (axis 1), and how many outputs there are."""
        size = dimensions(image)[axis + 1]
        extent, stride = self._extent(axis), self.strides[axis]
        if self.padding == "valid":
            outputs = (size - extent) // stride + 1
            return 0, max(outputs, 0) if isinstance(outputs, int) else tf.maximum(outputs, 0)
        outputs = (size + stride - 1) // stride
        total = (outputs - 1) * stride + extent - size if stride > 1 else extent - 1
        total = max(total, 0) if isinstance(total, int) else tf.maximum(total, 0)
        return total // 2, outputs

    def _input_index(self, image, axis):
        """For every output row and every row of the kernel, the image row that is read; for axis 1, columns.

        Returns:
            `(y, kh)` integers, clipped to the image; and `(y, kh)` booleans, False where the row lies outside of it.
        """
        before, outputs = self._padding_and_outputs(image, axis)
        size = dimensions(image)[axis + 1]
        index = tf.range(outputs)[:, None] * self.strides[axis] + self._offsets(axis) - before
        return tf.clip_by_value(index, 0, size - 1), (index >= 0) & (index < size)

    def _output_index(self, image, axis):
        """The inverse of `_input_index`: for every image row and every row of the kernel, the output row that reads it.

        Returns:
            `(h, kh)` integers, clipped to the outputs; and `(h, kh)` booleans, False where no output row reads it: it
            would lie outside, or the stride skips it.
        """
        before, outputs = self._padding_and_outputs(image, axis)
        offset = tf.range(dimensions(image)[axis + 1])[:, None] + before - self._offsets(axis)
        index = offset // self.strides[axis]
        exists = (offset % self.strides[axis] == 0) & (index >= 0) & (index < outputs)
        return tf.clip_by_value(index, 0, outputs - 1), exists

    def _offsets(self, axis):
        return tf.range(self.kernel_size[axis]) * self.dilation_rate[axis]

    def _flat_index(self, rows, columns, width):
        """Joins what one of the two methods above returns for rows, `(y, kh)`, and for columns, `(x, kw)`.

        Returns:
            `(y, x, k)` positions row · width + column in a flattened image, and `(y, x, k)` booleans, True where both
            the row and the column are.
        """
        (row, row_inside), (column, column_inside) = rows, columns
        shape = (*dimensions(row)[:1], *dimensions(column)[:1], math.prod(self.kernel_size))
        index = row[:, None, :, None] * width + column[None, :, None, :]
        inside = row_inside[:, None, :, None] & column_inside[None, :, None, :]
        return tf.reshape(index, shape), tf.reshape(inside, shape)


def _read(pixels, index, inside):
    """The pixels `(b, n, i)` at the positions `index`, `(…)`, and zeros where not `inside`, `(…)`: `(b, …, i)`."""
    # A gather, as XLA fuses one into the operation that uses it and runs it on all cores. XLA does neither with the
    # obvious form, a concatenation of shifted slices.
    return tf.where(inside[..., None], tf.gather(pixels, index, axis=1), tf.zeros((), pixels.dtype))
