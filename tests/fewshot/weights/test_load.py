"""Weights into systems: official names, ReferFormer as a start, every kind of file, every kind of wrong file."""

from __future__ import annotations

import errno
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from fewshot.inference.loading import converted_system
from fewshot.nn.affinity import VARIANTS
from fewshot.nn.backbones import TinyBackbone
from fewshot.systems.cma.checkpoint import TABLE, plan, plan_of
from fewshot.systems.cma.model import CMA
from fewshot.systems.prototype.model import Prototype
from fewshot.weights.checkpoint import FORMAT, CheckpointError, load_checkpoint, save_checkpoint
from fewshot.weights.files import CONFIG, WEIGHTS, read_converted, read_pickle, write_converted
from fewshot.weights.key_table import check_fit
from fewshot.weights.load import load_official, load_trained, load_weights, start_from
from tests.fewshot.tiny import tiny_cma
from tests.fewshot.weights.files import legacy_file, official
from tests.shared import require_shared


def equal(a: CMA, b: CMA) -> bool:
    return all(torch.equal(x, b.state_dict()[name]) for name, x in a.state_dict().items())


def run_checkpoint(model: CMA | Prototype, **changes: Any) -> dict[str, Any]:
    return {"format": FORMAT, "system": model.name, "step": 7, "model": model.state_dict()} | changes


@pytest.mark.parametrize("variant", VARIANTS)
def test_there_and_back(variant: str) -> None:
    model, other = tiny_cma(variant=variant, seed=1), tiny_cma(variant=variant, seed=2)
    state = official(model)
    assert not equal(model, other)
    report = load_official(
        other, {**state, "text_encoder.embeddings.position_ids": torch.arange(9)[None]}, "memory", plan_of
    )
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
    load_official(other, state, "memory", plan_of)
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
    report = load_official(model, state, "referformer.pth", plan_of)
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
    assert load_weights(tiny_cma(), path, plan_of).fresh
    with pytest.raises(ValueError, match="start for training.*train.init_from"):
        load_trained(tiny_cma(), path, plan_of)


def test_referformers_keys_are_all_known() -> None:
    keys = json.loads(require_shared("parity", "sgmg", "keys", "referformer_r50.json").read_text())
    table = plan(dict.fromkeys(keys, torch.zeros(0)), "cma").table
    unknown = [k for k in keys if table.to_own(k) is None and not table.is_alias(k) and not table.reason_to_ignore(k)]
    assert not unknown


def test_official_files_are_read(tmp_path: Path) -> None:
    model, other = tiny_cma(seed=1), tiny_cma(seed=2)
    report = load_weights(other, legacy_file(tmp_path / "checkpoint.pth", official(model)), plan_of)
    assert equal(model, other) and report.kind == "official CMA checkpoint"


class Harmful:
    """An object that would run a command when it is read."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return (eval, ("1 / 0",))


def test_objects_in_a_file_are_not_run(tmp_path: Path) -> None:
    torch.save({"model": {}, "args": Harmful()}, tmp_path / "bad.pth")
    with pytest.raises(CheckpointError, match=r"not weights \(eval\), and is not read"):
        load_weights(tiny_cma(), tmp_path / "bad.pth", plan_of)


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_a_pickle_that_would_run_something_is_not_called_damaged(
    tmp_path: Path, protocol: int, recwarn: pytest.WarningsRecorder
) -> None:
    """In one line, without torch's advice to read it without its safeguard."""
    (tmp_path / "bad.pth").write_bytes(pickle.dumps({"model": {}, "args": Harmful()}, protocol))
    for read in (read_pickle, load_checkpoint):
        with pytest.raises(CheckpointError, match=r"not weights \(([a-z_]+\.)?eval\), and is not read") as error:
            read(tmp_path / "bad.pth")
        assert "\n" not in str(error.value) and "weights_only" not in str(error.value)
    torch.save({"format": 1, "system": "cma", "step": 1, "model": {}, "args": Harmful()}, tmp_path / "run.pt")
    with pytest.raises(CheckpointError, match=r"not weights \(eval\), and is not read"):
        load_checkpoint(tmp_path / "run.pt")
    (tmp_path / "text.pth").write_text("no pickle\n")
    with pytest.raises(CheckpointError, match="text.pth is half-written or no checkpoint: fetch it again"):
        read_pickle(tmp_path / "text.pth")
    assert not recwarn.list


