"""`fewshot.convert`: official checkpoints of their released sizes, and what it refuses to write or read."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import fewshot
from episodes.transforms.input_rule import InputRule
from fewshot.convert import convert
from fewshot.inference.loading import converted_system, stored_rule, stored_system
from fewshot.nn.affinity import VARIANTS
from fewshot.systems.cma.checkpoint import sizes_of
from fewshot.systems.cma.config import CMAConfig
from fewshot.systems.registry import find_system, make_system
from fewshot.weights.checkpoint import CheckpointError
from fewshot.weights.load import load_weights
from tests.fewshot.weights.files import legacy_file, official
from tests.shared import require_shared


def test_sizes_are_read_from_the_tensors() -> None:
    for variant in VARIANTS:
        keys = json.loads(require_shared("parity", "cma", "keys", f"{variant}_resnet50", "keys.json").read_text())
        state = {key: torch.zeros(shape, device="meta") for key, (shape, _) in keys.items()}
        expected = dict(
            variant=variant, backbone="resnet50", hidden_dim=256, feedforward_dim=2048, num_queries=5,
            encoder_layers=4, decoder_layers=4,
        )  # fmt: skip
        assert sizes_of(state, variant) == expected
        if variant == "cma":
            assert sizes_of(state) == expected
            with pytest.raises(ValueError, match="'base'"):
                sizes_of(state, "base")
        else:
            with pytest.raises(ValueError, match="variant=base"):
                sizes_of(state)
    with pytest.raises(ValueError, match="conv_q"):
        sizes_of({"a": torch.zeros(1)})
    with pytest.raises(ValueError, match="'slef': choose one of cma, base, self"):
        sizes_of(state, "slef")
    del state["transformer.encoder.layers.0.linear1.weight"]
    with pytest.raises(ValueError, match="not complete: it lacks transformer.encoder.layers.0.linear1.weight"):
        sizes_of(state, variant)


def test_convert_into_a_file(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(FileExistsError, match="is a file: give a folder"):
        convert("cma", legacy_file(tmp_path / "checkpoint.pth", {}), tmp_path / "out")


def test_what_cannot_be_converted_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown system 'sgm'"):
        convert("sgm", tmp_path / "a.pth", tmp_path / "out")
    with pytest.raises(
        ValueError,
        match="'prototype' has no official checkpoints to convert: choose one of cma, referformer, sgmg, uniref",
    ):
        convert("prototype", tmp_path / "a.pth", tmp_path / "out")
    with pytest.raises(FileNotFoundError, match="no checkpoint at .*a.pth"):
        convert("cma", tmp_path / "a.pth", tmp_path / "out")
    torch.save([1], tmp_path / "list.pth")
    with pytest.raises(CheckpointError, match="list.pth holds no state dict"):
        convert("cma", tmp_path / "list.pth", tmp_path / "out")
    torch.save({"model": {"a": torch.zeros(1)}}, tmp_path / "a.pth")
    with pytest.raises(ValueError, match="a.pth: these are not the tensors of a CMA checkpoint"):
        convert("cma", tmp_path / "a.pth", tmp_path / "out")
    with pytest.raises(ValueError, match="a.pth: variant=base: UniRef[+][+] has none; leave it out"):
        convert("uniref", tmp_path / "a.pth", tmp_path / "out", "base")
    assert not (tmp_path / "out").exists()


def test_a_foreign_configuration_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "config.json").write_text('{"model_type": "roberta"}')
    with pytest.raises(FileExistsError, match="config.json was not written by this program"):
        convert("cma", legacy_file(tmp_path / "a.pth", {}), tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["config.json"]


def test_a_converted_folder_is_loaded_without_its_original(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = dict(hidden_dim=32, heads=4, encoder_layers=1, decoder_layers=1, feedforward_dim=32, num_queries=3)
    config = CMAConfig(backbone="tiny", backbone_width=8, text="small", text_dim=32, text_layers=1, **sizes)
    source = make_system(config, 1)
    small = replace(find_system("cma"), fit=lambda tensors, variant: (config, make_system(config, 2)))
    monkeypatch.setattr("fewshot.convert.find_system", lambda name: small)
    checkpoint = legacy_file(tmp_path / "checkpoint.pth", official(source))
    report = convert("cma", checkpoint, tmp_path / "out")
    assert report.used == report.total and not report.fresh and not report.ignored
    checkpoint.unlink()
    assert stored_system(tmp_path / "out") == config and stored_rule(tmp_path / "out") == InputRule("short", 360)
    loaded = fewshot.load(tmp_path / "out").system.state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in source.state_dict().items())
    with pytest.raises(FileExistsError, match="model.safetensors exists already: choose another folder"):
        convert("cma", legacy_file(checkpoint, official(source)), tmp_path / "out")


@pytest.mark.slow
def test_a_full_size_checkpoint_is_converted(tmp_path: Path) -> None:
    """The released sizes, through the file of the old format; the folder then loads without its original."""
    from fewshot.nn.text import TextEncoder, WordHashTokenizer, roberta
    from fewshot.systems.cma.build import build_around

    keys = json.loads(require_shared("parity", "cma", "keys", "cma_resnet50", "keys.json").read_text())
    state = {key: torch.full(shape, len(key) / 100) for key, (shape, _) in keys.items()}
    report = convert("cma", legacy_file(tmp_path / "checkpoint.pth", state), tmp_path / "out")
    assert "827 of 827 tensors used (24 of them repeat another)" in str(report)
    config = converted_system(tmp_path / "out")
    system = build_around(config, TextEncoder(roberta(), WordHashTokenizer()))
    assert load_weights(system, tmp_path / "out").used == 803
    assert system.affinity.support.key.weight.unique().tolist() == pytest.approx([len("support_qkv.Key.weight") / 100])
    with pytest.raises(FileExistsError, match="exists already"):
        convert("cma", tmp_path / "checkpoint.pth", tmp_path / "out")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "parts"), [("r50_joint", ("bert", "resnet18", 1)), ("r50_obj365", ("none", "none", 365))]
)
def test_full_size_checkpoints_of_uniref_are_converted(tmp_path: Path, file: str, parts: tuple[str, str, int]) -> None:
    """The released sizes of both kinds; the folder says what its system is made of."""
    keys = json.loads(require_shared("parity", "uniref", f"keys_{file}.json").read_text())
    state = {key: torch.full(shape, len(key) / 100) for key, (shape, _) in keys.items()}
    torch.save({"model": state}, tmp_path / "model.pth")
    report = convert("uniref", tmp_path / "model.pth", tmp_path / "out")
    assert report.used == report.total - 1 and list(report.ignored) == ["criterion._iter"] and not report.fresh
    config = converted_system(tmp_path / "out")
    assert (config.text, config.value_encoder, config.num_classes) == parts
    _, system = find_system("uniref").fit(state, None)
    assert load_weights(system, tmp_path / "out").used == len(system.state_dict())
    name = "detr.controller.layers.2.weight"
    assert system.controller.layers[2].weight.unique().tolist() == pytest.approx([len(name) / 100])
