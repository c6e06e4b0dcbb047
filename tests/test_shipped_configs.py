"""The files under configs/: what they say, who runs them, how siblings differ. No TensorFlow."""

import pytest

from configs import DYNAMIC, FOLDER, SHIPPED, settings
from neural_similarity.config import REPOSITORY, Experiment, differing_keys, experiment_files

SETS = ("cifar10", "cifar100")
ROWS = ("baseline", "baseline_matched", "static_dns", "static_uns", "dynamic_dns", "dynamic_uns", "nsl_fspherenet")
SPHERES = (
    "sa_spherenet",
    *(f"spherenet_{g}" for g in ("cosine", "linear", "sigmoid", "learnable_sigmoid")),
    "cnn9_128",
)
RELEASED = [(name, row) for name in SETS for row in ROWS[2:] if (name, row) != ("cifar100", "nsl_fspherenet")]
ABLATIONS = {
    "dynamic_dns_decay10": ("dynamic_dns", "similarity.decay_multiplier", 10.0),
    "static_uns_penalty_identity": ("static_uns", "similarity.penalty_target", "identity"),
    "sa_spherenet_no_query_relu": ("sa_spherenet", "model.query_relu", False),
}


# The shipped files


def test_the_rows_are_all_there():
    expected = [f"configs/{name}/{row}.yaml" for name in SETS for row in (*ROWS, *SPHERES)]
    expected += ["configs/cifar10/released/sa_spherenet.yaml"]
    expected += [f"configs/{name}/released/{row}.yaml" for name, row in RELEASED]
    expected += [f"configs/cifar10/ablations/{row}.yaml" for row in ABLATIONS] + [FOLDER]
    assert set(expected) <= set(SHIPPED)


@pytest.mark.parametrize("path", [file.relative_to(REPOSITORY).as_posix() for file in experiment_files()])
def test_every_file_loads_and_has_an_owner(path):
    config = settings(path)
    assert isinstance(config, Experiment)
    assert (REPOSITORY / config.owner() / "train.py").is_file()


@pytest.mark.parametrize("path", SHIPPED)
def test_header(path):
    text = (REPOSITORY / path).read_text()
    header = [line for line in text.splitlines() if line.startswith("#")]
    assert 4 <= len(header) <= 7
    assert header == text.splitlines()[: len(header)]
    config = settings(path)
    assert f"# Run:   python {config.owner()}/train.py --config {path}" in header
    assert f"Ours: results/{config.data.name}.jsonl" in header[-1]
    assert f" {config.data.name.replace('cifar', 'CIFAR-')}" in header[0]


def test_owners():
    owners = {row: settings(f"configs/cifar10/{row}.yaml").owner().removeprefix("nsl_image_recog/") for row in ROWS}
    assert owners == {
        "baseline": "baseline",
        "baseline_matched": "baseline",
        "static_dns": "static",
        "static_uns": "static",
        "dynamic_dns": "dynamic_dns",
        "dynamic_uns": "dynamic_uns",
        "nsl_fspherenet": "nsl_fspherenet",
    }


@pytest.mark.parametrize(("name", "row"), RELEASED)
def test_released_differs_by_its_switches(name, row):
    ours, released = settings(f"configs/{name}/{row}.yaml"), settings(f"configs/{name}/released/{row}.yaml")
    start = {"static_dns": ["similarity.initializer"], "static_uns": []}.get(row, ["similarity.gamma_initializer"])
    switches = ["batch_norm.debias", "batch_norm.decay", "schedule.warmup_steps", "evaluation.every_steps"]
    assert differing_keys(ours, released) == [*start, *switches]
    assert (ours.batch_norm.debias, released.batch_norm.debias) == (True, False)
    assert (ours.batch_norm.decay, released.batch_norm.decay) == (0.99, 0.999)
    assert (ours.schedule.warmup_steps, released.schedule.warmup_steps) == (500, 0)
    assert (ours.evaluation.every_steps, released.evaluation.every_steps) == ("auto", 500)


def test_spherenets_have_one_owner():
    for row in (*SPHERES, "released/sa_spherenet", "ablations/sa_spherenet_no_query_relu"):
        assert settings(f"configs/cifar10/{row}.yaml").owner() == "sa_spherenet"


def test_released_spherenet_differs_by_its_averages_alone():
    ours, released = (settings(f"configs/cifar10/{folder}sa_spherenet.yaml") for folder in ("", "released/"))
    assert differing_keys(ours, released) == ["batch_norm.debias", "batch_norm.decay", "evaluation.every_steps"]


@pytest.mark.parametrize("row", [*ROWS, *SPHERES, *(f"released/{row}" for name, row in RELEASED if name == "cifar100")])
def test_sets_differ_by_their_data_alone(row):
    pair = [settings(f"configs/{name}/{row}.yaml") for name in SETS]
    assert differing_keys(*pair) == ["data.name"]
    assert [config.data.name for config in pair] == list(SETS)


def test_folder_differs_by_its_data_alone():
    assert differing_keys(settings(DYNAMIC), settings(FOLDER)) == ["data.name", "data.image_size"]
    assert settings(DYNAMIC, "data.name=folder") == settings(FOLDER)


@pytest.mark.parametrize("ablation", ABLATIONS)
def test_ablation_changes_one_key(ablation):
    row, key, value = ABLATIONS[ablation]
    changed = settings(f"configs/cifar10/ablations/{ablation}.yaml")
    assert differing_keys(settings(f"configs/cifar10/{row}.yaml"), changed) == [key]
    section, _, name = key.partition(".")
    assert getattr(getattr(changed, section), name) == value


@pytest.mark.parametrize(
    ("one", "other", "keys"),
    [
        ("baseline", "baseline_matched", {"model.widths"}),
        ("static_dns", "static_uns", {"similarity.structure", "similarity.weight_decay"}),
        ("dynamic_dns", "dynamic_uns", {"similarity.structure", "similarity.filters", "similarity.batch_norm"}),
        ("dynamic_dns", "nsl_fspherenet", {"similarity.normalization"}),
        *(("spherenet_cosine", row, {"model.operator"}) for row in SPHERES[2:5]),
        ("sa_spherenet", "spherenet_cosine", {"model.attention", "model.head_batch_norm"}),
        (
            "spherenet_cosine",
            "cnn9_128",
            {f"model.{key}" for key in ("name", "operator", "attention", "query_relu", "orthogonality")},
        ),
        (
            "baseline",
            "static_dns",
            {f"similarity.{key}" for key in ("kind", "structure", "initializer", "penalty_target", "weight_decay")},
        ),
    ],
)
def test_rows_differ_by_their_method_alone(one, other, keys):
    pair = [settings(f"configs/cifar10/{row}.yaml") for row in (one, other)]
    assert set(differing_keys(*pair)) == keys


def test_matched_baseline_has_the_size_of_dynamic_dns():
    def parameters(widths, classes=10):
        """Filters, gammas and betas of a plain CNN-9, by its convolutions."""
        outputs = [widths[0], *(width for width in widths for _ in range(3))]
        inputs = [3, *outputs[:-1]]
        convolutions = sum(9 * i * o + 2 * o for i, o in zip(inputs, outputs, strict=True))
        return convolutions + 16 * widths[2] * classes

    assert parameters((32, 64, 128)) == 511_200
    matched = parameters(settings("configs/cifar10/baseline_matched.yaml").model.widths)
    assert abs(matched / 890_946 - 1) < 0.005
    assert f"{matched:,}" in (REPOSITORY / "configs/cifar10/baseline_matched.yaml").read_text()
