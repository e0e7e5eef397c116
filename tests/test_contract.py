"""The contract of `fewshot.testing`, held by every system of the registry."""

from __future__ import annotations

import importlib

import pytest

from fewshot.systems.registry import systems
from fewshot.testing import SystemContract, VideoContract

# the installed library may be too old for a system that is hosted from it; `tests/fewshot/systems` says which
HOSTED = {"videomt": ("transformers", "VideomtForUniversalSegmentation")}


def missing(name: str) -> str:
    """What a system lacks here; empty for all that can be built."""
    library, needed = HOSTED.get(name, ("torch", "Tensor"))
    found = hasattr(importlib.import_module(library), needed)
    return "" if found else f"the installed {library} has no {needed}, which system {name} is"


class TestEverySystem(SystemContract):
    """One class for all of them: a new system gets every test for nothing."""

    @pytest.fixture(params=sorted(name for name, spec in systems().items() if spec.references), autouse=True)
    def small_instance(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
        spec = systems()[request.param]
        monkeypatch.setattr(type(self), "settings", spec.config(name=spec.name, **spec.small), raising=False)


class TestEveryWayThroughVideos(VideoContract):
    """The systems that go through whole videos in a way of their own."""

    @pytest.fixture(params=sorted(name for name, spec in systems().items() if spec.video_task), autouse=True)
    def small_instance(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
        if reason := missing(request.param):
            pytest.skip(reason)
        spec = systems()[request.param]
        monkeypatch.setattr(type(self), "settings", spec.config(name=spec.name, **spec.small), raising=False)


def test_every_system_is_held_to_a_contract() -> None:
    assert all(spec.references or spec.video_task is not None for spec in systems().values())


def test_the_systems_of_the_package_are_registered() -> None:
    assert {"cma", "prototype", "referformer", "sgmg", "uniref", "uniref_sam", "univs", "videomt"} <= set(systems())
