"""How CMA is trained: which parts learn at which rate, and the warm-up of its features."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from episodes.batch import ClipBatch
from fewshot.losses.masks import clip_mask_loss
from fewshot.nn.prototype import mask_weights, prototype_logits, prototypes
from fewshot.systems.base import Losses

RECIPES = ("fixed", "official")


def learning_groups(
    parameters: Iterable[tuple[str, nn.Parameter]], lr: float, scales: dict[str, float], recipe: str
) -> list[dict[str, Any]]:
    """AdamW groups as in the official training; `recipe` decides over the affinity convolutions.

    The official code puts them in no group, so they stay as they were initialised (`official`); here they learn with
    the rest (`fixed`).

    Args:
        parameters: names and parameters; those that ask for no gradient are left out.
        scales: factors on `lr` by group name (`backbone`, `text`); 1 for the others.
    """
    if recipe not in RECIPES:
        raise ValueError(f"unknown recipe {recipe!r}: choose one of {', '.join(RECIPES)}")
    groups: dict[str, list[nn.Parameter]] = {k: [] for k in ("main", "backbone", "text", "offsets", "affinity")}
    for name, parameter in parameters:
        if parameter.requires_grad:
            groups[_group(name)].append(parameter)
    if recipe == "official":
        del groups["affinity"]
    return [{"params": p, "lr": lr * scales.get(k, 1.0), "name": k} for k, p in groups.items() if p]


def _group(name: str) -> str:
    first = name.split(".")[0]
    if first in ("backbone", "text"):
        return first
    if first == "affinity" and ".norm." not in name:
        return "affinity"
    return "offsets" if "sampling_offsets" in name or "reference_points" in name else "main"


def prototype_warmup(
    support_maps: Sequence[Tensor],
    query_maps: Sequence[Tensor],
    supports: ClipBatch,
    queries: ClipBatch,
    shots: int,
    num_frames: float | None,
) -> Losses:
    """Loss of segmenting the queries by cosine to the supports' prototypes, on every given level of features.

    Attention to the support does not learn anything before the features are good; this makes them good.

    Args:
        support_maps: features `(B*K*S, C_i, h_i, w_i)` of `B * K` support clips; query_maps: `(N*T, C_i, h_i, w_i)`.
    """
    logits = []
    for support, query in zip(support_maps, query_maps, strict=True):
        shown = rearrange(support, "(n s) c h w -> n s c h w", n=len(supports))
        pairs = prototypes(shown, mask_weights(supports, (support.shape[-2], support.shape[-1])))
        pairs = rearrange(pairs, "(b k) s c -> b k s c", k=shots).mean(1)
        pairs = pairs.repeat_interleave(len(queries) // len(pairs), 0)
        level = prototype_logits(rearrange(query, "(n t) c h w -> n t c h w", n=len(queries)), pairs)
        logits.append(F.interpolate(level, query_maps[0].shape[-2:], mode="bilinear", align_corners=False))
    loss = clip_mask_loss(torch.stack(logits).mean(0), queries, num_frames)
    return Losses(total=loss, terms={"loss_mask": loss})
