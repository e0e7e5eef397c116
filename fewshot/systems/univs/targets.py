"""What a training clip shows, and what its prompts ask for.

Legend: N objects, P prompts, T frames, (H, W) the padded frame, K classes of the data set.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fewshot.systems.univs.draws import Draws

UNKNOWN = -1  # a class that is not known, an object that is not there


@dataclass(frozen=True)
class Targets:
    """The objects of one clip, each seen in some frame.

    Attributes:
        labels: `(N,)` int64 class of each, from 0; `UNKNOWN` where classes play no part.
        ids: `(N, T)` int64 number of each in its video, `UNKNOWN` where it is not seen.
        masks: `(N, T, H, W)` bool.
        boxes: `(N, T, 4)` x0, y0, x1, y1 in 0..1 of the padded frame, zeros where it is not seen.
    """

    labels: Tensor
    ids: Tensor
    masks: Tensor
    boxes: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, keep: Tensor) -> Targets:
        """Some of the objects: `(N,)` bool, or indices."""
        return Targets(self.labels[keep], self.ids[keep], self.masks[keep], self.boxes[keep])

    def frames(self, frames: Tensor) -> Targets:
        """The same objects in some of the frames."""
        own = {name: getattr(self, name)[:, frames] for name in ("ids", "masks", "boxes")}
        return replace(self, **own)

    def at_most(self, count: int, draws: Draws) -> Targets:
        """So many of the objects, drawn where there are more, in their order."""
        if len(self) <= count:
            return self
        return self[draws.order(len(self))[:count].sort().values.to(self.labels.device)]


@dataclass(frozen=True)
class Asked:
    """What the `P` prompts of one clip ask for.

    Attributes:
        ids: `(P,)` int64, alike for prompts of one target; `UNKNOWN`: nothing that is there.
        numbers: `(P, T)` int64 number of the target in its video, `UNKNOWN` where it is not seen.
        labels: `(P,)` int64 class from 0, `UNKNOWN` where classes play no part.
        masks: `(P, T, H, W)` bool, empty for what is not there.
        segments: `(T, H, W)` int64, for each pixel the prompt that asks for it, `UNKNOWN` where none does; None where
            prompts may overlap.
    """

    ids: Tensor
    numbers: Tensor
    labels: Tensor
    masks: Tensor
    segments: Tensor | None = None

    @classmethod
    def of_objects(cls, targets: Targets, objects: Tensor) -> Asked:
        """Prompts for some `objects` `(P,)` of a clip, by index; `UNKNOWN`: for nothing."""
        there = objects != UNKNOWN
        if not len(targets):
            return cls.nothing(targets, len(objects))
        own = targets[objects.clamp(min=0)]
        return cls(
            objects,
            torch.where(there[:, None], own.ids, UNKNOWN),
            torch.where(there, own.labels, UNKNOWN),
            own.masks & there[:, None, None, None],
        )

    @classmethod
    def nothing(cls, targets: Targets, count: int) -> Asked:
        """`count` prompts for nothing that the clip shows."""
        gone = targets.ids.new_full((count,), UNKNOWN)
        numbers = gone[:, None].expand(-1, targets.ids.shape[1])
        return cls(gone, numbers, gone, targets.masks.new_zeros(count, *targets.masks.shape[1:]))

    def __len__(self) -> int:
        return len(self.ids)


def boxes_of(masks: Tensor) -> Tensor:
    """Boxes `(..., 4)` x0, y0, x1, y1 of masks `(..., H, W)` bool, in 0..1; zeros for an empty one."""
    height, width = masks.shape[-2:]

    def ends(line: Tensor) -> tuple[Tensor, Tensor]:
        first = line.int().argmax(-1)
        last = line.shape[-1] - line.flip(-1).int().argmax(-1)
        there = line.any(-1)
        return torch.where(there, first, 0), torch.where(there, last, 0)

    (y0, y1), (x0, x1) = ends(masks.any(-1)), ends(masks.any(-2))
    return torch.stack([x0 / width, y0 / height, x1 / width, y1 / height], -1)
