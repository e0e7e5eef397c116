"""Expressions in videos without a memory: clips one after the other, and one map of labels without overlaps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.masks.png import read_labels
from benchmarks.masks.submission import check_submission
from episodes.batch import ClipBatch
from episodes.clip import Clip
from episodes.collation import collate_clips
from episodes.episode import Verbatim
from episodes.sources.tasks import open_task_source
from episodes.transforms.clips import FitTransform
from fewshot.evaluation.tasks.frames import FrameReader
from fewshot.evaluation.tasks.samples import samples_of
from fewshot.evaluation.tasks.windows import WindowPredictor
from fewshot.inference.candidates import best_of_clip
from fewshot.inference.trackers import FrameMasks
from fewshot.nn.outputs import Losses, Prediction
from fewshot.systems.base import ReferenceState, System
from tests.episodes.videos import FRAMES
from tests.fewshot.evaluation.tasks.trees import PAIR, write_ref_davis


class Halves(System):
    """The dog: columns 0..9, sure. The cat: columns 6..14, surer. The score of both is 0.5."""

    name = "halves"
    accepts = needs = frozenset({"expression"})
    needs_training = False

    def __init__(self) -> None:
        super().__init__()
        self.lengths: list[int] = []
        self.read: list[tuple[str | None, ...]] = []

    def encode_supports(self, supports: ClipBatch, shots: int) -> None:
        raise NotImplementedError

    def encode_text(self, expressions: Sequence[str | None]) -> tuple[str | None, ...]:
        self.read.append(tuple(expressions))
        return tuple(expressions)

    def forward(self, queries: ClipBatch, state: ReferenceState) -> Prediction:
        (n, t), (height, width) = queries.frames.shape[:2], queries.frames.shape[-2:]
        self.lengths.append(t)
        logits = torch.full((n, t, 2, height, width), -5.0)
        for of_one, text in zip(logits, state.words, strict=True):
            cat = "cat" in text
            of_one[:, 1, :, slice(6, 15) if cat else slice(0, 10)] = 4.0 if cat else 2.0
        return Prediction(logits, torch.tensor([-1.0, 0.0]).expand(n, t, 2), stride=1)

    def losses(self, prediction: Prediction, queries: ClipBatch, num_frames: float | None = None) -> Losses:
        raise NotImplementedError


def written(
    tmp_path: Path,
    benchmark: str,
    system: Halves,
    threshold: float | None = None,
    keep_case: bool = False,
    one_candidate: bool = True,
) -> tuple[Path, list]:
    source = open_task_source(benchmark, write_ref_davis(tmp_path / "data", {"v": PAIR}))
    reader = FrameReader(source, FitTransform(12, 99), 1, "cpu")
    switches = (keep_case, one_candidate)
    predictor = WindowPredictor(reader, system, benchmark, tmp_path / "out", 3, threshold, *switches)
    samples = samples_of(source.items())
    rows = [row for sample in samples for row in predictor.predict(sample)]
    items = [item for sample in samples for item in sample.items]
    assert check_submission(benchmark, tmp_path / "out", items, read=True) == []
    assert all(len(masks) == 4 for sample in samples for _, masks in predictor.files(sample))
    return tmp_path / "out", rows


def test_expressions_that_share_an_image_have_no_pixel_in_common(tmp_path: Path) -> None:
    system = Halves()
    out, rows = written(tmp_path, "ref_davis17", system)
    labels = read_labels(out / "anno_3" / "v" / f"{FRAMES[3]}.png")
    assert (labels == np.array([1] * 6 + [2] * 9 + [0])).all(), "columns 6 to 9 are the cat's, which is more probable"
    assert system.lengths == [3, 1] * 4, "4 frames in clips of 3, of which 2 expressions of 4 annotators share a pass"
    assert len(system.read) == 4, "words are read once for a video"
    assert rows[0] == {
        **{"video": "v", "annotator": 0, "expression_id": "0", "expression": "the dog by 0"},
        **{"frames": 4, "found": 4, "score": pytest.approx(0.5)},
    }


def test_expressions_with_a_folder_each_may_overlap_and_need_a_score_above_the_threshold(tmp_path: Path) -> None:
    out, _ = written(tmp_path / "all", "ref_youtube_vos", Halves())
    mask = read_labels(out / "Annotations" / "v" / "4" / f"{FRAMES[0]}.png")
    assert (mask == 255 * np.array([0] * 6 + [1] * 9 + [0])).all()
    out, rows = written(tmp_path / "sure", "ref_youtube_vos", Halves(), threshold=0.5)
    assert not read_labels(out / "Annotations" / "v" / "4" / f"{FRAMES[0]}.png").any() and rows[0]["found"] == 0


class Undecided(Halves):
    """Two candidates: columns 0..4, best in long windows, and columns 8..12, best in the last, short one."""

    def __init__(self, alone: bool) -> None:
        super().__init__()
        self.alone = alone

    def forward(self, queries: ClipBatch, state: ReferenceState) -> Prediction:
        (n, t), (height, width) = queries.frames.shape[:2], queries.frames.shape[-2:]
        self.lengths.append(t)
        masks = torch.full((n, t, 2, height, width), -5.0)
        masks[:, :, 0, :, :5], masks[:, :, 1, :, 8:13] = 4.0, 4.0
        scores = torch.tensor([1.0, -1.0] if t > 1 else [-2.0, 2.0]).expand(n, t, 2)
        prediction = Prediction(masks, scores, stride=1)
        if not self.alone:
            return prediction
        best = torch.tensor(queries.answers) if queries.answers else prediction.best()[:, 0]
        masks, chosen = (x[torch.arange(n), :, best].unsqueeze(2) for x in (masks, scores))
        return Prediction(masks, chosen, stride=1, all_scores=scores)


@pytest.mark.parametrize("alone", [False, True], ids=["all masks", "one mask"])
def test_one_candidate_answers_in_the_whole_video_unless_each_window_chooses(tmp_path: Path, alone: bool) -> None:
    """Three frames say the first, one the second: the mean over the video is the first one's."""
    seen = {}
    for one in (True, False):
        system = Undecided(alone)
        out, rows = written(tmp_path / str(one), "ref_youtube_vos", system, one_candidate=one)
        last = read_labels(out / "Annotations" / "v" / "0" / f"{FRAMES[3]}.png")
        first = read_labels(out / "Annotations" / "v" / "0" / f"{FRAMES[0]}.png")
        assert (first[0] > 0).nonzero()[0].tolist() == [0, 1, 2, 3, 4]
        seen[one] = (last[0] > 0).nonzero()[0].tolist(), system.lengths.count(3), system.lengths.count(1)
        sure, unsure = torch.tensor([1.0, -2.0 if one else 2.0]).sigmoid().tolist()
        assert rows[0]["score"] == pytest.approx((3 * sure + unsure) / 4) and rows[0]["frames"] == 4
    (kept, long, short), (free, same, once) = seen[True], seen[False]
    assert kept == [0, 1, 2, 3, 4] and free == [8, 9, 10, 11, 12]
    assert long == same and short == 2 * once, "the window that had chosen another one is looked at again, no other"


