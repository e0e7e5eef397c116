"""A whole test of a fold: seeds, probes, manifests, files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torch import nn

import fewshot
from benchmarks.report import Report
from benchmarks.scores.scores import read_scores
from episodes.sampling.manifest import read_header, write_manifest
from episodes.sources import Expression
from fewshot.cli.runs import MetaTestConfig, MetaTrainConfig
from fewshot.config.sections import TrainConfig
from fewshot.evaluation.benchmark import open_benchmark
from fewshot.evaluation.folds import run_test, spread
from fewshot.evaluation.record import weights_digest
from fewshot.evaluation.report import Origin
from fewshot.systems.prototype.config import PrototypeConfig
from fewshot.weights.trained_on import read_trained_on
from tests.episodes.memory import MemorySource
from tests.fewshot.evaluation.oracle import Oracle, settings
from tests.fewshot.inference.saved import write_run


class Recorder:
    """A log that keeps what it is told."""

    def __init__(self) -> None:
        self.values: dict[str, float] = {}
        self.rows: list = []

    def summary(self, values: dict[str, float]) -> None:
        self.values.update(values)

    def table(self, name: str, columns, rows) -> None:
        self.rows += rows


def report_of(folder: Path, config: MetaTestConfig, source: MemorySource | None = None, log: Any = None) -> Report:
    """The report of the oracle on the first group."""
    return run_test(Oracle(), open_benchmark(config, source or MemorySource()), 1, folder, Origin(), log)


def test_files_hold_every_query_and_the_table_the_probes(tmp_path: Path) -> None:
    log = Recorder()
    config = settings(probes=["no_support", "wrong_support", "shuffled_text"], pictures=2, seeds=2)
    report = report_of(tmp_path, config, log=log)
    assert report.fold().seeds == (0, 1)
    assert report.probes == ("", "no_support", "wrong_support", "shuffled_text")
    assert read_scores(tmp_path / "results.csv") == list(report.scores)
    stored = json.loads((tmp_path / "results.json").read_text())
    assert stored["protocol"] == "clean" and any("seeds" in line for line in stored["card"])
    assert "wrong_support" in report.table()
    assert log.values["test/J"] == pytest.approx(100 * report.value("J"))
    assert len(log.rows) == 2 and all(Path(row[-1]).is_file() for row in log.rows)
    assert (tmp_path / "pictures" / "overview_group1.png").is_file()


def test_results_say_what_was_tested(tmp_path: Path) -> None:
    source, config = MemorySource(), settings(seeds=2)
    report_of(tmp_path, config, source)
    run = json.loads((tmp_path / "results.json").read_text())["run"]
    assert (run["benchmark"], run["shots"], run["seeds"], run["data"]) == (source.name, 1, [0, 1], source.fingerprint())
    assert run["system"] == config.system.name and run["settings"]["name"] == config.system.name
    specs = [spec for of_seed in open_benchmark(config, source).tests(1) for spec in of_seed]
    write_manifest(tmp_path / "g1.jsonl", specs, source)
    assert run["groups"]["1"]["episodes"] == read_header(tmp_path / "g1.jsonl")["sha256"]
    assert (run["draws"], run["manifest"], run["limit"]) == ("indexed", None, None)
    assert "torch" in run["versions"] and run["groups"]["1"]["device"].startswith("cpu")


def test_weights_have_a_hash_of_their_values() -> None:
    one = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    other = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    assert weights_digest(one) != weights_digest(other)
    other.load_state_dict(one.state_dict())
    assert weights_digest(one) == weights_digest(other) != weights_digest(other.half())


def test_a_query_with_a_second_object_of_its_class_has_a_twin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = MemorySource()
    said = source.expressions

    def other_class(video: str) -> tuple[Expression, ...]:
        first, second = said(video)
        return (first, replace(second, class_id=first.class_id % 3 + 1)) if video.startswith("class2") else said(video)

    monkeypatch.setattr(source, "expressions", other_class)
    scores = report_of(tmp_path, settings(), source).scores
    assert {score.twin for score in scores if score.video.startswith("class2")} == {False}
    assert {score.twin for score in scores if not score.video.startswith("class2")} == {True}
    assert json.loads((tmp_path / "results.json").read_text())["twins"][0]["twin"] is True


def test_each_seed_draws_its_own_supports(tmp_path: Path) -> None:
    report = report_of(tmp_path, settings(seeds=3))
    videos = {seed: {s.video for s in report.scores if s.seed == seed} for seed in (0, 1, 2)}
    assert all(len(v) == 6 for v in videos.values())  # nine videos, three of them supports
    assert len({frozenset(v) for v in videos.values()}) > 1


def test_a_manifest_gives_the_same_numbers_as_drawing(tmp_path: Path) -> None:
    source, config = MemorySource(), settings(seeds=2, probes=["shuffled_text"])
    drawn = report_of(tmp_path / "drawn", config, source)
    specs = [spec for of_seed in open_benchmark(config, source).tests(1) for spec in of_seed]
    write_manifest(tmp_path / "g1.jsonl", specs, source)
    config.manifest = str(tmp_path / "g{group}.jsonl")
    frozen = report_of(tmp_path / "frozen", config, source)
    assert frozen.scores == drawn.scores
    config.manifest = str(tmp_path / "g1.jsonl")
    config.benchmark.test_episodes, config.seed, config.test.seeds = 1, 7, 1  # a frozen list has its own
    assert report_of(tmp_path / "again", config, source).scores == drawn.scores
    run = json.loads((tmp_path / "again" / "results.json").read_text())["run"]
    assert (run["seeds"], run["limit"]) == ([0, 1], None)
    with pytest.raises(ValueError, match="no episode of group 2"):
        open_benchmark(config, MemorySource(groups=(1, 2))).tests(2)
    config.shots = 2  # the card and the folder's name would tell two
    with pytest.raises(ValueError, match="has 1 supports per episode, not 2: give shots=1"):
        open_benchmark(config, source).tests(1)


def test_an_impossible_probe_is_left_out_and_said(tmp_path: Path) -> None:
    report = report_of(tmp_path, settings(probes=["wrong_support", "no_support"]), MemorySource(classes=1))
    assert report.probes == ("", "no_support")
    assert "probe left out, wrong_support needs episodes of at least 2 classes" in report.table()


def test_a_test_that_breaks_off_keeps_what_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, config = MemorySource(), settings(seeds=2)
    read = source.read_frames
    broken = {"count": 0}

    def second_seed_fails(video: str, frames):
        broken["count"] += 1
        if broken["count"] > 3 + 6 * 3:  # supports, and the chunks of the queries
            raise ValueError(f"video {video!r} is broken")
        return read(video, frames)

    monkeypatch.setattr(source, "read_frames", second_seed_fails)
    with pytest.raises(ValueError, match="is broken"):
        report_of(tmp_path, config, source)
    assert {score.seed for score in read_scores(tmp_path / "results.csv")} == {0}


def test_probes_on_fewer_episodes(tmp_path: Path) -> None:
    config = settings(probes=["wrong_support"], probe_episodes=3)
    report = report_of(tmp_path, config)
    count = {probe: len({s.episode for s in report.scores if s.probe == probe}) for probe in report.probes}
    assert count == {"": 6, "wrong_support": 3}
    assert len({s.class_id for s in report.scores if s.probe}) == 3


def test_masks_are_written_at_the_original_size(tmp_path: Path) -> None:
    config = settings(save_masks=True, probes=["no_support"])
    config.benchmark.test_episodes = 1
    report_of(tmp_path, config)
    files = sorted((tmp_path / "masks").rglob("*.png"))
    assert len(files) == 2 * 5
    place = files[0].relative_to(tmp_path / "masks").parts
    assert place[:2] == ("group_1", "seed_0") and place[-2:] == ("1", "00000.png")
    with Image.open(files[0]) as picture:
        mask = np.asarray(picture)
    assert mask.shape == (8, 16) and set(np.unique(mask)) == {0, 255}
    assert np.array_equal(mask[0], mask[7]) and mask[0, 6] == 255 and mask[0, 13] == 0


def test_worker_processes_change_nothing(tmp_path: Path) -> None:
    config = settings()
    config.benchmark.test_episodes = 2
    alone = report_of(tmp_path / "alone", config)
    config.test.workers = 1
    assert report_of(tmp_path / "workers", config).scores == alone.scores


def test_spread_takes_episodes_from_the_whole_list() -> None:
    assert spread(list(range(10)), 3) == [0, 3, 6]
    assert spread(list(range(3)), 5) == [0, 1, 2] and spread([1, 2], None) == [1, 2]


def test_card_says_where_the_weights_come_from(tmp_path: Path) -> None:
    training = MetaTrainConfig(train=TrainConfig(steps=1, select_on="test", init_from="/some/where/referformer.pth"))
    origin = Origin.of_training(training, ())
    assert (origin.checkpoint, origin.start_weights) == ("test", "referformer.pth")
    report = run_test(Oracle(), open_benchmark(settings(), MemorySource()), 1, tmp_path, origin)
    assert (
        "not an honest held-out number" in report.card and "referformer.pth; these weights may have seen" in report.card
    )
    assert Origin.untrained(PrototypeConfig()) == Origin()


def test_saved_weights_that_declare_their_training_are_no_unknown_start(tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    fewshot.load(tmp_path / "run").save_pretrained(tmp_path / "saved")
    origin = Origin.given(tmp_path / "saved", read_trained_on(tmp_path / "saved"))
    assert str(origin.past) == "synthetic" and not origin.past.unknown(origin.past.trained_on or ())
    assert origin.run == {"not_known": "best.pt does not tell how it was trained"}
