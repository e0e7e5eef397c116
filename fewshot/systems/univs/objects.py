"""Objects and panoptic masks that are given in some frame, followed through a video (VOS, PVOS), clip by clip.

Li et al., 2024, section 3.4. The state is explicit: `advance` takes it to the next clip, `take` reads the answer of the
network into it.

Legend: N objects, F frames that are kept, S frames seen, T frames of a clip, C width, (H, W) the padded frame.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fewshot.systems.univs.answers import Answer, Candidates
from fewshot.systems.univs.partners import answers_of, overlap
from fewshot.systems.univs.tracking import consistency, full_size, quality
from fewshot.systems.univs.visual_prompts import box_of_masks, relative

SURE_AREA, SURE_OVERLAP = 96 * 96, 0.15  # of an annotation: how well a first prediction must repeat it
LEAST_SHARE = 0.25  # of its own area that an object must win against the others

Annotations = Mapping[int, Mapping[int, Tensor]]  # frame -> id -> mask (height, width) bool, at the unpadded size


@dataclass(frozen=True)
class ObjectState:
    """What is known of `N` objects after some clips.

    Attributes:
        ids: of the objects, those that are annotated later too.
        unpadded: height and width of the frames.
        masks: `(N, F, H, W)` bool; logits: `(N, F, H, W)` sums over clips.
        boxes: `(N, S, 4)` x0, y0, x1, y1 in 0..1.
        embeddings: `(N, S, C)`.
        first: `(N,)` int64 frame in which each was first annotated, -1 before.
        seen: number of frames so far.
    """

    ids: tuple[int, ...]
    unpadded: tuple[int, int]
    masks: Tensor
    logits: Tensor
    boxes: Tensor
    embeddings: Tensor
    first: Tensor
    seen: int = 0

    @classmethod
    def start(
        cls, ids: tuple[int, ...], unpadded: tuple[int, int], padded: tuple[int, int], width: int, device: str = "cpu"
    ) -> ObjectState:
        """Nothing is seen yet. `width` is C."""
        count = len(ids)
        maps = torch.zeros(count, 0, *padded, device=device)
        return cls(
            ids,
            unpadded,
            maps.bool(),
            maps,
            torch.zeros(count, 0, 4, device=device),
            torch.zeros(count, 0, width, device=device),
            torch.full((count,), -1, device=device),
        )

    def frame(self, index: int) -> int:
        """Place among the frames that are kept of a frame of the video."""
        return index - (self.seen - self.masks.shape[1])


@dataclass(frozen=True)
class ObjectTracker:
    """Rules by which answers of the network become tracks.

    Attributes:
        memory: M, frames that are kept beside the new ones, and that a target is known again by; T where that is more.
        threshold: of the likeness to its past by which a prediction is believed; half of it in the first clips.
        bounded: forget boxes and embeddings that nothing reads any more; the official states grow with the video.
        competition: a pixel belongs to one object at most.
        queries: whose answers follow an object, see `partners.answers_of`.
    """

    memory: int = 5
    threshold: float = 0.5
    bounded: bool = True
    competition: bool = True
    queries: str = "prompt"

    def advance(self, state: ObjectState, start: int, frames: int, given: Annotations) -> ObjectState:
        """The state with empty slots for the frames of the clip that are new, and with what is given in the clip.

        Args:
            start: index of the clip's first frame; frames: T.
            given: annotations of the video; those of other frames are left alone.
        """
        new = start + frames - state.seen
        state = replace(_longer(state, new, max(self.memory, frames)), seen=start + frames)
        for index in range(start, start + frames):
            for n, target in enumerate(state.ids):
                if target in given.get(index, {}):
                    state = _annotated(state, n, index, given[index][target])
        return state

    def take(self, state: ObjectState, answer: Answer, start: int) -> ObjectState:
        """The state after the answer for the clip that starts at frame `start`."""
        found = answer.prompts
        if not len(found):
            return state
        if start == 0 and not self.competition:
            return self._described(state, found)
        frames = found.masks.shape[1]
        new = (state.first >= start) & (state.first < start + frames)
        if bool(new.any()):
            state = self._first_predictions(state, found, new, start)
        earlier = (state.first >= 0) & (state.first < start)
        if bool(earlier.any()):
            state = self._followed(state, answer, earlier, start)
        return self._trimmed(state)

    def _described(self, state: ObjectState, found: Candidates) -> ObjectState:
        """Every frame of the first clip as it was predicted, for targets that are not given but described."""
        logits = full_size(found.masks, (state.masks.shape[-2], state.masks.shape[-1]))
        boxes, first = boxes_of(found.masks), torch.zeros_like(state.first)
        masks = logits > 0
        return replace(state, masks=masks, logits=logits, boxes=boxes, embeddings=found.embeddings, first=first)

    def _trimmed(self, state: ObjectState) -> ObjectState:
        keep = state.masks.shape[1] if self.bounded else state.seen
        return replace(state, boxes=state.boxes[:, -keep:], embeddings=state.embeddings[:, -keep:])

    def _first_predictions(self, state: ObjectState, found: Candidates, new: Tensor, start: int) -> ObjectState:
        """Frames after the one in which an object was given, where the prediction repeats what was given."""
        rows = new.nonzero()[:, 0]
        frames = found.masks.shape[1]
        size = (state.masks.shape[-2], state.masks.shape[-1])
        masks = full_size(found.masks[rows], size)
        slots = state.masks.shape[1] - frames
        at = state.first[rows] - start
        truth = state.masks[rows, slots + at]
        each = torch.arange(len(rows), device=rows.device)
        agreement = overlap(masks[each, at] > 0, truth)
        sure = quality(self._inside(masks, state))
        masks = compete(masks, agreement**2 * sure)
        agreement = overlap(masks[each, at] > 0, truth)
        area = truth.flatten(1).sum(1)
        good = agreement > SURE_OVERLAP * (area / SURE_AREA).clamp(max=1)
        boxes = boxes_of(found.masks[rows])
        state = _copied(state)
        for row, n in enumerate(rows.tolist()):
            state.embeddings[n, -frames:] = found.embeddings[n]
            first = int(at[row]) + 1
            if bool(good[row]) and first < frames:
                state.logits[n, slots + first :] = masks[row, first:]
                state.masks[n, slots + first :] = masks[row, first:] > 0
                state.boxes[n, first - frames :] = boxes[row, first:]
        return state

    def _followed(self, state: ObjectState, answer: Answer, earlier: Tensor, start: int) -> ObjectState:
        """Predictions of objects of earlier clips, added up where they are like their past."""
        rows = earlier.nonzero()[:, 0]
        frames = answer.prompts.masks.shape[1]
        past = state.embeddings[rows, -max(self.memory, frames) :]
        found = answers_of(answer.learnable, answer.prompts.some(rows), past, self.queries)
        size = (state.masks.shape[-2], state.masks.shape[-1])
        alike = consistency(past, found.embeddings)
        threshold = self.threshold / 2 if start < frames else self.threshold
        believed = (alike > threshold)[:, None, None, None]
        masks = full_size(found.masks, size) * believed
        if self.competition:
            own = (masks > 0).flatten(1).sum(1)
            masks = compete(masks, alike**2 * quality(self._inside(masks, state)))
            won = (masks > 0).flatten(1).sum(1)
            masks = masks * (won > LEAST_SHARE * own)[:, None, None, None]
        state = _copied(state)
        sums = state.logits[rows, -frames:] + masks
        state.logits[rows, -frames:] = sums
        state.masks[rows, -frames:] = sums > 0
        state.boxes[rows, -frames:] = boxes_of(found.masks)
        state.embeddings[rows, -frames:] = (state.embeddings[rows, -frames:] + found.embeddings) / 2
        return state

    @staticmethod
    def _inside(masks: Tensor, state: ObjectState) -> Tensor:
        height, width = state.unpadded
        return masks[..., :height, :width]


def compete(masks: Tensor, weights: Tensor) -> Tensor:
    """Logits `(N, T, H, W)` where each object wins by its weight `(N,)`, 0 elsewhere and on the background."""
    winner = (masks.sigmoid() * weights[:, None, None, None]).argmax(0)
    won = winner[None] == torch.arange(len(masks), device=masks.device)[:, None, None, None]
    return masks * (won & (masks > 0).any(0))


def boxes_of(masks: Tensor) -> Tensor:
    """Boxes `(N, T, 4)` in 0..1 of logits `(N, T, h, w)`: their outermost cells, as fractions of the map."""
    return relative(box_of_masks(masks > 0), (masks.shape[-2], masks.shape[-1]))


def _longer(state: ObjectState, new: int, memory: int) -> ObjectState:
    """The last `memory` frames of masks, and `new` empty ones; embeddings start as the mean of the last `new`."""

    def grown(x: Tensor, keep: int | None = None) -> Tensor:
        x = x if keep is None else x[:, -keep:]
        return torch.cat([x, x.new_zeros(len(x), new, *x.shape[2:])], 1)

    last = state.embeddings[:, -new:]
    mean = last.mean(1, keepdim=True) if last.shape[1] else last.new_zeros(len(last), 1, last.shape[2])
    return replace(
        state,
        masks=grown(state.masks, memory),
        logits=grown(state.logits, memory),
        boxes=grown(state.boxes),
        embeddings=torch.cat([state.embeddings, mean.expand(-1, new, -1)], 1),
    )


def _annotated(state: ObjectState, n: int, index: int, mask: Tensor) -> ObjectState:
    """The state with the mask that is given of object `n` in frame `index`."""
    state, at = _copied(state), state.frame(index)
    height, width = state.unpadded
    full = torch.zeros_like(state.masks[n, at])
    full[:height, :width] = mask
    state.masks[n, at], state.logits[n, at] = full, full.float()
    box = box_of_masks(full) + torch.tensor([0, 0, 1, 1], device=full.device)
    box = relative(box, (full.shape[0], full.shape[1])) * full.any()
    state.boxes[n, index - state.seen] = box
    if int(state.first[n]) < 0:
        state.first[n] = index
    return state


def _copied(state: ObjectState) -> ObjectState:
    """A state of its own, to be written into."""
    parts = ("masks", "logits", "boxes", "embeddings", "first")
    return replace(state, **{name: getattr(state, name).clone() for name in parts})
