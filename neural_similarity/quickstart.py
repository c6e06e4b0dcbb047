"""`make quickstart`: trains a dynamic network and a plain one on scikit-learn's digits, and prints a report."""

import sys
from pathlib import Path

from neural_similarity import config as configs
from neural_similarity.command import check_clone, guarded
from neural_similarity.files import write_atomically

DYNAMIC, PLAIN = "quickstart/dynamic_dns", "quickstart/baseline"
PICTURED_IMAGES = 4


def main():
    """Trains both networks and prints the report. If they are trained already, just prints the report again."""
    code = guarded(_main, "Go on: make quickstart")
    if code:
        sys.exit(code)


def _main():
    check_clone(Path.cwd())
    config = configs.load(f"configs/{DYNAMIC}.yaml")
    folder = configs.run_folder(config, DYNAMIC)
    report = folder / "report.txt"
    plain_folder = configs.run_folder(configs.load(f"configs/{PLAIN}.yaml"), PLAIN)
    if report.exists() and (plain_folder / "result.json").exists():
        print("Trained already; train anew with: rm -r runs/quickstart && make quickstart\n")
    else:
        write_atomically(report, _train_both(config, folder))
    print(report.read_text(encoding="utf-8"), end="")


def _train_both(config, folder):
    """Trains what is not trained yet, draws the pictures, and returns the text of the report."""
    from PIL import Image

    from neural_similarity.families import family_of, load_run
    from neural_similarity.interpret.matrices import draw_matrices, mean_deviation, predicted_matrices
    from neural_similarity.reporting.plots import training_curves

    family = family_of(config)
    plain, plain_run = _train(PLAIN)
    dynamic, dynamic_run = _train(DYNAMIC)
    images = family.load_data(config).test.images.astype("float32")
    trained = predicted_matrices(load_run(dynamic_run.folder), images)
    before = mean_deviation(predicted_matrices(family.network(config, 10), images))
    after = mean_deviation(trained)
    curve, maps = folder / "training_curve.png", folder / "predicted_matrices.png"
    Image.fromarray(images[0].astype("uint8")).save(folder / "digit.png")
    training_curves([plain_run.folder, dynamic_run.folder], curve)
    draw_matrices(images[:PICTURED_IMAGES], trained, maps)
    where = folder.relative_to(configs.REPOSITORY)
    lines = [
        *dynamic.in_words(),
        f"plain CNN: {plain.scores[plain.headline]}",
        "",
        "mean |M − 1|   at the start   at the end   (by batch statistics, on the test images)",
        *(f"  {name:<12} {before[name]:12.4f} {after[name]:12.4f}" for name in after),
        "",
        f"result line: {dynamic.json_line()}",
        f"run folder: {where}",
        f"pictures: {where / curve.name}, {where / maps.name}",
        "",
        "Try next:",
        f"  .venv/bin/python -m neural_similarity predict {where} {where}/digit.png",
        "  .venv/bin/python nsl_image_recog/static/train.py --config configs/cifar10/static_dns.yaml --dry-run",
        "  .venv/bin/python few_shot/cifar_fs/train.py --config configs/quickstart/few_shot.yaml",
        "  .venv/bin/python -m neural_similarity parity tests/golden",
    ]
    return "\n".join(lines) + "\n"


def _train(name):
    """Trains a quickstart config to its last step, from its newest checkpoint if it has one; `(Result, Run)`."""
    from neural_similarity.families.actions import train
    from neural_similarity.training.logs import log
    from neural_similarity.training.runs import Run

    config = configs.load(f"configs/{name}.yaml")
    run = Run(configs.run_folder(config, name))
    if run.result:
        return run.result, run
    if run.exists:
        log.info("Going on with an unfinished run. To start anew: rm -r runs/quickstart")
    return train(config, name, run, resume=run.exists), run


if __name__ == "__main__":
    main()
