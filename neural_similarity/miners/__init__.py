"""Miners choose the triplets of a batch that a loss compares: an anchor, a positive and a negative."""

from neural_similarity.miners.distance_weighted import DistanceWeighted
from neural_similarity.miners.miner import Miner, Triplets
from neural_similarity.miners.random_negatives import RandomNegatives
from neural_similarity.miners.semi_hard import SemiHard

__all__ = ["DistanceWeighted", "Miner", "RandomNegatives", "SemiHard", "Triplets"]
