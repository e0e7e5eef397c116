"""Things that nobody named, found and followed through a video (VIS and VPS), clip by clip.

Li et al., 2024, section 3.4: what was found in one clip is a prompt in the next. The state is explicit: `follow` and
`discover` read the answer of the network into it, `advance` takes it to the next clip.

Legend: N entities, F frames that are kept, S slots (one a clip), K classes, C width, T frames of a clip, M candidates,
(H, W) the padded frame.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from fewshot.systems.univs.answers import Candidates
from fewshot.systems.univs.objects import boxes_of
from fewshot.systems.univs.tracking import (
    both_ways_by_frame,
    box_overlaps,
    consistency,
    full_size,
    mask_overlaps,
    not_beaten,
    quality,
)

RECENT = 3  # slots by which an entity is known again among candidates
SAME_MASK = 0.5  # overlap from which a candidate is an entity that is known
OWN_PIXELS = 0.5  # probability from which a pixel is claimed
THING_SHARE = 0.7  # of the candidates of a panoptic first clip
OF_SLOTS, OF_FRAMES = ("scores", "embeddings", "likeness"), ("logits", "boxes", "occurrence")  # parts of the state
OF_ENTITIES = ("quality", "first", "ids")


@dataclass(frozen=True)
class EntityState:
    """What is known of `N` entities after some clips.

    Attributes:
        scores: `(N, S, K)` history of the class scores; embeddings: `(N, S, C)`.
        likeness: `(N, S)` how like its past each was in a clip, 1 where it was found, 0 before.
        logits: `(N, F, H, W)` sums over clips; boxes: `(N, F, 4)` in 0..1.
        occurrence: `(N, F)` how many summands showed it; quality: `(N,)` sum of theirs.
        first: `(N,)` int64 frame of the clip in which it was found.
        ids: `(N,)` int64, in the order in which they were found.
        unpadded: height and width of the frames.
        seen: number of frames so far.
        born: number of entities so far, those that are forgotten too.
    """

    scores: Tensor
    embeddings: Tensor
    likeness: Tensor
    logits: Tensor
    boxes: Tensor
    occurrence: Tensor
    quality: Tensor
    first: Tensor
    ids: Tensor
    unpadded: tuple[int, int]
    seen: int = 0
    born: int = 0

    @classmethod
    def start(
        cls,
        frames: int,
        unpadded: tuple[int, int],
        padded: tuple[int, int],
        width: int,
        classes: int,
        device: torch.device | str = "cpu",
    ) -> EntityState:
        """Nothing is found yet, in a first clip of `frames` frames. `width` is C, `classes` K."""
        none = torch.zeros(0, device=device)
        return cls(
            none.new_zeros(0, 1, classes),
            none.new_zeros(0, 1, width),
            none.new_zeros(0, 1),
            none.new_zeros(0, frames, *padded),
            none.new_zeros(0, frames, 4),
            none.new_zeros(0, frames),
            none,
            none.long(),
            none.long(),
            unpadded,
            frames,
        )

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def masks(self) -> Tensor:
        """`(N, F, H, W)` bool."""
        return self.logits > 0

    def without(self, frames: int) -> EntityState:
        """The state without its first `frames` frames, and as many slots."""
        short = {name: getattr(self, name)[:, frames:] for name in (*OF_SLOTS, *OF_FRAMES)}
        return replace(self, **short)

    def some(self, rows: Tensor) -> EntityState:
        """Some of the entities `(n,)`; the others are forgotten."""
        return replace(self, **{name: getattr(self, name)[rows] for name in (*OF_SLOTS, *OF_FRAMES, *OF_ENTITIES)})


@dataclass(frozen=True)
class EntityRules:
    """Rules by which answers become entities; the defaults are those of VIS on YouTube-VIS 2021.

    Attributes:
        memory: slots by which an entity is compared with its own prediction, T where that is more.
        threshold: of the likeness to its past; half of it in the first clips.
        candidates: most candidates of a clip; stability: quality from which a query is one.
        box_limit: overlap of boxes, mask_limit: of masks of stuff, from which the lesser candidate is dropped.
        first_score, later_score: from which a candidate is an entity in the first clip, and in later ones.
        match: likeness from which a candidate updates an entity; add_masks: from which it adds its masks too.
        share: of its own pixels that a prediction must win against the others; None: there is no competition.
        things: number of classes of things, which come first; None: nothing but things.
        start_late: accept candidates in later clips where nothing is known yet; the released code never does.
        padded_quality: the quality of a candidate counts the padding too, as released; that of a prediction never does.
        window: frames that are written at a time and then forgotten.
        most: entities that are followed at once; the released code follows any number.
    """

    memory: int = 5
    threshold: float = 0.25
    candidates: int = 35
    stability: float = 0.25
    box_limit: float = 0.85
    mask_limit: float = 0.6
    first_score: float = 0.25
    later_score: float = 0.25
    match: float = 0.1
    add_masks: float = 0.2
    share: float | None = 0.5
    things: int | None = None
    start_late: bool = True
    padded_quality: bool = False
    window: int = 10
    most: int = 100

    def due(self, start: int) -> int:
        """Number of frames that are written after the clip that starts at frame `start`: a window now and then."""
        return self.window if start > self.memory and (start - self.memory) % self.window == 0 else 0

    def in_sight(self, state: EntityState) -> Tensor:
        """Entities `(n,)` that are followed on: all, or where they are many those that a kept frame shows."""
        there = state.masks.flatten(1).any(1) if len(state) > self.most // 2 else torch.ones_like(state.ids) > 0
        return there.nonzero()[:, 0]

    def advance(self, state: EntityState, new: int = 1) -> EntityState:
        """The state with slots for `new` frames and one clip more, which start as the last ones."""

        def longer(x: Tensor) -> Tensor:
            return torch.cat([x, x.new_zeros(len(x), new, *x.shape[2:])], 1)

        mean = state.embeddings[:, -RECENT:].mean(1, keepdim=True)
        return replace(
            state,
            scores=torch.cat([state.scores, state.scores[:, -1:]], 1),
            embeddings=torch.cat([state.embeddings, mean], 1),
            likeness=torch.cat([state.likeness, torch.zeros_like(state.likeness[:, -1:])], 1),
            logits=longer(state.logits),
            boxes=longer(state.boxes),
            occurrence=longer(state.occurrence),
            seen=state.seen + new,
        )

    # --------------------------------------------------------------------------------- what is known is followed

    def follow(self, state: EntityState, found: Candidates, start: int) -> EntityState:
        """Predictions of the prompts, one for each entity, where they are like its past and no other wins them."""
        if not len(found):
            return state
        frames = found.masks.shape[1]
        alike = consistency(state.embeddings[:, -max(self.memory, frames, RECENT) :], found.embeddings)
        threshold = self.threshold / 2 if start < frames else self.threshold
        masks = full_size(found.masks, (state.logits.shape[-2], state.logits.shape[-1]))
        height, width = state.unpadded
        inside = masks[..., :height, :width]
        sure = quality(inside)
        kept = alike > threshold
        if self.share is not None:
            weights = state.scores.mean(1).amax(1) * alike * sure
            kept = _winners(inside, weights, kept, self.share)
        rows = kept.nonzero()[:, 0]
        state = _added(state, rows, masks[rows], sure[rows])
        boxes, likeness = state.boxes.clone(), state.likeness.clone()
        boxes[rows, -frames:] = boxes_of(state.logits[rows, -frames:])
        likeness[:, -1] = alike.clamp(min=0)
        return _met(replace(state, boxes=boxes, likeness=likeness), rows, found.embeddings[rows])

    # --------------------------------------------------------------------------------------- and new ones are found

    def discover(self, state: EntityState, found: Candidates, start: int) -> EntityState:
        """The answers of the learnable queries: entities that are known already, or new ones."""
        assert found.logits is not None
        sure = quality(found.masks if self.padded_quality else _unpadded(found.masks, state))
        scores = found.logits.sigmoid() * sure[:, None]
        rows = self.candidate_rows(found, scores, sure, start)
        chosen = Candidates(found.masks[rows], found.embeddings[rows], scores[rows])
        sure, best = sure[rows], scores[rows].amax(1)
        masks = full_size(chosen.masks, (state.logits.shape[-2], state.logits.shape[-1]))
        if start == 0:
            first = (best > self.first_score).nonzero()[: self.most, 0]
            return _born(state, chosen, masks, sure, first, start)
        taken = torch.zeros(len(rows), dtype=torch.bool, device=rows.device)
        stored = state.masks[:, -masks.shape[1] :]
        if len(state) and len(rows):
            state, taken = self._matched(state, chosen, masks, sure)
        fresh = ~taken & (best > self.later_score)
        if len(state):
            fresh = fresh & (mask_overlaps(masks > 0, stored) < SAME_MASK).all(2).all(1)
        elif not self.start_late:
            fresh = torch.zeros_like(fresh)
        room = max(self.most - len(state), 0)
        new = fresh.nonzero()[:, 0]
        if len(new) > room:
            new = new[best[new].argsort(descending=True, stable=True)[:room].sort().values]
        return _born(state, chosen, masks, sure, new, start)

    def candidate_rows(self, found: Candidates, scores: Tensor, sure: Tensor, start: int) -> Tensor:
        """Queries `(M,)` that are looked at, best first."""
        if self.things is not None and start > 0:
            return torch.arange(len(found), device=scores.device)
        best, label = scores.max(1)
        rows = (sure > self.stability).nonzero()[:, 0]
        rows = rows[best[rows].argsort(descending=True, stable=True)][: self.candidates]
        boxes = boxes_of(found.masks)
        if self.things is None:
            return rows[self._apart(best[rows], boxes[rows])]
        thing = label[rows] < self.things
        most = int(self.candidates * THING_SHARE)
        things, stuff = rows[thing][:most], rows[~thing][: self.candidates - most]
        things = things[self._apart(best[things], boxes[things])]
        first = found.masks[stuff, :1] > 0
        stuff = stuff[not_beaten(best[stuff], mask_overlaps(first, first)[..., 0], self.mask_limit)]
        return torch.cat([things, stuff])

    def _apart(self, scores: Tensor, boxes: Tensor) -> Tensor:
        """Candidates whose boxes no better one overlaps in any frame."""
        overlaps = box_overlaps(boxes, boxes).amax(2) if len(boxes) else boxes.new_zeros(0, 0)
        return not_beaten(scores, overlaps, self.box_limit)

    def _matched(
        self, state: EntityState, chosen: Candidates, masks: Tensor, sure: Tensor
    ) -> tuple[EntityState, Tensor]:
        """Entities that are known, updated by the candidates most like them, and which candidates these are."""
        assert chosen.logits is not None
        alike = both_ways_by_frame(state.embeddings[:, -RECENT:], chosen.embeddings)
        alike = torch.where(alike < self.match, 0.0, alike)
        pairs = linear_sum_assignment(-alike.cpu().numpy())
        known, new = (torch.from_numpy(x).to(alike.device) for x in pairs)
        close = alike[known, new] > self.match
        known, new = known[close], new[close]
        scores = state.scores.clone()
        scores[known, -1] = (scores[known, -1] + chosen.logits[new]) / 2
        state = _met(replace(state, scores=scores), known, chosen.embeddings[new])
        very = alike[known, new] > self.add_masks
        rows, more = known[very], new[very]
        state = _added(state, rows, masks[more], sure[more])
        return state, torch.zeros_like(sure, dtype=torch.bool).index_fill(0, new, True)


def _unpadded(masks: Tensor, state: EntityState) -> Tensor:
    """Masks at stride 4 without the cells that lie on the padding alone."""
    height, width = (-(-side // 4) for side in state.unpadded)
    return masks[..., :height, :width]


def _winners(masks: Tensor, weights: Tensor, kept: Tensor, share: float) -> Tensor:
    """Which of the predictions `(N, T, H, W)` that are `kept` win more than a `share` of their own pixels."""
    rows = kept.nonzero()[:, 0]
    if not len(rows):
        return kept
    probability = masks[rows].sigmoid()
    claimed = probability > OWN_PIXELS
    winner = (probability * weights[rows, None, None, None]).argmax(0)
    winner = torch.where((probability < OWN_PIXELS).all(0), -1, winner)
    won = (winner[None] == torch.arange(len(rows), device=rows.device)[:, None, None, None]).flatten(1).sum(1)
    own = claimed.flatten(1).sum(1)
    good = (won > share * own) & (won > 0)
    return kept.index_put((rows,), good)


def _added(state: EntityState, rows: Tensor, masks: Tensor, sure: Tensor) -> EntityState:
    """The state with more masks `(n, T, H, W)` of some entities, and their quality."""
    frames = masks.shape[1]
    logits, occurrence, total = (x.clone() for x in (state.logits, state.occurrence, state.quality))
    logits[rows, -frames:] += masks
    occurrence[rows, -frames:] += (masks > 0).flatten(2).any(2).to(occurrence.dtype)
    total[rows] += sure
    return replace(state, logits=logits, occurrence=occurrence, quality=total)


def _met(state: EntityState, rows: Tensor, embeddings: Tensor) -> EntityState:
    """The state with the mean of the embeddings `(n, T, C)` of a clip in the last slot of some entities."""
    mean, last = embeddings.mean(1), state.embeddings[rows, -1]
    known = (last != 0).any(-1, keepdim=True)
    stored = state.embeddings.clone()
    stored[rows, -1] = torch.where(known, (last + mean) / 2, mean)
    return replace(state, embeddings=stored)


def _born(state: EntityState, chosen: Candidates, masks: Tensor, sure: Tensor, rows: Tensor, start: int) -> EntityState:
    """The state with some of the candidates as new entities, which have no past."""
    assert chosen.logits is not None
    count, frames = len(rows), masks.shape[1]

    def joined(old: Tensor, new: Tensor) -> Tensor:
        """Histories of the new ones are zeros before now."""
        before = new.new_zeros(count, old.shape[1] - new.shape[1], *new.shape[2:])
        return torch.cat([old, torch.cat([before, new], 1)])

    first = torch.full((count,), start, device=rows.device)
    ids = state.born + torch.arange(count, device=rows.device)
    return replace(
        state,
        scores=joined(state.scores, chosen.logits[rows][:, None]),
        embeddings=joined(state.embeddings, chosen.embeddings[rows].mean(1, keepdim=True)),
        likeness=joined(state.likeness, sure.new_ones(count, 1)),
        logits=joined(state.logits, masks[rows]),
        boxes=joined(state.boxes, boxes_of(chosen.masks[rows])),
        occurrence=joined(state.occurrence, (masks[rows] > 0).flatten(2).any(2).float().view(count, frames)),
        quality=torch.cat([state.quality, sure[rows]]),
        first=torch.cat([state.first, first]),
        ids=torch.cat([state.ids, ids]),
        born=state.born + count,
    )
