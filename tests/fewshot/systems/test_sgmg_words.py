"""SgMg and ReferFormer on small frames: places and words tell which of two things that look alike is meant."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from fewshot.cli.composition import composed, register_schemas
from fewshot.cli.program import checked
from fewshot.systems.config import TrunkConfig
from fewshot.systems.referformer.config import SMALL as SMALL_REFERFORMER
from fewshot.systems.referformer.config import ReferFormerConfig
from fewshot.systems.registry import make_system
from fewshot.systems.sgmg.config import SMALL as SMALL_SGMG
from fewshot.systems.sgmg.config import SgMgConfig
from fewshot.systems.sgmg.model import SgMg
from fewshot.systems.trunk import LEVELS, Trunk
from fewshot.testing import noise_clips

RELATED = {"affinity": "cma", "affinity_init": "similarity"}


def small(settings: Any) -> Any:
    return make_system(settings, 0).eval()


@pytest.mark.parametrize(("smallest", "settings"), [(SMALL_SGMG, SgMgConfig), (SMALL_REFERFORMER, ReferFormerConfig)])
def test_places_may_ask_the_words_with_their_position(smallest: dict[str, Any], settings: type[TrunkConfig]) -> None:
    """A level that is the same everywhere: only its places can make a difference to what the words say of it."""
    padding = torch.zeros(1, 64, 64, dtype=torch.bool)
    for asked in (False, True):
        system = small(settings(**{**smallest, "word_positions": asked}))
        system.fusion.attention.out_proj.weight.data.normal_()
        words = system.encode_text(["the red one on the left"])
        (level,) = Trunk.fused_levels(system, [torch.ones(2, 32, 8, 8)], words, padding=padding)
        assert level.shape == (1, 2, 32, 8, 8) and torch.equal(level[:, 0], level[:, 1])
        spread = float((level - level.mean((-1, -2), keepdim=True)).abs().max().detach())
        assert spread > 1e-2 if asked else spread < 1e-5


@pytest.mark.parametrize("name", ["sgmg_tiny", "referformer_tiny"])
def test_the_small_systems_hear_where_the_words_say_a_thing_is(name: str) -> None:
    """As they are meta-trained: which of two alike is meant is to be learnt from words such as 'left'."""
    register_schemas()
    config = checked(composed("meta_train", [f"system={name}"])).system
    system = small(config)
    padding, words = torch.zeros(1, 64, 64, dtype=torch.bool), system.encode_text(["the dax on the left"])
    (level,) = Trunk.fused_levels(system, [torch.ones(1, 64, 8, 8)], words, padding=padding)
    assert float((level - level.mean((-1, -2), keepdim=True)).detach().abs().max()) > 1e-3
    weights = system.criterion.weights
    assert weights["loss_bbox"] < weights["loss_mask"] and weights["loss_giou"] < weights["loss_mask"]


def test_the_warm_up_teaches_words_which_of_two_alike_is_meant() -> None:
    """Everything looks the same, so that only the place and the words are left: after some steps they decide."""
    system: SgMg = small(SgMgConfig(**{**SMALL_SGMG, **RELATED, "word_positions": True})).train()
    left, right = (torch.zeros(1, 64, 64, dtype=torch.bool) for _ in range(2))
    left[:, 24:40, 4:28], right[:, 24:40, 36:60] = True, True
    frames = (left | right)[:, None].float().expand(2, 1, 3, 64, 64)
    said = ("the dax on the left", "the right dax")
    queries = replace(noise_clips(2, 1), frames=frames, masks=(left, right), expressions=said)
    optimizer = torch.optim.Adam(system.parameters(), 4e-3)
    for _ in range(40):
        losses = system.warmup_losses(noise_clips(1, 1), queries, 1)
        assert set(losses.terms) == {"loss_mask", "loss_words"}
        optimizer.zero_grad()
        losses.total.backward()
        optimizer.step()
    with torch.no_grad():
        words = system.encode_text(("a dax on the left", "the right blick"))
        meant = system.places_meant(system.frame_features(queries)[-LEVELS], words, queries)[:, 0]
    a, b = meant[:, 3:5, 1:3].mean((1, 2)), meant[:, 3:5, 5:7].mean((1, 2))  # cells of 8 pixels on the two things
    assert a[0] > b[0] + 0.5 and b[1] > a[1] + 0.5
