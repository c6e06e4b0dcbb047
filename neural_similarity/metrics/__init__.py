"""What retrieval is measured by. Fractions, from arrays of labels and of neighbours."""

from neural_similarity.metrics.clustering import clustering_agreement, clustering_scores
from neural_similarity.metrics.retrieval import largest_r, retrieval_scores

__all__ = ["clustering_agreement", "clustering_scores", "largest_r", "retrieval_scores"]
