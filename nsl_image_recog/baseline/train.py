"""Plain CNN-9, what every similarity is compared with: f(W, X) = WᵀX.

`--config configs/cifar10/baseline_matched.yaml` widens it to the parameters of dynamic DNS. No baseline was released;
the recipe is the similarity networks' own.
"""

from neural_similarity.training import image_recognition, main

if __name__ == "__main__":
    main("nsl_image_recog/baseline", "configs/cifar10/baseline.yaml", image_recognition)
