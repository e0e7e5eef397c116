"""A user's own videos as wholes, for `Model.segment`: pixels by names of classes, or things by their first masks.

The system goes through the video in its own way (`fewshot.systems.video_tasks`), or with a tracker; frames are
forgotten as soon as their answer is settled.

Legend: N classes or things, T frames, (Ho, Wo) original size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Union

import numpy as np
import torch
from torch import Tensor

from episodes.clip import Clip
from episodes.collation import collate_clips
from episodes.transforms.input_rule import InputRule
from fewshot.cli.runs import TaskTestConfig
from fewshot.inference.chunks import DEFAULT_CHUNK, evaluating
from fewshot.inference.segmenter import MOST_NAMES, Referent, Result, Segmenter, device_of, fitted, join
from fewshot.inference.trackers import VOSState, VOSTracker
from fewshot.media.masks import VOID, MaskSource, read_labels, read_masks
from fewshot.media.media import Media, width_by_height
from fewshot.media.reading import MediaSource, open_media
from fewshot.systems.base import System
from fewshot.systems.registry import systems
from fewshot.systems.spec import SystemSpec
from fewshot.systems.video_tasks import NOTHING, Settled, VideoQuestion, VideoTask, Vocabulary

LEAST_CLIP, CLIP = 2, 5  # frames of a clip, which shows the next one what was found; at most as in released tests
FirstMasks = Union[MaskSource, Mapping[Any, MaskSource]]


@dataclass(frozen=True)
class WholeQuestion:
    """What a user asks of a video: the kind of the task, the names of the result, and what is given in frame 0."""

    kind: str
    names: tuple[str, ...]
    given: Mapping[int, Tensor]

    def at(self, size: tuple[int, int]) -> VideoQuestion:
        """The question about a video of this size. Raises ValueError for masks of another size."""
        for name, mask in zip(self.names, self.given.values(), strict=False):
            if tuple(mask.shape) != size:
                own = (mask.shape[0], mask.shape[1])
                raise ValueError(
                    f"the first mask of {name!r} is {width_by_height(own)}, the video {width_by_height(size)} (width x "
                    "height): a mask has the size of the frame"
                )
        if self.kind == "vss":
            return VideoQuestion(size, Vocabulary(self.names))
        return VideoQuestion(size, objects=tuple(self.given))


def named_question(classes: Sequence[str] | None, first_masks: FirstMasks | None) -> WholeQuestion:
    """The question of a call.

    Raises:
        ValueError: both or neither are given, names that are no names, or a mask without a pixel.
        TypeError: `classes` is no list of names.
    """
    if classes is not None and first_masks is not None:
        raise ValueError("classes and first_masks ask for different things: give one of them")
    if classes is not None:
        return WholeQuestion("vss", _names(classes), {})
    assert first_masks is not None
    masks = _first_masks(first_masks)
    return WholeQuestion("vos", tuple(masks), dict(enumerate(masks.values(), start=1)))


def _names(classes: Sequence[str]) -> tuple[str, ...]:
    if isinstance(classes, str) or not all(isinstance(name, str) for name in classes):
        raise TypeError(f"classes={classes!r}: give a list of names, such as ['dax', 'background']")
    names = tuple(classes)
    if len(names) < 2 or len(set(names)) < len(names) or not all(name.strip() for name in names):
        raise ValueError(
            f"classes={list(names)}: every pixel gets one of them, so give at least two names, each once; 'background' "
            "is a name as well"
        )
    if len(names) > MOST_NAMES:
        raise ValueError(f"{len(names)} classes at once: a label map holds {MOST_NAMES}")
    return names


def _first_masks(given: FirstMasks) -> dict[str, Tensor]:
    """Masks `(H, W)` bool by name; of a map of ids one for each id."""
    if isinstance(given, Mapping):
        masks = {str(name): read_masks(mask, f"the first mask of {name!r}").masks for name, mask in given.items()}
    else:
        labels = read_labels(given, "the first mask").values
        ids = sorted(set(np.unique(labels).tolist()) - {0, VOID} or set(np.unique(labels).tolist()) - {0})
        masks = {str(k): torch.from_numpy(labels == k) for k in ids}
    if not masks:
        raise ValueError("the first mask has no pixel of a thing: mark what is to be followed")
    for name, mask in masks.items():
        if len(mask) != 1:
            raise ValueError(f"the first mask of {name!r} has {len(mask)} frames: give that of the first frame alone")
        if not mask.any():
            raise ValueError(f"the first mask of {name!r} is empty: mark the thing in the first frame, or leave it out")
    return {name: mask[0] for name, mask in masks.items()}


def way_of(system: System, spec: SystemSpec | None, kind: str, clip_frames: int) -> VideoTask:
    """The system's way through a video.

    Raises:
        ValueError: it has none; the message names the systems that may.
    """
    if spec is not None and spec.video_task is not None and kind in system.video_kinds:
        return spec.video_task(system, kind, clip_frames)
    if spec is not None and spec.video is not None and kind == "vos" and "support" in system.accepts:
        return TrackerWay(VOSTracker(system, **spec.video(TaskTestConfig().task)))
    keyword = {"vss": "classes", "vos": "first_masks"}[kind]
    others = [name for name, other in systems().items() if _may_answer(other, kind)]
    raise ValueError(f"system {system.name!r} takes no {keyword}: leave {keyword} away, or use {', '.join(others)}")


def _may_answer(spec: SystemSpec, kind: str) -> bool:
    if kind == "vos":
        return spec.references and (spec.video_task is not None or spec.video is not None)
    return spec.video_task is not None


class TrackerWay(VideoTask):
    """A tracker of given objects, frame by frame."""

    def __init__(self, tracker: VOSTracker) -> None:
        self.tracker = tracker

    def start(self, question: VideoQuestion) -> VOSState:
        """No object is known yet."""
        return self.tracker.start(question.size)

    def step(self, state: VOSState, frame: Any, given: Mapping[int, Tensor] = NOTHING) -> tuple[VOSState, Settled]:
        """See `VideoTask.step`."""
        state, found = self.tracker.step(state, frame, given)
        scores = torch.tensor(found.scores)[:, None]
        return state, Settled(1, found.ids, found.masks[:, None].cpu(), scores)

    def end(self, state: VOSState) -> Settled:
        """Nothing is left."""
        return Settled(0)


class WholeSegmenter(Segmenter):
    """A question about whole videos, asked of any number of them.

    Args:
        system: it is used in eval mode and left as it was.
        question: of the call.
        way: the system's way through a video, for so many frames of a clip.
        rule: how frames become input of the network.
        options: as of `Segmenter`.
    """

    def __init__(
        self,
        system: System,
        question: WholeQuestion,
        way: Callable[[int], VideoTask],
        rule: InputRule,
        **options: Any,
    ) -> None:
        super().__init__(system, [], rule, **options)
        self.question, self.way = question, way
        self.referents = tuple(Referent(name) for name in question.names)

    def segment(self, source: MediaSource, *, chunk: int = DEFAULT_CHUNK) -> Result:
        """Segment an image or a video in any form. Arguments and errors as of `Model.segment`."""
        return join([result for _, result in self.results(open_media(source), chunk)])

    def results(self, media: Media, chunk: int) -> Iterator[tuple[Tensor, Result]]:
        """Frames `(T, 3, Ho, Wo)` uint8 with their result, as they are settled."""
        task, state = self.way(min(max(chunk, LEAST_CLIP), CLIP)), None
        waiting: list[tuple[str, Tensor]] = []
        for names, frames in media.chunks(chunk):
            for name, frame in zip(names, frames, strict=True):
                waiting.append((name, frame))
                with evaluating(self.system):
                    first = state is None
                    if first:
                        state = task.start(self.question.at((frame.shape[-2], frame.shape[-1])))
                    state, settled = task.step(state, self._input(frame), self._given() if first else {})
                yield from self._told(settled, waiting)
        with evaluating(self.system):
            settled = task.end(state)
        yield from self._told(settled, waiting)

    def _input(self, frame: Tensor) -> Any:
        clip = fitted(Clip(frames=frame[None]), self.fit, "the input")
        return collate_clips([clip], self.system.pad_multiple).to(device_of(self.system))

    def _given(self) -> dict[int, Tensor]:
        return {k: mask.to(device_of(self.system)) for k, mask in self.question.given.items()}

    def _told(self, settled: Settled, waiting: list[tuple[str, Tensor]]) -> Iterator[tuple[Tensor, Result]]:
        if not settled.frames:
            return
        some, waiting[:] = waiting[: settled.frames], waiting[settled.frames :]
        yield torch.stack([frame for _, frame in some]), self._result(settled, tuple(name for name, _ in some))

    def _result(self, settled: Settled, names: tuple[str, ...]) -> Result:
        """The answer of some frames; of classes a score is 1 where a class has a pixel, as every pixel has one."""
        if settled.labels is not None:
            masks = torch.stack([settled.labels == k for k in range(len(self.question.names))])
            scores = masks.flatten(2).any(2).float()
        else:
            assert settled.masks is not None and settled.scores is not None
            masks, scores = settled.masks.clone(), settled.scores.float().clone()
        masks = torch.stack([self._tidy(mask) for mask in masks]) & (scores >= self.min_score)[..., None, None]
        labels = torch.zeros(masks.shape[1:], dtype=torch.uint8)
        for k, mask in enumerate(masks, start=1):
            labels[mask] = k
        return Result(self.question.names, masks, scores, labels, names)
