"""Tasks on whole videos that a system answers in a way of its own, such as clip by clip with a memory.

What is known of a video is a state, which goes in and comes out; frames are answered as soon as nothing that comes
later can change them:

    task = spec_of(settings).video_task(system, "vss", clip_frames=5)
    state = task.start(VideoQuestion((480, 854), vocabulary=Vocabulary(("dax", "background"))))
    for frame in frames:
        state, settled = task.step(state, frame)
    settled = task.end(state)

Legend: N things, T frames, (H, W) the network input, (Ho, Wo) the size of the result.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, NamedTuple

from torch import Tensor

from episodes.batch import ClipBatch

NOTHING: Mapping[int, Tensor] = {}


@dataclass(frozen=True)
class Vocabulary:
    """Classes that are asked for.

    Attributes:
        names: of the classes.
        stuff: places of those that are stuff, which is not counted; the others are things.
    """

    names: tuple[str, ...]
    stuff: frozenset[int] = frozenset()


@dataclass(frozen=True)
class VideoQuestion:
    """What a whole video is asked.

    Attributes:
        size: height and width of the result, (Ho, Wo).
        vocabulary: of the kinds `vis`, `vss` and `vps`, of `pvos` where the names are known; None for the others.
        objects: ids of those whose masks will be given in some frame (`vos`, `pvos`).
        expressions: of the things that are looked for (`rvos`).
        exclusive: the things of `rvos` compete for pixels.
        data: name of the data set, where the rules of the released tests depend on it.
        stuff: id of an object that is stuff -> place of its class in `vocabulary` (`pvos`); empty: not known.
    """

    size: tuple[int, int]
    vocabulary: Vocabulary | None = None
    objects: tuple[int, ...] = ()
    expressions: tuple[str, ...] = ()
    exclusive: bool = False
    data: str = ""
    stuff: Mapping[int, int] = field(default_factory=dict)


class PanopticPart(NamedTuple):
    """A segment of a video: its number from 1 in the label maps, and the place of its class in the vocabulary."""

    number: int
    label: int


class FoundTrack(NamedTuple):
    """A track of one class: the id of its masks, the place of the class in the vocabulary, and a score in 0..1."""

    id: int
    label: int
    score: float


@dataclass(frozen=True)
class Settled:
    """`T` consecutive frames whose answer is final, on the CPU; the next ones of the video.

    Attributes:
        frames: T, which may be 0.
        ids: of the `N` things with `masks`: objects as given; of expressions 1 to N in their order; of tracks from 0
            on, the same in all frames.
        masks: `(N, T, Ho, Wo)` bool (`vis`, `vos`, `pvos`, `rvos`).
        scores: `(N, T)` float32 in 0..1, how sure the masks are (`vos`, `pvos`, `rvos`).
        labels: `(T, Ho, Wo)` int64: places of classes (`vss`), or numbers of segments with 0 for none (`vps`).
        segments: those that `labels` may show (`vps`).
        tracks: of the whole video, best first, with its last frames (`vis`).
    """

    frames: int
    ids: tuple[int, ...] = ()
    masks: Tensor | None = None
    scores: Tensor | None = None
    labels: Tensor | None = None
    segments: tuple[PanopticPart, ...] = ()
    tracks: tuple[FoundTrack, ...] = ()


class VideoTask(ABC):
    """A system's way through videos for one kind of task. The caller puts it in eval mode, without gradients."""

    @abstractmethod
    def start(self, question: VideoQuestion) -> Any:
        """State of a video of which nothing is seen yet.

        Raises:
            ValueError: something that the system cannot be asked, such as a class that it has no words for.
        """

    @abstractmethod
    def step(self, state: Any, frame: ClipBatch, given: Mapping[int, Tensor] = NOTHING) -> tuple[Any, Settled]:
        """The state after the next frame, and the frames that are settled by it.

        Args:
            frame: one clip of one frame, normalised, on the device of the system.
            given: masks `(h, w)` bool of objects that are given in this frame, by id, at the size of the result.

        Raises:
            ValueError: an id that is not among those of the question, or an empty mask.
        """

    @abstractmethod
    def end(self, state: Any) -> Settled:
        """The frames that are left, after the last one."""


def numbers_in(state: Any) -> int:
    """Numbers in the tensors that a state holds, in whatever it is made of: by these its memory is judged."""
    if isinstance(state, Tensor):
        return state.numel()
    if is_dataclass(state):
        return sum(numbers_in(getattr(state, entry.name)) for entry in fields(state))
    if isinstance(state, dict):
        return sum(map(numbers_in, state.values()))
    return sum(map(numbers_in, state)) if isinstance(state, (list, tuple)) else 0
