"""Few-shot recognition on Mini-ImageNet, or on your own images: our reconstruction of NSL's unreleased part.

The config says which method, as for few_shot/cifar_fs: static NSN (`5shot_static_dns`, f(W, X) = WᵀMX with an M
that adapts to each task), dynamic NSN (`5shot_dynamic_proto`, M(X) is predicted), and the known methods beside them.
"""

try:
    from neural_similarity.families import main
except ModuleNotFoundError as missing:
    raise SystemExit(f"{missing}. In the repository: make install, then source .venv/bin/activate") from None

if __name__ == "__main__":
    main("configs/mini_imagenet/5shot_protonet.yaml")
