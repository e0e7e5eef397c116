"""UniVS on a video that is longer than a window: scores of tracks, worked out once more by plain loops.

A scripted network answers: thing A is there from the first frame on, thing B for a while.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from episodes.batch import ClipBatch
from fewshot.systems.univs.decoder import Found
from fewshot.systems.univs.video_tasks import task_of
from fewshot.systems.univs.visual_prompts import VisualPrompts
from fewshot.systems.video_tasks import Settled, VideoQuestion, Vocabulary

SIZE, CLIP, FRAMES, CLASSES = (16, 16), 3, 33, 2
CLIPS = FRAMES - CLIP + 1
WINDOW, MEMORY = 10, 5  # as released: a window is written after the clips 15, 25, ...
B_COMES, B_GOES = 12, 22  # the first clip that shows B, and the first that no longer does
A, B = 0, 1
NOWHERE = -9.0  # logit
LIKENESS = 0.28  # of B to its past when it is gone


def class_logit(thing: int, label: int, clip: int) -> float:
    """What the network says about the class of a thing in a clip."""
    return (2.0 if label == thing else -3.0) + 0.1 * ((3 * clip + thing) % 5)


def there(thing: int, clip: int) -> bool:
    """Whether a clip shows a thing."""
    return thing == A or B_COMES <= clip < B_GOES


def mask(thing: int, clip: int) -> Tensor:
    """Logits `(T, 4, 4)`: one half each, of which A is unsure of a fourth."""
    logits = torch.full((CLIP, 4, 4), NOWHERE)
    if there(thing, clip):
        logits[:, :, 2 * thing : 2 * thing + 2] = 3.0
        if thing == A:
            logits[:, 0, :2] = 0.5
    return logits


def embedding(thing: int, clip: int) -> Tensor:
    """`(T, C)`, the same as long as a thing is there, and little like that when it is gone."""
    vector = torch.zeros(CLIP, 4)
    vector[:, thing] = 8.0 if there(thing, clip) else 8.0 * LIKENESS
    vector[:, 3] = 0.0 if there(thing, clip) else 8.0 * (1 - LIKENESS**2) ** 0.5
    return vector


class Scripted:
    """A network that says what the tables above say."""

    name, video_kinds = "scripted", frozenset({"vis"})
    sizes = SimpleNamespace(num_queries=2, hidden_dim=4, dense_points=1)

    def __init__(self) -> None:
        self.seen = 0

    def frame_features(self, _: ClipBatch) -> tuple[Tensor, ...]:
        self.seen += 1
        return (torch.full((1, 4, 4, 4), float(self.seen - 1)),)

    def scenes(self, features: Sequence[Tensor], frames: Tensor) -> Any:
        assert features[0][:, 0, 0, 0].tolist() == frames[0].tolist(), "the frames of a clip in their order"
        return SimpleNamespace(moments=frames, start=int(frames[0, 0]))

    def embed_classes(self, names: Sequence[str], _: str | None) -> Tensor:
        return torch.zeros(len(names), 4)

    def show(self, scenes: Any, k: int, masks: Tensor, *_: Any) -> VisualPrompts:
        tokens = torch.zeros(len(masks), 1, 4)
        return VisualPrompts(tokens, tokens, torch.zeros(len(masks), 2))

    def task(self, _: str) -> Tensor:
        return torch.zeros(4)

    def segment(self, scenes: Any, asked: Any, **_: Any) -> list[Found]:
        clip, prompts = scenes.start, 0 if asked is None else asked.content.shape[1]
        things = [A, B, *range(prompts)]
        logits = [
            [class_logit(k, label, clip) if there(k, clip) else NOWHERE for label in range(CLASSES)] for k in things
        ]
        masks, embeddings = (torch.stack([of(k, clip) for k in things])[None] for of in (mask, embedding))
        return [Found(masks, embeddings, torch.tensor(logits)[None])]


def walked() -> tuple[list[Settled], Any]:
    """The answers for the whole video, and the state before its end."""
    task = task_of(Scripted(), "vis", CLIP)  # type: ignore[arg-type]
    state = task.start(VideoQuestion(SIZE, Vocabulary(("dax", "toma"))))
    frame = ClipBatch(torch.zeros(1, 1, 3, *SIZE), torch.zeros(1, *SIZE) > 0, torch.tensor([SIZE]), (None,), (None,))
    told = []
    for _ in range(FRAMES):
        state, settled = task.step(state, frame)
        told.append(settled)
    return [*(x for x in told if x.frames), task.end(state)], state


def share(logits: Tensor) -> float:
    """Cells that are surely inside, of those that may be: the quality of a mask."""
    cells = logits.flatten().tolist()
    return sum(x > 1 for x in cells) / max(sum(x > -1 for x in cells), 1)


def expected() -> dict[tuple[int, int], float]:
    """Score of each thing and class, clip by clip and window by window."""
    scores: dict[int, list[list[float]]] = {}  # thing -> clip -> class
    alike: dict[int, list[float]] = {}
    quality: dict[int, float] = {}
    for clip in range(CLIPS):
        for thing in (A, B):
            full = F.interpolate(mask(thing, clip)[None], SIZE, mode="bilinear")[0]
            offered = share(mask(thing, clip))
            said = [offered / (1 + 2.718281828459045 ** -class_logit(thing, label, clip)) for label in range(CLASSES)]
            if thing not in scores:
                if there(thing, clip):
                    scores[thing] = [[0.0] * CLASSES for _ in range(clip)] + [said]
                    alike[thing] = [0.0] * clip + [1.0]
                    quality[thing] = offered
                continue
            last = scores[thing][-1]
            scores[thing].append([(a + b) / 2 for a, b in zip(last, said, strict=True)] if there(thing, clip) else last)
            alike[thing].append(1.0 if there(thing, clip) else LIKENESS)
            if there(thing, clip):  # the prompt's prediction, and the candidate that is matched with it
                quality[thing] += share(full) + offered
    ends = [clip - MEMORY for clip in range(MEMORY + 1, CLIPS) if clip % WINDOW == MEMORY] + [CLIPS]
    best = int(max(quality.values())) + 1
    found = {}
    for thing in (A, B):
        for label in range(CLASSES):
            total, weight = 0.0, 0.0
            for start, end in zip([0, *ends], ends, strict=False):
                window = range(start, end)
                mean = sum(scores[thing][clip][label] for clip in window) / len(window)
                likeness = sum(alike[thing][clip] for clip in window) / len(window)
                total, weight = total + likeness * mean, weight + likeness
            found[thing, label] = total / weight * quality[thing] / best
    return found


def test_scores_of_tracks_are_means_over_the_windows_weighted_by_likeness_times_quality() -> None:
    told, _ = walked()
    assert [x.frames for x in told] == [10, 10, 13]
    rows = told[-1].tracks
    found = {(row.id, row.label): row.score for row in rows}
    wanted = expected()
    assert found.keys() == {key for key, score in wanted.items() if score >= 0.005}
    for key, score in found.items():
        assert score == pytest.approx(wanted[key], rel=1e-5), key
    assert [row.score for row in rows] == sorted(found.values(), reverse=True)


def test_tracks_of_all_windows_put_together_show_the_things_where_they_are() -> None:
    told, _ = walked()
    masks = {k: torch.zeros(FRAMES, *SIZE, dtype=torch.bool) for k in (A, B)}
    at = 0
    for part in told:
        assert part.masks is not None
        for k, own in zip(part.ids, part.masks, strict=True):
            masks[k][at : at + part.frames] = own
        at += part.frames
    assert at == FRAMES and masks[A].flatten(1).any(1).all() and not masks[A][:, :, 10:].any()
    shown = masks[B].flatten(1).any(1).nonzero()[:, 0].tolist()
    assert shown == list(range(B_COMES, B_GOES + CLIP - 1)) and not masks[B][:, :, :6].any()


def test_what_is_read_of_a_window_is_forgotten_with_it() -> None:
    _, state = walked()
    entities = state.video.video.entities
    assert entities.logits.shape[1] == FRAMES - 20 and entities.scores.shape[1] == CLIPS - 20
