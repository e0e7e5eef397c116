"""VidEoMT from its settings, and its weights as transformers stores them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import transformers
from torch import Tensor, nn

from episodes.transforms.input_rule import InputRule
from fewshot.systems.videomt.config import VidEoMTConfig
from fewshot.systems.videomt.model import VidEoMT
from fewshot.weights.key_table import KeyTable, Plan, count_numbered

NEEDED = "VideomtForUniversalSegmentation"
HEAD_WIDTH = 64  # of the Vision Transformers that are released
MARKS = (
    "query.weight",
    "query_updater.weight",
    "class_predictor.bias",
    "attn_mask_probs",
    "embeddings.patch_embeddings.projection.weight",
    "embeddings.position_embeddings.weight",
)


def build(config: VidEoMTConfig) -> VidEoMT:
    """A VidEoMT of the configured sizes.

    Raises:
        ValueError: the installed transformers has none.
    """
    return VidEoMT(network(config), config.num_queries)


def network(config: VidEoMTConfig) -> nn.Module:
    """The network of transformers. Raises ValueError where the installed one has none."""
    if not hasattr(transformers, NEEDED):
        raise ValueError(
            f"system videomt needs a transformers that has VidEoMT, and {transformers.__version__} has none: "
            "pip install -U transformers"
        )
    sizes: dict[str, Any] = dict(
        hidden_size=config.hidden_dim,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        image_size=config.image_size,
        patch_size=config.patch_size,
        num_blocks=config.query_layers,
        num_queries=config.num_queries,
        num_upscale_blocks=config.upscalings,
        num_labels=config.classes,
    )
    built: nn.Module = transformers.VideomtForUniversalSegmentation(transformers.VideomtConfig(**sizes))
    return built


def rule(system: VidEoMT) -> InputRule:
    """Frames are squashed to the side that the network was built for."""
    return InputRule("square", system.side)


def plan(tensors: Mapping[str, Tensor], system: VidEoMT) -> Plan:
    """A file of transformers: the same names, one level further down.

    Raises:
        ValueError: it is not of a VidEoMT.
    """
    _refuse_others(tensors)
    return Plan("a VidEoMT of transformers", KeyTable((("", "network."),)))


def fit(tensors: Mapping[str, Tensor], variant: str | None) -> tuple[VidEoMTConfig, VidEoMT]:
    """The settings that the tensors of a file of transformers imply, and an empty VidEoMT of these sizes.

    Raises:
        ValueError: it is not of a VidEoMT, or a variant is named.
    """
    _refuse_others(tensors)
    if variant is not None:
        raise ValueError(f"variant={variant}: VidEoMT has no variants, leave it out")
    patch = tensors["embeddings.patch_embeddings.projection.weight"].shape[-1]
    queries, width = tensors["query.weight"].shape
    config = VidEoMTConfig(
        classes=len(tensors["class_predictor.bias"]) - 1,
        image_size=patch * round(len(tensors["embeddings.position_embeddings.weight"]) ** 0.5),
        patch_size=patch,
        hidden_dim=width,
        layers=count_numbered(tensors, "layers."),
        heads=max(width // HEAD_WIDTH, 1),
        query_layers=len(tensors["attn_mask_probs"]),
        num_queries=queries,
        upscalings=count_numbered(tensors, "upscale_block.block."),
    )
    return config, build(config)


def _refuse_others(tensors: Mapping[str, Tensor]) -> None:
    if absent := [name for name in MARKS if name not in tensors]:
        raise ValueError(f"no VidEoMT of transformers: it has no {absent[0]}")
