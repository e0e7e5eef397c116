"""`ClipBatch`, `References` and `EpisodeBatch`: input of the models. Frames are padded, masks keep their own size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from episodes.clip import Objects
from episodes.episode import EpisodeSpec


@dataclass(frozen=True)
class ClipBatch:
    """`N` clips of `T` frames, padded at the bottom and right to one size.

    Attributes:
        frames: `(N, T, 3, H, W)` float32, normalised, zeros on the padding.
        padding: `(N, H, W)` bool, True on padded pixels.
        sizes: `(N, 2)` int64, unpadded height and width of each clip's frames.
        expressions: `N` texts (None where a clip has none).
        masks: `N` tensors `(T, Hm, Wm)` bool, NOT padded, each at its own resolution; None where unknown.
        ignore: `N` tensors like `masks`, True on void pixels, None where a clip has none; empty: none at all.
        boxes: `(N, T, 4)` float32 `cx, cy, w, h` as fractions of the unpadded frame, zeros where absent; or None.
        valid: `(N, T)` bool, True where the object is visible; or None.
        objects: all objects of `N` clips in which no single one is meant; empty: this is not the task.
        original_sizes: `N` pairs `(height, width)` of the frames on disk, None where unknown; empty: all unknown.
        features: visual features of the frames, maps `(N / copies * T, C, h, w)` of the system that computed them
            (`System.with_features`); empty: not computed yet.
        copies: so many clips in a row show the same frames, whose features are held once.
        asked: index of the one frame of each clip whose masks are asked for, the others being shown for it; a system
            may answer for it alone (its prediction then has T = 1). Empty: every frame is asked for.
        answers: candidate that answers for each clip; empty: the best one of each.
        vocabulary: names of the classes that the labels of `objects` count; empty: classes play no part.
        moments: for each clip the places of its frames in the video, from 0; empty: unknown.
    """

    frames: Tensor
    padding: Tensor
    sizes: Tensor
    expressions: tuple[str | None, ...]
    masks: tuple[Tensor | None, ...]
    boxes: Tensor | None = None
    valid: Tensor | None = None
    ignore: tuple[Tensor | None, ...] = ()
    objects: tuple[Objects, ...] = ()
    original_sizes: tuple[tuple[int, int] | None, ...] = ()
    features: tuple[Tensor, ...] = ()
    copies: int = 1
    asked: tuple[int, ...] = ()
    answers: tuple[int, ...] = ()
    vocabulary: tuple[str, ...] = ()
    moments: tuple[tuple[int, ...], ...] = ()

    def __len__(self) -> int:
        return self.frames.shape[0]

    def for_each_clip(self, maps: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Maps `(N / copies * T, ...)` of the frames as maps `(N * T, ...)` of the clips."""
        if self.copies == 1:
            return tuple(maps)
        t = self.frames.shape[1]
        return tuple(x.unflatten(0, (-1, t)).repeat_interleave(self.copies, 0).flatten(0, 1) for x in maps)

    def repeat(self, times: int) -> ClipBatch:
        """Each clip `times` times in a row, for as many references: they show the same frames and share their features.

        The frames of a single clip stay in memory once.
        """

        def rows(x: Tensor) -> Tensor:
            return x[:, None].expand(-1, times, *x.shape[1:]).flatten(0, 1)

        def each(entries: tuple[Any, ...]) -> tuple[Any, ...]:
            return tuple(entry for entry in entries for _ in range(times))

        return replace(
            self,
            frames=rows(self.frames),
            padding=rows(self.padding),
            sizes=rows(self.sizes),
            expressions=each(self.expressions),
            masks=each(self.masks),
            boxes=None if self.boxes is None else rows(self.boxes),
            valid=None if self.valid is None else rows(self.valid),
            ignore=each(self.ignore),
            objects=each(self.objects),
            original_sizes=each(self.original_sizes),
            copies=self.copies * times,
            asked=each(self.asked),
            answers=each(self.answers),
            moments=each(self.moments),
        )

    def take(self, chosen: Sequence[int]) -> ClipBatch:
        """The chosen clips, by their indices, with the features of their frames.

        Clips go on sharing them where all that share some are chosen; else each has its own.
        """
        rows = list(chosen)
        if rows == list(range(len(self))):
            return self
        groups = [n // self.copies for n in rows[:: self.copies]]
        whole = rows == [n * self.copies + k for n in groups for k in range(self.copies)]
        seen = groups if whole else [n // self.copies for n in rows]

        def each(entries: tuple[Any, ...]) -> tuple[Any, ...]:
            return tuple(entries[n] for n in rows) if entries else ()

        t = self.frames.shape[1]
        return replace(
            self,
            frames=self.frames[rows],
            padding=self.padding[rows],
            sizes=self.sizes[rows],
            expressions=each(self.expressions),
            masks=each(self.masks),
            boxes=None if self.boxes is None else self.boxes[rows],
            valid=None if self.valid is None else self.valid[rows],
            ignore=each(self.ignore),
            objects=each(self.objects),
            original_sizes=each(self.original_sizes),
            features=tuple(x.unflatten(0, (-1, t))[seen].flatten(0, 1) for x in self.features),
            copies=self.copies if whole else 1,
            asked=each(self.asked),
            answers=each(self.answers),
            moments=each(self.moments),
        )

    def one_frame(self, frames: Sequence[int]) -> ClipBatch:
        """Of each clip one frame alone, by its index, with the features that all its frames gave.

        Raises:
            ValueError: another number of indices than of clips, or features that several clips share.
        """
        if len(frames) != len(self) or self.copies != 1:
            raise ValueError(f"{len(frames)} frames for {len(self)} clips of {self.copies} copies: give one per clip")
        clips, t = range(len(self)), self.frames.shape[1]

        def chosen(masks: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
            return tuple(m if m is None else m[k : k + 1] for m, k in zip(masks, frames, strict=bool(masks)))

        def row(x: Tensor | None) -> Tensor | None:
            return None if x is None else x[list(clips), list(frames)][:, None]

        return replace(
            self,
            frames=self.frames[list(clips), list(frames)][:, None],
            masks=chosen(self.masks),
            ignore=chosen(self.ignore),
            boxes=row(self.boxes),
            valid=row(self.valid),
            features=tuple(x.unflatten(0, (-1, t))[list(clips), list(frames)] for x in self.features),
            asked=(),
            moments=tuple((own[k],) for own, k in zip(self.moments, frames, strict=bool(self.moments))),
        )

    def to(self, device: torch.device | str) -> ClipBatch:
        """The same batch with every tensor on `device`."""

        def move(x: Tensor | None) -> Tensor | None:
            return None if x is None else x.to(device, non_blocking=True)

        return replace(
            self,
            frames=self.frames.to(device, non_blocking=True),
            padding=self.padding.to(device, non_blocking=True),
            sizes=self.sizes.to(device, non_blocking=True),
            masks=tuple(move(m) for m in self.masks),
            boxes=move(self.boxes),
            valid=move(self.valid),
            ignore=tuple(move(x) for x in self.ignore),
            objects=tuple(x.to(device) for x in self.objects),
            features=tuple(x.to(device) for x in self.features),
        )


@dataclass(frozen=True)
class References:
    """References of `B` episodes with `E` queries each: masked supports, expressions, or both.

    The tasks differ in nothing else: few-shot image segmentation has supports, referring segmentation expressions,
    few-shot referring video segmentation both, and mask-guided segmentation a support from the video itself.

    Attributes:
        supports: `(B * shots)` clips with masks, episode-major; None where the task has none.
        shots: support clips of an episode; 0 without supports.
        expressions: `(B * E)` texts, one for each query clip, episode-major; None for a query without one.

    Raises:
        ValueError: numbers that do not fit together, or an expression without words.
    """

    supports: ClipBatch | None = None
    shots: int = 0
    expressions: tuple[str | None, ...] = (None,)

    def __post_init__(self) -> None:
        clips = 0 if self.supports is None else len(self.supports)
        if (self.supports is None) != (self.shots == 0) or (self.shots and clips % self.shots):
            raise ValueError(f"{clips} support clips cannot be the supports of episodes with {self.shots} shots")
        if self.shots and len(self.expressions) % (clips // self.shots):
            raise ValueError(f"{len(self.expressions)} queries cannot be shared by {clips // self.shots} episodes")
        for text in self.expressions:
            if text is not None and not text.strip():
                raise ValueError("an expression is empty: give words, or None for no expression")

    def __len__(self) -> int:
        """Number of queries, `B * E`."""
        return len(self.expressions)

    @property
    def queries_per_episode(self) -> int:
        """`E`: how many queries the supports of an episode serve; 1 without supports."""
        return 1 if self.supports is None else len(self) * self.shots // len(self.supports)

    def to(self, device: torch.device | str) -> References:
        """The same references with every tensor on `device`."""
        return self if self.supports is None else replace(self, supports=self.supports.to(device))


@dataclass(frozen=True)
class EpisodeBatch:
    """`B` episodes: supports `(B * shots)` clips (episode-major), queries `(B * expressions)` clips (episode-major).

    `supports` is None where the task has none (`shots` 0), as in referring segmentation.
    """

    supports: ClipBatch | None
    queries: ClipBatch
    shots: int
    specs: tuple[EpisodeSpec, ...]
    problems: tuple[str, ...] = ()  # of its episodes

    def __len__(self) -> int:
        return len(self.specs)

    @property
    def references(self) -> References:
        """The references of the queries: the supports, and the expression of each."""
        return References(self.supports, self.shots, self.queries.expressions)

    @property
    def queries_share_frames(self) -> bool:
        """Whether all queries of an episode show the very same frames, and so differ in their expression only."""
        each = self.queries.frames.unflatten(0, (len(self), -1))
        return bool((each == each[:, :1]).all())

    def to(self, device: torch.device | str) -> EpisodeBatch:
        """The same batch on `device`."""
        supports = None if self.supports is None else self.supports.to(device)
        return replace(self, supports=supports, queries=self.queries.to(device))
