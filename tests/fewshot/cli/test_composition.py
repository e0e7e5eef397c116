"""Systems that are named on the command line, those of other packages included, bring their own keys."""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from fewshot.cli.composition import composed, config_folder, register_schemas, system_of, with_named_system
from fewshot.systems.cma.config import CMAConfig
from fewshot.systems.prototype.config import PrototypeConfig
from fewshot.systems.registry import build_system, find_system
from fewshot.systems.uniref.config import UniRefConfig
from tests.fewshot.systems.own import write_module


@pytest.fixture
def module(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of an importable module with a system of one's own, `Blobs`."""
    return write_module(tmp_path_factory.mktemp("own"), monkeypatch)


@pytest.fixture(autouse=True)
def schemas() -> None:
    register_schemas()


def test_arguments_without_a_named_system_stay_as_they_are() -> None:
    for arguments in ([], ["group=1", "system=cma"], ["system.heads=2"]):
        assert with_named_system(arguments) == arguments


def test_a_named_system_becomes_a_choice_of_its_settings(module: str) -> None:
    assert with_named_system(["seed=1", "system.name=prototype"]) == ["system=prototype_schema", "seed=1"]
    assert with_named_system([f"system.name='{module}:Blobs'"]) == ["system=blobs_schema"]
    assert with_named_system(["++system.name=cma", "+system.name=uniref"]) == ["system=uniref_schema"]
    config = composed("meta_train", with_named_system(["system.name=cma", "system.variant=base"]))
    assert OmegaConf.get_type(config, "system") is CMAConfig
    assert (config.system.name, config.system.variant, config.system.hidden_dim) == ("cma", "base", 256)


def test_a_file_of_settings_beside_a_named_system_is_refused() -> None:
    with pytest.raises(ValueError, match="system.name=cma beside system=...: give one of them"):
        with_named_system(["system=cma_tiny", "system.name=cma"])


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("blobs", "unknown system 'blobs': choose one of cma, prototype, referformer, sgmg, uniref, uniref_sam"),
        ("nowhere_at_all:Blobs", "no system at nowhere_at_all:Blobs: No module named 'nowhere_at_all'"),
        ("pathlib:Blobs", "no system at pathlib:Blobs: module 'pathlib' has no attribute 'Blobs'"),
        ("pathlib:Path", "pathlib:Path is neither a SystemSpec nor a System with a class of settings"),
    ],
)
def test_what_is_no_system_is_refused_in_one_line(call, name: str, said: str) -> None:
    code, _, err, calls = call(f"system.name={name}")
    assert (code, calls) == (1, [])
    assert err.startswith("error: ") and said in err and err.count("\n") == 1


def test_a_system_of_ones_own_runs_with_its_own_keys(call, module: str) -> None:
    code, _, err, calls = call(f"system.name={module}:Blobs", "system.width=3", "name=x")
    assert code == 0, err
    config, command = calls[0]
    settings = find_system(f"{module}:Blobs").config
    assert config.system == settings(name=f"{module}:Blobs", width=3)
    assert command.options["system"] == "blobs"
    system = build_system(config.system)
    assert system.name == "blobs" and sum(p.numel() for p in system.parameters()) == 3


def test_its_keys_are_checked_and_shown_by_help(call, module: str) -> None:
    code, _, err, calls = call(f"system.name={module}:Blobs", "system.widht=3")
    assert (code, calls) == (1, [])
    assert "unknown key 'system.widht'. Did you mean 'system.width'?" in err
    code, _, err, _ = call(f"system.name={module}:Blobs", "system.width=0")
    assert code == 1 and "system.width=0: the smallest valid value is 1" in err
    code, out, err, _ = call(f"system.name={module}:Blobs", "--help")
    assert code == 0, err
    assert "\n  system.width=4 " in out and "parameters of a blob" in out and "system.heads" not in out


def test_the_system_of_a_command_line_is_known_before_it_runs() -> None:
    assert system_of("meta_train", []) is UniRefConfig
    assert system_of("meta_train", ["system=prototype", "group=2"]) is PrototypeConfig
    assert system_of("meta_train", ["system=prototype,cma", "group=1,2"]) is PrototypeConfig
    with pytest.raises(ValueError, match="cmaa"):
        system_of("meta_train", ["system=cmaa"])


def test_the_folder_of_experiments_is_the_one_beside_the_package() -> None:
    assert (config_folder() / "meta_train.yaml").is_file()
    assert config_folder() == Path(__file__).resolve().parents[3] / "experiments"
