"""The contract of a system, held by every system of the registry while it adapts to its supports."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from fewshot.systems.base import System
from fewshot.systems.registry import spec_of
from fewshot.testing import SystemContract
from fewshot.weights.checkpoint import FORMAT, save_checkpoint
from fewshot.weights.load import load_trained
from tests.fewshot.adaptation.small import NAMES, adapted, plain, settings
from tests.learn2learn import require_learn2learn

STEPS: dict[str, Any] = {"name": "metasgd", "rates": [1e-3]}
PROBE: dict[str, Any] = {"name": "linear_probe"}
CASES = [*((name, STEPS) for name in NAMES), *((name, PROBE) for name in ("cma", "prototype", "uniref", "univs"))]


class TestEverySystemThatAdapts(SystemContract):
    """One class for all of them: a new system gets every test for nothing."""

    adaptation: ClassVar[dict[str, Any]]

    @pytest.fixture(params=CASES, ids=lambda case: f"{case[0]}-{case[1]['name']}", autouse=True)
    def small_instance(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
        name, adaptation = request.param
        if adaptation is STEPS:
            require_learn2learn()
        monkeypatch.setattr(type(self), "settings", settings(name), raising=False)
        monkeypatch.setattr(type(self), "adaptation", adaptation, raising=False)

    def system(self, seed: int = 0) -> System:
        return adapted(plain(self.settings.name, seed), **self.adaptation).eval()

    def test_its_spec_says_what_the_system_says(self) -> None:
        system, inside, spec = self.system(), plain(self.settings.name), spec_of(self.settings)
        assert system.name == spec.name
        if self.adaptation is PROBE:
            assert system.accepts == system.needs == {"support"}
            return
        for name in System.__annotations__:
            assert getattr(system, name) == getattr(inside, name), name

    def test_weights_are_saved_and_loaded(self, tmp_path: Path) -> None:
        """A checkpoint of a system that adapts fills one that adapts, and one that does not."""
        system, file = self.system(seed=3), tmp_path / "best.pt"
        own = system.own_tensors()  # type: ignore[operator]
        for tensor in own.values():
            tensor.data.mul_(2)
        save_checkpoint(file, {"format": FORMAT, "system": system.name, "step": 1, "model": system.state_dict()})
        loaded, without = self.system(), plain(self.settings.name)
        assert len(load_trained(loaded, file).ignored) == 0
        assert list(load_trained(without, file).ignored) == list(own)
        assert all(torch.equal(x, without.state_dict()[n]) for n, x in system.state_dict().items() if n not in own)
        queries, references = self.queries(system, 1), self.references(system, 1)
        with torch.no_grad():
            before = self._logits(system(queries, system.encode_reference(references)))
            assert torch.equal(before, self._logits(loaded(queries, loaded.encode_reference(references))))

    def test_one_batch_is_learnt_by_heart(self) -> None:
        """Here, for the sake of time: its loss falls in a few steps, through those of the adaptation."""
        if self.adaptation is PROBE:
            return  # fitted, not trained
        system = self.system().train()
        queries, references = self.queries(system, 2), self.references(system, 2)
        optimizer = torch.optim.AdamW(system.parameter_groups(self.lr), lr=self.lr / 5, weight_decay=0.0)
        found = []
        for _ in range(3):
            optimizer.zero_grad()
            total = system.losses(system(queries, system.encode_reference(references)), queries).total
            total.backward()
            torch.nn.utils.clip_grad_norm_(system.parameters(), 1.0)
            optimizer.step()
            found.append(float(total.detach()))
        assert found[-1] < found[0], found


def test_a_test_of_other_parts_or_of_weights_without_rates_says_what_to_take(tmp_path: Path) -> None:
    require_learn2learn()
    system, file = adapted(plain("prototype"), **STEPS), tmp_path / "best.pt"
    for model, said in (
        (plain("prototype").state_dict(), "has no learnt step sizes .* take adaptation=finetune for others"),
        ({**system.state_dict(), "adaptation.rates": torch.ones(2)}, "of 2 tensors .* give adaptation.parts as in its"),
    ):
        save_checkpoint(file, {"format": FORMAT, "system": "prototype", "step": 1, "model": model})
        with pytest.raises(Exception, match=said) as caught:
            load_trained(system, file)
        assert "\n" not in str(caught.value)
