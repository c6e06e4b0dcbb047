"""Plots of training, from run folders made by hand. No training."""

import numpy as np
import PIL.Image
import pytest
from result_lines import refusal

from neural_similarity.reporting import curves, plots


def train_rows(steps=30, loss=2.0):
    """A row of training every ten steps; a row of the test every twenty steps and at the end."""
    rows = []
    for step in range(10, steps + 1, 10):
        rows.append({"step": step, "split": "train", "loss": 3.0, "cross_entropy": loss * 10 / step, "accuracy": 0.25})
        if step % 20 == 0 or step == steps:
            rows.append({"step": step, "split": "test", "cross_entropy": 1.0, "accuracy": step / 100})
    return rows


ACCURACY = "accuracy (%): test; training, thin"


def colours_in(path):
    """Which of the runs' colours, but black, cover 50 or more pixels of a picture."""
    with PIL.Image.open(path) as picture:
        counts = {f"#{r:02X}{g:02X}{b:02X}": n for n, (r, g, b) in picture.convert("RGB").getcolors(1 << 24)}
    return {colour for colour in plots.COLOURS[:-1] if counts.get(colour, 0) >= 50}


def lines_of(axes):
    return [(np.array(line.get_xdata()), np.array(line.get_ydata())) for line in axes.lines]


def test_a_figure_holds_the_raw_points_and_three_curves_per_run(make_run):
    runs = [make_run("one", rows=train_rows()), make_run("two", {"config": "cifar10/baseline"}, train_rows(loss=3.0))]
    figure = plots.training_figure(runs, "both")
    loss, accuracy = figure.axes
    assert (len(loss.lines), len(accuracy.lines)) == (4, 4)
    for raw, curve, fit in ((loss.lines[0], loss.lines[1], 2.0), (loss.lines[2], loss.lines[3], 3.0)):
        assert raw.get_linestyle() == "None"
        np.testing.assert_allclose(raw.get_xydata(), [[10, fit], [20, fit / 2], [30, fit / 3]])
        np.testing.assert_allclose(curve.get_xydata(), raw.get_xydata())
    for line in accuracy.lines[::2]:  # training
        np.testing.assert_allclose(line.get_xydata(), [[10, 25], [20, 25], [30, 25]])
    for line in accuracy.lines[1::2]:
        np.testing.assert_allclose(line.get_xydata(), [[20, 20], [30, 30]])
        assert line.get_marker() in plots.MARKERS
    assert (loss.get_xlabel(), accuracy.get_xlabel()) == ("step", "step")
    assert (loss.get_ylabel(), accuracy.get_ylabel()) == ("training loss (without penalties)", ACCURACY)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["cifar10/static_dns", "cifar10/baseline"]
    assert figure.get_suptitle() == "both"
    looks = [(line.get_color(), line.get_marker()) for line in accuracy.lines[1::2]]
    assert len(set(looks)) == 2
    assert [line.get_color() for line in loss.lines[1::2]] == [color for color, _ in looks]


def test_a_validation_split_has_a_curve_of_its_own(make_run):
    validation = [{"step": step, "split": "validation", "accuracy": step / 200} for step in (20, 30)]
    runs = [make_run("one", rows=train_rows() + validation), make_run("two", rows=train_rows())]
    accuracy = plots.training_figure(runs).axes[1]
    hollow = [line for line in accuracy.lines if line.get_markerfacecolor() == "white"]
    assert len(accuracy.lines) == 5
    np.testing.assert_allclose([line.get_xydata() for line in hollow], [[[20, 10], [30, 15]]])
    assert accuracy.get_ylabel() == "accuracy (%): test;\nvalidation, hollow; training, thin"


