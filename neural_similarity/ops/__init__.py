"""Pure tensor functions: no Keras, no state, no config.

The letters of every shape: b batch · y, x rows and columns · k = kh*kw taps (s: of the kernel, t: of the
input) · i in-channels · o filters.
"""

from neural_similarity.ops.batch_norm import batch_norm, normalize
from neural_similarity.ops.dynamic import dynamic_similarity_conv2d
from neural_similarity.ops.sphere import cosine_sphere_conv2d, filter_norm, patch_norm
from neural_similarity.ops.static import similarity_kernel, static_similarity_conv2d
from neural_similarity.ops.window import Window

__all__ = [
    "Window",
    "batch_norm",
    "cosine_sphere_conv2d",
    "dynamic_similarity_conv2d",
    "filter_norm",
    "normalize",
    "patch_norm",
    "similarity_kernel",
    "static_similarity_conv2d",
]
