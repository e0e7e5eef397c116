"""The report of a run as one page: what it shows, what it says is missing, and that it needs nothing beside it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import asdict, replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
import yaml

from benchmarks.report import Report
from fewshot.cli.runs import MetaTestConfig, MetaTrainConfig, StageConfig
from fewshot.config.sections import BenchmarkConfig, DataConfig, TrainConfig
from fewshot.config.sections import TestConfig as Testing
from fewshot.evaluation.benchmark import open_benchmark
from fewshot.evaluation.folds import run_test
from fewshot.evaluation.page.chosen import best_and_worst
from fewshot.evaluation.page.content import read_content
from fewshot.evaluation.page.page import MEGABYTE, PAGE, Wishes, write_page
from fewshot.evaluation.page.tables import tables_of
from fewshot.evaluation.report import Origin
from fewshot.inference.loading import read_run
from fewshot.systems.prototype.config import PrototypeConfig
from fewshot.systems.registry import make_system
from tests.benchmarks.test_report import many, query
from tests.commands import typed
from tests.end_to_end.trained import write_trained
from tests.episodes.image_tree import write_folder

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
VOID = {"meta", "img", "br", "line"}
CLASS = "<b>x"  # a class whose name is markup


class Parsed(HTMLParser):
    """A page: tags that close in their order, addresses, texts, and the number of each tag."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attributes: list) -> None:
        self.tags.append(tag)
        self.addresses += [value for name, value in attributes if name in ("src", "href", "srcset", "action", "data")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.fixture(scope="module")
def tested(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a test of the prototype on a folder of images, one class of which is called like a tag."""
    torch.set_num_threads(1)
    place = tmp_path_factory.mktemp("page")
    write_folder(place / "data", dict.fromkeys((CLASS, "cat", "cow", "dog", "emu", "fox", "gnu", "hen"), 3))
    config = MetaTestConfig(
        system=PrototypeConfig(backbone="tiny", backbone_width=8),
        benchmark=BenchmarkConfig(name="folder", protocol="hsnet", test_size=32, test_episodes=9, test_chunk=1),
        data=DataConfig(root=str(place / "data")),
        test=Testing(probes=["wrong_support"], pictures=0, bootstrap=20),
        group=0,
    )
    folder = place / "run"
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump(asdict(config)))
    run_test(make_system(config.system, 0), open_benchmark(config), 0, folder, Origin())
    rows = [{"step": k, "train/loss": 3.0 / k, "val/mIoU": 10.0 * k, "val/mIoU_wrong_support": 5.0} for k in (1, 2, 3)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    yield folder


@pytest.fixture(scope="module")
def page(tested: Path) -> str:
    """The text of its page."""
    path = write_page(tested, None, Wishes(episodes=2))
    assert path == tested / PAGE
    return path.read_text(encoding="utf-8")


def test_a_page_is_whole_and_needs_nothing_beside_it(page: str) -> None:
    parsed = Parsed(page)
    assert parsed.open == [] and "script" not in parsed.tags and "link" not in parsed.tags
    assert parsed.addresses and all(address.startswith("data:image/") for address in parsed.addresses)
    assert "url(" not in page and "@import" not in page and "://" not in page
    assert len(page) < 0.5 * MEGABYTE


def test_it_shows_card_tables_curves_and_episodes(page: str, tested: Path) -> None:
    parsed, results = Parsed(page), json.loads((tested / "results.json").read_text())
    text = " ".join(parsed.texts)
    value = f"{100 * results['folds'][0]['estimates']['hsnet']['mIoU']['value']:.1f}"
    for words in ("hsnet", value, "wrong support", "Folds", "Sanity probes", "Classes", "Training", "Best episodes"):
        assert words in text
    assert parsed.tags.count("polyline") == 2 * 3  # each line stands in its plot and in the legend
    assert parsed.tags.count("img") == 4 * 3  # of two best and two worst: support, truth and prediction
    assert "cannot be drawn" not in text and "others than" not in text


def test_names_are_no_markup(page: str) -> None:
    assert "b" not in Parsed(page).tags and "&lt;b&gt;x" in page
    assert any(CLASS in text for text in Parsed(page).texts)


def test_a_page_follows_the_colours_of_the_reader(page: str) -> None:
    assert "prefers-color-scheme: dark" in page and 'name="viewport"' in page


def test_a_file_of_something_else_is_not_replaced(tested: Path, tmp_path: Path) -> None:
    other = tmp_path / "own.html"
    other.write_text("<p>mine</p>")
    with pytest.raises(ValueError, match="own.html is no page that this program wrote"):
        write_page(tested, other, Wishes(episodes=0))
    assert other.read_text() == "<p>mine</p>"
    first = write_page(tested, tmp_path / "new" / "a.html", Wishes(episodes=0))
    assert write_page(tested, first, Wishes(episodes=0)) == first


def test_pictures_are_bounded(tested: Path, tmp_path: Path) -> None:
    text = write_page(tested, tmp_path / "a.html", Wishes(episodes=2, megabytes=0.005)).read_text()
    assert "episodes are left out: the pictures take at most 0.005 MB" in text
    assert sum(map(len, Parsed(text).addresses)) < 0.005 * MEGABYTE


def test_what_cannot_be_drawn_is_said(tested: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(tested, folder)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    shutil.copytree(Path(config["data"]["root"]), tmp_path / "data")
    (tmp_path / "data" / "cat" / "0.jpg").unlink()
    config["data"]["root"] = str(tmp_path / "data")
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    text = write_page(folder, None, Wishes(episodes=2)).read_text()
    assert "are others now than when the run was tested" in text and "img" not in Parsed(text).tags
    config["data"]["root"] = str(tmp_path / "nowhere")
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    text = write_page(folder, None, Wishes(episodes=2)).read_text()
    assert "cannot be drawn again" in text and "nowhere" in text
    (folder / "pictures").mkdir()
    shutil.copy(tested.parent / "data" / "cat" / "0.png", folder / "pictures" / "one.png")
    assert "Pictures that the run has drawn" in write_page(folder, None, Wishes(episodes=2)).read_text()


def test_other_weights_are_said(tested: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(tested, folder)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["seed"] = 0
    config["system"]["backbone_width"] = 16
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    assert "are others than those of the test" in write_page(folder, None, Wishes(episodes=1)).read_text()


def test_the_best_and_the_worst_are_of_different_videos() -> None:
    values = (0.9, 0.8, 0.1, 0.2, 0.5, 0.5)
    scores = [replace(query(j, 0.5, video=f"v{k // 2}"), episode=k) for k, j in enumerate(values)]
    best, worst = best_and_worst(scores, "cma", 2)
    assert [one.place[2] for one in best] == [0, 4] and [one.place[2] for one in worst] == [2, 5]


def test_of_several_queries_the_best_or_the_worst_are_shown() -> None:
    scores = [query(j, 0.5, expression_id=str(k)) for k, j in enumerate((0.9, 0.1, 0.5))]
    (best,), none = best_and_worst(scores, "cma", 1)
    assert none == [] and best.value == pytest.approx(0.5)
    assert best.queries(2) == [0, 2]


def test_a_training_stage_has_its_curve_alone(tmp_path: Path) -> None:
    folder = write_trained(tmp_path / "stage", StageConfig(system=PrototypeConfig(), stage="one"))
    with pytest.raises(ValueError, match="holds no results and no measurements yet"):
        write_page(folder, None, Wishes())
    (folder / "metrics.jsonl").write_text('{"step": 5, "train/loss": 0.5}\n')
    text = write_page(folder, None, Wishes()).read_text()
    parsed = Parsed(text)
    assert parsed.tags.count("polyline") == 2 and "table" not in parsed.tags and "one" in parsed.texts
    drawn = re.search(r'class="c1 dot" points="(\S+) (\S+)"', text)
    assert drawn and drawn[1] == drawn[2], "one measurement is a dot"


def test_ticks_stand_at_whole_steps(tmp_path: Path) -> None:
    folder = write_trained(tmp_path / "stage", StageConfig(system=PrototypeConfig(), stage="one"))
    for last, words in ((6, "0 2 4 6"), (2, "0 1 2"), (7, "0 7"), (1500, "0 375 750 1,125 1,500")):
        (folder / "metrics.jsonl").write_text(f'{{"step": {last}, "train/loss": 0.5}}\n')
        text = write_page(folder, None, Wishes()).read_text()
        assert " ".join(re.findall(r'text-anchor="(?:middle|end)">([\d,]+)</text>', text)).endswith(words)


def test_a_training_run_is_tested_with_its_own_weights(tmp_path: Path) -> None:
    from fewshot.evaluation.page.drawn import Places, test_of

    benchmark, train = BenchmarkConfig(name="synthetic_images"), TrainConfig(steps=1)
    run = MetaTrainConfig(system=PrototypeConfig(), benchmark=benchmark, train=train, group=2, shots=3)
    folder = write_trained(tmp_path / "run", run)
    Report(many(), bootstrap=0).write_json(folder / "results.json")
    config = test_of(read_content(folder), Places(root="elsewhere"))
    assert (config.weights, config.group, config.shots, config.data.root) == (str(folder), 2, 3, "elsewhere")
    assert isinstance(read_run(folder / "config.yaml"), MetaTrainConfig)


def test_every_table_of_a_report_on_videos(tmp_path: Path) -> None:
    folder = write_trained(
        tmp_path / "run", MetaTrainConfig(system=PrototypeConfig(), benchmark=BenchmarkConfig(name="synthetic"))
    )
    scores = [*many(seeds=2, groups=(1, 2)), *many(seeds=2, groups=(1, 2), probe="wrong_support")]
    report = Report(scores, bootstrap=20)
    report.write_json(folder / "results.json")
    tables = {table.title: table for table in tables_of(read_content(folder))}
    assert list(tables) == ["Folds", "Sanity probes", "Classes", "Under other averages"]
    rows = [[cell.text for cell in row] for row in tables["Folds"].rows]
    assert [row[0] for row in rows] == ["1", "2", "mean"]
    assert rows[1][2] == f"{100 * report.value('J', group=2):.1f}" and "; seeds " in tables["Folds"].rows[0][2].small
    assert all(len(row) == len(table.header) for table in tables.values() for row in table.rows)


def test_the_command_writes_and_says_how_large_the_page_is(
    tested: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert typed("report", [str(tested), f"out={tmp_path / 'a.html'}", "episodes=0"]) == 0
    assert re.fullmatch(r"report: .*/a.html \(0\.\d MB\)\n", capsys.readouterr().out)
    assert typed("report", [str(tmp_path), str(tested), "episodes=0"]) == 0
    out, err = capsys.readouterr()
    assert "/run/report.html" in out and err.startswith("left out: ") and err.count("\n") == 1
    for words, said in (
        ([], "no run was named"),
        ([str(tested), str(tested), "out=a.html"], "out=a.html is for one run"),
        ([str(tmp_path)], "is no folder of a run"),
    ):
        assert typed("report", words) == 1
        out, err = capsys.readouterr()
        assert err.startswith("error: ") and said in err and err.count("\n") == 1


def test_results_of_something_else_are_refused(tested: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(tested, folder)
    results = json.loads((folder / "results.json").read_text())
    del results["protocol"]
    (folder / "results.json").write_text(json.dumps(results))
    with pytest.raises(ValueError, match="results.json is not what a test writes"):
        write_page(folder, None, Wishes())


@pytest.mark.skipif(BROWSER is None, reason="no chromium is installed, in which the page could be opened")
@pytest.mark.parametrize("width", [390, 1280])
def test_in_a_browser_nothing_is_wider_than_the_window(page: str, tmp_path: Path, width: int) -> None:
    """The page in a frame of this width; a script beside it measures, and asks what is larger than its own box."""
    measure = """<script>addEventListener('load', () => {
      const page = document.querySelector('iframe').contentDocument, root = page.documentElement;
      const broken = [...page.images].filter(image => !image.naturalWidth).length;
      const boxes = [...page.querySelectorAll('.scroll')].map(box => getComputedStyle(box).overflowX);
      const wider = root.scrollWidth - root.clientWidth;
      document.title = JSON.stringify([wider, page.images.length, broken, [...new Set(boxes)]]);
    });</script>"""
    escaped = page.replace("&", "&amp;").replace('"', "&quot;")
    outer = tmp_path / "outer.html"
    outer.write_text(
        f'<title>-</title><iframe width="{width}" height="800" frameborder="0" srcdoc="{escaped}"></iframe>{measure}'
    )
    options = ("--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom")
    assert BROWSER is not None
    done = subprocess.run([BROWSER, *options, f"file://{outer}"], capture_output=True, text=True, timeout=120)
    found = re.search(r"<title>(\[.*?\])</title>", done.stdout)
    assert found, done.stderr[-2000:]
    assert json.loads(found[1]) == [0, 12, 0, ["auto"]]
