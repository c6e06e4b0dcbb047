"""The sliding window of a convolution: which input pixel each tap sees, and the way back."""

import math
from typing import NamedTuple

import tensorflow as tf

from neural_similarity.ops.shapes import dimensions
from neural_similarity.ops.wide import at_least_float32


class Window(NamedTuple):
    """Geometry of a 2-D convolution, with TensorFlow's meaning of `same` and `valid`.

    Attributes:
        kernel_size: `(kh, kw)`.
        strides: step between output pixels, rows and columns.
        padding: `"same"` (zeros outside the image) or `"valid"`.
        dilation_rate: step between taps, rows and columns.
    """

    kernel_size: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    padding: str = "same"
    dilation_rate: tuple[int, int] = (1, 1)

    def convolve(self, image, kernel):
        """The plain convolution of `(b, h, w, i)` with `(kh, kw, i, o)`: `(b, y, x, o)`."""
        # not conv2d: on a CPU its gradient with dilation lacks some dtypes; and the second gradient needs the format
        padding, dilations = self.padding.upper(), self.dilation_rate
        return tf.nn.convolution(image, kernel, self.strides, padding, data_format="NHWC", dilations=dilations)

    def patches(self, image):
        """Every output pixel's patch, tap by tap, zeros outside the image: `(b, h, w, i)` → `(b, y, x, k, i)`."""
        batch, height, width, channels = dimensions(image)
        index, found = self._table(self._taken(image, 0), self._taken(image, 1), width)
        return _look_up(tf.reshape(image, (batch, height * width, channels)), index, found)

    def fold(self, patches, image, weights=None):
        """The adjoint of `patches`: each tap's pixels, weighted, added up where they came from.

        Args:
            patches: `(b, y, x, k, i)`.
            image: for its shape, `(b, h, w, i)`.
            weights: a factor for every tap, `(b, y, x, k)`; none are ones.

        Returns:
            `(b, h, w, i)`, summed in float32 or wider.
        """
        if patches.shape.num_elements() == 0:
            return tf.zeros_like(image)
        batch, rows, columns, taps, channels = dimensions(patches)
        index, found = self._table(self._given(image, 0), self._given(image, 1), columns)
        pixels = tf.reshape(patches, (batch, rows * columns * taps, channels))
        taken = at_least_float32(_look_up(pixels, index * taps + tf.range(taps), found))  # (b, h, w, k, i)
        if weights is not None:
            weights = at_least_float32(tf.reshape(weights, (batch, rows * columns, taps)))
            # tap by tap, as XLA would fuse one gather into the sum below, where each channel would repeat it
            weights = [tf.gather(weights[..., t], index[..., t], axis=1) for t in range(taps)]
            taken *= tf.stack(weights, axis=-1)[..., None]
        return tf.ensure_shape(tf.cast(tf.reduce_sum(taken, axis=-2), patches.dtype), image.shape)

    def centres(self, pixel_map):
        """A map `(b, h, w, …)` read at the centre of every patch: `(b, y, x, …)`.  For odd kernels."""
        if self.strides == (1, 1) and self.padding == "same":
            return pixel_map  # a slice, even of everything, would cost a copy in the gradient
        rows, columns = (self._axis(pixel_map, axis) for axis in (0, 1))
        index = []
        for axis, (before, out) in enumerate((rows, columns)):
            start = (self._extent(axis) - 1) // 2 - before
            index.append(slice(start, start + (out - 1) * self.strides[axis] + 1, self.strides[axis]))
        return pixel_map[:, index[0], index[1]]

    def _extent(self, axis):
        return (self.kernel_size[axis] - 1) * self.dilation_rate[axis] + 1

    def _axis(self, image, axis):
        """(padding before, output size) of rows (axis 0) or columns (axis 1)."""
        size = dimensions(image)[axis + 1]
        extent, stride = self._extent(axis), self.strides[axis]
        if self.padding == "valid":
            out = (size - extent) // stride + 1
            return 0, max(out, 0) if isinstance(out, int) else tf.maximum(out, 0)
        out = (size + stride - 1) // stride
        total = (out - 1) * stride + extent - size if stride > 1 else extent - 1
        total = max(total, 0) if isinstance(total, int) else tf.maximum(total, 0)
        return total // 2, out

    def _taken(self, image, axis):
        """Which row (or column) of the image each output row sees by each tap, `(y, kh)`, and whether there is one."""
        before, out = self._axis(image, axis)
        size = dimensions(image)[axis + 1]
        index = tf.range(out)[:, None] * self.strides[axis] + self._offsets(axis) - before
        return tf.clip_by_value(index, 0, size - 1), (index >= 0) & (index < size)

    def _given(self, image, axis):
        """Which output row (or column) sees each row of the image by each tap, `(h, kh)`, and whether one does."""
        before, out = self._axis(image, axis)
        offset = tf.range(dimensions(image)[axis + 1])[:, None] + before - self._offsets(axis)
        index = offset // self.strides[axis]
        found = (offset % self.strides[axis] == 0) & (index >= 0) & (index < out)
        return tf.clip_by_value(index, 0, out - 1), found

    def _offsets(self, axis):
        return tf.range(self.kernel_size[axis]) * self.dilation_rate[axis]

    def _table(self, rows, columns, width):
        """Both axes' indices and marks, `(y, kh)` and `(x, kw)`, as those of the flat image: `(y, x, k)`."""
        (row, row_found), (column, column_found) = rows, columns
        shape = (*dimensions(row)[:1], *dimensions(column)[:1], math.prod(self.kernel_size))
        index = row[:, None, :, None] * width + column[None, :, None, :]
        found = row_found[:, None, :, None] & column_found[None, :, None, :]
        return tf.reshape(index, shape), tf.reshape(found, shape)


def _look_up(pixels, index, found):
    """The pixels `(b, n, i)` at `index` `(y, x, k)`, zeros where not `found`: `(b, y, x, k, i)`.

    XLA fuses a gather into what uses it and runs it on all cores; a concatenation of shifted slices it does not.
    """
    return tf.where(found[..., None], tf.gather(pixels, index, axis=1), tf.zeros((), pixels.dtype))
