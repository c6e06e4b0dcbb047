"""Networks: layers composed, nothing else."""

from neural_similarity.backend import check_backend

check_backend()  # before Keras is imported

from neural_similarity.models.classifiers import with_cosine_head, with_embedding, with_linear_head
from neural_similarity.models.cnn9 import cnn9
from neural_similarity.models.conv4 import conv4
from neural_similarity.models.embedding import application_backbone, backbone_of_file, with_projection
from neural_similarity.models.mlp import mlp
from neural_similarity.models.spherenet9 import cnn9_128, spherenet9

__all__ = [
    "application_backbone",
    "backbone_of_file",
    "cnn9",
    "cnn9_128",
    "conv4",
    "mlp",
    "spherenet9",
    "with_cosine_head",
    "with_embedding",
    "with_linear_head",
    "with_projection",
]
