"""Few-shot recognition: which data, network, method and evaluation a config means."""

from pathlib import Path

import keras

from neural_similarity import config as configs
from neural_similarity.config.few_shot import FewShot, ProtoNet
from neural_similarity.data.class_assignment import CLASS_SEED
from neural_similarity.data.class_splits import ClassSplits
from neural_similarity.data.episodes import check_classes, check_images
from neural_similarity.data.few_shot_sets import count_class_splits, count_training_classes, load_class_splits
from neural_similarity.data.images import DataMissing
from neural_similarity.errors import UserError
from neural_similarity.families import unseen_classes
from neural_similarity.families.few_shot_evaluation import evaluation
from neural_similarity.families.few_shot_methods import method_of
from neural_similarity.models.seeding import seeded
from neural_similarity.training.loop import Task
from neural_similarity.training.optimizers import build_optimizer, build_schedule
from neural_similarity.training.runs import Run

SCORES = ("accuracy",)
TRAINING_LOSS = "cross_entropy"


def headline(config: FewShot) -> str:
    """The score that a table shows."""
    return "test/accuracy"


def describe(config: FewShot) -> dict[str, str]:
    """The trained numbers, the classes and images of each split, and the episodes, in words."""
    return unseen_classes.describe(config, _counts, network)


def check_data(config: FewShot) -> None:
    """Raises a UserError if the config's images are not there, or too few. They are not read."""
    _counts(config)


def num_classes(config: FewShot) -> int:
    """The number of training classes. Only a folder of one's own images is looked at for it."""
    if config.data.name == "folder":
        return _counts(config)["train"][0]
    return count_training_classes(config.data.name)


def _counts(config):
    """{split: (number of classes, number of images)}, without reading the images. Checks what can be checked so."""
    data = config.data
    if data.name == "folder":
        from neural_similarity.data.class_folder_sets import list_class_folder

        files = list_class_folder(data.root_path, data.class_splits, CLASS_SEED)
        sizes = {split: {name: len(paths) for name, paths in classes.items()} for split, classes in files.items()}
        _check(config, {split: len(classes) for split, classes in sizes.items()}, sizes)
        return {split: (len(classes), sum(classes.values())) for split, classes in sizes.items()}
    counts = count_class_splits(data.name, data.root_path)
    _check(config, {split: classes for split, (classes, _) in counts.items()}, {})
    return counts


def _check(config, counts, sizes):
    """Raises a `UserError` if a split has too few classes or images for the config.

    Args:
        config: the config.
        counts: {split: number of classes}.
        sizes: {split: {class: number of images}}, as far as known.
    """
    method, episode = config.method, config.episode
    for split, count in counts.items():
        if split == "train" and method.name in ("baseline", "baseline_pp"):  # no episodes
            if count < 2:
                raise UserError("the split `train` has 1 class, which leaves nothing to tell apart. Next: more classes")
            continue
        if split == "train" and isinstance(method, ProtoNet):
            check_classes(split, count, method.training_n_way, "method.training_n_way")
        else:
            check_classes(split, count, episode.n_way, "episode.n_way")
        if split in sizes:
            check_images(split, sizes[split], episode.k_shot, episode.n_query)


def load_data(config: FewShot) -> ClassSplits:
    """The config's images.

    Raises:
        UserError: a split has too few classes or images for the config.
    """
    data = config.data
    if data.name == "folder":
        from neural_similarity.data.class_folder_sets import load_class_folder

        splits = load_class_folder(data.root_path, data.image_size, data.class_splits, CLASS_SEED)
    else:
        splits = load_class_splits(data.name, data.root_path)
    parts = splits.parts()
    sizes = {split: dict(zip(part.classes, map(len, part.rows), strict=True)) for split, part in parts.items()}
    _check(config, {split: len(part.classes) for split, part in parts.items()}, sizes)
    return splits


def load_run_data(run: Run) -> ClassSplits:
    """The images that a run's config names. Published sets may have been moved to NEURAL_SIMILARITY_DATA.

    Raises:
        UserError: they are not there.
    """
    config = configs.load(run.folder / "config.yaml")
    try:
        return load_data(config)
    except DataMissing:
        where = config.data.root_path
        advice = "" if config.data.root_is_the_set else ", or name their new place in NEURAL_SIMILARITY_DATA"
        raise UserError(f"{run.shown()}: its images are not in {where} any more. Next: put them back{advice}") from None


def build_model(config: FewShot, facts: dict) -> keras.Model:
    """The network of a config for the training classes that `facts` names.

    Raises:
        UserError: `facts` name no classes.
    """
    return network(config, len(unseen_classes.training_classes(facts)))


def network(config: FewShot, num_classes: int, dtype: str | None = None) -> keras.Model:
    """The network of a config, with the initial weights that belong to its seed; `dtype` replaces its precision."""
    with seeded(config.seed):
        return method_of(config).network(config.data.image_size, num_classes, dtype or config.runtime.precision)


def build_task(config, model, replicas, splits):
    """The `Task` of training `model` on `splits`. Call it, like `build_model`, under `replicas.scope()`."""
    optimizer = build_optimizer(config.optimizer, build_schedule(config.optimizer, config.schedule))
    optimizer.build(model.trainable_variables)
    method = method_of(config)
    return Task(
        model=model,
        optimizer=optimizer,
        batch=method.batch(splits),
        step=method.step(model, optimizer),
        evaluate=evaluation(config, model, replicas, splits),
        scores=SCORES,
    )


def open_few_shot_run(folder: str | Path) -> Run:
    """The `Run` in a folder.

    Raises:
        UserError: there is no run, or it is of another family.
    """
    command = "python few_shot/cifar_fs/train.py --config configs/quickstart/few_shot.yaml"
    return unseen_classes.open_run_of("few_shot", "few-shot recognition", command, folder)