def test_a_model_that_is_no_state_dict_is_refused(tmp_path: Path) -> None:
    for content in ([1, 2], {"a": 1}, {1: torch.zeros(1)}):
        save_checkpoint(tmp_path / "run.pt", {**run_checkpoint(tiny_cma()), "model": content})
        with pytest.raises(CheckpointError, match="run.pt is damaged: its 'model' is no state dict"):
            load_weights(tiny_cma(), tmp_path / "run.pt", plan_of)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused_by_name(tmp_path: Path, value: float) -> None:
    model = tiny_cma()
    name = next(name for name, tensor in model.state_dict().items() if tensor.is_floating_point())
    model.state_dict()[name].view(-1)[0] = value
    torch.save({"model": official(model)}, tmp_path / "official.pth")
    save_checkpoint(tmp_path / "run.pt", run_checkpoint(model))
    write_converted(tmp_path / "converted", model.state_dict(), {"system": "cma", "config": {}})
    for path in (tmp_path / "official.pth", tmp_path / "run.pt", tmp_path / "converted"):
        for read in (load_weights, load_trained, start_from):
            with pytest.raises(CheckpointError, match=f"is of no use: tensor {name} holds NaN or infinite values"):
                read(tiny_cma(), path, plan_of)


def test_a_flipped_bit_is_noticed(tmp_path: Path) -> None:
    model = tiny_cma()
    write_converted(tmp_path, model.state_dict(), {"system": "cma", "config": {}})
    content = bytearray((tmp_path / WEIGHTS).read_bytes())
    content[-9] ^= 1
    (tmp_path / WEIGHTS).write_bytes(content)
    for read in (load_weights, start_from):
        with pytest.raises(CheckpointError, match="model.safetensors is half-written or damaged.* hashes differ"):
            read(tiny_cma(), tmp_path, plan_of)
    config = json.loads((tmp_path / CONFIG).read_text())
    del config["sha256"]  # a folder of an earlier version
    (tmp_path / CONFIG).write_text(json.dumps(config))
    assert load_weights(tiny_cma(), tmp_path, plan_of).used


def test_files_of_something_else_are_not_replaced(tmp_path: Path) -> None:
    """Neither a configuration, nor weights, nor a tokenizer; a folder of this program is."""
    places = {CONFIG: '{"model_type": "roberta"}', WEIGHTS: "weights", "tokenizer/vocab.json": "{}"}
    for number, (name, content) in enumerate(places.items()):
        file = tmp_path / str(number) / name
        file.parent.mkdir(parents=True)
        file.write_text(content)
        with pytest.raises(FileExistsError, match="was not written by this program, and is not replaced: give another"):
            write_converted(tmp_path / str(number), {}, {"system": "cma", "config": {}})
        assert [p for p in (tmp_path / str(number)).rglob("*") if p.is_file()] == [file] and file.read_text() == content
    for value in (1.0, 2.0):
        write_converted(tmp_path / "own", {"a": torch.tensor(value)}, {"system": "cma", "config": {}})
    assert read_converted(tmp_path / "own" / WEIGHTS, "cma")["a"] == 2
    with pytest.raises(FileExistsError, match="is a file: give a folder"):
        write_converted(tmp_path / "0" / CONFIG, {}, {"system": "cma", "config": {}})


