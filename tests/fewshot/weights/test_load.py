"""Weights: official names there and back, ReferFormer as a start, every kind of file, every kind of wrong file."""

from __future__ import annotations

import argparse
import collections
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fewshot.convert import convert, fitting, parse
from fewshot.inference.loading import system_config
from fewshot.nn.affinity import VARIANTS
from fewshot.nn.backbones import TinyBackbone
from fewshot.systems.cma.checkpoint import TABLE, plan, sizes_of
from fewshot.systems.cma.model import CMA
from fewshot.systems.prototype.model import Prototype
from fewshot.weights.checkpoint import FORMAT, CheckpointError, save_checkpoint
from fewshot.weights.files import CONFIG, WEIGHTS
from fewshot.weights.key_table import check_fit
from fewshot.weights.load import load_official, load_trained, load_weights
from tests.fewshot.tiny import tiny_cma
from tests.shared import require_shared


def official(model: CMA) -> dict[str, Tensor]:
    """The state of a model under official names, aliases included."""
    return {name: value for own, value in model.state_dict().items() for name in TABLE.to_official(own)}


def equal(a: CMA, b: CMA) -> bool:
    return all(torch.equal(x, b.state_dict()[name]) for name, x in a.state_dict().items())


def run_checkpoint(model: CMA | Prototype, **changes: Any) -> dict[str, Any]:
    return {"format": FORMAT, "system": model.name, "step": 7, "model": model.state_dict()} | changes


@pytest.mark.parametrize("variant", VARIANTS)
def test_there_and_back(variant: str) -> None:
    model, other = tiny_cma(variant=variant, seed=1), tiny_cma(variant=variant, seed=2)
    state = official(model)
    assert not equal(model, other)
    report = load_official(other, {**state, "text_encoder.embeddings.position_ids": torch.arange(9)[None]}, "memory")
    assert equal(model, other)
    assert (report.used, report.total, report.fresh) == (len(state), len(state) + 1, ())
    assert f"{len(state)} of {len(state) + 1} tensors used (12 of them repeat another)" in str(report)
    assert "newer transformers versions compute: text_encoder.embeddings (1)" in str(report)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_table_knows_every_official_key(variant: str) -> None:
    keys = json.loads(require_shared("parity", "cma", "keys", f"{variant}_resnet50", "keys.json").read_text())
    for key in keys:
        if not TABLE.is_alias(key):
            own = TABLE.to_own(key)
            assert own is not None and TABLE.to_official(own)[0] == key


def test_the_heads_own_name_wins_over_its_alias() -> None:
    model, other = tiny_cma(seed=1), tiny_cma(seed=2)
    state = official(model)
    for name in list(state):
        if TABLE.is_alias(name):
            state[name] = torch.full_like(state[name], 9.0)
    load_official(other, state, "memory")
    assert equal(model, other)


@pytest.mark.parametrize("variant", ["cma", "base"])
def test_referformer_is_a_start(variant: str) -> None:
    source = tiny_cma(variant="base", seed=1)  # ReferFormer is the baseline without a support branch
    state = {
        k: v
        for k, v in official(source).items()
        if not k.startswith(("support_qkv", "query_qkv", "conv_q", "layer_norm"))
    }
    state["class_embed.0.weight"] = torch.zeros(65, 32)
    model, before = tiny_cma(variant=variant, seed=2), tiny_cma(variant=variant, seed=2)
    report = load_official(model, state, "referformer.pth")
    assert torch.equal(model.pixel_decoder.mask_features.weight, source.pixel_decoder.mask_features.weight)
    assert torch.equal(model.affinity.project.weight, before.affinity.project.weight)
    assert torch.equal(model.score_heads[0].weight, before.score_heads[0].weight)
    dropped = {"class_embed.0.weight", "class_embed.0.bias", "class_embed.1.weight", "class_embed.1.bias"}
    if variant == "cma":
        dropped |= {"query_embed.weight", "transformer.reference_points.weight", "transformer.reference_points.bias"}
    assert set(report.ignored) == dropped
    fresh = {name.split(".")[0] for name in report.fresh}
    assert fresh == {"affinity", "score_heads"} | ({"transformer"} if variant == "cma" else set())
    assert report.used + len(dropped) == report.total == len(state)
    text = str(report)
    assert "ReferFormer" in text and "they scored another task: class_embed.0 (2)" in text
    assert "start from scratch: " in text and "affinity.support (6)" in text


