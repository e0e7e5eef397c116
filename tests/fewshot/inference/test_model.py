"""Models to and from folders: `save_pretrained`, `from_pretrained`, `fewshot.load`."""

from __future__ import annotations

import errno
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import fewshot
from episodes.transforms.input_rule import InputRule
from fewshot.config.sections import BenchmarkConfig
from fewshot.inference.segmenter import Result
from fewshot.nn.text import roberta
from fewshot.systems.cma.config import CMAConfig
from fewshot.systems.prototype.model import Prototype
from fewshot.systems.registry import build_system
from fewshot.weights.checkpoint import CheckpointError
from tests.fewshot.inference.saved import CONFIGS, SIZES, tiny, write_run

PIXELS = np.random.default_rng(0).integers(0, 256, (2, 40, 48, 3), dtype=np.uint8)
MASK = np.zeros((40, 48), bool)
MASK[8:30, 10:34] = True


def answer(model: fewshot.Model) -> Result:
    words = {"text": "the dax"} if "expression" in model.system.accepts else {}
    return model.segment(PIXELS[0], support=[(PIXELS[1], MASK)], **words)


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_a_saved_model_gives_the_same_answer(name: str, tmp_path: Path) -> None:
    model = tiny(name)
    expected = answer(model)
    model.save_pretrained(tmp_path / "saved")
    before = torch.random.get_rng_state()
    for loaded in (fewshot.Model.from_pretrained(tmp_path / "saved"), fewshot.load(tmp_path / "saved")):
        assert type(loaded.system) is type(model.system) and not loaded.system.training
        assert (loaded.rule, loaded.settings, loaded.name) == (InputRule("short", 32), CONFIGS[name], name)
        found = answer(loaded)
        assert torch.equal(found.masks, expected.masks) and torch.equal(found.scores, expected.scores)
        pairs = zip(loaded.system.parameters(), model.system.parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_folder_can_be_read_by_everybody_and_says_what_it_is(tmp_path: Path) -> None:
    tiny("prototype").save_pretrained(tmp_path / "saved")
    files = {path.name: path for path in (tmp_path / "saved").iterdir()}
    assert set(files) == {"model.safetensors", "config.json", "README.md"}
    assert all(path.stat().st_mode & 0o777 == 0o644 for path in files.values())
    content = json.loads(files["config.json"].read_text())
    assert content["system"] == "prototype" and content["input"] == {"rule": "short", "size": 32, "max_size": None}
    assert content["config"]["backbone_width"] == 8
    card = files["README.md"].read_text()
    assert "`prototype` system" in card and "support=[(image, mask)]" in card and "32 pixels (the short side)" in card


def test_a_run_brings_its_input_rule_and_is_saved_without_its_paths(tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    model = fewshot.load(tmp_path / "run")
    assert model.rule == InputRule("short", 48)
    model.settings = replace(model.settings, backbone_weights="/somewhere/else.pth")
    model.save_pretrained(tmp_path / "saved")
    assert "/somewhere" not in "".join((tmp_path / "saved" / n).read_text() for n in ("config.json", "README.md"))
    assert fewshot.load(tmp_path / "saved").rule == InputRule("short", 48)


@pytest.mark.parametrize(
    "protocol, expected", [("hsnet", ("square", 48, None)), ("bam", ("pad8", 48, None)), ("uniref", ("short", 48, 77))]
)
def test_a_run_on_images_is_seen_as_its_protocol_says(protocol: str, expected: tuple, tmp_path: Path) -> None:
    benchmark = BenchmarkConfig(name="synthetic_images", test_size=48, protocol=protocol)
    write_run(tmp_path / "run", benchmark=benchmark)
    fewshot.load(tmp_path / "run").save_pretrained(tmp_path / "saved")
    for folder in ("run", "saved"):
        assert fewshot.load(tmp_path / folder).rule == InputRule(*expected)


@pytest.mark.parametrize(
    "name, rule", [("prototype", InputRule("short", 360)), ("uniref", InputRule("short", 480, 768))]
)
def test_a_folder_without_an_input_rule_has_that_of_its_system(name: str, rule: InputRule, tmp_path: Path) -> None:
    tiny(name).save_pretrained(tmp_path / "saved")
    file = tmp_path / "saved" / "config.json"
    content = json.loads(file.read_text())
    del content["input"]
    file.write_text(json.dumps(content))
    assert fewshot.load(tmp_path / "saved").rule == rule


def test_what_cannot_be_built_again_is_not_saved(tmp_path: Path) -> None:
    model = fewshot.Model(Prototype(tiny("prototype").system.backbone), InputRule())
    with pytest.raises(ValueError, match="this Prototype was put together from modules.*build_system"):
        model.save_pretrained(tmp_path / "saved")


def test_a_damaged_folder_is_refused(tmp_path: Path) -> None:
    tiny("prototype").save_pretrained(tmp_path / "saved")
    assert isinstance(fewshot.Model.from_pretrained(tmp_path / "saved").system, Prototype)
    (tmp_path / "saved" / "model.safetensors").write_bytes(b"half")
    with pytest.raises(CheckpointError, match="half-written or damaged"):
        fewshot.Model.from_pretrained(tmp_path / "saved")


def test_a_flipped_bit_and_values_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    model = tiny("prototype")
    model.save_pretrained(tmp_path / "saved")
    file = tmp_path / "saved" / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    for load in (fewshot.load, fewshot.Model.from_pretrained):
        with pytest.raises(CheckpointError, match="hashes differ"):
            load(tmp_path / "saved")
    next(model.system.parameters()).data.view(-1)[0] = float("nan")
    model.save_pretrained(tmp_path / "saved")
    for load in (fewshot.load, fewshot.Model.from_pretrained):
        with pytest.raises(CheckpointError, match="tensor .* holds NaN or infinite values"):
            load(tmp_path / "saved")


@pytest.mark.parametrize(
    "change",
    [
        {"config": {"name": "prototype", "backbone_width": "many"}},
        {"config": {"name": "prototype", "backbone_width": -3}},
        {"config": {"name": "prototype", "backbone": "quick"}},
        {"config": [1]},
        {"system": ["prototype"]},
        {"input": {"rule": "short", "size": "big"}},
        {"input": {"side": 3}},
        {"trained_on": [1]},
        {"adaptation": [1]},
        {"adaptation": {"name": "quick"}},
        {"adaptation": {"name": "anil", "rates": [0.1, 0.2]}},
        {"adaptation": {"name": "anil", "pace": 3}},
    ],
)
def test_words_for_numbers_in_a_configuration_are_told_in_a_line(tmp_path: Path, change: dict) -> None:
    tiny("prototype").save_pretrained(tmp_path / "saved")
    file = tmp_path / "saved" / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(CheckpointError, match="saved.* damaged") as error:
        fewshot.load(tmp_path / "saved")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", ["[1, 2]", "{", '{"system": 3, "config": {}}', "{}"])
def test_a_configuration_of_something_else_is_told_in_a_line(tmp_path: Path, content: str) -> None:
    tiny("prototype").save_pretrained(tmp_path / "saved")
    (tmp_path / "saved" / "config.json").write_text(content)
    for load in (fewshot.load, fewshot.Model.from_pretrained):
        with pytest.raises(CheckpointError, match="config.json is "):
            load(tmp_path / "saved")


def test_a_model_is_saved_over_an_earlier_one_and_over_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny("prototype")
    model.save_pretrained(tmp_path / "saved")
    (tmp_path / "saved" / "README.md").write_text("my card")
    before = {path.name: path.read_bytes() for path in (tmp_path / "saved").iterdir()}
    next(model.system.parameters()).data += 1

    def no_space(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as full, pytest.raises(OSError, match="No space left"):
        full.setattr("fewshot.weights.files.save_file", no_space)
        model.save_pretrained(tmp_path / "saved")
    assert {path.name: path.read_bytes() for path in (tmp_path / "saved").iterdir()} == before
    model.save_pretrained(tmp_path / "saved")
    assert torch.equal(next(fewshot.load(tmp_path / "saved").system.parameters()), next(model.system.parameters()))
    assert (tmp_path / "saved" / "README.md").read_text() == "my card"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text('{"model_type": "roberta"}')
    with pytest.raises(FileExistsError, match="config.json was not written by this program"):
        model.save_pretrained(tmp_path / "other")
    assert (tmp_path / "other" / "config.json").read_text() == '{"model_type": "roberta"}'


def test_what_is_no_path_and_no_device_is_said(tmp_path: Path) -> None:
    tiny("prototype").save_pretrained(tmp_path / "saved")
    with pytest.raises(TypeError, match="path=None: give the folder of a run or of saved weights"):
        fewshot.load(None)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="device=gpu: give auto, cpu, cuda"):
        fewshot.load(tmp_path / "saved", device="gpu")
    with pytest.raises(ValueError, match="device=gpu: give auto, cpu, cuda"):
        tiny("prototype").to("gpu")
    assert fewshot.load(tmp_path / "saved", device="auto").device.type in ("cpu", "cuda")


def test_a_model_is_moved_with_its_weights() -> None:
    model = tiny("prototype")
    assert model.device == torch.device("cpu")
    assert model.to("meta") is model and model.device.type == "meta"


def test_the_tokenizer_travels_with_its_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = dict(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, vocab_size=40)
    monkeypatch.setattr("fewshot.nn.text.roberta", lambda: roberta(small))
    words = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *"abcdefghijklmnopqrstuvwxyz", "Ġ"]
    (tmp_path / "roberta").mkdir()
    (tmp_path / "roberta" / "vocab.json").write_text(json.dumps({word: k for k, word in enumerate(words)}))
    (tmp_path / "roberta" / "merges.txt").write_text("#version: 0.2\n")
    weights = str(tmp_path / "roberta")
    config = CMAConfig(backbone="tiny", backbone_width=8, text="roberta", text_weights=weights, **SIZES)
    system = build_system(config).eval()
    text = system.text.tokens(["the red dax"])[0]
    fewshot.Model(system, InputRule(), config).save_pretrained(tmp_path / "saved")
    assert "roberta" not in (tmp_path / "saved" / "config.json").read_text().replace('"text": "roberta"', "")
    (tmp_path / "roberta").rename(tmp_path / "moved")
    assert torch.equal(fewshot.load(tmp_path / "saved").system.text.tokens(["the red dax"])[0], text)
    moved = fewshot.load(tmp_path / "saved", text_weights=tmp_path / "moved")
    assert moved.settings.text_weights == str(tmp_path / "moved")
    assert torch.equal(moved.system.text.tokens(["the red dax"])[0], text)
