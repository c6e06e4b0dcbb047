"""The similarity matrices that a dynamic network predicts for given images."""

import keras
import numpy as np

from neural_similarity.layers import DynamicSimilarityConv2D


def predicted_matrices(model, images):
    """M of every dynamic layer for a batch of images, by the batch's own statistics.

    Args:
        model: a functional Keras model with `DynamicSimilarityConv2D` layers. It is not changed.
        images: `(b, h, w, c)`, as the model takes them.

    Returns:
        Layer name → `(b, y, x, k)` (DNS) or `(b, y, x, k, k)` (UNS) float32 array, in the model's order.
    """
    model = _copy(model)  # a pass in training mode moves the averages
    layers = [layer for layer in model.layers if isinstance(layer, DynamicSimilarityConv2D)]
    inputs = keras.Model(model.input, [layer.input for layer in layers])(images, training=True)
    inputs = inputs if isinstance(inputs, list) else [inputs]
    pairs = zip(layers, inputs, strict=True)
    return {layer.name: np.asarray(layer.predictor(x, training=True), np.float32) for layer, x in pairs}


def mean_deviation(matrices):
    """Layer name → mean |M − I| over images, pixels and entries, of what `predicted_matrices` returns."""
    return {name: float(np.mean(np.abs(m - _identity(m)))) for name, m in matrices.items()}


def draw_matrices(images, matrices, path, layers=None):
    """Draws diagonal M: an image a row, a layer a column, in it one map a tap, laid out as the taps lie in the kernel.

    Args:
        images: `(b, h, w, 3)` in 0–255.
        matrices: what `predicted_matrices` returns for them, or for more images of which these are the first.
        path: of the PNG.
        layers: which layers; by default the first of each block (`conv1_0`, `conv2_0`, …).
    """
    from matplotlib.figure import Figure

    layers = layers or [name for name in matrices if name.endswith("_0")]
    figure = Figure(figsize=(2 * (1 + len(layers)) + 0.8, 2 * len(images)), layout="constrained")
    axes = figure.subplots(len(images), 1 + len(layers), squeeze=False)
    for row, image in enumerate(images):
        axes[row, 0].imshow(np.clip(image, 0, 255).astype(np.uint8))
    for column, name in enumerate(layers, start=1):
        shown = [_tiled(m) for m in matrices[name][: len(images)]]
        reach = max(float(np.nanmax(np.abs(tiles - 1))) for tiles in shown) or 1.0
        for row, tiles in enumerate(shown):
            picture = axes[row, column].imshow(tiles, cmap="RdBu_r", vmin=1 - reach, vmax=1 + reach)
        axes[0, column].set_title(f"m at {name}", fontsize=9)
        bar = figure.colorbar(picture, ax=axes[:, column], shrink=0.6, location="bottom")
        bar.ax.tick_params(labelsize=7)
    axes[0, 0].set_title("image", fontsize=9)
    for axis in axes.flat:
        axis.set_axis_off()
    figure.savefig(path, dpi=110)


def _copy(model):
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    return copy


def _identity(matrix):
    return 1.0 if matrix.ndim == 4 else np.eye(matrix.shape[-1], dtype=np.float32)


def _tiled(maps):
    """`(y, x, k)` → one picture of √k × √k maps with a gap of one pixel (NaN) between them."""
    side = round(maps.shape[-1] ** 0.5)
    padded = np.pad(maps, ((0, 1), (0, 1), (0, 0)), constant_values=np.nan)
    y, x, _ = padded.shape
    return padded.reshape(y, x, side, side).transpose(2, 0, 3, 1).reshape(side * y, side * x)[:-1, :-1]
