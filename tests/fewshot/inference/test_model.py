"""Systems to and from folders: `save_pretrained`, `from_pretrained`, and names on the Hub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import fewshot
from fewshot.config.sections import BenchmarkConfig
from fewshot.inference import model as pretrained
from fewshot.nn.text import roberta
from fewshot.systems.base import System
from fewshot.systems.cma.model import CMA
from fewshot.systems.config import SystemConfig
from fewshot.systems.prototype.model import Prototype
from fewshot.systems.registry import build_system
from fewshot.weights.checkpoint import CheckpointError
from fewshot.weights.hub import download, is_hub_name
from tests.fewshot.test_loading import write_run

SIZES: dict[str, Any] = dict(
    hidden_dim=32, heads=4, encoder_layers=1, decoder_layers=1, feedforward_dim=32, num_queries=3, points=2
)
CONFIGS = {
    "prototype": SystemConfig(name="prototype", backbone="tiny", backbone_width=8),
    "cma": SystemConfig(
        name="cma", backbone="tiny", backbone_width=8, text="small", text_dim=32, text_layers=1, **SIZES
    ),
    "uniref": SystemConfig(
        name="uniref", backbone="tiny", backbone_width=8, text="small", text_dim=32, text_layers=1, **SIZES
    ),
}
PIXELS = np.random.default_rng(0).integers(0, 256, (2, 40, 48, 3), dtype=np.uint8)
MASK = np.zeros((40, 48), bool)
MASK[8:30, 10:34] = True


def tiny(name: str) -> System:
    """A system of a few thousand weights that sees frames at 32 pixels."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        system = build_system(CONFIGS[name]).eval()
    system.test_size = 32
    return system


def answer(system: System) -> fewshot.inference.segmenter.Result:
    words = {"text": "the dax"} if "expression" in system.accepts else {}
    return system.segment(PIXELS[0], support=[(PIXELS[1], MASK)], **words)


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_a_saved_system_gives_the_same_answer(name: str, tmp_path: Path) -> None:
    system = tiny(name)
    expected = answer(system)
    system.save_pretrained(tmp_path / "saved")
    before = torch.random.get_rng_state()
    for loaded in (type(system).from_pretrained(tmp_path / "saved"), fewshot.load(tmp_path / "saved")):
        assert type(loaded) is type(system) and not loaded.training and loaded.test_size == 32
        found = answer(loaded)
        assert torch.equal(found.masks, expected.masks) and torch.equal(found.scores, expected.scores)
        assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), system.parameters(), strict=True))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_folder_can_be_read_by_everybody_and_says_what_it_is(tmp_path: Path) -> None:
    tiny("prototype").save_pretrained(tmp_path / "saved")
    files = {path.name: path for path in (tmp_path / "saved").iterdir()}
    assert set(files) == {"model.safetensors", "config.json", "README.md"}
    assert all(path.stat().st_mode & 0o777 == 0o644 for path in files.values())
    content = json.loads(files["config.json"].read_text())
    assert content["system"] == "prototype" and content["test_size"] == 32
    assert content["config"]["backbone_width"] == 8
    card = files["README.md"].read_text()
    assert "`prototype` system" in card and "support=[(image, mask)]" in card and "32 pixels (the short side)" in card


