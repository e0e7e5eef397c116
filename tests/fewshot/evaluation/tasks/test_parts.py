"""Samples, frames, records and measures of the tests of tasks."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.masks.png import write_labels
from episodes.sources.tasks import open_task_source
from episodes.task_items import RISItem, RVOSItem, VOSItem
from episodes.transforms.clips import FitTransform
from episodes.transforms.input_rule import InputRule
from fewshot.evaluation.tasks.frames import FrameReader
from fewshot.evaluation.tasks.measures import Measures, ScoredFolder, davis_measures
from fewshot.evaluation.tasks.predictors import Tally
from fewshot.evaluation.tasks.record import Record
from fewshot.evaluation.tasks.samples import Sample, predict_all, samples_of
from fewshot.inference.trackers import FrameMasks
from tests.episodes.videos import FRAMES, write_davis


def test_questions_about_one_video_or_image_are_one_sample() -> None:
    frames = ("0", "1")
    said = [RVOSItem("v", frames, str(k), "it", None, k % 2) for k in range(4)]
    assert [(s.name, [i.expression_id for i in s.items]) for s in samples_of(said)] == [
        ("anno_0/v", ["0", "2"]),
        ("anno_1/v", ["1", "3"]),
    ]
    free = [RVOSItem("v", frames, "0", "it"), RVOSItem("w", frames, "0", "it"), RVOSItem("v", frames, "1", "it")]
    assert [(s.name, len(s.items)) for s in samples_of(free)] == [("v", 2), ("w", 1)]
    images = [RISItem("9", "0", "it"), RISItem("9", "1", "it"), RISItem("10", "0", "it")]
    assert [(s.name, len(s.items)) for s in samples_of(images)] == [("9", 2), ("10", 1)]
    assert samples_of([VOSItem("v", frames, {"0": (1,)})])[0].annotator is None


@pytest.mark.parametrize(
    ("size", "short", "long", "expected"),
    [
        ((480, 854), 480, 1333, (480, 854)),
        ((240, 427), 480, 1333, (480, 854)),
        ((480, 910), 800, 1333, (703, 1333)),  # limited by the long side
        ((427, 640), None, 1024, (683, 1024)),  # 683.2
        ((500, 333), 800, 1333, (1201, 800)),  # 1201.2
        ((375, 500), 800, 1333, (800, 1067)),  # 1066.7
        ((1000, 3), 10, 100, (100, 1)),
    ],
)
def test_network_sizes(size: tuple[int, int], short: int | None, long: int, expected: tuple[int, int]) -> None:
    assert InputRule("fit", short or long, long).transform().target(size) == expected


def test_frames_come_in_order_padded_and_normalised(tmp_path: Path) -> None:
    source = open_task_source("davis17", write_davis(tmp_path / "DAVIS"))
    frames = list(FrameReader(source, FitTransform(24, 99), 32, "cpu").ahead("a", FRAMES))
    assert [frame.name for frame in frames] == FRAMES and {frame.size for frame in frames} == {(12, 16)}
    batch = frames[0].batch
    assert batch.frames.shape == (1, 1, 3, 32, 32) and batch.sizes.tolist() == [[24, 32]]
    assert batch.padding[0].all(1).nonzero()[0].item() == 24 and not batch.frames[0, 0, :, 24:].any()
    greens = torch.stack([frame.batch.frames[0, 0, 1, :24].mean() for frame in frames])
    assert (greens.diff() > 0.2).all()  # green rises with the frame


def test_a_frame_of_another_size_is_named(tmp_path: Path) -> None:
    source = open_task_source("davis17", write_davis(tmp_path / "DAVIS"))
    Image.new("RGB", (20, 12)).save(tmp_path / "DAVIS/JPEGImages/480p/a" / f"{FRAMES[2]}.jpg")
    with pytest.raises(ValueError, match=f"video 'a': frame {FRAMES[2]} is 12x20, but {FRAMES[0]} is 12x16"):
        list(FrameReader(source, FitTransform(24, 99), 32, "cpu").ahead("a", FRAMES))


def test_what_is_finished_is_not_done_again_and_half_a_line_does_not_count(tmp_path: Path) -> None:
    samples = [Sample(name, name, ()) for name in "abc"]
    asked: list[str] = []

    def predict(sample: Sample) -> list[dict[str, Any]]:
        asked.append(sample.name)
        if sample.name == "c" and len(asked) == 3:
            raise KeyboardInterrupt
        return [{"video": sample.name, "found": 1}]

    with pytest.raises(KeyboardInterrupt):
        predict_all(samples, predict, Record(tmp_path), progress=False)
    with (tmp_path / "finished.jsonl").open("a") as file:
        file.write('{"sample": "c", "ro')
    Record(tmp_path, rank=1).add("d", [], 0.0)
    record = Record(tmp_path)
    finished = record.finished()
    assert set(finished) == {"a", "b", "d"} and finished["a"]["rows"] == [{"video": "a", "found": 1}]
    predict_all([sample for sample in samples if sample.name not in finished], predict, record, progress=False)
    assert asked == ["a", "b", "c", "c"] and set(Record(tmp_path).finished()) == set("abcd")


def test_warnings_are_in_the_log_once_with_the_sample(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def predict(sample: Sample) -> list[dict[str, Any]]:
        warnings.warn("an expression is longer than the 9 tokens that are read", stacklevel=1)
        warnings.warn(f"of {sample.name} alone", stacklevel=1)
        return []

    predict_all([Sample(name, name, ()) for name in "ab"], predict, Record(tmp_path), progress=False)
    said = ["a: an expression is longer than the 9 tokens that are read", "a: of a alone", "b: of b alone"]
    assert [record.getMessage() for record in caplog.records] == said


def test_given_masks_have_no_score() -> None:
    tally = Tally()
    masks = torch.ones(2, 3, 3, dtype=torch.bool)
    tally.add(FrameMasks((1, 2), masks.float(), masks, (1.0, 0.5)), {1: masks[0]})
    masks = torch.stack([masks[0], torch.zeros_like(masks[0])])
    tally.add(FrameMasks((1, 2), masks.float(), masks, (0.25, 0.25)))
    assert tally.row(1) == {"frames": 2, "found": 2, "score": 0.25}
    assert tally.row(2) == {"frames": 2, "found": 1, "score": 0.375}
    assert tally.row(3) == {"frames": 2, "found": 0, "score": 0.0}


def test_videos_without_enough_truth_are_left_out_with_a_note(tmp_path: Path) -> None:
    labels = np.zeros((12, 16), np.uint8)
    labels[2:6, 3:9] = 1
    for video, frames in (("long", 3), ("short", 2)):
        for t in range(frames):
            write_labels(tmp_path / "truth" / video / f"{t}.png", labels)
            write_labels(tmp_path / "out" / video / f"{t}.png", labels)
    parts = {"all": ScoredFolder(tmp_path / "out", ("long", "short"))}
    measures = davis_measures(parts, tmp_path / "truth", unsupervised=False)
    assert set(measures.objects) == {"long_1"} and measures.values["J-Mean"] == 1
    assert measures.notes == ("short is not scored: its truth has 2 frames, and 3 are needed",)
    free = davis_measures(parts, tmp_path / "truth", unsupervised=True)
    assert set(free.objects) == {"long_1", "short_1"} and not free.notes
    nothing = davis_measures(
        {"all": ScoredFolder(tmp_path / "out", ("short",))}, tmp_path / "truth", unsupervised=False
    )
    assert nothing.values == {} and len(nothing.notes) == 1


def test_the_value_of_several_parts_is_their_mean(tmp_path: Path) -> None:
    truth, empty = np.zeros((12, 16), np.uint8), np.zeros((12, 16), np.uint8)
    truth[2:6, 3:9] = 1
    for t in range(2):
        write_labels(tmp_path / "truth" / "v" / f"{t}.png", truth)
        for part, labels in (("anno_0", truth), ("anno_1", empty)):
            write_labels(tmp_path / part / "v" / f"{t}.png", labels)
    parts = {part: ScoredFolder(tmp_path / part, ("v",)) for part in ("anno_0", "anno_1")}
    measures = davis_measures(parts, tmp_path / "truth", unsupervised=True)
    assert [part["J-Mean"] for part in measures.parts.values()] == [1, 0] and measures.values["J-Mean"] == 0.5
    assert measures.objects == {"anno_0/v_1": (1, 1), "anno_1/v_1": (0, 0)}
    assert [line.split()[0] for line in measures.table().splitlines()[2:]] == ["anno_0", "anno_1", "mean"]
    assert "nothing is scored here" in Measures().table()
