"""Dynamic diagonal neural similarity with a full SphereNet predictor (Liu et al., NeurIPS 2019).

As dynamic_dns, with both convolutions of the predictor divided by ‖x‖ and by ‖w‖, so that it sees angles alone.
"""

from neural_similarity.training import image_recognition, main

if __name__ == "__main__":
    main("nsl_image_recog/nsl_fspherenet", "configs/cifar10/nsl_fspherenet.yaml", image_recognition)
