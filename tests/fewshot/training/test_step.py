"""A training step: one look at the frames serves both kinds of losses."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from episodes.batch import EpisodeBatch
from fewshot.nn.outputs import Losses
from fewshot.systems.base import System
from fewshot.systems.registry import make_system, systems
from fewshot.testing import noise_clips as clips
from fewshot.training.step import TrainingStep

NAMES = ("cma", "uniref", "prototype")


def batch(expressions: int) -> EpisodeBatch:
    """Two episodes; the queries of each show the same frames."""
    queries = clips(2 * expressions, frames=1, seed=1)
    frames = queries.frames[::expressions].repeat_interleave(expressions, 0)
    supports = clips(2, frames=2, seed=2)
    return EpisodeBatch(supports, replace(queries, frames=frames), 1, (None, None))  # type: ignore[arg-type]


def system_of(name: str) -> System:
    spec = systems()[name]
    return make_system(spec.config(name=name, **spec.small), 0).eval()  # no dropout, whose draws would differ


def losses(system: System, episodes: EpisodeBatch) -> tuple[float, list[torch.Tensor | None]]:
    system.zero_grad()
    total, _ = TrainingStep(system, "fp32")(episodes, 4.0, True, 2.0)
    total.backward()
    return float(total.detach()), [None if p.grad is None else p.grad.clone() for p in system.parameters()]


@pytest.mark.parametrize("expressions", [1, 3])
@pytest.mark.parametrize("name", NAMES)
def test_shared_features_change_neither_losses_nor_gradients(
    name: str, expressions: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    system, episodes = system_of(name), batch(expressions)
    together, gradients = losses(system, episodes)
    monkeypatch.setattr(TrainingStep, "_seen", lambda self, batch, copies: batch)
    apart, wanted = losses(system, episodes)
    assert together == pytest.approx(apart, rel=1e-6)
    largest = max(float(gradient.abs().max()) for gradient in wanted if gradient is not None)
    for found, gradient in zip(gradients, wanted, strict=True):
        assert (found is None) == (gradient is None)
        if gradient is not None:
            torch.testing.assert_close(found, gradient, rtol=1e-3, atol=1e-6 * largest)  # some are 0 but for rounding


@pytest.mark.parametrize("name", NAMES)
def test_each_frame_is_encoded_once(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    system, episodes, seen = system_of(name), batch(3), []
    look = system.backbone.forward
    monkeypatch.setattr(system.backbone, "forward", lambda x: seen.append(len(x)) or look(x))
    losses(system, episodes)
    assert sorted(seen) == [2, 4]  # a query frame of each episode, and two frames of each support


@pytest.mark.parametrize(("name", "texts"), [("cma", [2, 6]), ("uniref", [6])])
def test_each_expression_is_read_once(name: str, texts: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """CMA reads the words of the two supports too, for its own losses and for those of the warm-up."""
    spec = systems()[name]
    keys = {"word_positions": True} if name == "uniref" else {}
    system, read = make_system(spec.config(name=name, **spec.small, **keys), 0).eval(), []
    look = system.text.forward
    monkeypatch.setattr(system.text, "forward", lambda texts: read.append(len(texts)) or look(texts))
    losses(system, batch(3))
    assert sorted(read) == sorted(texts + [2] * (name == "cma"))


def test_queries_of_other_frames_are_not_taken_for_copies() -> None:
    episodes = batch(2)
    assert episodes.queries_share_frames
    frames = episodes.queries.frames.clone()
    frames[1, 0, 0, 5, 5] += 1
    assert not replace(episodes, queries=replace(episodes.queries, frames=frames)).queries_share_frames


def test_losses_of_a_system_with_a_way_of_its_own_end_as_all_others_do() -> None:
    """`last` gives the weights that another process uses a gradient here too; without it processes would wait."""

    class Own(nn.Module):
        def batch_losses(self, batch: EpisodeBatch, num_frames: float) -> Losses:
            return Losses(torch.tensor(3.0), {"mask": torch.tensor(3.0)})

    step = TrainingStep(Own(), "fp32")  # type: ignore[arg-type]
    step.last = lambda total: 2 * total
    assert float(step(batch(1), 1.0)[0]) == 6.0
