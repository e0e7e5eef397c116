"""Steps of the inner loop equal plain torch.func; what learn2learn would spoil stays as it is."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from fewshot.adaptation import learner
from fewshot.adaptation.learner import INSTALL, Learn2LearnMissing, cloned, descend, differentiable, freeze
from fewshot.cli.errors import is_user_error
from tests.learn2learn import require_learn2learn


@pytest.fixture(autouse=True)
def _installed(request: pytest.FixtureRequest) -> None:
    if "without" not in request.node.name:
        require_learn2learn()


class Net(nn.Module):
    """A convolution, a norm, a frozen layer, one that is never used, and attention."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2)
        self.frozen, self.unused = nn.Linear(4, 4).requires_grad_(False), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.norm(self.conv(x)).tanh().flatten(2).transpose(1, 2)
        tokens = nn.functional.scaled_dot_product_attention(tokens, tokens, self.frozen(tokens))
        return self.head(tokens.mean(1))


def net() -> Net:
    torch.manual_seed(0)
    return Net().double().eval()


def data(seed: int) -> tuple[Tensor, Tensor]:
    torch.manual_seed(seed)
    return torch.randn(5, 3, 6, 6, dtype=torch.float64), torch.randint(0, 2, (5,))


def loss_of(answer: Tensor, target: Tensor) -> Tensor:
    return nn.functional.cross_entropy(answer, target)


def reference(model: Net, rates: dict[str, Tensor], steps: int, second_order: bool) -> Tensor:
    """The outer loss after the inner steps, by functional_call alone."""
    (x, y), (query, truth) = data(1), data(2)
    weights: dict[str, Tensor] = dict(model.named_parameters())
    for _ in range(steps):
        loss = loss_of(functional_call(model, weights, (x,)), y)
        names = [name for name in rates if not name.startswith("unused")]
        found = torch.autograd.grad(loss, [weights[name] for name in names], create_graph=second_order)
        weights |= {n: weights[n] - rates[n] * g for n, g in zip(names, found, strict=True)}
    return loss_of(functional_call(model, weights, (query,)), truth)


def adapted_loss(model: Net, rates: dict[str, Tensor], steps: int, second_order: bool) -> Tensor:
    (x, y), (query, truth) = data(1), data(2)
    copy = cloned(model, rates, outer=True)
    for _ in range(steps):
        copy = descend(copy, loss_of(copy(x), y), rates, second_order)
    return loss_of(copy(query), truth)


def rates_of(model: Net) -> dict[str, Tensor]:
    names = [name for name, p in model.named_parameters() if p.requires_grad]
    return {n: torch.tensor(0.1 + 0.05 * k, dtype=torch.float64, requires_grad=True) for k, n in enumerate(names)}


@pytest.mark.parametrize("second_order", [False, True])
@pytest.mark.parametrize("steps", [1, 3])
def test_gradients_of_weights_and_rates_equal_those_of_functional_call(steps: int, second_order: bool) -> None:
    ours, theirs = net(), net()
    our_rates, their_rates = rates_of(ours), rates_of(theirs)
    with differentiable(second_order=True):  # one attention kernel for both
        found = adapted_loss(ours, our_rates, steps, second_order)
        found.backward()
        wanted = reference(theirs, their_rates, steps, second_order)
        wanted.backward()
    assert float((found - wanted).detach().abs()) == 0.0
    moved = 0
    for (name, a), (_, b) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        assert (a.grad is None) == (b.grad is None), name
        if a.grad is not None and b.grad is not None:
            assert float((a.grad - b.grad).abs().max()) == 0.0, name
            moved += bool(a.grad.abs().max() > 0)
    assert moved >= 5
    for name, rate in our_rates.items():
        other = their_rates[name].grad
        assert (rate.grad is None) == (other is None), name
        assert rate.grad is None or other is None or torch.equal(rate.grad, other), name


def test_first_and_second_order_differ() -> None:
    grads = []
    for second_order in (False, True):
        model = net()
        with differentiable(second_order):
            adapted_loss(model, rates_of(model), 1, second_order).backward()
        assert model.conv.weight.grad is not None
        grads.append(model.conv.weight.grad)
    assert float((grads[0] - grads[1]).abs().max()) > 1e-6


def test_the_original_stays_as_it_is() -> None:
    model = net().train()
    model.frozen.weight.grad = torch.ones_like(model.frozen.weight)  # of an outer loss that accumulates
    model.head.weight.grad = torch.ones_like(model.head.weight)
    before = {name: x.clone() for name, x in model.state_dict().items()}
    adapted_loss(model, {"head.weight": torch.tensor(0.5)}, 2, True)
    assert all(torch.equal(x, before[name]) for name, x in model.state_dict().items())
    assert model.norm.training and all(p.is_leaf for p in model.parameters())


def test_only_the_named_parameters_move() -> None:
    model = net()
    copy = cloned(model, {"head.weight": 0.5}, outer=False)
    x, y = data(1)
    copy = descend(copy, loss_of(copy(x), y), {"head.weight": 0.5}, False)
    freeze(copy)
    moved = [n for (n, p), q in zip(model.named_parameters(), copy.parameters(), strict=True) if not torch.equal(p, q)]
    assert moved == ["head.weight"]
    assert not any(q.requires_grad for q in copy.parameters())
    assert all(p.requires_grad for n, p in model.named_parameters() if not n.startswith("frozen"))


def test_without_learn2learn_the_message_has_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    learner.learn2learn.cache_clear()
    with pytest.raises(Learn2LearnMissing, match="not installed: pip install cython.*learn2learn==0.2.0") as caught:
        learner.learn2learn()
    assert "\n" not in str(caught.value) and is_user_error(caught.value)
    learner.learn2learn.cache_clear()


@pytest.mark.parametrize("file", ["Makefile", "docs/adaptation.md"])
def test_without_network_this_file_has_the_same_command(file: str) -> None:
    flags = INSTALL.rpartition("pip install ")[2]
    assert flags in (Path(__file__).resolve().parents[3] / file).read_text(encoding="utf-8")


def test_nothing_is_printed_when_it_is_imported() -> None:
    code = "from fewshot.adaptation.learner import learn2learn; learn2learn()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
