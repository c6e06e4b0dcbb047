"""Draws where a network with global similarity looks, for chosen pixels of images.

python -m neural_similarity attention RUN --images 0 7 photo.png [--pixels 8,8 20,24] [--out attention.png]
"""

import itertools
from collections.abc import Sequence

import keras
import numpy as np

from neural_similarity.errors import UserError
from neural_similarity.families import load_run
from neural_similarity.interpret.images import named_images
from neural_similarity.interpret.trained_metrics import refuse_metric_run
from neural_similarity.layers import GlobalSimilarity2D
from neural_similarity.training.runs import open_run

NO_MORE_THAN_EVEN = 1.0005  # a largest weight of up to so many times an even weight differs from it by rounding


def attention_maps(model: keras.Model, images: np.ndarray, pixels: Sequence[tuple[int, int]]) -> dict[str, np.ndarray]:
    """How much weight chosen pixels give to all pixels, in each `GlobalSimilarity2D` of a network, in inference.

    A layer's feature map may be smaller than the image. Then the pixel of the map counts in which the image's pixel
    lies: pixel (9, 30) of a 32×32 image is pixel (4, 15) of a 16×16 map.

    Args:
        model: a functional Keras model.
        images: `(b, h, w, c)`, as the model takes them.
        pixels: `(row, column)` of p pixels of the images, counted from 0.

    Returns:
        Layer name → `(b, p, y, x)` float32 array, with y rows and x columns in the layer's map; the first layer first.
        The weights of one image and one chosen pixel sum to 1. An empty dictionary if the model has no such layer.
    """
    layers = [layer for layer in model.layers if isinstance(layer, GlobalSimilarity2D)]
    inputs = keras.Model(model.input, [layer.input for layer in layers])(images, training=False) if layers else []
    maps = {}
    for layer, x in zip(layers, inputs, strict=True):
        rows, columns = x.shape[1:3]
        height, width = images.shape[1:3]
        numbers = [row * rows // height * columns + column * columns // width for row, column in pixels]
        weights = np.asarray(layer.attention_map(x, numbers), np.float32)
        maps[layer.name] = weights.reshape(len(images), len(pixels), rows, columns)
    return maps


def attention_figure(images, maps, pixels):
    """A figure of how much weight chosen pixels give to all pixels.

    The picture has one row per image. The first column shows the image and the chosen pixels. Each further column
    shows the weights of one chosen pixel in one layer, as colours over the image: the least weight is dark, the most is
    light. The column's title says how large they are. Say that a layer has 16×16 pixels. An even weight is then 1/256,
    and "0.50–3.00 × even" means weights from 0.5/256 to 3/256.

    Args:
        images: `(b, h, w, 3)` in 0–255.
        maps: what `attention_maps` returns for `images` and `pixels`.
        pixels: `(row, column)` of each chosen pixel in the images, counted from 0.

    Returns:
        A matplotlib `Figure`.
    """
    from matplotlib.figure import Figure

    height, width = images.shape[1:3]
    columns = 1 + len(pixels) * len(maps)
    figure = Figure(figsize=(1.9 * columns, 2.1 * len(images) + 0.4), layout="constrained")
    axes = figure.subplots(len(images), columns, squeeze=False)
    for row, image in enumerate(images):
        axes[row, 0].imshow(image.astype(np.uint8))
        axes[row, 0].scatter(*zip(*[(x, y) for y, x in pixels], strict=True), c="cyan", marker="+", s=60)
        for column, (number, name) in enumerate(itertools.product(range(len(pixels)), maps), start=1):
            pixel, weights = pixels[number], maps[name][row, number]
            axis = axes[row, column]
            axis.imshow(np.mean(image, axis=-1), cmap="gray", vmin=0, vmax=255)
            extent = (-0.5, width - 0.5, height - 0.5, -0.5)
            shares = weights * weights.size  # in units of an even weight; the colours always span least to most
            axis.imshow(shares, cmap="inferno", alpha=0.7, extent=extent, interpolation="nearest")
            axis.plot(pixel[1], pixel[0], "+", color="cyan", markersize=9)
            axis.set_title(
                f"{name}, pixel {pixel[0]},{pixel[1]}\n{np.min(shares):.2f}–{np.max(shares):.2f} × even", fontsize=7
            )
    axes[0, 0].set_title("image", fontsize=8)
    for axis in axes.flat:
        axis.set_axis_off()
    return figure


def three_pixels(size: int) -> list[tuple[int, int]]:
    """Three pixels on the diagonal of an image with `size` rows and columns."""
    return [(size // 4, size // 4), (size // 2, size // 2), (3 * size // 4, 3 * size // 4)]


def draw_run(folder, names, pixels=None, out=None):
    """Draws where the trained network of a run looks. Yields one line for each layer, then the path of the picture.

    Args:
        folder: run folder of a network with attention.
        names: which images: texts, each the number of a test image, counted from 0, or the path of an image file.
        pixels: `(row, column)` of each chosen pixel in the images, counted from 0. By default three on the diagonal.
        out: the PNG to write; by default attention.png in the run folder.

    Raises:
        UserError: the network has no attention, an image or a pixel is not there, or `out` is no PNG.
    """
    run = open_run(folder)
    refuse_metric_run(run, "a run of a network with attention")
    model = load_run(folder)
    if not any(isinstance(layer, GlobalSimilarity2D) for layer in model.layers):
        raise UserError(f"{folder}: this network has no attention. Take a run of configs/cifar10/sa_spherenet.yaml.")
    size = model.input_shape[1]
    pixels = pixels or three_pixels(size)
    for pixel in pixels:
        if max(pixel) >= size:
            raise UserError(f"--pixels {pixel[0]},{pixel[1]}: the images have {size} rows and columns, counted from 0.")
    images = named_images(run, names)
    maps = attention_maps(model, images, pixels)
    out = out or folder / "attention.png"
    if out.suffix != ".png":
        raise UserError(f"{out}: the picture is a PNG. Next: --out {out.with_suffix('.png')}")
    attention_figure(images, maps, pixels).savefig(out, dpi=110)
    for name, weights in maps.items():
        most = np.max(weights, axis=(2, 3)) * np.prod(weights.shape[2:])
        gamma, alike = float(model.get_layer(name).gamma), np.sum(most < NO_MORE_THAN_EVEN)
        yield (
            f"{name}: γ {gamma:+.4f}; the pixel most looked at gets {np.mean(most):.2f} times an even weight (mean); "
            f"{alike} of {most.size} look at all pixels alike"
        )
    yield str(out)
