"""A system that adapts is a system: it steps on its supports alone, and everything else is as of the one inside."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch

from episodes.batch import References
from fewshot.adaptation.adapted import Adapted
from fewshot.adaptation.lessons import lessons
from fewshot.adaptation.parts import rates_of
from fewshot.inference.chunks import evaluating
from fewshot.systems.base import System
from fewshot.testing import noise_clips
from tests.fewshot.adaptation.small import NAMES, adapted, plain
from tests.learn2learn import require_learn2learn

PLAIN = cache(plain)


@pytest.fixture(autouse=True)
def _installed() -> None:
    require_learn2learn()


def episode(system: System, shots: int, queries: int = 1, episodes: int = 1, seed: int = 1) -> Any:
    words = "expression" in system.accepts
    supports = noise_clips(shots * episodes, 1, seed=seed, words=words)
    asked = noise_clips(queries * episodes, 1, seed=seed + 50, words=words)
    return References(supports, shots, asked.expressions), asked


def query_loss(system: System, references: References, queries: Any) -> torch.Tensor:
    return system.losses(system(queries, system.encode_reference(references)), queries).total


@pytest.mark.parametrize("name", NAMES)
def test_steps_lower_the_loss_of_the_lessons_in_a_test_and_leave_the_weights(name: str) -> None:
    system = PLAIN(name)
    before = {key: tensor.clone() for key, tensor in system.state_dict().items()}
    learner = adapted(system, steps=2, rates=[1e-4])
    references, queries = episode(system, shots=1)
    assert references.supports is not None
    with evaluating(learner):
        state = learner.encode_reference(references)
        assert learner.logits(learner(queries, state), queries, 0).isfinite().all()
        taught = lessons(references.supports)
        started, ended = (float(learner._loss(one, taught)) for one in (system, state.supports.learners[0]))
    assert ended < started
    assert all(torch.equal(tensor, before[key]) for key, tensor in system.state_dict().items())


@pytest.mark.parametrize("name", NAMES)
def test_the_loss_after_second_order_steps_trains_the_weights_before_them(name: str) -> None:
    system = PLAIN(name).train()
    found = []
    for second_order in (False, True):
        torch.manual_seed(0)  # of dropout
        system.zero_grad()
        learner = adapted(system, rates=[1e-3], second_order=second_order)
        query_loss(learner, *episode(system, shots=2)).backward()
        gradients = {n: p.grad.clone() for n, p in system.named_parameters() if p.grad is not None}
        assert len(gradients) > 5 and all(g.isfinite().all() for g in gradients.values())
        found.append(gradients)
    system.zero_grad()
    system.eval()
    assert any(not torch.equal(found[0][n], found[1][n]) for n in found[0])


@pytest.mark.parametrize("name", [name for name in NAMES if PLAIN(name).name != "prototype"])
@torch.no_grad()
def test_named_parts_have_no_share_in_the_features_and_may_share_them(name: str) -> None:
    """The same masks whether visual features are computed once or by the weights of each step."""
    system = PLAIN(name)
    once = adapted(system, parts=["head", "fusion"], rates=[1e-2])
    each = Adapted(system, rates_of(system, ["head", "fusion"], [1e-2]))
    references, queries = episode(system, shots=2, queries=2)
    queries = replace(queries, frames=queries.frames[:1].repeat(2, 1, 1, 1, 1))
    masks = []
    for learner in (once, each):
        seen = learner.with_features(queries, copies=2)
        assert bool(seen.features) == (learner is once)
        state = learner.encode_reference(replace(references, expressions=queries.expressions))
        masks.append(learner(seen, state).masks)
    assert torch.allclose(*masks, atol=1e-4)
    assert not torch.equal(masks[0], system(queries, system.encode_reference(references)).masks)


@pytest.mark.parametrize("name", [name for name in NAMES if PLAIN(name).has_warmup])
@torch.no_grad()
def test_the_warm_up_of_queries_that_share_frames_is_that_of_the_system_inside(name: str) -> None:
    """Whether the steps change the visual features, which then are none of the batch's, or not."""
    system = PLAIN(name)
    references, queries = episode(system, shots=1, queries=2)
    assert references.supports is not None
    queries = replace(queries, frames=queries.frames[:1].repeat(2, 1, 1, 1, 1))
    words = system.encode_text(queries.expressions)
    found = []
    for one in (system, adapted(system), adapted(system, parts=["head"])):
        seen = one.with_features(queries, copies=2), one.with_features(references.supports)
        found.append(one.warmup_losses(seen[1], seen[0], 1, 2.0, words).total)
    torch.testing.assert_close(found[1:], [found[0], found[0]])


@pytest.mark.parametrize("name", [name for name in NAMES if "support" not in PLAIN(name).needs])
@torch.no_grad()
def test_words_without_supports_are_answered_by_the_system_inside(name: str) -> None:
    """Several of one picture, as the probe `no_support` of a test asks them."""
    system = PLAIN(name)
    _, queries = episode(system, shots=1, queries=2)
    queries = replace(queries, frames=queries.frames[:1].repeat(2, 1, 1, 1, 1))
    state = system.encode_reference(References(None, 0, queries.expressions))
    once, learner = system.with_features(queries, copies=2), adapted(system)
    assert torch.equal(learner(learner.with_features(queries, copies=2), state).masks, system(once, state).masks)


