"""Tensor names of the official ReferFormer checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor

from fewshot.systems.trunk_checkpoint import PIXEL_DECODER, REFERFORMER, TEXT, TRUNK, check_whose, for_backbone, table
from fewshot.weights.key_table import Plan

if TYPE_CHECKING:
    from fewshot.systems.referformer.model import ReferFormer

TABLE = table(*TEXT, *TRUNK, *PIXEL_DECODER)


def plan_of(official: Mapping[str, Tensor], system: ReferFormer) -> Plan:
    """Plan for reading a file with these tensors into a ReferFormer.

    What relates it to supports is in no official file, and starts from scratch.

    Raises:
        ValueError: it is a checkpoint of CMA or SgMg.
    """
    check_whose(official, REFERFORMER)
    fresh = () if system.relation is None else ("affinity.",)
    return Plan("official ReferFormer checkpoint", for_backbone(TABLE, system.backbone), fresh)
