"""Static neural similarity (Liu et al., NeurIPS 2019): f(W, X) = WᵀMX, one learned M a layer.

DNS by default; `--config configs/cifar10/static_uns.yaml` for the unconstrained M. M is a `similarity_matrix` of
`layers.StaticSimilarityConv2D`, and `neural_similarity.merge` folds it away after training.
"""

from neural_similarity.training import image_recognition, main

if __name__ == "__main__":
    main("nsl_image_recog/static", "configs/cifar10/static_dns.yaml", image_recognition)
