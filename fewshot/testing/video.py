"""What every way through whole videos does, as tests: `VideoContract`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from fewshot.systems.base import System
from fewshot.systems.config import SystemConfig
from fewshot.systems.registry import make_system, spec_of
from fewshot.systems.video_tasks import Settled, VideoQuestion, VideoTask, Vocabulary, numbers_in
from fewshot.testing.clips import WORDS, noise_clips


class VideoContract:
    """Tests that a system passes for every kind of task on whole videos that it answers.

    Attributes:
        settings: of a small instance that tells `classes` apart, or any.
        size: height and width of the frames, in pixels; result: those of the answer.
        classes: of the vocabulary, the last of which is stuff.
    """

    settings: ClassVar[SystemConfig]
    size: ClassVar[tuple[int, int]] = (64, 64)
    result: ClassVar[tuple[int, int]] = (40, 50)
    classes: ClassVar[tuple[str, ...]] = ("dax", "toma", "ground")
    clip_frames: ClassVar[int] = 3

    def system(self) -> System:
        """A system of the settings, in evaluation mode."""
        return make_system(self.settings, 0).eval()

    def task(self, system: System, kind: str) -> VideoTask:
        """Its way through videos for a task."""
        build = spec_of(self.settings).video_task
        assert build is not None
        return build(system, kind, self.clip_frames)

    def question(self, kind: str) -> VideoQuestion:
        """What a video is asked for a task: its classes, two objects, or two expressions."""
        if kind in ("vis", "vss", "vps"):
            return VideoQuestion(self.result, Vocabulary(self.classes, frozenset({len(self.classes) - 1})))
        if kind == "rvos":
            return VideoQuestion(self.result, expressions=WORDS[:2])
        return VideoQuestion(self.result, objects=(1, 7))

    def given(self, kind: str, t: int) -> dict[int, Tensor]:
        """Masks that are given in frame `t`: of one object in the first, of another in the third."""
        if kind not in ("vos", "pvos") or t not in (0, 2):
            return {}
        mask = torch.zeros(self.result, dtype=torch.bool)
        mask[5 + t : 20, 5:25] = True
        return {1 if t == 0 else 7: mask}

    @torch.no_grad()
    def walk(self, task: VideoTask, kind: str, frames: int) -> Iterator[tuple[Any, Settled]]:
        """States of a video of noise with what is settled by each frame, and at the end."""
        state = task.start(self.question(kind))
        for t in range(frames):
            frame = noise_clips(1, 1, self.size, seed=t, words=False)
            state, settled = task.step(state, frame, self.given(kind, t))
            yield state, settled
        yield state, task.end(state)

    def test_every_frame_is_answered_once(self) -> None:
        """Also those of a video that is shorter than a clip; masks and maps have the size that was asked for."""
        system = self.system()
        for kind in sorted(system.video_kinds):
            for frames in (1, self.clip_frames - 1, self.clip_frames + 2):
                answers = [settled for _, settled in self.walk(self.task(system, kind), kind, frames)]
                assert sum(settled.frames for settled in answers) == frames, (kind, frames)
                for settled in answers:
                    self._check_shapes(settled, kind)

    def _check_shapes(self, settled: Settled, kind: str) -> None:
        if kind in ("vss", "vps"):
            if settled.frames:
                assert settled.labels is not None and settled.labels.shape == (settled.frames, *self.result)
                known = range(len(self.classes)) if kind == "vss" else {0, *(part.number for part in settled.segments)}
                assert set(settled.labels.unique().tolist()) <= set(known)
            return
        if settled.frames:
            assert settled.masks is not None and settled.masks.dtype == torch.bool
            assert settled.masks.shape == (len(settled.ids), settled.frames, *self.result)
        if kind in ("vos", "pvos") and settled.masks is not None:
            assert settled.ids == self.question(kind).objects and (settled.masks.sum(0) <= 1).all()
        assert all(0 <= track.score <= 1 and track.label < len(self.classes) for track in settled.tracks)

    def test_a_given_mask_stays_as_it_is(self) -> None:
        """The answer of the frame that gives a mask is that mask."""
        system = self.system()
        for kind in sorted(system.video_kinds & {"vos", "pvos"}):
            answers = [settled for _, settled in self.walk(self.task(system, kind), kind, 5)]
            masks = torch.cat([settled.masks for settled in answers if settled.masks is not None], 1)
            assert torch.equal(masks[0, 0], self.given(kind, 0)[1]) and torch.equal(masks[1, 2], self.given(kind, 2)[7])
            assert not masks[1, :2].any()

    def test_an_object_that_is_never_given_is_nowhere(self) -> None:
        """Although the question announced it."""
        system = self.system()
        for kind in sorted(system.video_kinds & {"vos", "pvos"}):
            answers = [settled for _, settled in self.walk(self.task(system, kind), kind, 2)]
            assert not any(settled.masks[1].any() for settled in answers if settled.masks is not None), kind

    def test_objects_that_were_not_announced_and_empty_masks_are_refused(self) -> None:
        """In one line that names the object."""
        system, frame = self.system(), noise_clips(1, 1, self.size, words=False)
        for kind in sorted(system.video_kinds & {"vos", "pvos"}):
            task = self.task(system, kind)
            state = task.start(self.question(kind))
            for given, message in (
                ({9: torch.ones(self.result, dtype=torch.bool)}, "object 9 is given"),
                ({1: torch.zeros(self.result, dtype=torch.bool)}, "mask given for object 1"),
            ):
                with pytest.raises(ValueError, match=message), torch.no_grad():
                    task.step(state, frame, given)

    @torch.no_grad()
    def test_a_state_of_a_video_stays_as_it_was(self) -> None:
        """Two steps from one state give the same answer."""
        system = self.system()
        for kind in sorted(system.video_kinds):
            task, frame = self.task(system, kind), noise_clips(1, 1, self.size, seed=9, words=False)
            *_, (state, _), _ = self.walk(task, kind, 4)
            first, second = (task.end(task.step(state, frame)[0]) for _ in range(2))
            for a, b in ((first.masks, second.masks), (first.labels, second.labels)):
                assert (a is None and b is None) or (a is not None and b is not None and torch.equal(a, b))
            assert first.tracks == second.tracks

    def test_what_is_remembered_does_not_grow_with_the_video(self) -> None:
        """After thirty frames a state holds at most as many numbers as the largest one before."""
        system = self.system()
        for kind in sorted(system.video_kinds):
            sizes = [numbers_in(state) for state, _ in self.walk(self.task(system, kind), kind, 45)]
            assert max(sizes[30:]) <= max(sizes[:30]), kind

    def test_another_kind_of_task_is_refused(self) -> None:
        """In one line that says what it answers."""
        with pytest.raises(ValueError, match="does not answer task detection"):
            self.task(self.system(), "detection")
