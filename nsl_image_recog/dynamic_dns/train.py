"""Dynamic diagonal neural similarity (Liu et al., NeurIPS 2019): f(W, X) = Wᵀ diag(m(X)) X.

m is predicted for every pixel by `layers.NeuralSimilarityPredictor`, whose first convolution is divided by ‖x‖
("partial" SphereNet), as 1 + a residual.
"""

try:
    from neural_similarity.families import main
except ModuleNotFoundError as missing:
    raise SystemExit(f"{missing}. In the repository: make install, then source .venv/bin/activate") from None

if __name__ == "__main__":
    main("configs/cifar10/dynamic_dns.yaml")
