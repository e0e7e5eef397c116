"""One set of predictions under every protocol that can count them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from benchmarks.protocols import IMAGE_PROTOCOLS
from benchmarks.report import Report
from episodes.batch import ClipBatch
from episodes.sources import open_source
from fewshot.evaluation.benchmark import open_benchmark
from fewshot.evaluation.folds import run_test
from fewshot.evaluation.report import Origin
from fewshot.nn.outputs import Losses, Prediction
from fewshot.systems.base import ReferenceState, System
from tests.episodes.image_tree import write_voc
from tests.episodes.memory import MemorySource
from tests.fewshot.evaluation.oracle import Oracle, settings


class Left(System):
    """Calls the left half of every image the object, whatever it is shown."""

    name, accepts, needs = "left", frozenset({"support"}), frozenset({"support"})

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))

    def encode_supports(self, supports: ClipBatch, shots: int) -> Tensor:
        return torch.zeros(1)

    def forward(self, queries: ClipBatch, state: ReferenceState) -> Prediction:
        n, t, _, h, w = queries.frames.shape
        masks = torch.full((n, t, 1, h, w), -4.0)
        masks[..., : w // 2] = 4.0
        return Prediction(masks=masks, scores=torch.ones(n, t, 1), stride=1)

    def losses(self, prediction: Prediction, queries: ClipBatch, num_frames: float | None = None) -> Losses:
        return Losses(total=self.weight)


def results_of(tmp_path: Path, protocol: str, bridge: bool = True) -> tuple[Report, dict]:
    """The report of a test on eight images of two classes, and its file."""
    images = {f"2007_00000{k}": [1 + k % 2, 6] for k in range(8)}
    write_voc(tmp_path, images, val=list(images))
    listed = tmp_path / "lists" / "val" / "fold0.txt"
    listed.parent.mkdir(parents=True)
    listed.write_text("".join(f"{name}__{classes[0]:02d}\n" for name, classes in images.items()))
    config = settings(bridge=bridge)
    config.data.lists = str(tmp_path / "lists")
    config.benchmark.name, config.benchmark.protocol = "pascal5i", protocol
    config.benchmark.test_size, config.benchmark.test_chunk, config.benchmark.test_episodes = 24, 1, 6
    source = open_source("pascal5i", tmp_path / "VOCdevkit", tmp_path / "cache")
    report = run_test(Left(), open_benchmark(config, source), 0, tmp_path / "run", Origin())
    return report, json.loads((tmp_path / "run" / "results.json").read_text())


def test_the_other_protocols_count_what_was_predicted_once(tmp_path: Path) -> None:
    report, stored = results_of(tmp_path, "hsnet")
    assert list(report.bridge) == ["uniref"], "the padded square of PFENet and BAM needs padded input"
    found = stored["bridge"]["uniref"]
    assert found["protocol"] == "uniref@1" and found["protocol_digest"] == IMAGE_PROTOCOLS["uniref"].digest
    assert [fold["group"] for fold in found["folds"]] == [0, None] and found["folds"][0]["queries"] == 6
    mine, other = (fold["estimates"] for fold in (stored["folds"][0], found["folds"][0]))
    assert mine["hsnet"]["mIoU"]["value"] != other["uniref"]["mIoU"]["value"], "void counts, and images are averaged"
    table = report.table()
    assert "that can count them (episodes, supports and input of hsnet)" in table
    row = next(line for line in table.splitlines() if line.startswith("uniref "))
    assert row.split()[3] == "-", "it has no mean episode IoU"


def test_padded_input_can_be_counted_by_all(tmp_path: Path) -> None:
    report, _ = results_of(tmp_path, "pfenet")
    assert list(report.bridge) == ["hsnet", "bam", "uniref"]
    same = report.bridged["bam"][-1].estimates["bam"]["mIoU"].value
    assert same == pytest.approx(report.value("mIoU")), "BAM counts as PFENet"


def test_shots_that_are_given_otherwise_cannot_be_counted() -> None:
    hsnet, pfenet, uniref = (IMAGE_PROTOCOLS[name] for name in ("hsnet", "pfenet", "uniref"))
    assert hsnet.predicts_for(uniref, 1) and not hsnet.predicts_for(uniref, 5)
    assert pfenet.predicts_for(uniref, 5) and not pfenet.predicts_for(hsnet, 5)


def test_without_the_key_and_for_videos_there_is_none(tmp_path: Path) -> None:
    report, stored = results_of(tmp_path, "hsnet", bridge=False)
    assert not report.bridge and "bridge" not in stored and "the same predictions" not in report.table()
    videos = run_test(Oracle(), open_benchmark(settings(bridge=True), MemorySource()), 1, tmp_path / "v", Origin())
    assert not videos.bridge and "the same predictions under every protocol\n" in videos.table()
