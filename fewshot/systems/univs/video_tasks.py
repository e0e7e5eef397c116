"""Whole videos through UniVS: every task of `fewshot.systems.video_tasks`, in overlapping clips.

The last frames are kept as features; as soon as they are a clip, the session of the task takes a step. A video that is
shorter than a clip is one clip.

Legend: N things, T frames of a clip, C width, (H, W) the padded network input, (Ho, Wo) the size of the result.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from episodes.batch import ClipBatch
from fewshot.systems.univs.entities import EntityRules, EntityState
from fewshot.systems.univs.entity_session import EntitySession, EntityVideo, SemanticSession
from fewshot.systems.univs.expression_session import ExpressionSession
from fewshot.systems.univs.given_masks import BACKGROUND, check_given, shrunk, with_rest
from fewshot.systems.univs.model import UniVS
from fewshot.systems.univs.object_session import ObjectSession, ObjectVideo
from fewshot.systems.univs.objects import ObjectState, ObjectTracker
from fewshot.systems.univs.outputs import Segment, TrackScores, masks_of, panoptic, tracked
from fewshot.systems.video_tasks import NOTHING, PanopticPart, Settled, VideoQuestion, VideoTask, Vocabulary

# cells of a mask that are its prompt at test time, times those of training: as released
POINTS = {"vis": 4, "vps": 2, "vos": 8, "pvos": 8}
STABILITY = {"youtube_vis19": 0.5, "ovis": 0.5}  # of a candidate of VIS, where it is not that of `EntityRules`
PANOPTIC = EntityRules(
    threshold=0.05,
    candidates=100,
    box_limit=0.75,
    first_score=0.15,
    later_score=0.3,
    match=0.05,
    add_masks=0.05,
    share=None,
)
GIVEN_SCORE = 1.0  # of an object in the frame that gives its mask


def task_of(system: UniVS, kind: str, clip_frames: int, faults: Collection[str] = ()) -> VideoTask:
    """The way through videos for a task.

    Args:
        clip_frames: T.
        faults: of the released tests, by their names (`SystemSpec.faults`), that are brought back.

    Raises:
        ValueError: it does not answer this task, or not in clips of so few frames.
    """
    if kind not in system.video_kinds:
        raise ValueError(f"this {system.name} does not answer task {kind}, but {', '.join(sorted(system.video_kinds))}")
    return TASKS[kind](system, kind, clip_frames, faults)


@dataclass(frozen=True)
class Walk:
    """Where a video stands.

    Attributes:
        question: what it is asked.
        video: what the session remembers; None before the first clip.
        features: of the last frames, at most T, as `UniVS.frame_features` gives them.
        sizes: height and width of the frames without and with padding.
        seen: frames so far; told: those that are settled.
        given: frame -> id -> mask `(Ho, Wo)` of objects, of frames that are not settled.
    """

    question: VideoQuestion
    video: Any = None
    features: tuple[Tensor, ...] = ()
    sizes: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0))
    seen: int = 0
    told: int = 0
    given: Mapping[int, Mapping[int, Tensor]] = field(default_factory=dict)

    @property
    def first(self) -> int:
        """Index of the first frame whose features are kept."""
        return self.seen - len(self.features[0])

    def with_frame(self, maps: tuple[Tensor, ...], frame: ClipBatch, most: int) -> Walk:
        """With the features of one frame more; at most `most` are kept."""
        features = tuple(torch.cat([*old, new])[-most:] for old, new in zip(self._rows(len(maps)), maps, strict=True))
        (height, width), padded = frame.sizes[0].tolist(), (frame.frames.shape[-2], frame.frames.shape[-1])
        return replace(self, features=features, sizes=((height, width), padded), seen=self.seen + 1)

    def _rows(self, maps: int) -> list[tuple[Tensor, ...]]:
        return [(x,) for x in self.features] or [()] * maps


class ClipTask(VideoTask):
    """A task in clips of `frames` frames, each of which begins one frame after the one before.

    Args:
        model: in evaluation mode.
        kind: of the task.
        frames: T.
        faults: of the released tests that are brought back.

    Raises:
        ValueError: too few frames.
    """

    least = 1  # frames of a clip

    def __init__(self, model: UniVS, kind: str, frames: int, faults: Collection[str] = ()) -> None:
        if frames < self.least:
            raise ValueError(
                f"clips of {frames} frame share none with the next clip, which then is not shown what was found: take "
                f"task.clip_frames={self.least} or more for task {kind}"
            )
        self.model, self.kind, self.frames, self.faults = model, kind, frames, frozenset(faults)

    @property
    def points(self) -> int:
        """Cells of a mask that are its prompt."""
        return POINTS[self.kind] * self.model.sizes.dense_points

    @property
    def touched(self) -> bool:
        """Whether a mask that is thinner than the cells of the network is a prompt."""
        return "erased_masks" not in self.faults

    def start(self, question: VideoQuestion) -> Walk:
        """Nothing is seen yet."""
        return Walk(question)

    def step(self, state: Walk, frame: ClipBatch, given: Mapping[int, Tensor] = NOTHING) -> tuple[Walk, Settled]:
        """See `VideoTask.step`."""
        check_given(state.question, given)
        state = state.with_frame(self.model.frame_features(frame), frame, self.frames)
        if given:
            state = replace(state, given={**state.given, state.seen - 1: dict(given)})
        if state.seen < self.frames:
            return state, Settled(0)
        state = self.look(state)
        return self.settle(state, self.due(state))

    def end(self, state: Walk) -> Settled:
        """See `VideoTask.end`."""
        if 0 < state.seen < self.frames:
            state = self.look(state)
        return self.settle(state, state.seen - state.told, last=True)[1]

    def due(self, state: Walk) -> int:
        """Number of frames that no later clip holds."""
        return state.first + 1 - state.told

    @abstractmethod
    def look(self, state: Walk) -> Walk:
        """The state after the clip of the last frames."""

    def settle(self, state: Walk, frames: int, last: bool = False) -> tuple[Walk, Settled]:
        """The state without the next `frames` frames that were not told, and their answer."""
        if not frames and not last:
            return state, Settled(0)
        state, settled = self.answer(state, frames, last)
        told = state.told + frames
        kept = {index: own for index, own in state.given.items() if index >= told}
        return replace(state, told=told, given=kept), settled

    @abstractmethod
    def answer(self, state: Walk, frames: int, last: bool) -> tuple[Walk, Settled]:
        """The same, before they are counted as told."""

    def tracked(
        self, tracks: ObjectState, first: int, frames: int, question: VideoQuestion, exclusive: bool = True
    ) -> tuple[Tensor, Tensor]:
        """Masks and scores of objects from frame `first` on, see `tracked`."""
        return tracked(tracks, first, frames, question, exclusive=exclusive, first_wins="first_wins" in self.faults)


class ObjectTask(ClipTask):
    """Objects, or objects and stuff, whose masks are given in some frame."""

    least = 2

    @property
    def rest(self) -> tuple[int, ...]:
        """What is asked for beside the objects: the rest of the frame, of a model that was trained so."""
        return (BACKGROUND,) if self.model.background and self.kind == "vos" else ()

    def start(self, question: VideoQuestion) -> Walk:
        """Nothing is seen yet; names of classes are read once, where some object is stuff."""
        return Walk(question, (embedded(self.model, question) if question.stuff else None, None))

    def look(self, state: Walk) -> Walk:
        """See `ClipTask.look`."""
        unpadded, padded = state.sizes
        concepts, video = state.video
        if video is None:
            ids = state.question.objects + self.rest
            width, device = self.model.sizes.hidden_dim, str(state.features[0].device)
            video = ObjectVideo(ObjectState.start(ids, unpadded, padded, width, device))
        given = {index: {k: shrunk(mask, unpadded) for k, mask in own.items()} for index, own in state.given.items()}
        if self.rest:
            given = with_rest(given, int(video.tracks.first[-1]))
        session = ObjectSession(
            self.model,
            ObjectTracker(queries=self.model.object_queries),
            points=self.points,
            touched=self.touched,
            concepts=concepts,
            stuff=state.question.stuff,
        )
        return replace(state, video=(concepts, session.step(video, state.features, state.first, given)))

    def answer(self, state: Walk, frames: int, last: bool) -> tuple[Walk, Settled]:
        """Every pixel belongs to the object with the largest logit there; given masks stay as they are."""
        question, (_, video) = state.question, state.video
        if video is None:
            return state, Settled(0)
        masks, scores = self.tracked(video.tracks, state.told, frames, question)
        masks, scores = masks[: len(question.objects)], scores[: len(question.objects)]
        for t in range(frames):
            for k, mask in state.given.get(state.told + t, {}).items():
                row = question.objects.index(k)
                masks[:, t] &= ~mask.cpu()
                masks[row, t], scores[row, t] = mask.cpu(), GIVEN_SCORE
        return state, Settled(frames, question.objects, masks, scores)


class ExpressionTask(ClipTask):
    """Expressions, each of one thing."""

    def start(self, question: VideoQuestion) -> Walk:
        """Nothing is seen yet; the words are read once."""
        words = self.model.encode_text(question.expressions)
        return Walk(question, (words, None))

    def look(self, state: Walk) -> Walk:
        """See `ClipTask.look`."""
        words, tracks = state.video
        unpadded, padded = state.sizes
        if tracks is None:
            ids, width, device = tuple(range(len(words.sentences))), self.model.sizes.hidden_dim, words.words.device
            tracks = ObjectState.start(ids, unpadded, padded, width, str(device))
        session = ExpressionSession(self.model, words.words, words.sentences)
        return replace(state, video=(words, session.step(tracks, state.features, state.first)))

    def answer(self, state: Walk, frames: int, last: bool) -> tuple[Walk, Settled]:
        """Pixels inside the masks of each."""
        _, tracks = state.video
        if tracks is None:
            return state, Settled(0)
        question = state.question
        masks, scores = self.tracked(tracks, state.told, frames, question, question.exclusive)
        return state, Settled(frames, tuple(range(1, len(masks) + 1)), masks, scores)


@dataclass(frozen=True)
class Entities:
    """What is known of a video of which only the classes are known: `concepts` `(K, D)`, things first."""

    concepts: Tensor
    order: tuple[int, ...]  # places in the vocabulary of the question
    video: EntityVideo | None = None
    scores: TrackScores = TrackScores()
    segments: tuple[Segment, ...] = ()


class EntityTask(ClipTask):
    """Everything that is found, as tracks or as panoptic segments, written and forgotten a window at a time."""

    least = 2

    def start(self, question: VideoQuestion) -> Walk:
        """Nothing is seen yet; the names of the classes are read once."""
        vocabulary = named(question)
        order = sorted(range(len(vocabulary.names)), key=lambda place: place in vocabulary.stuff)
        return Walk(question, Entities(embedded(self.model, question)[order], tuple(order)))

    def rules(self, question: VideoQuestion) -> EntityRules:
        """By which answers become entities, as released."""
        vocabulary = named(question)
        released = {
            "start_late": "start_at_once" not in self.faults,
            "padded_quality": "padded_quality" in self.faults,
        }
        if self.kind == "vis":
            return EntityRules(stability=STABILITY.get(question.data, EntityRules.stability), **released)
        things = len(vocabulary.names) - len(vocabulary.stuff)
        return replace(PANOPTIC, things=things, **released)

    def look(self, state: Walk) -> Walk:
        """See `ClipTask.look`."""
        known: Entities = state.video
        classes = slice(len(known.order))
        rules = self.rules(state.question)
        session = EntitySession(self.model, known.concepts, classes, rules, points=self.points, touched=self.touched)
        video = known.video or EntityVideo(
            EntityState.start(
                len(state.features[0]),
                *state.sizes,
                self.model.sizes.hidden_dim,
                len(known.order),
                state.features[0].device,
            )
        )
        video = session.step(video, state.features, state.first)
        return replace(state, video=replace(known, video=video))

    def due(self, state: Walk) -> int:
        """A window now and then."""
        return self.rules(state.question).due(state.first)

    def answer(self, state: Walk, frames: int, last: bool) -> tuple[Walk, Settled]:
        """The masks of a window, and at the end the scores of all tracks."""
        known: Entities = state.video
        if known.video is None:
            return state, Settled(0)
        video, found = known.video, known.video.entities
        size, slots = state.question.size, found.scores.shape[1] if last else frames
        if self.kind == "vis":
            scores = known.scores.added(found, slots)
            tracks = sorted(scores.ranked(), key=lambda track: -track.score) if last else []
            rows = tuple(track._replace(label=known.order[track.label]) for track in tracks)
            settled = Settled(frames, tuple(found.ids.tolist()), masks_of(found, frames, size), tracks=rows)
            known = replace(known, scores=scores)
        else:
            rules = self.rules(state.question)
            assert rules.things is not None
            labels, segments = panoptic(found, size, rules.things, known=known.segments, frames=frames)
            parts = tuple(PanopticPart(segment.number, known.order[segment.label]) for segment in segments)
            settled = Settled(frames, labels=labels, segments=parts)
            known = replace(known, segments=segments)
        if not last:
            session = EntitySession(self.model, known.concepts, slice(None), self.rules(state.question))
            known = replace(known, video=session.forget(video, frames))
        return replace(state, video=known), settled


class SemanticTask(ClipTask):
    """A class for every pixel, clip after clip, of which none overlap."""

    def start(self, question: VideoQuestion) -> Walk:
        """Nothing is seen yet; the names of the classes are read once."""
        return Walk(question, embedded(self.model, question))

    def look(self, state: Walk) -> Walk:
        """Nothing is remembered: the network looks when a clip is answered."""
        return state

    def due(self, state: Walk) -> int:
        """A clip, when it is whole."""
        return self.frames if state.seen - state.told == self.frames else 0

    def answer(self, state: Walk, frames: int, last: bool) -> tuple[Walk, Settled]:
        """The classes of a clip."""
        if not frames:
            return state, Settled(0)
        session = SemanticSession(self.model, state.video, slice(None))
        features = [x[-frames:] for x in state.features]
        labels = session.step(features, state.told, state.sizes[0], state.question.size)
        return state, Settled(frames, labels=labels.cpu())


TASKS: dict[str, type[ClipTask]] = {
    "vos": ObjectTask,
    "pvos": ObjectTask,
    "rvos": ExpressionTask,
    "vis": EntityTask,
    "vps": EntityTask,
    "vss": SemanticTask,
}


def named(question: VideoQuestion) -> Vocabulary:
    """The vocabulary of a question. Raises ValueError where there is none."""
    if question.vocabulary is None or not question.vocabulary.names:
        raise ValueError("this task needs a vocabulary: the names of the classes")
    return question.vocabulary


def embedded(model: UniVS, question: VideoQuestion) -> Tensor:
    """Embeddings `(K, D)` of the classes. Raises ValueError where there are none of some of them."""
    return model.embed_classes(named(question).names, question.data or None)
