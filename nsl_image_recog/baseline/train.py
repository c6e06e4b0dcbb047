"""Plain CNN-9, what every similarity is compared with: f(W, X) = WᵀX.

`--config configs/cifar10/baseline_matched.yaml` widens it to the parameters of dynamic DNS. No baseline was released;
the recipe is the similarity networks' own.
"""

try:
    from neural_similarity.families import main
except ModuleNotFoundError as missing:
    raise SystemExit(f"{missing}. In the repository: make install, then source .venv/bin/activate") from None

if __name__ == "__main__":
    main("configs/cifar10/baseline.yaml")
