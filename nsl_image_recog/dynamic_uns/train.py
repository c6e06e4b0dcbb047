"""Dynamic unconstrained neural similarity (Liu et al., NeurIPS 2019): f(W, X) = Wᵀ M(X) X.

M(X) is a 9 × 9 matrix for every pixel. The predictor ends in 81 channels, has no batch normalisation, and adds its
residual to the identity.
"""

try:
    from neural_similarity.families import main
except ModuleNotFoundError as missing:
    raise SystemExit(f"{missing}. In the repository: make install, then source .venv/bin/activate") from None

if __name__ == "__main__":
    main("configs/cifar10/dynamic_uns.yaml")
