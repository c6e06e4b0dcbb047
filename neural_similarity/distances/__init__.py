"""What makes two images near: cosine, Euclidean, structural and learned, behind one interface; and rankings by them."""

from neural_similarity.backend import check_backend

check_backend()  # before Keras is imported, as Keras would say that JAX is not installed


from neural_similarity.distances.bregman import Bregman
from neural_similarity.distances.cosine import Cosine
from neural_similarity.distances.distance import Distance
from neural_similarity.distances.euclidean import Euclidean
from neural_similarity.distances.ranking import Ranking, fine_scores, nearest, reordered, rerank
from neural_similarity.distances.structural import Structural
from neural_similarity.distances.structural_bregman import StructuralBregman

__all__ = [
    "Bregman",
    "Cosine",
    "Distance",
    "Euclidean",
    "Ranking",
    "Structural",
    "StructuralBregman",
    "fine_scores",
    "nearest",
    "reordered",
    "rerank",
]
