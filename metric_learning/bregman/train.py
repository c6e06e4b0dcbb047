"""Learned Bregman divergences (in the manner of Li, Liu, Zou and Ralescu, FUSION 2023).

D(x, y) = φ(x) − φ(y) − ⟨∇φ(y), x − y⟩ of a convex potential φ, which is learned from labelled samples, or from pairs of
vectors between which a divergence is known. x is a sample and y a reference; D(x, y) and D(y, x) differ.
"""

try:
    from neural_similarity.families import main
except ModuleNotFoundError as missing:
    raise SystemExit(f"{missing}. In the repository: make install, then source .venv/bin/activate") from None

if __name__ == "__main__":
    main("configs/quickstart/bregman.yaml")