def test_a_start_is_not_taken_for_a_trained_system(tmp_path: Path) -> None:
    state = {
        k: v for k, v in official(tiny_cma(variant="base")).items() if not k.startswith(("support_qkv", "query_qkv"))
    }
    state = {k: v for k, v in state.items() if not k.startswith(("conv_q", "layer_norm"))}
    path = tmp_path / "referformer.pth"
    torch.save({"model": state}, path)
    assert load_weights(tiny_cma(), path).fresh
    with pytest.raises(ValueError, match="start for training.*train.init_from"):
        load_trained(tiny_cma(), path)


def test_referformers_keys_are_all_known() -> None:
    keys = json.loads(require_shared("parity", "sgmg", "keys", "referformer_r50.json").read_text())
    table = plan(dict.fromkeys(keys, torch.zeros(0)), "cma").table
    unknown = [k for k in keys if table.to_own(k) is None and not table.is_alias(k) and not table.reason_to_ignore(k)]
    assert not unknown


def legacy_file(path: Path, state: dict[str, Tensor]) -> Path:
    """A file as the official training writes it: the old pickle, with its arguments."""
    args = argparse.Namespace(lr=1e-4, device="cpu", epochs=24, weight=np.float64(0.5))
    schedule = {"milestones": collections.Counter([3, 5]), "last_epoch": 4}
    content = {"model": state, "optimizer": {"state": {}}, "lr_scheduler": schedule, "epoch": 4, "args": args}
    torch.save(content, path, _use_new_zipfile_serialization=False)
    return path


def test_official_files_are_read(tmp_path: Path) -> None:
    model, other = tiny_cma(seed=1), tiny_cma(seed=2)
    report = load_weights(other, legacy_file(tmp_path / "checkpoint.pth", official(model)))
    assert equal(model, other) and report.kind == "official CMA checkpoint"