@pytest.mark.parametrize("full", ["save_file", "hash_of"])
def test_a_full_disk_leaves_the_earlier_weights_and_their_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full: str
) -> None:
    write_converted(tmp_path, {"a": torch.ones(1)}, {"system": "cma", "config": {"first": 1}})
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def no_space(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(f"fewshot.weights.files.{full}", no_space)
    with pytest.raises(OSError, match="No space left"):
        write_converted(tmp_path, {"a": torch.zeros(1)}, {"system": "cma", "config": {}})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


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
        load_weights(tiny_cma(), path, plan_of)


def test_a_damaged_file(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pth"
    torch.save({"model": official(tiny_cma())}, path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(bytes(content))
    with pytest.raises(CheckpointError, match="damaged"):
        load_weights(tiny_cma(), path, plan_of)


def test_run_checkpoints_and_folders(tmp_path: Path) -> None:
    model = tiny_cma(seed=1)
    (tmp_path / "checkpoints").mkdir()
    for name, step in (("step_00000003.pt", 3), ("step_00000007.pt", 7)):
        save_checkpoint(tmp_path / "checkpoints" / name, run_checkpoint(model, step=step))
    for path, kind in ((tmp_path, "step 7"), (tmp_path / "checkpoints" / "step_00000003.pt", "step 3")):
        other = tiny_cma(seed=2)
        assert kind in load_weights(other, path, plan_of).kind
        assert equal(model, other)
    save_checkpoint(tmp_path / "checkpoints" / "best.pt", run_checkpoint(model, step=5))
    assert "step 5" in load_weights(tiny_cma(), tmp_path, plan_of).kind


def test_weights_of_another_system(tmp_path: Path) -> None:
    prototype = Prototype(TinyBackbone(8))
    save_checkpoint(tmp_path / "prototype.pt", run_checkpoint(prototype))
    with pytest.raises(CheckpointError, match="'prototype'.*'cma': give one of cma"):
        load_weights(tiny_cma(), tmp_path / "prototype.pt", plan_of)
    torch.save({"model": official(tiny_cma())}, tmp_path / "cma.pth")
    with pytest.raises(CheckpointError, match="no checkpoint of system 'prototype', which has no official files"):
        load_weights(prototype, tmp_path / "cma.pth", None)
    torch.save({"model": {"conv1.weight": torch.zeros(1)}}, tmp_path / "resnet.pth")
    with pytest.raises(CheckpointError, match="unknown tensors: conv1.weight"):
        load_weights(tiny_cma(), tmp_path / "resnet.pth", plan_of)
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(CheckpointError, match="state dict"):
        load_weights(tiny_cma(), tmp_path / "list.pth", plan_of)


def test_another_variant_or_size_names_the_keys(tmp_path: Path) -> None:
    torch.save({"model": official(tiny_cma(variant="base"))}, tmp_path / "base.pth")
    with pytest.raises(
        CheckpointError, match=r"missing: transformer.queries.anchors.weight.*unknown: transformer.quer"
    ):
        load_weights(tiny_cma(), tmp_path / "base.pth", plan_of)
    state = run_checkpoint(tiny_cma())
    state["model"]["x"] = torch.zeros(1)
    save_checkpoint(tmp_path / "run.pt", state)
    with pytest.raises(CheckpointError, match="1 unknown: x"):
        load_weights(tiny_cma(), tmp_path / "run.pt", plan_of)
    with pytest.raises(ValueError, match=r"of another shape: a \(2,\) instead of \(3,\)"):
        check_fit({"a": torch.zeros(2)}, {"a": torch.zeros(3)})


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no weights at"):
        load_weights(tiny_cma(), tmp_path / "nothing", plan_of)
    with pytest.raises(FileNotFoundError, match="neither model.safetensors"):
        load_weights(tiny_cma(), tmp_path, plan_of)


def test_converted_folders_are_checked(tmp_path: Path) -> None:
    (tmp_path / WEIGHTS).write_bytes(b"half")
    with pytest.raises(FileNotFoundError, match=CONFIG):
        load_weights(tiny_cma(), tmp_path, plan_of)
    for content, message in (("{", "no JSON"), ("{}", "lacks"), ('{"system": "sgmg", "config": {}}', "'sgmg'")):
        (tmp_path / CONFIG).write_text(content)
        with pytest.raises(CheckpointError, match=message):
            load_weights(tiny_cma(), tmp_path, plan_of)
    (tmp_path / CONFIG).write_text('{"system": "cma", "config": {"name": "cma", "wings": 2}}')
    with pytest.raises(CheckpointError, match="half-written"):
        load_weights(tiny_cma(), tmp_path, plan_of)
    with pytest.raises(CheckpointError, match="wings"):
        converted_system(tmp_path)
