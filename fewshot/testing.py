"""The contract of a system, as tests that each system passes, in this package or outside.

A package with a system of its own puts this into a test file and runs pytest on it:

    from fewshot.testing import SystemContract

    class TestMine(SystemContract):
        settings = MineConfig(width=8)

`VideoContract` holds what a way through whole videos (`SystemSpec.video_task`) must do.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from episodes.batch import ClipBatch, References
from fewshot.cli.arguments import refuse_unknown_keys
from fewshot.cli.runs import MetaTrainConfig
from fewshot.inference.look import read_references
from fewshot.inference.model import Model, load
from fewshot.inference.segmenter import check_reference
from fewshot.nn.outputs import Prediction
from fewshot.systems.base import System
from fewshot.systems.config import SystemConfig
from fewshot.systems.registry import make_system, spec_of
from fewshot.systems.video_tasks import Settled, VideoQuestion, VideoTask, Vocabulary, numbers_in

WORDS = ("the dax on the left", "a big blicket", "the red toma")


def noise_clips(
    count: int, frames: int = 2, size: tuple[int, int] = (64, 64), *, seed: int = 0, words: bool = True
) -> ClipBatch:
    """Clips of noise with a brighter square object each, fully described, without padding.

    Args:
        count: number of clips `N`.
        frames: of each clip.
        size: height and width, at least 64 pixels each.
        seed: of the noise.
        words: whether the clips have expressions.
    """
    height, width = size
    generator = torch.Generator().manual_seed(seed)
    masks = torch.zeros(count, frames, height, width, dtype=torch.bool)
    boxes = torch.zeros(count, frames, 4)
    for n in range(count):
        top, left = 8 + 4 * (n % 4), 16 - 4 * (n % 4)
        masks[n, :, top : top + 32, left : left + 32] = True
        boxes[n] = torch.tensor([(left + 16) / width, (top + 16) / height, 32 / width, 32 / height])
    return ClipBatch(
        frames=torch.randn(count, frames, 3, height, width, generator=generator) + 2.0 * masks[:, :, None],
        padding=torch.zeros(count, height, width, dtype=torch.bool),
        sizes=torch.tensor([[height, width]] * count),
        expressions=tuple(WORDS[n % len(WORDS)] if words else None for n in range(count)),
        masks=tuple(masks),
        boxes=boxes,
        valid=torch.ones(count, frames, dtype=torch.bool),
    )


def one_clip(batch: ClipBatch, n: int) -> ClipBatch:
    """Clip `n` of a batch as a batch of one."""
    return replace(
        batch,
        frames=batch.frames[n : n + 1],
        padding=batch.padding[n : n + 1],
        sizes=batch.sizes[n : n + 1],
        expressions=batch.expressions[n : n + 1],
        masks=batch.masks[n : n + 1],
        boxes=None if batch.boxes is None else batch.boxes[n : n + 1],
        valid=None if batch.valid is None else batch.valid[n : n + 1],
        ignore=batch.ignore[n : n + 1],
        objects=batch.objects[n : n + 1],
        original_sizes=batch.original_sizes[n : n + 1],
    )


def cropped(batch: ClipBatch, height: int, width: int) -> ClipBatch:
    """The upper left corner of all clips, in pixels; boxes are left out."""
    return replace(
        batch,
        frames=batch.frames[..., :height, :width],
        padding=batch.padding[..., :height, :width],
        sizes=torch.tensor([[height, width]] * len(batch)),
        masks=tuple(None if mask is None else mask[..., :height, :width] for mask in batch.masks),
        boxes=None,
    )


def padded(batch: ClipBatch, down: int, right: int) -> ClipBatch:
    """The batch with more zero padding at the bottom and right, in pixels."""
    more = (0, right, 0, down)
    return replace(
        batch,
        frames=torch.nn.functional.pad(batch.frames, more),
        padding=torch.nn.functional.pad(batch.padding, more, value=True),
    )


class SystemContract:
    """Tests that every system passes. Subclass it as a test class of pytest and name its `settings`.

    Attributes:
        settings: of a small instance.
        size: height and width of the frames, in pixels.
        frames: of a clip.
        tolerance: of mask probabilities and logits, relative to the largest value.
        steps: optimiser steps in which one batch is learnt by heart.
        lr: their learning rate.
        overlap: IoU that the masks of each clip of that batch must then reach, 0..1.
    """

    settings: ClassVar[SystemConfig]
    size: ClassVar[tuple[int, int]] = (64, 64)
    frames: ClassVar[int] = 2
    tolerance: ClassVar[float] = 1e-4
    steps: ClassVar[int] = 60
    lr: ClassVar[float] = 5e-3
    overlap: ClassVar[float] = 0.8

    def system(self, seed: int = 0) -> System:
        """A system of the settings, the same for the same seed, in evaluation mode."""
        return make_system(self.settings, seed).eval()

    def references(self, system: System, count: int, *, seed: int = 1) -> References:
        """References of `count` episodes with all that the system accepts, one query each."""
        words = "expression" in system.accepts
        texts = tuple(WORDS[n % len(WORDS)] if words else None for n in range(count))
        if "support" not in system.accepts:
            return References(expressions=texts)
        return References(noise_clips(count, self.frames, self.size, seed=seed, words=words), 1, texts)

    def queries(self, system: System, count: int, *, seed: int = 2) -> ClipBatch:
        """Query clips, with expressions where the system reads them."""
        return noise_clips(count, self.frames, self.size, seed=seed, words="expression" in system.accepts)

    # what it says

    def test_its_spec_says_what_the_system_says(self) -> None:
        """Spec and system agree on the name and on the references that are needed."""
        system, spec = self.system(), spec_of(self.settings)
        assert system.name == spec.name
        assert system.needs <= system.accepts
        assert system.needs == spec.needs
        assert spec.rule_of(system).size >= 1

    def test_unknown_keys_are_refused(self) -> None:
        """A key that the settings do not have is refused by its name."""
        with pytest.raises(ValueError, match="unknown key 'system.no_such_key'"):
            refuse_unknown_keys(["system.no_such_key=1"], MetaTrainConfig, {"system": type(self.settings)})

    def test_what_it_cannot_take_is_refused(self) -> None:
        """References that the system does not accept, or lacks, are refused with advice."""
        system = self.system()
        words = {"support": "support", "expression": "text"}
        all_that_it_accepts = {word: part in system.accepts for part, word in words.items()}
        for part, word in words.items():
            if part not in system.accepts:
                with pytest.raises(ValueError, match=f"leave {word}=... away"):
                    check_reference(system, **{**all_that_it_accepts, word: True})
            if part in system.needs:
                with pytest.raises(ValueError, match=f"give {word}=..."):
                    check_reference(system, **{**all_that_it_accepts, word: False})
        with pytest.raises(ValueError, match="needs|nothing says"):
            check_reference(system, support=False, text=False)

    def test_a_wrong_number_of_references_is_refused(self) -> None:
        """Three query clips do not go with the references of two."""
        system = self.system()
        state = system.encode_reference(self.references(system, 2))
        with pytest.raises(ValueError, match="3 query clips"), torch.no_grad():
            system(self.queries(system, 3), state)

    # what it computes

    @torch.no_grad()
    def test_a_batch_of_two_equals_two_batches_of_one(self) -> None:
        """Logits of a query do not depend on the other clips of the batch."""
        system = self.system()
        queries, references = self.queries(system, 2), self.references(system, 2)
        together = self._logits(system(queries, system.encode_reference(references)))
        for n in range(2):
            alone = system(one_clip(queries, n), system.encode_reference(self._one(references, n)))
            self._close(together[n], self._logits(alone)[0])

    @torch.no_grad()
    def test_references_encoded_once_equal_references_encoded_each_time(self) -> None:
        """One support for two queries gives the logits of two supports."""
        system = self.system()
        queries, first = self.queries(system, 2), self._one(self.references(system, 2), 0)
        shared = replace(first, expressions=queries.expressions)
        once = self._logits(system(queries, system.encode_reference(shared)))
        for n in range(2):
            each = system.encode_reference(replace(first, expressions=queries.expressions[n : n + 1]))
            self._close(once[n], self._logits(system(one_clip(queries, n), each))[0])

    @torch.no_grad()
    def test_a_state_serves_many_queries_and_stays_as_it_was(self) -> None:
        """A forward pass does not change the state of the references."""
        system = self.system()
        queries, references = self.queries(system, 1), self.references(system, 1)
        state = system.encode_reference(references)
        first = self._logits(system(queries, state))
        system(self.queries(system, 1, seed=7), state)
        assert torch.equal(first, self._logits(system(queries, state)))

    @torch.no_grad()
    def test_features_computed_before_give_the_same_masks(self) -> None:
        """Visual features may be computed once for several passes, and once for clips of the same frames."""
        system = self.system()
        queries, references = self.queries(system, 2), self.references(system, 2)
        queries = replace(queries, frames=queries.frames[:1].expand_as(queries.frames).contiguous())
        wanted = self._logits(system(queries, system.encode_reference(references)))
        supports = references.supports and system.with_features(references.supports)
        state = system.encode_reference(replace(references, supports=supports))
        self._close(self._logits(system(system.with_features(queries, copies=2), state)), wanted)

    @torch.no_grad()
    def test_references_of_a_clip_may_be_asked_together_or_apart(self) -> None:
        """Two references of a clip give the same masks in one forward pass and in two; words are read once for both."""
        system = self.system()
        first, queries = self._one(self.references(system, 2), 0), self.queries(system, 2)
        supports = first.supports and system.encode_supports(first.supports, first.shots)
        references = read_references(system, queries.expressions, supports)
        seen = system.with_features(one_clip(queries, 0))
        together = self._logits(system(seen.repeat(2), references.some(0, 2)))
        for n in range(2):
            self._close(self._logits(system(seen, references.some(n, n + 1)))[0], together[n])

    @torch.no_grad()
    def test_padding_leaves_the_masks_as_they_are(self) -> None:
        """More padding gives the same probabilities, if the system says that it does."""
        system = self.system()
        if not system.independent_of_padding:
            return  # it does not say so
        height, width = (side - 16 for side in self.size)
        queries = cropped(self.queries(system, 1), height, width)
        state = system.encode_reference(self.references(system, 1))
        plain = system.probabilities(system(queries, state), queries, 0)
        more = padded(queries, 16, 16)
        self._close(plain, system.probabilities(system(more, state), more, 0))

    def test_weights_are_saved_and_loaded(self, tmp_path: Path) -> None:
        """A saved and loaded model gives the same logits, bit for bit."""
        system, spec = self.system(seed=3), spec_of(self.settings)
        Model(system, spec.rule_of(system), self.settings).save_pretrained(tmp_path / "saved")
        loaded = load(tmp_path / "saved").system
        queries, references = self.queries(system, 1), self.references(system, 1)
        with torch.no_grad():
            before = self._logits(system(queries, system.encode_reference(references)))
            assert torch.equal(before, self._logits(loaded(queries, loaded.encode_reference(references))))

    # what it learns

    def test_one_batch_is_learnt_by_heart(self) -> None:
        """Losses stay finite, and the masks of each clip of a batch that is trained on reach the IoU `overlap`."""
        system = make_system(self.settings, 0)
        queries, references = self.queries(system, 2), self.references(system, 2)
        optimizer = torch.optim.AdamW(system.parameter_groups(self.lr), lr=self.lr, weight_decay=0.0)
        system.train()
        for _ in range(self.steps):
            optimizer.zero_grad()
            losses = system.losses(system(queries, system.encode_reference(references)), queries)
            assert torch.isfinite(losses.total)
            losses.total.backward()
            torch.nn.utils.clip_grad_norm_(system.parameters(), 1.0)
            optimizer.step()
        system.eval()
        with torch.no_grad():
            prediction = system(queries, system.encode_reference(references))
            overlaps = [self._overlap(system, prediction, queries, n) for n in range(2)]
        assert min(overlaps) >= self.overlap, f"IoU of the two clips: {overlaps}"

    # helpers

    @staticmethod
    def _one(references: References, n: int) -> References:
        supports = None if references.supports is None else one_clip(references.supports, n)
        return replace(references, supports=supports, expressions=references.expressions[n : n + 1])

    @staticmethod
    def _logits(prediction: Prediction) -> Tensor:
        """Mask logits of the best candidates, `(N, T, h, w)`."""
        best = prediction.best()[:, :, None, None, None].expand(-1, -1, 1, *prediction.masks.shape[-2:])
        return prediction.masks.float().gather(2, best)[:, :, 0]

    def _close(self, found: Tensor, wanted: Tensor) -> None:
        limit = self.tolerance * max(1.0, float(wanted.abs().max()))
        assert found.shape == wanted.shape
        assert float((found - wanted).abs().max()) <= limit

    @staticmethod
    def _overlap(system: System, prediction: Prediction, queries: ClipBatch, n: int) -> float:
        mask, truth = system.probabilities(prediction, queries, n) > 0.5, queries.masks[n]
        assert truth is not None
        return float((mask & truth).sum() / (mask | truth).sum())


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
