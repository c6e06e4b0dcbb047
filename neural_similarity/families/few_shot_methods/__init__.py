"""The methods of few-shot recognition: what each trains, and how it answers an episode."""

from neural_similarity.config.few_shot import FewShot
from neural_similarity.families.few_shot_methods.maml import Maml
from neural_similarity.families.few_shot_methods.method import Method, class_labels, features_of, flat, measures
from neural_similarity.families.few_shot_methods.on_features import BregmanProtoNet, Classifier, ProtoNet

__all__ = ["Method", "class_labels", "features_of", "flat", "measures", "method_of"]


def method_of(config: FewShot) -> Method:
    """The method that a config names."""
    learned = ("protonet_mahalanobis", "protonet_max_affine", "protonet_input_convex")
    methods = {"protonet": ProtoNet, "baseline": Classifier, "baseline_pp": Classifier, "maml": Maml}
    methods |= dict.fromkeys(learned, BregmanProtoNet)
    return methods[config.method.name](config)