class Harmful:
    """An object that would run a command when it is read."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return (eval, ("1 / 0",))


def test_objects_in_a_file_are_not_run(tmp_path: Path) -> None:
    torch.save({"model": {}, "args": Harmful()}, tmp_path / "bad.pth")
    with pytest.raises(CheckpointError, match="not weights, and is not read"):
        load_weights(tiny_cma(), tmp_path / "bad.pth")


@pytest.mark.parametrize("legacy", [True, False])
def test_half_a_file(tmp_path: Path, legacy: bool) -> None:
    path = tmp_path / "checkpoint.pth"
    if legacy:
        legacy_file(path, official(tiny_cma()))
    else:
        torch.save({"model": official(tiny_cma())}, path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match="half-written"):
        load_weights(tiny_cma(), path)


def test_a_damaged_file(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pth"
    torch.save({"model": official(tiny_cma())}, path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(bytes(content))
    with pytest.raises(CheckpointError, match="damaged"):
        load_weights(tiny_cma(), path)


def test_run_checkpoints_and_folders(tmp_path: Path) -> None:
    model = tiny_cma(seed=1)
    (tmp_path / "checkpoints").mkdir()
    for name, step in (("step_00000003.pt", 3), ("step_00000007.pt", 7)):
        save_checkpoint(tmp_path / "checkpoints" / name, run_checkpoint(model, step=step))
    for path, kind in ((tmp_path, "step 7"), (tmp_path / "checkpoints" / "step_00000003.pt", "step 3")):
        other = tiny_cma(seed=2)
        assert kind in load_weights(other, path).kind
        assert equal(model, other)
    save_checkpoint(tmp_path / "checkpoints" / "best.pt", run_checkpoint(model, step=5))
    assert "step 5" in load_weights(tiny_cma(), tmp_path).kind


def test_weights_of_another_system(tmp_path: Path) -> None:
    prototype = Prototype(TinyBackbone(8))
    save_checkpoint(tmp_path / "prototype.pt", run_checkpoint(prototype))
    with pytest.raises(CheckpointError, match="'prototype'.*'cma'"):
        load_weights(tiny_cma(), tmp_path / "prototype.pt")
    torch.save({"model": official(tiny_cma())}, tmp_path / "cma.pth")
    with pytest.raises(CheckpointError, match="'prototype'"):
        load_weights(prototype, tmp_path / "cma.pth")
    torch.save({"model": {"conv1.weight": torch.zeros(1)}}, tmp_path / "resnet.pth")
    with pytest.raises(CheckpointError, match="unknown tensors: conv1.weight"):
        load_weights(tiny_cma(), tmp_path / "resnet.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(CheckpointError, match="state dict"):
        load_weights(tiny_cma(), tmp_path / "list.pth")


def test_another_variant_or_size_names_the_keys(tmp_path: Path) -> None:
    torch.save({"model": official(tiny_cma(variant="base"))}, tmp_path / "base.pth")
    with pytest.raises(
        CheckpointError, match=r"missing: transformer.queries.anchors.weight.*unknown: transformer.quer"
    ):
        load_weights(tiny_cma(), tmp_path / "base.pth")
    state = run_checkpoint(tiny_cma())
    state["model"]["x"] = torch.zeros(1)
    save_checkpoint(tmp_path / "run.pt", state)
    with pytest.raises(CheckpointError, match="1 unknown: x"):
        load_weights(tiny_cma(), tmp_path / "run.pt")
    with pytest.raises(ValueError, match=r"of another shape: a \(2,\) instead of \(3,\)"):
        check_fit({"a": torch.zeros(2)}, {"a": torch.zeros(3)})


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no weights at"):
        load_weights(tiny_cma(), tmp_path / "nothing")
    with pytest.raises(FileNotFoundError, match="neither model.safetensors"):
        load_weights(tiny_cma(), tmp_path)


def test_converted_folders_are_checked(tmp_path: Path) -> None:
    (tmp_path / WEIGHTS).write_bytes(b"half")
    with pytest.raises(FileNotFoundError, match=CONFIG):
        load_weights(tiny_cma(), tmp_path)
    for content, message in (("{", "no JSON"), ("{}", "lacks"), ('{"system": "sgmg", "config": {}}', "'sgmg'")):
        (tmp_path / CONFIG).write_text(content)
        with pytest.raises(CheckpointError, match=message):
            load_weights(tiny_cma(), tmp_path)
    (tmp_path / CONFIG).write_text('{"system": "cma", "config": {"name": "cma", "wings": 2}}')
    with pytest.raises(CheckpointError, match="half-written"):
        load_weights(tiny_cma(), tmp_path)
    with pytest.raises(CheckpointError, match="wings"):
        system_config(tmp_path)


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
        convert(legacy_file(tmp_path / "checkpoint.pth", {}), tmp_path / "out")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["system=cma", "checkpoint=a"], "missing: out="),
        (["sistem=cma"], "Did you mean 'system'"),
        (["cma"], "key=value"),
        (["system=sgmg", "checkpoint=a", "out=b"], "'sgmg'"),
    ],
)
def test_wrong_arguments_of_convert(arguments: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse(arguments)


@pytest.mark.slow
def test_a_full_size_checkpoint_is_converted(tmp_path: Path) -> None:
    """The released sizes, through the file of the old format; the folder then loads without its original."""
    from fewshot.nn.text import TextEncoder, WordHashTokenizer, roberta
    from fewshot.systems.cma.build import build_cma

    keys = json.loads(require_shared("parity", "cma", "keys", "cma_resnet50", "keys.json").read_text())
    state = {key: torch.full(shape, len(key) / 100) for key, (shape, _) in keys.items()}
    report = convert(legacy_file(tmp_path / "checkpoint.pth", state), tmp_path / "out")
    assert "827 of 827 tensors used (24 of them repeat another)" in str(report)
    config = system_config(tmp_path / "out")
    system = build_cma(config, TextEncoder(roberta(), WordHashTokenizer()))
    assert load_weights(system, tmp_path / "out").used == 803
    assert system.affinity.support.key.weight.unique().tolist() == pytest.approx([len("support_qkv.Key.weight") / 100])
    with pytest.raises(FileExistsError, match="exists already"):
        convert(tmp_path / "checkpoint.pth", tmp_path / "out")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "parts"), [("r50_joint", ("bert", "resnet18", 1)), ("r50_obj365", ("none", "none", 365))]
)
def test_full_size_checkpoints_of_uniref_are_converted(tmp_path: Path, file: str, parts: tuple[str, str, int]) -> None:
    """The released sizes of both kinds; the folder says what its system is made of."""
    keys = json.loads(require_shared("parity", "uniref", f"keys_{file}.json").read_text())
    state = {key: torch.full(shape, len(key) / 100) for key, (shape, _) in keys.items()}
    torch.save({"model": state}, tmp_path / "model.pth")
    report = convert(tmp_path / "model.pth", tmp_path / "out", system="uniref")
    assert report.used == report.total - 1 and list(report.ignored) == ["criterion._iter"] and not report.fresh
    config = system_config(tmp_path / "out")
    assert (config.text, config.value_encoder, config.num_classes) == parts
    _, system = fitting(state, "uniref")
    assert load_weights(system, tmp_path / "out").used == len(system.state_dict())
    name = "detr.controller.layers.2.weight"
    assert system.controller.layers[2].weight.unique().tolist() == pytest.approx([len(name) / 100])
