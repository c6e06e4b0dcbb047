"""Dynamic diagonal neural similarity (Liu et al., NeurIPS 2019): f(W, X) = Wᵀ diag(m(X)) X.

m is predicted for every pixel by `layers.NeuralSimilarityPredictor`, whose first convolution is divided by ‖x‖
("partial" SphereNet), as 1 + a residual.
"""

from neural_similarity.training import image_recognition, main

if __name__ == "__main__":
    main("nsl_image_recog/dynamic_dns", "configs/cifar10/dynamic_dns.yaml", image_recognition)
