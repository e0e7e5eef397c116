"""Memory of what targets looked like: the prompts of a video frame by frame (Li et al., 2024, section 3.4).

Legend: N targets, S slots (one a frame), R tokens of a prompt, C width, T frames of a clip, M slots that are read.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fewshot.systems.univs.visual_prompts import VisualPrompts

Both = tuple[Tensor, Tensor]  # tokens and positions


@dataclass(frozen=True)
class PromptMemory:
    """Prompts of `N` targets in the last frames, and where each was first seen.

    Attributes:
        tokens, positions: `(N, S, R, C)`, zeros where a target was not there.
        start: index of the frame of the first slot.
        origin: tokens and positions `(N, R, C)` of each target's first slot, where that slot was forgotten.
    """

    tokens: Tensor
    positions: Tensor
    start: int = 0
    origin: Both | None = None

    @classmethod
    def empty(cls, targets: int, slots: int, prompts: VisualPrompts, start: int = 0) -> PromptMemory:
        """A memory of `slots` empty slots, for prompts like these."""
        zeros = prompts.tokens.new_zeros(targets, slots, *prompts.tokens.shape[1:])
        return cls(zeros, zeros, start)

    @property
    def end(self) -> int:
        """Index of the frame after the last slot."""
        return self.start + self.tokens.shape[1]

    def longer(self, slots: int) -> PromptMemory:
        """With `slots` empty slots more."""
        tokens, positions = (
            torch.cat([x, x.new_zeros(x.shape[0], slots, *x.shape[2:])], 1) for x in (self.tokens, self.positions)
        )
        return replace(self, tokens=tokens, positions=positions)

    def with_targets(self, targets: int) -> PromptMemory:
        """With empty slots for new targets, up to `targets` of them."""

        def grown(x: Tensor) -> Tensor:
            return torch.cat([x, x.new_zeros(targets - len(x), *x.shape[1:])])

        origin = self.origin and (grown(self.origin[0]), grown(self.origin[1]))
        return replace(self, tokens=grown(self.tokens), positions=grown(self.positions), origin=origin)

    def some(self, rows: Tensor) -> PromptMemory:
        """The prompts of some of the targets `(n,)`; the others are forgotten."""
        origin = self.origin and (self.origin[0][rows], self.origin[1][rows])
        return replace(self, tokens=self.tokens[rows], positions=self.positions[rows], origin=origin)

    def written(self, frame: int, prompts: VisualPrompts, which: Tensor, *, onwards: bool) -> PromptMemory:
        """With the prompts of some targets in the slot of a frame, and `onwards` in all later ones.

        Args:
            which: `(N,)` bool.
        """
        at = frame - self.start
        slots = slice(at, None) if onwards else slice(at, at + 1)
        stored = []
        for x, new in ((self.tokens, prompts.tokens), (self.positions, prompts.positions)):
            x = x.clone()
            x[:, slots] = torch.where(which[:, None, None, None], new[:, None], x[:, slots])
            stored.append(x)
        return replace(self, tokens=stored[0], positions=stored[1])

    def last(self, slots: int) -> Both:
        """Tokens and positions of the last slots, `(N, slots, R, C)`: those of the clip start the prompt queries."""
        return self.tokens[:, -slots:], self.positions[:, -slots:]

    def read(self, first: Tensor, slots: int) -> Both:
        """What prompt queries read: the slot in which each target was first seen, and the last ones.

        Args:
            first: `(N,)` index of that frame; -1, or the last slot: the last one.
            slots: M.

        Returns:
            Tokens and positions `(N, R (1 + min(M, S)), C)`, in the order of time.
        """
        begin = self._beginnings(first)
        recent = self.last(slots)
        return (
            torch.cat([begin[0][:, None], recent[0]], 1).flatten(1, 2),
            torch.cat([begin[1][:, None], recent[1]], 1).flatten(1, 2),
        )

    def _beginnings(self, first: Tensor) -> Both:
        """Tokens and positions `(N, R, C)` of the frames `first`."""
        later = (first < 0) | (first >= self.end - 1)
        at = torch.where(later, self.tokens.shape[1] - 1, first - self.start)
        rows = torch.arange(len(first), device=first.device)
        found = self.tokens[rows, at.clamp(min=0)], self.positions[rows, at.clamp(min=0)]
        if self.origin is None:
            return found
        forgotten = (at < 0)[:, None, None]
        return torch.where(forgotten, self.origin[0], found[0]), torch.where(forgotten, self.origin[1], found[1])

    def trimmed(self, first: Tensor, slots: int) -> PromptMemory:
        """The same with `slots` slots at most; the first slot of each target is kept apart.

        What is read later is the same: the official memory keeps every slot, and grows with the video.
        """
        drop = self.tokens.shape[1] - slots
        if drop <= 0:
            return self
        origin = self._beginnings(first)
        return PromptMemory(self.tokens[:, drop:], self.positions[:, drop:], self.start + drop, origin)
