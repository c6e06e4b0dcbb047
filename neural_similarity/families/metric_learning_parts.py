"""The objects that the sections of a metric-learning config describe: networks, distances, losses and miners."""

import keras

from neural_similarity import distances, losses, miners, models
from neural_similarity.config.metric_learning import MetricLearning, StructuralDivergence
from neural_similarity.data.places import typed_path
from neural_similarity.errors import UserError
from neural_similarity.families.divergences import build_divergence
from neural_similarity.models.seeding import seeded

_PRETRAINED_SIZE = 224  # pixels; for others Keras has files of its own of some networks, and none of most


def build_network(config: MetricLearning, dtype: str | None = None) -> keras.Model:
    """The network of a config, from raw images to maps of the embedding, with random weights that belong to its seed.

    Raises:
        UserError: there is no such network, or it does not take images of this size.
    """
    dtype = dtype or config.runtime.precision
    with seeded(config.seed):
        backbone = _backbone(config, dtype)
        if config.model.trained == "head":
            backbone.trainable = False
        return models.with_projection(backbone, config.model.embedding_size, dtype)


def _backbone(config, dtype):
    model, size = config.model, config.data.image_size
    if model.name == "cnn9":
        return models.cnn9(
            None,
            widths=model.widths,
            batch_norm_decay=model.batch_norm_decay,
            image_size=size,
            dtype=dtype,
        )
    if model.name == "keras_file":
        path = _path(model.path, "model.path")
        try:
            return models.backbone_of_file(path, size)
        except Exception as error:  # a file can be anything
            raise UserError(
                f"`model.path`: {path} holds no network for images of {size}×{size} pixels ({error}). "
                "Next: --set model.path=PATH, a .keras file whose network ends with a map"
            ) from error
    return _application(config, size, None, dtype)


def _application(config, size, weights, dtype):
    model = config.model
    arguments = {"alpha": model.alpha} if model.name == "mobilenet" else {}
    application = "MobileNet" if model.name == "mobilenet" else model.application
    try:
        return models.application_backbone(application, size, weights, dtype, **arguments)
    except Exception as error:  # Keras raises whatever a download, a file or a shape brings
        what = f"with `model.weights: {model.weights}` " if weights else ""
        advice = "--set model.weights=PATH, a file of its weights without classifier, or random"
        raise UserError(
            f"the network {application} cannot be made {what}at {size} pixels: {error}. Next: "
            + (advice if weights else "another size or network, of keras.applications")
        ) from error


def load_pretrained(config: MetricLearning, network: keras.Model) -> None:
    """Gives the backbone of a config's network the weights that the config names, before it is trained.

    Raises:
        UserError: they are not there, or are not the network's.
    """
    weights = getattr(config.model, "weights", "random")
    if weights == "random":
        return
    source = weights if weights == "imagenet" else str(_path(weights, "model.weights"))
    pretrained = _application(config, _PRETRAINED_SIZE, source, None)
    network.get_layer("backbone").set_weights(pretrained.get_layer("backbone").get_weights())


def _path(text, key):
    path = typed_path(text)
    if not path.is_file():
        raise UserError(f"`{key}`: there is no file {path}. Next: --set {key}=PATH")
    return path


def training_distance(config: MetricLearning) -> distances.Distance:
    """What images are compared by in training."""
    section = config.distance
    if config.is_of_divergence:
        divergence = build_divergence(section, (None, config.model.embedding_size), config.seed)
        if isinstance(section, StructuralDivergence):
            how = {"direction": section.direction, "gradient": section.gradient, **_matching(section)}
            return distances.StructuralBregman(divergence, whole="cells", **how)
        return distances.Bregman(divergence, direction=section.direction)
    if section.name != "structural":
        return {"cosine": distances.Cosine, "euclidean": distances.Euclidean}[section.name]()
    return distances.Structural(
        **_matching(section), whole="cells", gradient=section.gradient, swap_marginals=section.swap_marginals
    )


def ranking_distance(config: MetricLearning, loss: losses.EmbeddingLoss) -> distances.Distance:
    """What images are ranked by. The cells' mean stands for the whole image if the network was trained so.

    Args:
        config: the config.
        loss: the network's `training_loss`, which has the divergence that was trained, if there is one.
    """
    section = config.ranking
    if section.name == "divergence":
        return loss.distance
    if section.name == "structural_divergence":
        how = {"direction": config.distance.direction, **_matching(section)}
        return distances.StructuralBregman(loss.distance.divergence, whole="cells", **how)
    if section.name != "structural":
        return {"cosine": distances.Cosine, "euclidean": distances.Euclidean}[section.name]()
    whole = "cells" if hasattr(config.distance, "cells") else "map"
    return distances.Structural(**_matching(section), whole=whole)


def _matching(section):
    return {name: getattr(section, name) for name in ("cells", "entropy", "sweeps", "marginals")}


def build_loss(config: MetricLearning, num_classes: int) -> losses.EmbeddingLoss:
    """The loss of a config, for a training split of `num_classes` classes."""
    section, distance = config.loss, training_distance(config)
    # Named, because a checkpoint finds the loss's weights by name, and Keras would number the losses of a process.
    shared = {"distance": distance, "name": section.name}
    learned = {"num_classes": num_classes, "embedding_size": config.model.embedding_size, "seed": config.seed}
    if section.name == "multi_similarity":
        return losses.MultiSimilarityLoss(
            **shared, alpha=section.alpha, beta=section.beta, base=section.base, epsilon=section.epsilon
        )
    if section.name == "n_pair":
        return losses.NPairLoss(temperature=section.temperature, **shared)
    if section.name == "proxy_anchor":
        return losses.ProxyAnchorLoss(**learned, **shared, alpha=section.alpha, margin=section.margin)
    if section.name == "normalized_softmax":
        return losses.NormalizedSoftmaxLoss(**learned, **shared, temperature=section.temperature)
    mined = {**shared, "miner": _miner(section), "seed": config.seed}
    if section.name == "contrastive":
        margins = {"positive_margin": section.positive_margin, "negative_margin": section.negative_margin}
        return losses.ContrastiveLoss(**mined, **margins)
    if section.name == "triplet":
        return losses.TripletLoss(**mined, margin=section.margin, squared=section.squared)
    return losses.MarginLoss(
        num_classes,
        **mined,
        margin=section.margin,
        beta=section.beta,
        nu=section.nu,
        every_beta=section.every_beta,
    )


def _miner(section):
    if section.miner == "semi_hard":
        return miners.SemiHard(section.negative_margin if section.name == "contrastive" else section.margin)
    return {"random": miners.RandomNegatives, "distance_weighted": miners.DistanceWeighted}[section.miner]()


def own_learning_rate(config: MetricLearning) -> float | None:
    """The learning rate of the loss's own weights; None if it has none."""
    rates = ("beta_learning_rate", "proxy_learning_rate")
    return next((getattr(config.loss, rate) for rate in rates if hasattr(config.loss, rate)), None)
