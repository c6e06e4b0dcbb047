"""The similarity matrices M that a dynamic network predicts for given images."""

import math

import keras
import numpy as np

from neural_similarity.layers import DynamicSimilarityConv2D


def predicted_matrices(model: keras.Model, images: np.ndarray) -> dict[str, np.ndarray]:
    """M of every dynamic layer for a batch of images, as in training: batch normalisation uses the batch's statistics.

    Args:
        model: a functional Keras model with `DynamicSimilarityConv2D` layers. It has the same weights afterwards.
        images: `(b, h, w, c)`, as the model takes them.

    Returns:
        Layer name → float32 array of M at every pixel of the layer's input, `(b, y, x, k)` where M is diagonal (DNS),
        `(b, y, x, k, k)` where it is not (UNS). The layers are in the model's order.
    """
    layers = [layer for layer in model.layers if isinstance(layer, DynamicSimilarityConv2D)]
    weights = model.get_weights()  # a pass in training mode moves the averages
    try:
        inputs = keras.Model(model.input, [layer.input for layer in layers])(images, training=True)
        inputs = inputs if isinstance(inputs, list) else [inputs]
        pairs = zip(layers, inputs, strict=True)
        return {layer.name: np.asarray(layer.predictor(x, training=True), np.float32) for layer, x in pairs}
    finally:
        model.set_weights(weights)


def mean_deviation(matrices: dict[str, np.ndarray]) -> dict[str, float]:
    """How far M is from the identity: layer name → mean of |M − I| over images, pixels and entries of M.

    Args:
        matrices: what `predicted_matrices` returns.
    """
    return {name: float(np.mean(np.abs(m - _identity(m)))) for name, m in matrices.items()}


def draw_matrices(images, matrices, path, layers=None):
    """Draws diagonal M: one row per image, one column per layer.

    A cell shows kh·kw maps, one for each tap of the kernel, in the places that the taps have in the kernel. A map shows
    one number of M at every pixel: white where it is 1, red above, blue below.

    Args:
        images: `(b, h, w, 3)` in 0–255.
        matrices: what `predicted_matrices` returns for them, or for more images that begin with these.
        path: of the PNG.
        layers: names of the layers; by default the first of each block (`conv1_0`, `conv2_0`, …). Their kernels are
            square.
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


def _identity(matrix):
    return 1.0 if matrix.ndim == 4 else np.eye(matrix.shape[-1], dtype=np.float32)


def _tiled(maps):
    """`(y, x, k)` → one picture of √k × √k maps with a gap of one pixel (NaN) between them."""
    side = math.isqrt(maps.shape[-1])
    padded = np.pad(maps, ((0, 1), (0, 1), (0, 0)), constant_values=np.nan)
    y, x, _ = padded.shape
    return padded.reshape(y, x, side, side).transpose(2, 0, 3, 1).reshape(side * y, side * x)[:-1, :-1]