@pytest.mark.parametrize("name", ["cma", "prototype", "uniref"])
@pytest.mark.parametrize(("shots", "clips"), [(1, 4), (4, 4)])  # a single support, and three copies of it
def test_a_step_sees_each_support_once(name: str, shots: int, clips: int, monkeypatch: pytest.MonkeyPatch) -> None:
    system = PLAIN(name)
    backbone, seen = type(system.backbone), []
    see = backbone.forward

    def counting(self: Any, frames: torch.Tensor) -> Any:
        seen.append(len(frames))
        return see(self, frames)

    monkeypatch.setattr(backbone, "forward", counting)
    learner = adapted(system, steps=2, rates=[1e-4])
    references, _ = episode(system, shots)
    assert isinstance(learner, Adapted) and references.supports is not None
    learner.adapt(references.supports)
    assert sum(seen) == 2 * clips * references.supports.frames.shape[1]


@torch.no_grad()
def test_episodes_of_a_batch_adapt_apart() -> None:
    learner = adapted(PLAIN("prototype"), rates=[0.1], steps=2)
    references, queries = episode(learner, shots=2, queries=2, episodes=2)
    together = learner(queries, learner.encode_reference(references))
    losses = learner.losses(together, queries, 4.0)
    assert references.supports is not None
    apart = []
    for b in range(2):
        own, asked = references.supports.take(range(2 * b, 2 * b + 2)), queries.take(range(2 * b, 2 * b + 2))
        alone = learner(asked, learner.encode_reference(References(own, 2, asked.expressions)))
        assert torch.allclose(together.masks[2 * b : 2 * b + 2], alone.masks, atol=1e-5)
        assert torch.allclose(learner.logits(together, queries, 2 * b + 1), learner.logits(alone, asked, 1), atol=1e-5)
        apart.append(learner.losses(alone, asked, 4.0).total)
    assert torch.allclose(losses.total, sum(apart, torch.zeros(())), atol=1e-5)


def test_learnt_rates_are_trained_and_stored_beside_the_weights_of_the_system() -> None:
    system = PLAIN("prototype")
    system.zero_grad()
    learner = adapted(system, name="metasgd", rates=[0.01], second_order=True)
    query_loss(learner, *episode(system, shots=2)).backward()
    assert isinstance(learner, Adapted) and learner.rates is not None and learner.rates.grad is not None
    assert int((learner.rates.grad != 0).sum()) > 5
    assert learner.parameter_groups(1e-3)[-1]["params"] == [learner.rates]
    state = learner.state_dict()
    assert set(state) - set(system.state_dict()) == {"adaptation.rates"}
    other = adapted(system, name="metasgd", rates=[0.5])
    other.load_state_dict({**state, "adaptation.rates": state["adaptation.rates"] + 1})
    assert isinstance(other, Adapted) and other.rates is not None
    assert torch.allclose(other.rates, torch.tensor(1.01))
    assert adapted(system).state_dict().keys() == system.state_dict().keys()
    system.zero_grad()


def test_parts_choose_parameters_and_rates() -> None:
    system = PLAIN("uniref")
    rates = rates_of(system, ["head", "fusion", "norms"], [0.1, 0.01, 0.001])
    assert {name.split(".")[0] for name, rate in rates.items() if rate == 0.1} == {"controller", "score_heads"}
    assert {name.split(".")[0] for name, rate in rates.items() if rate == 0.01} == {"fusion"}
    assert any(name.startswith("backbone") for name, rate in rates.items() if rate == 0.001)
    assert not any(name.startswith("text.") for name in rates_of(system, ["all"], [0.1]))
    with pytest.raises(ValueError, match="adaptation.parts=nose: no parameter of system uniref that learns"):
        rates_of(system, ["nose"], [0.1])
    with pytest.raises(ValueError, match="give one number, or one for each"):
        rates_of(system, ["head"], [0.1, 0.2])


def test_a_part_that_is_not_there_is_told_with_the_names_that_begin_alike() -> None:
    with pytest.raises(ValueError, match=r"beginnings of names, of which there are backbone$"):
        adapted(PLAIN("prototype"), parts=["backbones"])
    with pytest.raises(ValueError, match=r"of which there are backbone\.body\.0, backbone\.body\.1, backbone\.body\.2"):
        adapted(PLAIN("prototype"), parts=["backbone.body.stage1"])


def test_a_rate_that_is_too_large_is_named() -> None:
    learner = adapted(PLAIN("uniref"), rates=[1e6], steps=5)
    references, _ = episode(learner, shots=2)
    assert references.supports is not None
    with pytest.raises(ValueError, match="take smaller adaptation.rates"):
        learner.encode_supports(references.supports, 2)