def test_a_picture_has_the_promised_size(make_run, tmp_path, command):
    run = make_run(rows=train_rows())
    code, out, err = command("plots", run, "--out", tmp_path / "curves.png", "--title", "one run")
    assert (code, out, err) == (0, f"{tmp_path}/curves.png\n", "")
    with PIL.Image.open(tmp_path / "curves.png") as picture:
        assert picture.format == "PNG"
        assert picture.size == (1800, 684)  # 9 × (3.2 + 0.22) inches, 200 dots each
    assert colours_in(tmp_path / "curves.png") == {plots.COLOURS[0]}
    assert plots.training_curves([run], tmp_path / "curves.svg").read_text().startswith("<?xml")


def test_nine_runs_can_be_told_apart(make_run):
    runs = [make_run(f"s{n}", rows=train_rows()) for n in range(9)]
    figure = plots.training_figure(runs)
    looks = {(line.get_color(), line.get_linestyle()) for line in figure.axes[1].lines[1::2]}
    assert len(looks) == 9
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == [f"cifar10/static_dns, s{n}" for n in range(9)]  # one config: told by the folders
    figure.draw_without_rendering()
    place = figure.legends[0].get_window_extent()
    assert place.x0 >= 0
    assert place.x1 <= figure.bbox.width


def test_a_long_run_is_smoothed_lightly_and_has_no_markers(make_run):
    rng = np.random.default_rng(0)
    rows = [
        {"step": s, "split": "train", "cross_entropy": 1 + 0.2 * rng.standard_normal()} for s in range(10, 20001, 10)
    ]
    rows += [{"step": s, "split": "test", "accuracy": 0.5} for s in range(100, 20001, 100)]
    loss, accuracy = plots.training_figure([make_run(rows=rows)]).axes
    raw, curve = (line.get_ydata() for line in loss.lines)
    assert len(raw) == len(curve) == 2000
    assert np.std(curve[20:-20]) < np.std(raw) / 3
    assert accuracy.lines[1].get_marker() == ""


def test_smoothing_against_a_loop():
    values = np.random.default_rng(0).standard_normal(1000)
    slow = []
    for i in range(1000):
        reach = min(5, i, 999 - i)
        slow.append(np.mean(values[i - reach : i + reach + 1]))
    np.testing.assert_allclose(curves.smoothed(values), slow, atol=1e-12)
    np.testing.assert_allclose(curves.smoothed(np.arange(1000.0)), np.arange(1000.0))  # no lag, no bent ends
    np.testing.assert_allclose(curves.smoothed(values[:199]), values[:199], atol=1e-12)
    np.testing.assert_allclose(curves.smoothed(values[:1]), values[:1])


@pytest.mark.parametrize(("steps", "scale"), [(30, "linear"), (200, "log")])
def test_a_loss_that_falls_far_has_a_logarithmic_axis(steps, scale, make_run):
    loss = plots.training_figure([make_run(rows=train_rows(steps))]).axes[0]
    assert loss.get_yscale() == scale


def test_runs_with_hardly_any_rows_are_drawn(make_run, tmp_path):
    one = make_run("one", rows=train_rows(10))
    none = make_run("none", rows=train_rows(10)[:1])  # before the first evaluation
    (none / "metrics.jsonl").open("a").write('{"step": 20, "spl')  # cut off while it was written
    figure = plots.training_figure([one, none])
    assert [len(steps) for steps, _ in lines_of(figure.axes[1])] == [1, 1, 1, 0]
    assert figure.axes[1].lines[1].get_marker() == "o"
    assert colours_in(plots.training_curves([one, none], tmp_path / "few.png")) == set(plots.COLOURS[:2])


def test_names_that_are_no_text_are_drawn_as_escapes(make_run, tmp_path):
    """A name of bytes that the locale cannot read; matplotlib takes none."""
    runs = [make_run(name, rows=train_rows()) for name in ("caf\udce9", "\x1b[2J")]
    figure = plots.training_figure(runs, "caf\udce9")
    assert figure.get_suptitle() == r"caf\udce9"
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert any(label.endswith(r", caf\udce9") for label in labels)
    assert any(label.endswith(r", \x1b[2J") for label in labels)
    plots.training_curves(runs, tmp_path / "x.png", "caf\udce9")