def test_a_run_brings_its_test_size_and_is_saved_without_its_paths(tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    system = fewshot.load(tmp_path / "run")
    assert system.test_size == 48
    system.built_from.backbone_weights = "/somewhere/else.pth"
    system.save_pretrained(tmp_path / "saved")
    assert "/somewhere" not in "".join((tmp_path / "saved" / n).read_text() for n in ("config.json", "README.md"))
    assert fewshot.load(tmp_path / "saved").test_size == 48


@pytest.mark.parametrize(
    "protocol, expected", [("hsnet", (48, None, "square")), ("bam", (48, None, "pad")), ("uniref", (48, 77, "short"))]
)
def test_a_run_on_images_is_seen_as_its_protocol_says(protocol: str, expected: tuple, tmp_path: Path) -> None:
    benchmark = BenchmarkConfig(name="invented_images", test_size=48, protocol=protocol)
    write_run(tmp_path / "run", benchmark=benchmark)
    fewshot.load(tmp_path / "run").save_pretrained(tmp_path / "saved")
    for folder in ("run", "saved"):
        system = fewshot.load(tmp_path / folder)
        assert (system.test_size, system.test_max_size, system.test_rule) == expected


def test_a_folder_without_a_test_size_has_that_of_its_system(tmp_path: Path) -> None:
    tiny("prototype").save_pretrained(tmp_path / "saved")
    file = tmp_path / "saved" / "config.json"
    content = json.loads(file.read_text())
    del content["test_size"], content["test_max_size"], content["test_rule"]
    file.write_text(json.dumps(content))
    assert fewshot.load(tmp_path / "saved").test_size == Prototype.test_size


def test_what_cannot_be_built_again_is_not_saved(tmp_path: Path) -> None:
    system = Prototype(tiny("prototype").backbone)
    with pytest.raises(ValueError, match="this Prototype was put together from modules.*build_system"):
        system.save_pretrained(tmp_path / "saved")


def test_a_folder_of_another_system_is_refused(tmp_path: Path) -> None:
    tiny("prototype").save_pretrained(tmp_path / "saved")
    with pytest.raises(ValueError, match="saved holds a Prototype, not a CMA"):
        CMA.from_pretrained(tmp_path / "saved")
    assert isinstance(System.from_pretrained(tmp_path / "saved"), Prototype)
    (tmp_path / "saved" / "model.safetensors").write_bytes(b"half")
    with pytest.raises(CheckpointError, match="half-written or damaged"):
        System.from_pretrained(tmp_path / "saved")


def test_the_tokenizer_travels_with_its_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = dict(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, vocab_size=40)
    monkeypatch.setattr("fewshot.nn.text.roberta", lambda: roberta(small))
    words = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *"abcdefghijklmnopqrstuvwxyz", "Ġ"]
    (tmp_path / "roberta").mkdir()
    (tmp_path / "roberta" / "vocab.json").write_text(json.dumps({word: k for k, word in enumerate(words)}))
    (tmp_path / "roberta" / "merges.txt").write_text("#version: 0.2\n")
    config = SystemConfig(
        name="cma", backbone="tiny", backbone_width=8, text="roberta", text_weights=str(tmp_path / "roberta"), **SIZES
    )
    system = build_system(config).eval()
    text = system.text.tokens(["the red dax"])[0]
    system.save_pretrained(tmp_path / "saved")
    assert "roberta" not in (tmp_path / "saved" / "config.json").read_text().replace('"text": "roberta"', "")
    (tmp_path / "roberta").rename(tmp_path / "moved")
    assert torch.equal(fewshot.load(tmp_path / "saved").text.tokens(["the red dax"])[0], text)


def test_only_names_of_the_hub_are_asked_for_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    assert is_hub_name("user/name")
    for name in ("runs/name", "name", "a/b/c", "/user/name", "./name", "~/name", "../name", Path("user/name")):
        assert not is_hub_name(name), name
    asked = []
    monkeypatch.setattr(pretrained, "snapshot_download", lambda name, **options: asked.append(name) or 1 / 0)
    with pytest.raises(FileNotFoundError, match="no weights at runs/name"):
        fewshot.load("runs/name")
    assert not asked
    with pytest.raises(ZeroDivisionError):
        fewshot.load("user/name")
    assert asked == ["user/name"]


def test_what_the_hub_gives_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny("prototype").save_pretrained(tmp_path / "cached")
    monkeypatch.setattr(pretrained, "snapshot_download", lambda name, **options: str(tmp_path / "cached"))
    assert isinstance(fewshot.load("user/name"), Prototype)


def test_a_name_that_is_nowhere_is_told() -> None:
    with pytest.raises(FileNotFoundError, match=r"no weights at nobody/nothing: there is no such folder here, and the"):
        download("nobody/nothing", local_files_only=True)
    with pytest.raises(FileNotFoundError, match=r"no weights at not a name/at all"):
        download("not a name/at all", local_files_only=True)
