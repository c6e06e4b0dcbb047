"""Static neural similarity (Liu et al., NeurIPS 2019): f(W, X) = WᵀMX, one learned M per layer.

DNS by default; `--config configs/cifar10/static_uns.yaml` for the unconstrained M. M is a `similarity_matrix` of
`layers.StaticSimilarityConv2D`, and `neural_similarity.merge` folds it away after training.
"""

try:
    from neural_similarity.families import main
except ModuleNotFoundError as missing:
    raise SystemExit(f"{missing}. In the repository: make install, then source .venv/bin/activate") from None

if __name__ == "__main__":
    main("configs/cifar10/static_dns.yaml")
