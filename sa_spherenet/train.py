"""Global neural similarity (Liu et al., NeurIPS 2019, appendix B): SphereNet-9 whose pixels see the whole image.

`configs/cifar10/sa_spherenet.yaml` by default. The rows without attention, by operator, are `spherenet_cosine`,
`spherenet_linear`, `spherenet_sigmoid` and `spherenet_learnable_sigmoid`; `cnn9_128` is the plain network of that size.
"""

try:
    from neural_similarity.families import main
except ModuleNotFoundError as missing:
    raise SystemExit(f"{missing}. In the repository: make install, then source .venv/bin/activate") from None

if __name__ == "__main__":
    main("configs/cifar10/sa_spherenet.yaml")
