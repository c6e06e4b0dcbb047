"""Dynamic diagonal neural similarity with a full SphereNet predictor (Liu et al., NeurIPS 2019).

f(W, X) = Wᵀ diag(m(X)) X, as in dynamic_dns. Both convolutions of the predictor are divided by ‖x‖ and by ‖w‖, so that
it sees angles alone.
"""

try:
    from neural_similarity.families import main
except ModuleNotFoundError as missing:
    raise SystemExit(f"{missing}. In the repository: make install, then source .venv/bin/activate") from None

if __name__ == "__main__":
    main("configs/cifar10/nsl_fspherenet.yaml")
