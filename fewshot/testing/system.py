"""What every system does, as tests: `SystemContract`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import ClassVar

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
from fewshot.testing.clips import WORDS, cropped, noise_clips, padded


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
            alone = system(queries.take([n]), system.encode_reference(self._one(references, n)))
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
            self._close(once[n], self._logits(system(queries.take([n]), each))[0])

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
        seen = system.with_features(queries.take([0]))
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
        supports = None if references.supports is None else references.supports.take([n])
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
