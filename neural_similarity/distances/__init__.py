"""What makes two images near: cosine, Euclidean and structural, behind one seam; and rankings by them."""

from neural_similarity.distances.bregman import Bregman
from neural_similarity.distances.cosine import Cosine
from neural_similarity.distances.distance import Distance
from neural_similarity.distances.euclidean import Euclidean
from neural_similarity.distances.ranking import Ranking, fine_scores, nearest, reordered, rerank
from neural_similarity.distances.structural import Structural

__all__ = [
    "Bregman",
    "Cosine",
    "Distance",
    "Euclidean",
    "Ranking",
    "Structural",
    "fine_scores",
    "nearest",
    "reordered",
    "rerank",
]
