"""Dynamic unconstrained neural similarity (Liu et al., NeurIPS 2019): f(W, X) = Wᵀ M(X) X, M(X) 9 × 9 a pixel.

The predictor ends in 81 channels, has no batch normalisation, and adds its residual to the identity.
"""

from neural_similarity.training import image_recognition, main

if __name__ == "__main__":
    main("nsl_image_recog/dynamic_uns", "configs/cifar10/dynamic_uns.yaml", image_recognition)
