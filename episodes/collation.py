"""Joins loaded episodes to one padded batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from episodes.batch import ClipBatch, EpisodeBatch
from episodes.clip import Clip, Objects
from episodes.episode import Episode


def collate(episodes: Sequence[Episode], pad_multiple: int = 1) -> EpisodeBatch:
    """One batch of `B` episodes with equal numbers of shots, expressions and frames.

    Args:
        episodes: loaded and transformed episodes.
        pad_multiple: frames are padded at the bottom and right with zeros to a multiple of this.

    Raises ValueError, naming the numbers, when the episodes do not fit together.
    """
    if not episodes:
        raise ValueError("a batch needs at least one episode")
    shots = _same([len(e.supports) for e in episodes], "numbers of supports")
    _same([len(e.queries) for e in episodes], "numbers of query expressions")
    return EpisodeBatch(
        supports=collate_clips([c for e in episodes for c in e.supports], pad_multiple) if shots else None,
        queries=collate_clips([c for e in episodes for c in e.queries], pad_multiple),
        shots=shots,
        specs=tuple(e.spec for e in episodes),
        problems=tuple(problem for e in episodes for problem in e.problems),
    )


def collate_clips(clips: Sequence[Clip], pad_multiple: int = 1) -> ClipBatch:
    """`N` clips of one length as a batch `(N, T, 3, H, W)`. Raises ValueError for different lengths or raw frames."""
    if not clips:
        raise ValueError("a batch needs at least one clip")
    if pad_multiple < 1:
        raise ValueError(f"pad_multiple must be at least 1, got {pad_multiple}")
    _same([c.frames.shape[0] for c in clips], "numbers of frames", "; put clips of different length in batches of one")
    for clip in clips:
        if not clip.frames.is_floating_point():
            raise ValueError(f"clip {clip.video!r} holds raw {clip.frames.dtype} frames: transform it before batching")
    sizes = torch.tensor([c.size for c in clips])
    height, width = (-(-int(side) // pad_multiple) * pad_multiple for side in sizes.amax(0))
    down, right = torch.arange(height)[:, None], torch.arange(width)
    return ClipBatch(
        frames=torch.stack([F.pad(c.frames, (0, width - c.size[1], 0, height - c.size[0])) for c in clips]),
        padding=(down >= sizes[:, 0, None, None]) | (right >= sizes[:, 1, None, None]),
        sizes=sizes,
        expressions=tuple(c.expression for c in clips),
        masks=tuple(c.masks for c in clips),
        boxes=_stack([None if c.boxes is None else box_fractions(c.boxes, c.size) for c in clips]),
        valid=_stack([c.valid for c in clips]),
        ignore=tuple(c.ignore for c in clips) if any(c.ignore is not None for c in clips) else (),
        objects=_all_objects(clips),
        original_sizes=tuple(c.original_size for c in clips),
        asked=_asked(clips),
        vocabulary=_vocabulary(clips),
        moments=tuple(c.moments for c in clips) if all(c.moments for c in clips) else (),
    )


def box_fractions(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """`(T, 4)` boxes `x0, y0, x1, y1` in pixels as `cx, cy, w, h`, fractions of `size` = (height, width)."""
    x0, y0, x1, y1 = boxes.unbind(-1)
    height, width = size
    return torch.stack([(x0 + x1) / 2 / width, (y0 + y1) / 2 / height, (x1 - x0) / width, (y1 - y0) / height], -1)


def _all_objects(clips: Sequence[Clip]) -> tuple[Objects, ...]:
    there = tuple(c.objects for c in clips if c.objects is not None and c.exhaustive)
    if there and len(there) < len(clips):
        raise ValueError("some clips of a batch mean one object, the others all of theirs: keep the tasks apart")
    return there


def _asked(clips: Sequence[Clip]) -> tuple[int, ...]:
    asked = tuple(c.asked for c in clips if c.asked is not None)
    if asked and len(asked) < len(clips):
        raise ValueError("some clips of a batch ask for one frame, the others for all of theirs: keep the tasks apart")
    return asked


def _vocabulary(clips: Sequence[Clip]) -> tuple[str, ...]:
    if len({c.vocabulary for c in clips}) > 1:
        raise ValueError("the clips of a batch have different vocabularies: keep data sets apart")
    return clips[0].vocabulary


def _stack(tensors: Sequence[Tensor | None]) -> Tensor | None:
    there = [t for t in tensors if t is not None]
    return torch.stack(there) if len(there) == len(tensors) else None


def _same(numbers: Sequence[int], what: str, remedy: str = "") -> int:
    if len(set(numbers)) != 1:
        raise ValueError(f"the episodes of a batch have different {what}: {list(numbers)}{remedy}")
    return numbers[0]
