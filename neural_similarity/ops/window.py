"""The sliding window of a convolution: which input pixel each tap sees, and the way back."""

import math
from typing import NamedTuple

import tensorflow as tf


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

    def patches(self, image):
        """Every output pixel's patch, tap by tap: `(b, h, w, i)` → `(b, y, x, k, i)`."""
        (down, rows), (right, columns) = (self._taken(image, axis) for axis in (0, 1))
        padded = tf.pad(image, self._paddings(image))
        batch, height, width, channels = _dimensions(padded)
        index = down[:, None, :, None] * width + right[None, :, None, :]  # (y, x, kh, kw)
        index = tf.reshape(index, (rows, columns, math.prod(self.kernel_size)))
        pixels = tf.reshape(padded, (batch, height * width, channels))
        return tf.gather(pixels, index, axis=1)  # which XLA fuses into its users, unlike a concatenation of slices

    def fold(self, patches, weights, image):
        """The adjoint of `patches` on weighted patches: each tap's pixels added up where they came from.

        Args:
            patches: `(b, y, x, k, i)`.
            weights: a factor for every tap, `(b, y, x, k)`.
            image: for its shape, `(b, h, w, i)`.

        Returns:
            `(b, h, w, i)`, summed in float32 or wider.
        """
        (up, row_found), (left, column_found) = (self._given(image, axis) for axis in (0, 1))
        batch, rows, columns, taps, channels = _dimensions(patches)
        _, height, width, _ = _dimensions(image)
        index = tf.reshape(up[:, None, :, None] * columns + left[None, :, None, :], (height, width, taps))
        found = tf.reshape(row_found[:, None, :, None] & column_found[None, :, None, :], (height, width, taps))
        wide = tf.float32 if patches.dtype.size < 4 else patches.dtype
        weights = tf.cast(tf.reshape(weights, (batch, rows * columns, taps)), wide)
        weights = tf.stack(  # a stack, which XLA does not fuse into the sum below, where each channel would look again
            [tf.gather(weights[..., t], index[..., t], axis=1) for t in range(taps)], axis=-1
        )
        weights = tf.where(found, weights, tf.zeros((), wide))
        pixels = tf.reshape(patches, (batch, rows * columns * taps, channels))
        taken = tf.gather(pixels, index * taps + tf.range(taps), axis=1)  # (b, h, w, k, i)
        return tf.cast(tf.reduce_sum(tf.cast(taken, wide) * weights[..., None], axis=-2), patches.dtype)

    def centres(self, pixel_map):
        """A map `(b, h, w, …)` read at the centre of every patch: `(b, y, x, …)`.  For odd kernels."""
        if self.strides == (1, 1) and self.padding == "same":
            return pixel_map  # a slice, even of everything, would cost a copy in the gradient
        rows, columns = (self._axis(pixel_map, axis) for axis in (0, 1))
        index = []
        for axis, (before, _, out) in enumerate((rows, columns)):
            start = (self._extent(axis) - 1) // 2 - before
            index.append(slice(start, start + (out - 1) * self.strides[axis] + 1, self.strides[axis]))
        return pixel_map[:, index[0], index[1]]

    def _extent(self, axis):
        return (self.kernel_size[axis] - 1) * self.dilation_rate[axis] + 1

    def _axis(self, image, axis):
        """(padding before, padding after, output size) of rows (axis 0) or columns (axis 1)."""
        size = image.shape[axis + 1]
        size = tf.shape(image)[axis + 1] if size is None else size
        extent, stride = self._extent(axis), self.strides[axis]
        if self.padding == "valid":
            return 0, 0, (size - extent) // stride + 1
        out = (size + stride - 1) // stride
        total = (out - 1) * stride + extent - size if stride > 1 else extent - 1
        total = max(total, 0) if isinstance(total, int) else tf.maximum(total, 0)
        return total // 2, total - total // 2, out

    def _paddings(self, image):
        (top, bottom, _), (left, right, _) = self._axis(image, 0), self._axis(image, 1)
        return [[0, 0], [top, bottom], [left, right], [0, 0]]

    def _taken(self, image, axis):
        """Which padded row (or column) each tap of each output row sees, `(y, kh)`, and the number of output rows."""
        *_, out = self._axis(image, axis)
        taps = tf.range(self.kernel_size[axis]) * self.dilation_rate[axis]
        return tf.range(out)[:, None] * self.strides[axis] + taps, out

    def _given(self, image, axis):
        """Which output row (or column) sees each input row by each tap, `(h, kh)`, and whether one does."""
        before, _, out = self._axis(image, axis)
        taps = tf.range(self.kernel_size[axis]) * self.dilation_rate[axis]
        offset = tf.range(_dimensions(image)[axis + 1])[:, None] + before - taps
        index = offset // self.strides[axis]
        found = (offset % self.strides[axis] == 0) & (index >= 0) & (index < out)
        return tf.clip_by_value(index, 0, out - 1), found


def _dimensions(x):
    """The sizes of a tensor: integers where they are known, scalar tensors elsewhere."""
    known, shape = x.shape.as_list(), tf.shape(x)
    return [shape[axis] if size is None else size for axis, size in enumerate(known)]