def test_plots_refuse_what_they_cannot_draw(make_run, tmp_path, command):
    run = make_run(rows=train_rows())
    assert "not a run folder" in refusal(plots.training_curves, [tmp_path], tmp_path / "x.png")
    new = make_run("new", rows=[{"step": 10, "split": "test", "accuracy": 0.1}])
    assert "no row of the training loss" in refusal(plots.training_curves, [new], tmp_path / "x.png")
    assert ".png, .svg, .pdf" in refusal(plots.training_curves, [run], tmp_path / "x.tiff")
    assert "cannot be written" in refusal(plots.training_curves, [run], tmp_path / "none" / "x.png")
    assert command("plots", tmp_path, "--out", tmp_path / "x.png")[0] == 2
    assert not (tmp_path / "x.png").exists()


def test_a_text_with_dollars_is_no_formula(make_run, tmp_path):
    run = make_run(line={"config": "custom/a$_{b$"}, rows=train_rows())
    assert plots.training_curves([run], tmp_path / "curves.png", "from $5 to $_{").exists()


# Seeds


def test_seeds_of_a_recipe_are_one_curve_with_a_band(make_run):
    runs = [make_run(f"s{seed}", {"seed": seed}, train_rows(steps=40, loss=2.0 + seed)) for seed in (0, 1, 2)]
    for run, accuracy in zip(runs, (0.1, 0.4, 0.2), strict=True):
        text = (run / "metrics.jsonl").read_text().replace('"accuracy": 0.2}', f'"accuracy": {accuracy}}}')
        (run / "metrics.jsonl").write_text(text)  # at step 20
    other = make_run("other", {"config": "cifar10/baseline"}, train_rows(steps=20))
    first, second = curves.curves_of([*runs, other])
    assert (first.label, first.seeds) == ("cifar10/static_dns, 3 seeds", 3)
    assert (second.label, second.seeds) == ("cifar10/baseline", 1)
    np.testing.assert_allclose(first.loss.mean, 3.0 * 10 / first.loss.steps)
    np.testing.assert_allclose(first.loss.low, 2.0 * 10 / first.loss.steps)
    np.testing.assert_allclose(first.loss.high, 4.0 * 10 / first.loss.steps)
    np.testing.assert_allclose(
        [c[0] for c in (first.score.low, first.score.mean, first.score.high)], [0.1, 0.7 / 3, 0.4]
    )
    loss, accuracy = plots.training_figure([*runs, other]).axes
    assert [len(axes.collections) for axes in (loss, accuracy)] == [1, 1]  # the bands
    assert len(loss.lines) == 3  # the seeds' mean; dots and curve of the other
    assert "band: lowest to highest seed" in accuracy.get_ylabel()


def test_a_band_ends_where_a_seed_is_not_there_yet(make_run):
    runs = [make_run(f"s{seed}", {"seed": seed}, train_rows(steps=20 + 20 * seed)) for seed in (0, 1)]
    (both,) = curves.curves_of(runs)
    np.testing.assert_array_equal(both.loss.steps, [10, 20])
    np.testing.assert_array_equal(both.score.steps, [20])


def test_the_same_seed_twice_is_two_curves_and_so_are_two_recipes(make_run):
    twice = [
        make_run("a", rows=train_rows()),
        make_run("b", rows=train_rows()),
        make_run("c", {"seed": 1}, train_rows()),
    ]
    found = curves.curves_of(twice)
    assert [recipe.seeds for recipe in found] == [2, 1]
    assert [recipe.label for recipe in found] == ["cifar10/static_dns, a, 2 seeds", "cifar10/static_dns, b"]
    other = make_run("d", {"seed": 1}, train_rows(), ["schedule.warmup_steps=7"])
    assert len(curves.curves_of([twice[0], other])) == 2
    longer = make_run("e", {"scale": 0.5, "steps": 21250}, train_rows(), ["schedule.scale=0.5"])
    labels = [recipe.label for recipe in curves.curves_of([twice[0], longer])]
    assert labels == ["cifar10/static_dns, scale 1", "cifar10/static_dns, scale 0.5"]
