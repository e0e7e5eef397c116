"""The contract of `fewshot.testing`, held by every system of the registry."""

from __future__ import annotations

import pytest

from fewshot.systems.registry import systems
from fewshot.testing import SystemContract


class TestEverySystem(SystemContract):
    """One class for all of them: a new system gets every test for nothing."""

    @pytest.fixture(params=sorted(systems()), autouse=True)
    def small_instance(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
        spec = systems()[request.param]
        monkeypatch.setattr(type(self), "settings", spec.config(name=spec.name, **spec.small), raising=False)


def test_the_systems_of_the_package_are_registered() -> None:
    assert {"cma", "prototype", "referformer", "sgmg", "uniref", "uniref_sam", "univs"} <= set(systems())
