"""Sentences about frames: windows given, the frame that is asked for answered, all candidates kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from benchmarks.masks.png import read_labels
from episodes.batch import ClipBatch
from episodes.sources.sentences import SentenceSource
from episodes.sources.tasks import open_task_source
from episodes.transforms.clips import ShortLongTransform
from fewshot.evaluation.tasks.frames import FrameReader
from fewshot.evaluation.tasks.measures import sentence_measures
from fewshot.evaluation.tasks.pictures import draw_sample
from fewshot.evaluation.tasks.report import coco_results
from fewshot.evaluation.tasks.samples import samples_of
from fewshot.evaluation.tasks.sentences import SentencePredictor
from fewshot.nn.outputs import Losses, Prediction
from fewshot.systems.base import ReferenceState, System
from tests.episodes.sentence_trees import SIZE, object_mask, write_jhmdb


class Follows(System):
    """Knows where the actor is by the green of a frame. Two candidates: all that it is not, then the actor.

    Args:
        alone: answers for the frame that is asked for, and no other.
        scored: gives scores, the actor's higher.
    """

    def __init__(self, alone: bool = False, scored: bool = True) -> None:
        super().__init__()
        self.alone, self.scored = alone, scored
        self.seen: list[ClipBatch] = []
        self.read: list[str | None] = []

    def encode_supports(self, supports: ClipBatch, shots: int) -> None:
        raise NotImplementedError

    def encode_text(self, expressions: Sequence[str | None]) -> tuple[str | None, ...]:
        self.read += expressions
        return tuple(expressions)

    def forward(self, queries: ClipBatch, state: ReferenceState) -> Prediction:
        self.seen.append(queries)
        green = queries.frames[0, :, 1, 0, 0] * 0.224 + 0.456  # as read, 0..1
        numbers = (green * 255 / 20).round().int().tolist()
        masks = torch.stack([torch.from_numpy(object_mask(1, number)) for number in numbers]).float()
        logits = torch.stack([3 - 6 * masks, 6 * masks - 3], 1)[None]
        scores = torch.tensor([-1.0, 2.0]).expand(1, len(numbers), 2)
        if self.alone:
            (asked,) = queries.asked
            logits, scores = logits[:, asked : asked + 1], scores[:, asked : asked + 1]
        return Prediction(logits, scores if self.scored else None, stride=1, tracked=False)

    def losses(self, prediction: Prediction, queries: ClipBatch, num_frames: float | None = None) -> Losses:
        raise NotImplementedError


@pytest.fixture
def source(tmp_path: Path) -> SentenceSource:
    found = open_task_source("jhmdb", write_jhmdb(tmp_path / "jhmdb_sentences"))
    assert isinstance(found, SentenceSource)
    return found


def predictor(source: SentenceSource, system: System, out: Path, **options: bool) -> SentencePredictor:
    reader = FrameReader(source, ShortLongTransform(SIZE[0], SIZE[1]), 1, "cpu")
    return SentencePredictor(source, reader, system, out, 5, **options)


@pytest.mark.parametrize("alone", [False, True])
def test_the_frame_that_is_asked_for_is_answered_in_its_window(
    source: SentenceSource, tmp_path: Path, alone: bool
) -> None:
    system, samples = Follows(alone), samples_of(source.items())
    run = predictor(source, system, tmp_path / "out")
    rows = [row for sample in samples for row in run.predict(sample)]
    assert [(row["sample_id"], row["frame"]) for row in rows] == [
        *(("v_catch_1_f_1", "00001"), ("v_catch_1_f_4", "00004"), ("v_catch_1_f_7", "00007")),
        ("v_wave_2_f_2", "00002"),
    ]
    assert {tuple(batch.frames.shape[:2]) for batch in system.seen} == {(1, 5)}
    assert len(system.read) == 2, "the words of a video are read once, for its three frames together"
    assert all(batch.asked == (2,) for batch in system.seen)
    assert all(row["intersection"] == row["union"] == object_mask(1, 1).sum() for row in rows)
    assert rows[0]["score"] == pytest.approx(torch.tensor(2.0).sigmoid().item())
    values = sentence_measures(rows).values
    assert values["mAP"] == pytest.approx(1) and values["mIoU"] == values["P@0.9"] == 1
    mask = read_labels(tmp_path / "out" / "catch_1" / "00007" / "0.png")
    assert (mask == 255 * object_mask(1, 7)).all()
    (shown,) = run.files(samples[0])
    assert shown[0] == "A man catches" and list(shown[1]) == ["00001", "00004", "00007"]
    assert draw_sample(samples[0], source, run, tmp_path / "pictures").is_file()


def test_all_candidates_are_kept_for_the_official_evaluation(source: SentenceSource, tmp_path: Path) -> None:
    row = predictor(source, Follows(), tmp_path).predict(samples_of(source.items())[1])[0]
    worse, best = coco_results(row)
    assert worse["image_id"] == "v_wave_2_f_2" and worse["score"] < best["score"] == row["score"]
    assert best["segmentation"] == {"size": list(SIZE), "counts": row["runs"]["truth"]} != worse["segmentation"]


def test_without_scores_the_mean_probability_inside_the_mask_ranks(source: SentenceSource, tmp_path: Path) -> None:
    row = predictor(source, Follows(scored=False), tmp_path).predict(samples_of(source.items())[1])[0]
    assert row["runs"]["scores"] == pytest.approx([torch.tensor(3.0).sigmoid().item()] * 2)
    assert row["intersection"] > 0, "of equal scores the last"


def test_masks_are_resized_as_logits_or_by_the_nearest_pixel(source: SentenceSource, tmp_path: Path) -> None:
    class Halves(Follows):
        def forward(self, queries: ClipBatch, state: ReferenceState) -> Prediction:
            logits = torch.full((1, 1, 1, 12, 16), -1.0)
            logits[..., 8:] = 4.0  # resized, the pixel a quarter of the way from cell to cell is above 0
            return Prediction(logits, torch.ones(1, 1, 1), stride=1)

    sample = samples_of(source.items())[1]
    reader = FrameReader(source, ShortLongTransform(12, 16), 1, "cpu")
    masks = []
    for nearest in (False, True):
        SentencePredictor(source, reader, Halves(), tmp_path, 5, nearest).predict(sample)
        masks.append((read_labels(tmp_path / "wave_2" / "00002" / "0.png")[0] > 0).sum())
    assert masks == [17, 16]


def test_a_mask_of_another_size_than_its_frame_is_named(source: SentenceSource, tmp_path: Path) -> None:
    from scipy.io import savemat

    savemat(source.mask_path("wave_2"), {"part_mask": object_mask(1, 1)[:, :-2, None].repeat(3, 2)})  # type: ignore
    with pytest.raises(ValueError, match=r"puppet_mask.mat is 24x30, but its frame is 24x32: they must be of one size"):
        predictor(source, Follows(), tmp_path).predict(samples_of(source.items())[1])
