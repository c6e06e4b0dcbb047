"""The sliding window of a convolution: which input pixel each tap sees, and the way back."""

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

    def taps(self, image):
        """The input as every tap sees it: k tensors `(b, y, x, i)` from an image `(b, h, w, i)`, row by row."""
        padded = tf.pad(image, self._paddings(image))
        return [
            tf.strided_slice(padded, begin, end, strides, begin_mask=9, end_mask=9)
            for begin, end, strides in self._slices(image)
        ]

    def fold(self, taps, image):
        """The adjoint of `taps`: every tap's `(b, y, x, i)` added up where it came from, in the shape of `image`."""
        paddings = self._paddings(image)
        shape = tf.shape(image) + tf.reduce_sum(tf.convert_to_tensor(paddings), axis=1)
        total = tf.add_n(
            [
                tf.raw_ops.StridedSliceGrad(
                    shape=shape, begin=begin, end=end, strides=strides, dy=tap, begin_mask=9, end_mask=9
                )
                for tap, (begin, end, strides) in zip(taps, self._slices(image), strict=True)
            ]
        )
        (top, _), (left, _) = paddings[1:3]
        height, width = tf.shape(image)[1], tf.shape(image)[2]
        folded = total[:, top : top + height, left : left + width]
        return tf.ensure_shape(folded, image.shape)

    def centres(self, pixel_map):
        """A map `(b, h, w, …)` read at the centre of every patch: `(b, y, x, …)`.  For odd kernels."""
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

    def _slices(self, image):
        """One (begin, end, strides) of a strided slice of the padded image per tap; batch and channels are masked."""
        (*_, rows), (*_, columns) = self._axis(image, 0), self._axis(image, 1)
        (down, across), (dy, dx) = self.strides, self.dilation_rate
        for row in range(0, self.kernel_size[0] * dy, dy):
            for column in range(0, self.kernel_size[1] * dx, dx):
                end = [0, row + (rows - 1) * down + 1, column + (columns - 1) * across + 1, 0]
                yield [0, row, column, 0], end, [1, down, across, 1]
