"""Runs the reference cases of UniRef++'s UniFusion and of its value encoder, from official tensors to named arrays."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from fewshot.nn.unifusion import FusionReference, UniFusion
from fewshot.nn.value_encoder import ValueEncoder
from fewshot.systems.uniref.part_keys import FUSION, VALUE_ENCODER
from fewshot.weights.key_table import KeyTable, check_fit, convert
from tests.parity.reference import filled
from tests.parity.uniref_reference import array_of, mismatches


@torch.no_grad()
def run(case: dict[str, Any], folder: Path) -> list[str]:
    """What differs in a case of UniFusion or of the value encoder."""
    runner = run_unifusion if case["module"].startswith("UniFusion") else run_value_encoder
    keys = json.loads((folder / "keys.json").read_text())
    arrays = runner(case, filled(keys))
    return mismatches(case["expected"], {name: [value] for name, value in arrays.items()})


def load(module: nn.Module, official: Mapping[str, Tensor], rows: Iterable[tuple[str, str]]) -> nn.Module:
    """The module in evaluation mode, with every official tensor in it."""
    table = KeyTable(tuple(rows))
    own, _, _ = convert(official, table)
    assert {name for key in own for name in table.to_official(key)} == set(official)
    check_fit(own, module.state_dict())
    module.load_state_dict(own)
    return module.eval()


def run_unifusion(case: Mapping[str, Any], official: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What is added to each level, by the references that the case uses."""
    fusion = load(UniFusion(case["hidden_dim"], case["nheads"], case["head_dim"]), official, FUSION)
    out = {}
    for level, ((h, w), recipe) in enumerate(zip(case["level_shapes"], case["srcs"], strict=True)):
        tokens = rearrange(array_of(recipe), "b c h w -> b (h w) c")
        language = language_reference(case["lang"]) if "lang_dict_features" in case["uses"] else None
        mask = mask_reference(case["mask"], level, (h, w)) if "mask_dict_features" in case["uses"] else None
        delta = fusion(tokens, language, mask) - tokens
        out[f"level{level}_delta"] = rearrange(delta, "b (h w) c -> b c h w", h=h)
    return out


def language_reference(spec: Mapping[str, Any]) -> FusionReference:
    words = array_of(spec["refs_and_values"])
    padding = torch.arange(words.shape[1])[None] >= torch.tensor(spec["valid_lengths"])[:, None]
    return FusionReference(words, words, padding, array_of(spec["embed"]))


def mask_reference(spec: Mapping[str, Any], level: int, size: tuple[int, int]) -> FusionReference:
    """Tokens of two frames; the last quarter of the columns of the first reference is padding."""
    h, w = size
    padding = torch.zeros(2, 2, h, w, dtype=torch.bool)
    padding[0, :, :, max(1, int(0.75 * w)) :] = True
    keys, values, embed = (array_of(spec[name][level]) for name in ("refs", "values", "embed"))
    return FusionReference(keys, values, padding.flatten(1), embed)


def run_value_encoder(case: Mapping[str, Any], official: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Values of all levels."""
    image, levels = array_of(case["image"]), [array_of(recipe) for recipe in case["srcs"]]
    masks = torch.zeros(len(image), *image.shape[-2:])
    for mask, (x0, y0, x1, y1) in zip(masks, case["mask_rects_xyxy"], strict=True):
        mask[y0:y1, x0:x1] = 1
    values = load(ValueEncoder(levels[0].shape[1]), official, VALUE_ENCODER)(image, masks, levels)
    return {f"value{level}": value for level, value in enumerate(values)}
