"""HTML reports of runs and tables: whole, self-contained, and with nothing in them that a text could break."""

import html.parser
import json
import re
import shutil

from few_shot_runs import few_shot_run
from result_lines import json_line, refusal

from neural_similarity import config as configs
from neural_similarity.config.experiment import flattened
from neural_similarity.reporting import report, run_report
from neural_similarity.reporting.plans import load_plan
from neural_similarity.reporting.table_report import table_page
from neural_similarity.training.details import Details
from neural_similarity.training.environment import environment
from neural_similarity.training.runs import Run, open_run
from neural_similarity.training.runtime import Runtime

SCRIPT = "<script>alert(1)</script>"
_EMPTY = {"meta", "img", "br", "link"}


class Page(html.parser.HTMLParser):
    """What is in a page: its tags, its text, and the addresses that it refers to."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.text, self.addresses, self.ids = [], [], [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag not in _EMPTY:
            self.open.append(tag)
        values = dict(attributes)
        self.addresses += [values[name] for name in ("src", "href") if name in values]
        self.ids += [values["id"]] if "id" in values else []
        if tag == "img":
            assert values["alt"]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.text.append(data.strip())

    def words(self):
        return "\n".join(filter(None, self.text))


def read(path):
    """The `Page` in a file, which refers to nothing outside of it but files beside it."""
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert "script" not in page.tags
    for address in page.addresses:
        assert not re.match(r"(https?:)?//", address)
        if address.startswith("#"):
            assert address[1:] in page.ids
    assert "@import" not in text
    assert "url(" not in text
    return page


def test_a_finished_run(finished_run, tmp_path, command):
    code, out, err = command("report", finished_run, "--out", tmp_path / "r.html")
    assert (code, out, err) == (0, f"{tmp_path}/r.html\n", "")
    page = read(tmp_path / "r.html")
    run = open_run(finished_run)
    words = page.words().splitlines()
    assert str(run.result.scores["test/accuracy"]) in words
    assert f"{run.result.parameters:,}" in words
    missing = [name for name in flattened(run.config.to_dict()) if name not in words]
    assert missing == []
    assert run.details.environment["tensorflow"] in words
    assert [a.split(",")[0] for a in page.addresses if a.startswith("data:")] == ["data:image/png;base64"] * 3
    assert "refresh" not in (tmp_path / "r.html").read_text()
    assert "cifar10" in words  # the table that the config stands in


def test_texts_of_a_run_are_shown_as_they_are(tmp_path):
    config = configs.load("configs/cifar10/baseline.yaml", [f"data.root={SCRIPT}", "model.widths=[2, 3, 4]"], {})
    run = Run(tmp_path / "run")
    run.folder.mkdir()
    details = Details(
        config="cifar10/baseline",
        recipe="custom",
        experiment="nsl_image_recog/baseline",
        overrides=[f"model.widths={SCRIPT}"],
        facts={"classes": [SCRIPT, "$x$ & <b>"], "data_checksum": '"onload="'},
        runtime=Runtime.resolve(config.runtime),
        environment=environment(),
    )
    run.create(config, details)
    row = {"step": 10, "split": "train", "cross_entropy": 2.0, "loss": 2.0, "accuracy": 0.5, "seconds_per_step": 0.5}
    (run.folder / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    (path,) = report.write_report(str(run.folder), tmp_path / "r.html")
    page = read(tmp_path / "r.html")
    assert path == f"{tmp_path}/r.html"
    words = page.words()
    assert words.count(SCRIPT) == 3
    assert "$x$ & <b>" in words
    assert '"onload="' in words
    assert "step 10 of 42,500" in words
    assert "about 5 h 54 min" in words  # (42,500 − 10) · 0.5 s


def test_a_run_that_has_just_begun(make_run, tmp_path):
    run = make_run(line=None)
    (run / "metrics.jsonl").write_text("")
    list(report.write_report(str(run)))
    words = read(run / "report.html").words()
    assert "step 0 of 42,500" in words
    assert "no row of the training loss in metrics.jsonl. Let the run go on." in words


def test_missing_images_are_told_in_their_section(tmp_path, monkeypatch, run_folder):
    monkeypatch.setenv("NEURAL_SIMILARITY_DATA", str(tmp_path / "nowhere"))
    run_report._test_images.cache_clear()
    run = open_run(run_folder)
    texts, pictures = run_report.tried(lambda: run_report._test_images(run.folder))
    assert pictures == []
    assert "./dataset_setup.sh cifar10" in texts[0]


def test_a_few_shot_run_shows_an_episode(tmp_path):
    folder = few_shot_run(tmp_path / "run")
    list(report.write_report(str(folder)))
    page = read(folder / "report.html")
    assert "A test episode" in page.words()
    assert "queries right" in page.words()
    assert "no row of the training loss" in page.words()  # a run made by hand, with a checkpoint alone
    assert sum(address.startswith("data:") for address in page.addresses) == 1


def test_watching_writes_the_page_until_the_run_is_finished(stopped_run, finished_run, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    shutil.copytree(stopped_run, folder)
    slept = []

    def sleep(seconds):
        slept.append(seconds)
        assert '<meta http-equiv="refresh" content="7">' in (folder / "report.html").read_text()
        if len(slept) == 3:  # nothing happened until now
            shutil.copytree(finished_run, folder, dirs_exist_ok=True)

    monkeypatch.setattr(report.time, "sleep", sleep)
    said = list(report.write_report(str(folder), watch_seconds=7))
    assert slept == [7, 7, 7]
    assert said == [str(folder / "report.html")] * 2
    text = (folder / "report.html").read_text()
    assert "refresh" not in text
    assert "finished" in text


def test_a_table(tmp_path, finished_run):
    results, runs = tmp_path / "results", tmp_path / "runs"
    results.mkdir()
    plan = load_plan("cifar10", scale=0.5, precision="float32", seeds=[0])
    recipes = {run.row.method: run for run in plan.runs()}
    line = {"scale": 0.5, "steps": 21_250}
    static = recipes["Static DNS"].config.config_hash()
    (results / "cifar10.jsonl").write_bytes(json_line(config="cifar10/static_dns", config_hash=static, **line))
    folder = runs / "cifar10/static_dns" / f"s0-{recipes['Static DNS'].config.run_hash()}"
    shutil.copytree(finished_run, folder)
    list(report.write_report(str(folder)))
    path = tmp_path / "pages" / "t.html"
    path.parent.mkdir()
    path.write_text(table_page(load_plan("cifar10", seeds=[0]), path, results, runs))
    page = read(path)
    words = page.words()
    assert "90.00" in words
    assert "scale 0.5, float32" in words
    assert f"../runs/cifar10/static_dns/{folder.name}/report.html" in page.addresses
    assert (path.parent / page.addresses[-1]).resolve().is_file()


def test_a_table_without_a_line(tmp_path, command):
    path = tmp_path / "t.html"
    path.write_text(table_page(load_plan("spherenet"), path, tmp_path, tmp_path))
    assert "No finished run is recorded yet. Next: python reproduce_tables.py --table spherenet" in read(path).words()
    assert command("report", "quickstart", "--out", path)[:2] == (0, f"{path}\n")
    assert "Dynamic DNS" in read(path).words()


def test_mistakes(tmp_path):
    assert "neither a run's folder nor a table" in refusal(list, report.write_report("quikstart"))
    assert "Leave out --watch" in refusal(list, report.write_report("quickstart", watch_seconds=3))
    assert "a folder. Name a file with --out." in refusal(list, report.write_report("quickstart", tmp_path))
