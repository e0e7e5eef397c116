"""What is written of a video: instances with scores, panoptic segments, or one class for each pixel.

Legend: N entities, F frames that are kept, K classes, Q queries, (h, w) a map at stride 4, (H, W) the padded frame.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from fewshot.systems.univs.answers import Answer, Candidates
from fewshot.systems.univs.entities import EntityState
from fewshot.systems.univs.objects import ObjectState
from fewshot.systems.univs.tracking import full_size, quality
from fewshot.systems.video_tasks import FoundTrack, VideoQuestion

Size = tuple[int, int]
LEAST_SCORE, LIKELY_SCORE = 0.005, 0.05  # of an instance that is written, and that counts for how many are
MORE_THAN_LIKELY, LEAST_RESULTS = 1.5, 35
FORCED = 10.0  # logit of a cell of stuff whose class is seen there
STUFF_SCORE = 0.75  # factor on the score of stuff, so that things win


def on_frames(logits: Tensor, unpadded: Size, size: Size) -> Tensor:
    """Logits `(N, F, H, W)` of padded frames on frames of the size of the files, bilinearly: `(N, F, *size)`."""
    return full_size(logits[..., : unpadded[0], : unpadded[1]], size)


def masks_of(state: EntityState, frames: int, size: Size) -> Tensor:
    """Masks `(N, frames, *size)` bool of the first frames that are kept, entity by entity for the sake of memory."""
    masks = torch.zeros(len(state), frames, *size, dtype=torch.bool)
    for n in range(len(state)):
        masks[n] = (on_frames(state.logits[n : n + 1, :frames], state.unpadded, size) > 0)[0].cpu()
    return masks


@dataclass(frozen=True)
class TrackScores:
    """Class scores of tracks over the windows of a video, also of those that are forgotten.

    Attributes:
        sums: id -> `(K,)` sum over windows of the mean score times the mean likeness; weights: of the likeness.
        quality: id -> sum over the clips.
    """

    sums: Mapping[int, Tensor] = field(default_factory=dict)
    weights: Mapping[int, float] = field(default_factory=dict)
    quality: Mapping[int, float] = field(default_factory=dict)

    def added(self, state: EntityState, slots: int) -> TrackScores:
        """With a window: the first `slots` slots of the state."""
        sums, weights, quality = dict(self.sums), dict(self.weights), dict(self.quality)
        means, alike = state.scores[:, :slots].mean(1).cpu(), state.likeness[:, :slots].mean(1).tolist()
        for n, k in enumerate(state.ids.tolist()):
            sums[k] = sums.get(k, torch.zeros(means.shape[1])) + alike[n] * means[n]
            weights[k] = weights.get(k, 0.0) + alike[n]
            quality[k] = float(state.quality[n])
        return TrackScores(sums, weights, quality)

    def ranked(self) -> list[FoundTrack]:
        """Every likely class of every track, track by track; labels count from 0 in the data set.

        The score is the mean over the windows times the quality, divided by a whole number above the best one, as
        released.
        """
        if not self.sums:
            return []
        best = int(max(self.quality.values())) + 1
        ids = sorted(self.sums)
        scores = torch.stack([self.sums[k] / max(self.weights[k], 1e-6) * (self.quality[k] / best) for k in ids])
        likely = int(MORE_THAN_LIKELY * int((scores > LIKELY_SCORE).sum()))
        order = scores.flatten().sort(descending=True).values
        least = float(order[min(max(likely, LEAST_RESULTS), len(order) - 1)])
        rows = (scores >= max(LEAST_SCORE, least)).nonzero().tolist()
        return [FoundTrack(ids[n], label, float(scores[n, label])) for n, label in rows]


@dataclass(frozen=True)
class Segment:
    """One segment of a panoptic video: number from 1, label from 0 in the data set, and the entity it began as."""

    number: int
    label: int
    thing: bool
    entity: int


def panoptic(
    state: EntityState,
    size: Size,
    things: int,
    share: float = 0.6,
    known: tuple[Segment, ...] = (),
    frames: int | None = None,
) -> tuple[Tensor, tuple[Segment, ...]]:
    """Numbers of the segments `(F, height, width)`, 0 for none, and the segments; those that are `known` keep theirs.

    Args:
        things: number of classes of things, which come first.
        share: of its own pixels that a thing must win; half of it for a thing that is known.
        frames: so many of the first frames that are kept; None: all.
    """
    logits = state.logits[:, :frames]
    numbers = torch.zeros(logits.shape[1], *size, dtype=torch.long)
    if not len(state):
        return numbers, known
    segments = list(known)
    logits = on_frames(logits, state.unpadded, size).cpu()
    best, labels = (x.cpu() for x in state.scores.mean(1).max(1))
    old = {s.entity for s in known if s.thing}
    seen = torch.tensor([entity in old for entity in state.ids.tolist()])
    thing = labels < things
    scores = best * quality(logits) * torch.where(thing | seen, 1.0, STUFF_SCORE)
    winner = (scores[:, None, None, None] * logits).argmax(0)
    sure = logits.sigmoid() >= 0.5
    for n in range(len(state)):
        won = (winner == n) & sure[n]
        own, kept = int(sure[n].sum()), int(won.sum())
        is_thing = bool(thing[n] | seen[n])
        if kept == 0 or (is_thing and kept / own < (share / 2 if bool(seen[n]) else share)):
            continue
        entity, label = int(state.ids[n]), int(labels[n])
        same = (s for s in segments if (s.entity == entity if is_thing else s.label == label) and s.thing == is_thing)
        segment = next(same, None)
        if segment is None:
            segment = Segment(len(segments) + 1, label, is_thing, entity)
            segments.append(segment)
        numbers[won] = segment.number
    return numbers, tuple(segments)


def semantic(found: Candidates, unpadded: Size, padded: Size, size: Size) -> Tensor:
    """The class of each pixel of a clip `(T, height, width)`, counted from 0, from the answers of all queries."""
    assert found.logits is not None
    inside = full_size(found.masks, padded)[..., : unpadded[0], : unpadded[1]]
    masks = F.interpolate(inside, size, mode="nearest")
    weights = found.logits.sigmoid() * quality(masks)[:, None]
    return torch.einsum("qk,qthw->kthw", weights, masks.sigmoid()).argmax(0)


def helped(answer: Answer, stuff: Mapping[int, int]) -> Candidates:
    """The prompts, where those of stuff have all cells of their class, as the learnable queries see it.

    Li et al., 2024: so UniVS follows panoptic masks.

    Args:
        stuff: row of a prompt -> its class.
    """
    found, seen = answer.prompts, answer.learnable
    assert seen.logits is not None
    weights = seen.logits.sigmoid() * quality(seen.masks)[:, None]
    labels = torch.einsum("qk,qthw->kthw", weights, seen.masks.sigmoid()).argmax(0)
    masks = found.masks.clone()
    for row, label in stuff.items():
        masks[row] = torch.where(labels == label, FORCED, masks[row])
    return Candidates(masks, found.embeddings, found.logits)


def tracked(
    tracks: ObjectState,
    first: int,
    frames: int,
    question: VideoQuestion,
    *,
    exclusive: bool,
    first_wins: bool = False,
) -> tuple[Tensor, Tensor]:
    """Masks `(N, frames, Ho, Wo)` bool of objects from frame `first` on, and scores `(N, frames)`, on the CPU.

    The score is the mean probability inside a mask, 0 for an empty one.

    Args:
        exclusive: a pixel belongs to one object: that with the largest logit, or, as released, to the first one whose
            mask has it (`first_wins`).
    """
    at = tracks.frame(first)
    masks = torch.zeros(len(tracks.ids), frames, *question.size, dtype=torch.bool)
    scores = torch.zeros(len(tracks.ids), frames)
    if not len(tracks.ids):
        return masks, scores
    for t in range(frames):
        logits = on_frames(tracks.logits[:, at + t : at + t + 1], tracks.unpadded, question.size)[:, 0]
        found = logits > 0
        if exclusive:
            best = found.int().argmax(0) if first_wins else logits.argmax(0)
            found &= best == torch.arange(len(logits), device=logits.device)[:, None, None]
        inside = found.flatten(1)
        means = (logits.sigmoid().flatten(1) * inside).sum(1) / inside.sum(1).clamp(min=1)
        masks[:, t], scores[:, t] = found.cpu(), means.cpu()
    return masks, scores
