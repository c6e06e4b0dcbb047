"""Few-shot recognition on CIFAR-FS, or on FC100 with `--config configs/fc100/…`: our reconstruction of NSL's part.

The config says which method. `5shot_static_dns` is static NSN: f(W, X) = WᵀMX, where W and the start of M are
meta-learned, and M and the head adapt to each task. `5shot_dynamic_proto` is dynamic NSN: M(X) is predicted, and a
query belongs to the class with the nearest mean feature. The others are the known methods beside them.
"""

try:
    from neural_similarity.families import main
except ModuleNotFoundError as missing:
    raise SystemExit(f"{missing}. In the repository: make install, then source .venv/bin/activate") from None

if __name__ == "__main__":
    main("configs/cifar_fs/5shot_protonet.yaml")
