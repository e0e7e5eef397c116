"""Videos of any length: chunks are read, segmented, scored and forgotten, and the numbers are those of whole videos."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.metrics.cma import frame_scores
from benchmarks.protocols import VIDEO_PROTOCOLS
from episodes.batch import ClipBatch
from episodes.episode import Episode
from fewshot.evaluation import folds
from fewshot.evaluation.evaluate import evaluate
from fewshot.evaluation.query import read_queries, read_supports
from fewshot.evaluation.scoring import mask_pairs
from fewshot.inference.chunks import segment_queries
from fewshot.media.pictures import contact_sheet, save_episode_picture
from fewshot.nn.outputs import Prediction
from fewshot.systems.base import ReferenceState
from tests.episodes.memory import MemorySource, memory_specs
from tests.fewshot.evaluation.oracle import Oracle, halve, halved


class Alive:
    """Counter of frames in memory: of every tensor that is watched, while it lives."""

    def __init__(self) -> None:
        self.now = self.most = 0

    def watch(self, tensor: Tensor) -> Tensor:
        self.now += len(tensor)
        self.most = max(self.most, self.now)
        weakref.finalize(tensor, self._gone, len(tensor))
        return tensor

    def _gone(self, frames: int) -> None:
        self.now -= frames


class WatchedSource(MemorySource):
    """Its pixels and masks are counted while they live."""

    def __init__(self, alive: Alive, frames: int) -> None:
        super().__init__(frames=frames)
        self.alive = alive

    def read_frames(self, video: str, frames: Sequence[str]) -> Tensor:
        return self.alive.watch(super().read_frames(video, frames))

    def read_masks(self, video: str, frames: Sequence[str], object_id: int) -> Tensor:
        return self.alive.watch(super().read_masks(video, frames, object_id))


class WatchedOracle(Oracle):
    """Its predictions are counted while they live, its network input too."""

    def __init__(self, alive: Alive) -> None:
        super().__init__()
        self.alive = alive

    def forward(self, queries: ClipBatch, state: ReferenceState) -> Prediction:
        prediction = super().forward(queries, state)
        for clip in (*prediction.masks, *queries.frames):
            self.alive.watch(clip)
        self.calls.expressions.clear()
        return prediction

    def logits(self, prediction: Prediction, queries: ClipBatch, n: int) -> Tensor:
        return self.alive.watch(super().logits(prediction, queries, n))


def most_alive(frames: int, work: Callable[..., Any], tmp_path: Path) -> int:
    """Most frames that are in memory at once while `work` runs on a video of `frames` frames."""
    alive = Alive()
    source = WatchedSource(alive, frames)
    specs = memory_specs(source)[:1]
    work(WatchedOracle(alive), halved(source, 3), specs, tmp_path / str(frames))
    return alive.most


def plain_test(system: Oracle, benchmark: Any, specs: Any, folder: Path) -> None:
    evaluate(system, benchmark, specs, progress=False)


def with_masks(system: Oracle, benchmark: Any, specs: Any, folder: Path) -> None:
    evaluate(system, benchmark, specs, progress=False, on_query=lambda result: folds.save_masks(folder, result))


@pytest.mark.parametrize("work", [plain_test, with_masks, folds.draw])
def test_memory_does_not_depend_on_the_length_of_a_video(work: Callable[..., Any], tmp_path: Path) -> None:
    short, long = (most_alive(frames, work, tmp_path) for frames in (15, 60))
    ahead = 2 * 3  # pixels and masks of a chunk, which may or may not be read ahead at the fullest moment
    assert abs(long - short) <= ahead and long < 60


def test_scores_are_means_over_the_frames_of_the_whole_video() -> None:
    source, generator = MemorySource(frames=11), torch.Generator().manual_seed(0)
    noise = torch.randint(0, 256, (11, 3, 8, 16), dtype=torch.uint8, generator=generator)
    names = {name: t for t, name in enumerate(source.names)}
    source.read_frames = lambda video, frames: noise[[names[f] for f in frames]]  # type: ignore[method-assign]
    spec = memory_specs(source)[0]
    scores = evaluate(Oracle(), halved(source, 3), [spec], progress=False)
    episode = Episode(spec, read_supports(source, spec, halve), read_queries(source, spec, halve))
    for query, score in zip(episode.queries, scores, strict=True):
        found = torch.cat([_found(query.frames[start : start + 3], query.expression) for start in range(0, 11, 3)])
        pairs = mask_pairs(found, query.masks)
        for pair, protocol, mine in (
            (pairs.network, "cma", (score.j_cma, score.f_cma)),
            (pairs.original, "davis", (score.j_davis, score.f_davis)),
        ):
            whole = frame_scores(*pair, VIDEO_PROTOCOLS[protocol].bound_th)
            assert mine == (whole[0].mean(), whole[1].mean())
    assert 0 < scores[0].j_cma < 1


def _found(frames: Tensor, expression: str | None) -> Tensor:
    """What the oracle finds in a chunk: the whole object in short ones, a column of it in the others."""
    whole = frames[:, int((expression or "1").split()[-1]) - 1] > 0.5
    part = torch.zeros_like(whole)
    part[..., 2:3] = whole[..., 2:3]
    return (whole if len(frames) < 3 else part).float()


def test_pictures_are_those_of_the_whole_video(tmp_path: Path) -> None:
    source = MemorySource(frames=11)
    spec, benchmark = memory_specs(source)[0], halved(source, 3)
    picture, overview = (*folds.draw(Oracle(), benchmark, [spec], tmp_path), tmp_path / "overview_group1.png")
    episode = Episode(spec, read_supports(source, spec, halve), read_queries(source, spec, halve))
    masks = segment_queries(Oracle(), episode, chunk=3)
    whole = save_episode_picture(tmp_path / "whole.png", episode, masks)
    assert picture.read_bytes() == whole.read_bytes()
    whole = contact_sheet(tmp_path / "whole.png", [episode], masks[:1], columns=2)
    assert overview.read_bytes() == whole.read_bytes()


def test_frames_of_another_size_are_refused_wherever_they_are() -> None:
    source = MemorySource()
    pixels, masks = source.read_frames, source.read_masks

    def cut(rows: Tensor, frames: Sequence[str]) -> Tensor:
        return rows[..., :4] if "00004" in frames else rows

    source.read_frames = lambda video, frames: cut(pixels(video, frames), frames)  # type: ignore[method-assign]
    source.read_masks = lambda video, frames, k: cut(masks(video, frames, k), frames)  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="'class1_1': frame 00004 is 8x4, but 00000 is 8x16: all must be of one size"):
        evaluate(Oracle(), halved(source, 2), memory_specs(source)[:1], progress=False)
