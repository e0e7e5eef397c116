"""What is written and counted for a video or an image, when the answers are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.masks.png import read_labels
from benchmarks.masks.submission import check_submission
from episodes.sources.tasks import open_task_source
from fewshot.evaluation.tasks.answers import RISAnswerer, RVOSAnswerer, VOSAnswerer
from fewshot.evaluation.tasks.frames import FrameReader
from fewshot.evaluation.tasks.measures import Part, davis_measures, ris_measures
from fewshot.evaluation.tasks.pictures import draw_unit
from fewshot.evaluation.tasks.units import units_of
from tests.episodes.videos import FRAMES, write_davis
from tests.fewshot.evaluation.tasks.trees import PAIR, Knowing, LeftHalf, write_ref_davis, write_refcoco


def test_true_masks_of_a_video_score_one(tmp_path: Path) -> None:
    source = open_task_source("davis17", write_davis(tmp_path / "DAVIS"))
    unit = next(unit for unit in units_of(source.items()) if unit.video == "b")
    tracker = Knowing(source)
    tracker.video = "b"
    answerer = VOSAnswerer(source, FrameReader(source, 24, 99, 32, "cpu"), tracker, "davis17", tmp_path / "out")
    rows = answerer.answer(unit)
    assert tracker.size == (12, 16)
    assert [set(given) for given in tracker.given] == [{1, 2}, set(), set(), set()]
    assert torch.equal(tracker.given[0][2], source.read_masks("b", FRAMES[:1], 2)[0])
    assert rows == [{"video": "b", "object": k, "frames": 4, "found": 4, "score": 0.5} for k in (1, 2)]
    assert check_submission("davis17", tmp_path / "out", unit.items, read=True) == []
    parts = {"all": Part(tmp_path / "out", ("b",))}
    measures = davis_measures(parts, tmp_path / "DAVIS" / "Annotations" / "480p", unsupervised=False)
    assert measures.values["J&F-Mean"] == 1 and measures.objects == {"b_1": (1, 1), "b_2": (1, 1)}
    assert draw_unit(unit, source, answerer, tmp_path / "pictures").is_file()


def test_frames_before_the_first_object_get_no_file(tmp_path: Path) -> None:
    source = open_task_source("davis17", write_davis(tmp_path / "DAVIS"))
    unit = units_of(source.items())[0]
    tracker = Knowing(source)
    tracker.video, tracker.ids = "a", (1,)
    tracker.first = 1
    VOSAnswerer(source, FrameReader(source, 24, 99, 32, "cpu"), tracker, "davis17", tmp_path / "out").answer(unit)
    assert sorted(path.stem for path in (tmp_path / "out" / "a").iterdir()) == FRAMES[1:]


def test_given_masks_may_enter_at_network_size(tmp_path: Path) -> None:
    source = open_task_source("davis17", write_davis(tmp_path / "DAVIS"))
    unit = next(unit for unit in units_of(source.items()) if unit.video == "b")
    for short, size in ((24, (24, 32)), (2, (12, 16))):  # of so few pixels none is the object: then as it is
        tracker = Knowing(source)
        tracker.video = "b"
        reader = FrameReader(source, short, 99, 32, "cpu")
        VOSAnswerer(source, reader, tracker, "davis17", tmp_path / "out", resize_given=True).answer(unit)
        assert {tuple(mask.shape) for mask in tracker.given[0].values()} == {size}


def test_expressions_of_an_annotator_share_an_image_and_true_masks_score_one(tmp_path: Path) -> None:
    source = open_task_source("ref_davis17", write_ref_davis(tmp_path / "data", {"v": PAIR}))
    units = units_of(source.items())
    assert [unit.name for unit in units] == [f"anno_{a}/v" for a in range(4)]
    tracker, out = Knowing(source), tmp_path / "out"
    tracker.video = "v"
    answerer = RVOSAnswerer(FrameReader(source, 24, 99, 32, "cpu"), tracker, "ref_davis17", out)
    rows = [row for unit in units for row in answerer.answer(unit)]
    assert tracker.expressions == ["the dog by 3", "the cat by 3"]
    assert [(row["annotator"], row["expression_id"]) for row in rows[:3]] == [(0, "0"), (0, "4"), (1, "1")]
    labels = read_labels(out / "anno_2" / "v" / f"{FRAMES[1]}.png")
    assert np.array_equal(labels, PAIR.mask(1))
    assert check_submission("ref_davis17", out, [item for unit in units for item in unit.items], read=True) == []
    parts = {f"anno_{a}": Part(out / f"anno_{a}", ("v",)) for a in range(4)}
    measures = davis_measures(parts, tmp_path / "data" / "valid" / "Annotations", unsupervised=True)
    assert measures.values["J&F-Mean"] == 1 and set(measures.parts) == set(parts)
    (answer,) = answerer.files(units[0])
    assert answer[0] == "1: the dog by 0; 2: the cat by 0" and list(answer[1]) == FRAMES


def test_each_expression_has_a_folder_where_a_server_wants_it(tmp_path: Path) -> None:
    root = write_ref_davis(tmp_path / "data", {"v": PAIR})
    source = open_task_source("ref_youtube_vos", root)
    (unit,) = units_of(source.items())
    tracker, out = Knowing(source, exclusive=False), tmp_path / "out"
    tracker.video, tracker.ids = "v", (1, 1, 1, 1, 2, 2, 2, 2)
    answerer = RVOSAnswerer(FrameReader(source, 24, 99, 32, "cpu"), tracker, "ref_youtube_vos", out)
    answerer.answer(unit)
    mask = read_labels(out / "Annotations" / "v" / "5" / f"{FRAMES[2]}.png")
    assert np.array_equal(mask, 255 * (PAIR.mask(2) == 2))
    assert check_submission("ref_youtube_vos", out, unit.items, read=True) == []
    assert [text for text, _ in answerer.files(unit)][4:6] == ["the cat by 0", "the cat by 1"]


def test_areas_are_counted_at_the_original_size_and_no_prediction_is_an_empty_mask(tmp_path: Path) -> None:
    source = open_task_source("refcoco", write_refcoco(tmp_path / "data"))
    units = units_of(source.items())
    reader = FrameReader(source, 96, 200, 32, "cpu")
    answerer = RISAnswerer(source, reader, LeftHalf(), tmp_path / "out")
    rows = [row for unit in units for row in answerer.answer(unit)]
    assert [(row["intersection"], row["union"], row["found"]) for row in rows] == [
        (32 * 48, 32 * 48, True),
        (0, 32 * 48, False),
        (0, 64 * 48, True),
    ]
    values = ris_measures(rows).values
    assert values["oIoU"] == pytest.approx(1 / 4) and values["mIoU"] == pytest.approx(1 / 3)
    assert values["P@0.5"] == pytest.approx(1 / 3) and list(values)[0] == "oIoU"
    assert not read_labels(tmp_path / "out" / "1" / "1.png").any()
    assert draw_unit(units[0], source, answerer, tmp_path / "pictures").is_file()
