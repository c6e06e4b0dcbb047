"""Pure tensor functions: no Keras, no state, no config.

The letters of every shape: b batch · h, w rows and columns of the image · y, x rows and columns of the output ·
k = kh*kw taps of the kernel, from (0, 0) row by row (s and t where a tap of the kernel meets one of the input) ·
i in-channels · o filters. `attention`, and the modules that match images, have letters of their own.
"""

from neural_similarity.ops.angle import (
    SIGMOID_K,
    linear_operator,
    safe_acos,
    sigmoid_operator,
    squared_cosine_operator,
)
from neural_similarity.ops.attention import attention_map, global_similarity
from neural_similarity.ops.batch_norm import batch_norm, batch_norm_by_averages
from neural_similarity.ops.bregman import (
    bregman_all_pairs,
    bregman_pairs,
    inner_product_references,
    inner_product_samples,
    jeffreys_all_pairs,
    jeffreys_pairs,
    jensen_all_pairs,
    jensen_pairs,
)
from neural_similarity.ops.cosine import cosine_logits
from neural_similarity.ops.descriptors import pooled_map, structural_descriptors
from neural_similarity.ops.dynamic import dynamic_similarity_conv2d
from neural_similarity.ops.grid import grid_cells, grid_operator
from neural_similarity.ops.input_convex import InputConvexWeights, input_convex
from neural_similarity.ops.magnitude import ball_magnitude, segmented_magnitude, tanh_magnitude
from neural_similarity.ops.max_affine import (
    affine_pieces,
    largest_piece,
    piece_shares,
    pieces_all_pairs,
    pieces_pairs,
)
from neural_similarity.ops.shapes import dimensions
from neural_similarity.ops.sphere import cosine_sphere_conv2d, filter_norm, patch_norm, weight_normalized_conv2d
from neural_similarity.ops.squared_distances import squared_distances
from neural_similarity.ops.static import similarity_kernel, static_similarity_conv2d
from neural_similarity.ops.structural import Match, match, structural_scores
from neural_similarity.ops.transport import transport_plan
from neural_similarity.ops.wide import at_least_float32
from neural_similarity.ops.window import Window

__all__ = [
    "SIGMOID_K",
    "InputConvexWeights",
    "Match",
    "Window",
    "affine_pieces",
    "at_least_float32",
    "attention_map",
    "ball_magnitude",
    "batch_norm",
    "batch_norm_by_averages",
    "bregman_all_pairs",
    "bregman_pairs",
    "cosine_logits",
    "cosine_sphere_conv2d",
    "dimensions",
    "dynamic_similarity_conv2d",
    "filter_norm",
    "global_similarity",
    "grid_cells",
    "grid_operator",
    "inner_product_references",
    "inner_product_samples",
    "input_convex",
    "jeffreys_all_pairs",
    "jeffreys_pairs",
    "jensen_all_pairs",
    "jensen_pairs",
    "largest_piece",
    "linear_operator",
    "match",
    "patch_norm",
    "piece_shares",
    "pieces_all_pairs",
    "pieces_pairs",
    "pooled_map",
    "safe_acos",
    "segmented_magnitude",
    "sigmoid_operator",
    "similarity_kernel",
    "squared_cosine_operator",
    "squared_distances",
    "static_similarity_conv2d",
    "structural_descriptors",
    "structural_scores",
    "tanh_magnitude",
    "transport_plan",
    "weight_normalized_conv2d",
]
