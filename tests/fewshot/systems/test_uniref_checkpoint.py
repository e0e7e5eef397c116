"""The official names of UniRef++'s tensors: both directions, files and systems without some parts."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from fewshot.nn.backbones import ResNet
from fewshot.nn.text import TextEncoder, WordHashTokenizer, bert
from fewshot.nn.value_encoder import ValueEncoder
from fewshot.systems.uniref.checkpoint import TABLE, plan, sizes_of
from fewshot.systems.uniref.model import Sizes, UniRef
from fewshot.weights.key_table import Plan
from tests.fewshot.systems.test_uniref import tiny_uniref


@pytest.fixture(scope="module")
def full() -> UniRef:
    """A full-size model without memory behind its tensors."""
    with torch.device("meta"):
        return UniRef(ResNet(50), TextEncoder(bert(), WordHashTokenizer()), ValueEncoder(), Sizes())


def official_of(model: UniRef) -> dict[str, Tensor]:
    return {name: x for own, x in model.state_dict().items() for name in TABLE.to_official(own)}


def fresh_of(model: UniRef, reading: Plan) -> set[str]:
    """Parts of a model of which tensors may start from scratch."""
    return {name.split(".")[0] for name in model.state_dict() if name.startswith(reading.fresh)}


def test_every_tensor_has_an_official_name_and_back(full: UniRef) -> None:
    for own in full.state_dict():
        names = TABLE.to_official(own)
        assert names and TABLE.to_own(names[0]) == own and all(TABLE.is_alias(name) for name in names[1:])
    assert sizes_of(official_of(full)) == {
        "backbone": "resnet50",
        "text": "bert",
        "value_encoder": "resnet18",
        "hidden_dim": 256,
        "feedforward_dim": 2048,
        "num_queries": 300,
        "num_classes": 1,
        "encoder_layers": 6,
        "decoder_layers": 6,
    }
    with pytest.raises(ValueError, match="not the tensors of a UniRef"):
        sizes_of({"conv_q.weight": torch.zeros(1)})


def test_a_complete_file_leaves_nothing_fresh(full: UniRef) -> None:
    reading = plan(official_of(full), full)
    assert reading.kind == "official UniRef++ checkpoint" and fresh_of(full, reading) == set()


def test_files_and_systems_without_some_parts(full: UniRef) -> None:
    official = official_of(full)
    lacking = {k: v for k, v in official.items() if not k.startswith("value_encoder.")}
    assert fresh_of(full, plan(lacking, full)) == {"value_encoder"}
    reading = plan(official, tiny_uniref(text=False))
    assert reading.table.reason_to_ignore("resizer.fc.weight") == "this system has no text encoder"
    assert reading.table.reason_to_ignore("value_encoder.conv1.weight") is None


def test_the_class_heads_of_another_pretraining_are_not_used(full: UniRef) -> None:
    with torch.device("meta"):
        pretrained = UniRef(ResNet(50), None, None, replace(Sizes(), num_classes=365))
    official = official_of(pretrained)
    reading = plan(official, full)
    assert "Objects365" in reading.kind
    assert {"text.", "fusion.", "value_encoder.", "score_heads."} <= set(reading.fresh)
    for key in ("detr.detr.class_embed.6.bias", "detr.detr.transformer.decoder.class_embed.0.weight"):
        assert "365 classes" in str(reading.table.reason_to_ignore(key))
    own = {TABLE.to_own(k) for k in official if not reading.table.reason_to_ignore(k) and not TABLE.is_alias(k)}
    assert all(name in own or name.startswith(reading.fresh) for name in full.state_dict())