@pytest.mark.parametrize("multiple", [1, 8])
def test_masks_without_padding_may_be_resized_once(tmp_path: Path, multiple: int) -> None:
    """ReferFormer: from stride 4 straight to the original size; with padding by way of the network size, and cut."""
    clip = collate_clips([Clip(torch.zeros(1, 3, 10, 18))], multiple)
    height, width = (-(-side // 4) for side in clip.frames.shape[-2:])
    masks = torch.randn(1, 1, 2, height, width, generator=torch.Generator().manual_seed(0))
    prediction = Prediction(masks, torch.tensor([[[0.0, 1.0]]]), stride=4)
    system = Halves()
    for once in (False, True):
        system.resizes_once = once
        found, score = best_of_clip(system, prediction, clip, 0)
        assert score == pytest.approx(torch.tensor(1.0).sigmoid().item())
        if once and multiple == 1:
            assert torch.equal(found, masks[0, :, 1])
        else:
            torch.testing.assert_close(found, system.logits(prediction, clip, 0))
            assert found.shape == (1, 10, 18)


def test_capitals_of_expressions_are_read_where_that_is_asked_for(tmp_path: Path) -> None:
    for keep in (False, True):
        system = Halves()
        written(tmp_path / str(keep), "ref_youtube_vos", system, keep_case=keep)
        assert system.read and all(isinstance(x, Verbatim) == keep for texts in system.read for x in texts)


def test_where_masks_overlap_the_label_is_that_of_the_most_probable() -> None:
    probabilities = torch.tensor([[0.9, 0.6, 0.6, 0.0, 0.4], [0.7, 0.8, 0.6, 0.0, 0.3]])[:, None]
    masks = torch.tensor([[True, True, True, False, True], [True, True, True, False, False]])[:, None]
    found = FrameMasks((3, 7), probabilities, masks, (1.0, 1.0))
    assert found.labels().tolist() == [[3, 7, 3, 0, 3]] and found.labels((2, 1)).tolist() == [[2, 1, 2, 0, 2]]
    nothing = FrameMasks((), torch.zeros(0, 2, 2), torch.zeros(0, 2, 2, dtype=torch.bool), ())
    assert nothing.labels().tolist() == [[0, 0], [0, 0]]
