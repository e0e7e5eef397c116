"""The registry: systems by name, by place and by entry point, built from their own settings."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from episodes.transforms.input_rule import InputRule
from fewshot.systems import registry
from fewshot.systems.base import System
from fewshot.systems.cma.config import CMAConfig
from fewshot.systems.config import SystemConfig
from fewshot.systems.prototype.config import PrototypeConfig
from fewshot.systems.registry import as_spec, build_system, find_system, make_system, spec_of, systems
from fewshot.systems.spec import SystemSpec
from fewshot.systems.uniref.config import UniRefConfig, UniRefSAMConfig
from fewshot.systems.uniref.sam import UniRefSAM
from tests.fewshot.systems.own import write_module


@dataclass
class OwnConfig(SystemConfig):
    """Settings of a system elsewhere."""

    name: str = "own"


OWN = SystemSpec("own", OwnConfig, lambda settings: settings)


@pytest.fixture
def points(monkeypatch: pytest.MonkeyPatch):
    """Announce things under the entry-point group for one test."""

    def announce(**found: Any) -> None:
        entries = [
            SimpleNamespace(name=name, value=f"package.{name}:X", load=lambda thing=thing: thing)
            for name, thing in found.items()
        ]
        monkeypatch.setattr(registry, "entry_points", lambda group: entries if group == "fewshot.systems" else [])
        systems.cache_clear()

    yield announce
    systems.cache_clear()


@pytest.fixture
def blobs(tmp_path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module with a system of one's own."""
    return import_module(write_module(tmp_path, monkeypatch))


def test_every_folder_of_systems_is_registered() -> None:
    expected = {"cma": CMAConfig, "prototype": PrototypeConfig, "uniref": UniRefConfig, "uniref_sam": UniRefSAMConfig}
    assert {name: systems()[name].config for name in expected} == expected
    for name, spec in systems().items():
        assert spec.name == name == spec.config().name
        assert find_system(name) is spec and spec_of(spec.config()) is spec


def test_a_system_is_what_its_spec_says_of_it() -> None:
    small = {"text": "small", "text_dim": 32, "text_layers": 1}
    transformer = {"hidden_dim": 32, "heads": 4, "encoder_layers": 1, "decoder_layers": 1, "feedforward_dim": 32}
    for name, options in (
        ("prototype", {}),
        ("cma", {**small, **transformer}),
        ("uniref", {**small, **transformer, "value_encoder": "tiny"}),
    ):
        spec = find_system(name)
        system = build_system(spec.config(**options, backbone="tiny", backbone_width=8))
        assert (system.name, system.needs) == (name, spec.needs)


def test_the_plug_in_of_segment_anything_is_built() -> None:
    small = {"text": "small", "text_dim": 32, "text_layers": 1, "fusion_head_dim": 8}
    config = UniRefSAMConfig(sam_size="tiny", **small)
    system = build_system(config)
    assert isinstance(system, UniRefSAM) and system.accepts == {"support", "expression"}
    assert not any(p.requires_grad for p in system.sam.image_encoder.parameters())
    assert spec_of(config).rule_of(system) == InputRule("pad", system.sam.side)
    only_words = build_system(UniRefSAMConfig(**{**vars(config), "value_encoder": "none"}))
    assert only_words.accepts == {"expression"}


@pytest.mark.parametrize("name", ["nothing", "Uniref"])
def test_an_unknown_system_lists_those_there_are(name: str) -> None:
    with pytest.raises(ValueError, match="choose one of cma, prototype, referformer, sgmg, uniref, uniref_sam"):
        build_system(SystemConfig(name=name))


def test_settings_of_another_system_are_refused() -> None:
    with pytest.raises(ValueError, match="system 'cma' is built from CMAConfig, got PrototypeConfig"):
        build_system(PrototypeConfig(name="cma"))
    with pytest.raises(ValueError, match="system.heads=7 must divide system.hidden_dim=256"):
        build_system(CMAConfig(heads=7))


def test_cma_cannot_do_without_words() -> None:
    with pytest.raises(ValueError, match="cannot do without expressions"):
        build_system(CMAConfig(text="none", backbone="tiny"))


def test_initial_weights_depend_on_the_seed_alone_and_leave_the_global_generator_alone() -> None:
    config = PrototypeConfig(backbone="tiny")
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = make_system(config, 0).state_dict()
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    again, other = make_system(config, 0).state_dict(), make_system(config, 1).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_installed_packages_announce_systems(points, blobs: Any) -> None:
    points(own=OWN, blobs=blobs.Blobs)
    assert find_system("own") is OWN
    assert list(systems())[-2:] == ["own", "blobs"] and "cma" in systems()
    assert build_system(blobs.BlobsConfig(width=2)).weight.shape == (2,)


def test_two_systems_of_one_name_are_refused(points) -> None:
    points(first=OWN, second=OWN)
    with pytest.raises(ValueError, match=r"entry point 'second' \(package.second:X\): there is a system 'own' already"):
        systems()
    points(mine=SystemSpec("cma", OwnConfig, lambda settings: settings))
    with pytest.raises(ValueError, match=r"entry point 'mine' .*: there is a system 'cma' already"):
        systems()


def test_an_entry_point_that_names_no_system_is_refused(points) -> None:
    points(number=3)
    with pytest.raises(ValueError, match="entry point 'number' is neither a SystemSpec nor a System with a class of"):
        systems()


def test_a_system_is_found_at_its_place(blobs: Any) -> None:
    place = blobs.__name__
    assert find_system(f"{place}:SPEC") is blobs.SPEC
    spec = find_system(f"{place}:Blobs")
    assert (spec.name, spec.config, spec.needs) == ("blobs", blobs.BlobsConfig, frozenset({"support"}))
    assert spec.needs_training and spec.official == {} and spec.plan is None and spec.input_rule == InputRule()
    assert build_system(blobs.BlobsConfig(name=f"{place}:Blobs", width=5)).weight.shape == (5,)


def test_a_class_says_how_it_sees_pictures_and_whether_it_learns(blobs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blobs.Blobs, "input_rule", InputRule("square", 96), raising=False)
    monkeypatch.setattr(blobs.Blobs, "needs_training", False, raising=False)
    spec = as_spec(blobs.Blobs, "here")
    assert spec.rule_of(build_system(blobs.BlobsConfig(name=f"{blobs.__name__}:Blobs"))) == InputRule("square", 96)
    assert not spec.needs_training


class Nameless(System):
    """A system that does not say what it is called."""


@pytest.mark.parametrize("found", [3, "cma", SystemConfig, System.forward, type("X", (), {"settings": dict})])
def test_what_is_no_system_is_refused_with_what_to_do(found: Any) -> None:
    with pytest.raises(ValueError, match="^here is neither a SystemSpec nor a System .*: give the class an attribute"):
        as_spec(found, "here")


def test_a_system_without_a_name_is_refused() -> None:
    with pytest.raises(ValueError, match="here has no name: give the class an attribute `name`"):
        as_spec(Nameless, "here")


def test_a_place_where_nothing_is_is_refused() -> None:
    with pytest.raises(ValueError, match="no system at nowhere.at.all:X: No module named 'nowhere'; name it as"):
        find_system("nowhere.at.all:X")
    with pytest.raises(ValueError, match="no system at math:X: module 'math' has no attribute 'X'"):
        find_system("math:X")
