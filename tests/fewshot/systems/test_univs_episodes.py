"""UniVS on episodes: what makes its prompt queries read the supports."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from episodes.batch import ClipBatch, References
from fewshot.systems.base import ReferenceState
from fewshot.systems.registry import make_system
from fewshot.systems.univs.config import SMALL, UniVSConfig
from fewshot.systems.univs.model import UniVS
from fewshot.testing import noise_clips

SIDE = 64
SCRATCH = {"prior": True, "start": "scratch", "mask_stride": 1}


def univs(seed: int = 0, **changes: Any) -> UniVS:
    system = make_system(UniVSConfig(**{**SMALL, "hidden_dim": 64, **changes}), seed)
    assert isinstance(system, UniVS)
    return system


def scene(left: Tensor, right: Tensor, draw: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """A frame `(3, 64, 64)` with a square of each of two textures, and their masks."""
    frame, masks = 0.3 * torch.randn(3, SIDE, SIDE, generator=draw), torch.zeros(2, SIDE, SIDE, dtype=torch.bool)
    for n, texture in enumerate((left, right)):
        y, x = (int(torch.randint(0, high, (1,), generator=draw)) for high in (40, 8))
        inside = slice(y, y + 24), slice(x + 32 * n, x + 32 * n + 24)
        frame[:, inside[0], inside[1]] = texture
        masks[n, inside[0], inside[1]] = True
    return frame, masks[0], masks[1]


def clips(frames: list[Tensor], masks: list[Tensor]) -> ClipBatch:
    """Clips of one frame each."""
    blank = noise_clips(len(frames), 1, (SIDE, SIDE), words=False)
    return replace(blank, frames=torch.stack(frames)[:, None], masks=tuple(mask[None] for mask in masks))


def episodes(count: int, draw: torch.Generator) -> tuple[ClipBatch, ClipBatch, list[Tensor]]:
    """Queries with two things, supports that show the left one of them, and the masks of the right ones."""
    found: list[tuple[Tensor, ...]] = []
    for _ in range(count):
        a, b, c = (torch.randn(3, 1, 1, generator=draw) * 1.5 + torch.randn(3, 24, 24, generator=draw) for _ in "abc")
        query, meant, other = scene(a, b, draw)
        support, shown, _ = scene(a, c, draw)
        if torch.rand(1, generator=draw) < 0.5:
            query, meant, other = query.flip(-1), meant.flip(-1), other.flip(-1)
        found.append((query, meant, other, support, shown))
    query, meant, other, support, shown = (list(x) for x in zip(*found, strict=True))
    return clips(query, meant), clips(support, shown), other


def answer(system: UniVS, queries: ClipBatch, supports: ClipBatch) -> Any:
    return system(queries, system.encode_reference(References(supports, 1, queries.expressions)))


def overlap(system: UniVS, queries: ClipBatch, supports: ClipBatch, other: list[Tensor]) -> tuple[float, float]:
    """Mean IoU of the answers with what the supports show, and with the other thing."""
    with torch.no_grad():
        prediction = answer(system.eval(), queries, supports)
    ious = []
    for n, wrong in enumerate(other):
        found = system.logits(prediction, queries, n)[0] > 0
        truth = queries.masks[n]
        assert truth is not None
        ious.append([float((found & x).sum() / (found | x).sum()) for x in (truth[0], wrong)])
    right, mistaken = torch.tensor(ious).mean(0).tolist()
    return right, mistaken


def learnt(system: UniVS, steps: int) -> tuple[float, float]:
    draw = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(system.parameter_groups(2e-3))
    for _ in range(steps):
        queries, supports, _ = episodes(6, draw)
        losses = system.losses(answer(system.train(), queries, supports), queries)
        optimizer.zero_grad()
        losses.total.backward()
        torch.nn.utils.clip_grad_norm_(system.parameters(), 1.0)
        optimizer.step()
    return overlap(system, *episodes(16, torch.Generator().manual_seed(1)))


@pytest.mark.slow
def test_prompts_learn_to_read_supports_of_things_never_seen_before() -> None:
    """Every episode has new textures, and only the support tells which of two things is meant."""
    right, wrong = learnt(univs(backbone_width=16, **SCRATCH), 15)
    assert right > wrong + 0.3, (right, wrong)


def test_a_narrow_start_gives_all_prompts_the_same_mask_and_a_start_from_scratch_does_not() -> None:
    """Why small networks did not learn to read supports: what a prompt is hardly reaches its mask."""
    spread = {}
    for start in ("released", "scratch"):
        system = univs(start=start).eval()
        query, supports, _ = episodes(8, torch.Generator().manual_seed(3))
        one = replace(query, frames=query.frames[:1].expand(8, -1, -1, -1, -1))
        with torch.no_grad():
            masks = answer(system, one, supports).masks
        spread[start] = float(masks.std(0).mean())
    assert spread["scratch"] > 20 * spread["released"], spread


def test_an_untrained_prior_is_higher_on_what_the_support_shows() -> None:
    system = univs(backbone_width=16, **SCRATCH).eval()
    queries, _, _ = episodes(6, torch.Generator().manual_seed(5))
    with torch.no_grad():
        state = system.encode_supports(queries, 1)
        maps = system.maps_of(state, None, queries)
    assert maps is not None and maps.shape == (6, 1, 3, 16, 16) and not maps[:, :, 2].any()
    for n, mask in enumerate(queries.masks):
        assert mask is not None
        inside = torch.nn.functional.avg_pool2d(mask[None].float(), 4)[0, 0]
        for each in maps[n, 0, :2]:
            assert each[inside == 1].mean() > each[inside == 0].mean() + 1


def test_clips_that_share_frames_have_the_prior_maps_of_clips_that_do_not() -> None:
    system = univs(**SCRATCH).eval()
    queries, supports = noise_clips(4, seed=1), noise_clips(2, seed=2)
    frames = queries.frames[::2].repeat_interleave(2, 0)
    alone = replace(queries, frames=frames)
    shared = system.with_features(alone, 2)
    assert shared.copies == 2
    with torch.no_grad():
        state, words = system.encode_supports(supports, 1).repeat(2), system.encode_text(queries.expressions)
        together, apart = system.maps_of(state, words, shared), system.maps_of(state, words, alone)
    assert together is not None and apart is not None
    torch.testing.assert_close(together, apart)
    assert together[:, :, 2].any()


def test_masks_at_every_pixel_are_those_at_stride_4_where_the_cells_lie() -> None:
    queries, supports = noise_clips(2, seed=1), noise_clips(2, seed=2)
    coarse, fine = (univs(**{**SCRATCH, "mask_stride": stride}).eval() for stride in (4, 1))
    with torch.no_grad():
        small, large = (answer(system, queries, supports) for system in (coarse, fine))
    assert (small.stride, large.stride) == (4, 1) and large.masks.shape[-2:] == (64, 64)
    torch.testing.assert_close(large.masks[..., ::4, ::4], small.masks)


def test_the_warm_up_is_that_of_the_prior_maps() -> None:
    queries, supports = noise_clips(2, seed=1), noise_clips(2, seed=2)
    system = univs(**SCRATCH)
    losses = system.warmup_losses(supports, queries, 1)
    assert set(losses.terms) == {"loss_retrieval", "loss_prototype", "loss_words"}
    losses.total.backward()
    prior = system.prior
    assert prior is not None
    for parameter in (prior.project.weight, prior.words.weight, prior.places.weight):
        assert parameter.grad is not None and parameter.grad.any()
    silent = replace(queries, expressions=(None, None))
    assert "loss_words" not in system.warmup_losses(supports, silent, 1).terms
    plain = univs()
    assert system.has_warmup and not plain.has_warmup
    with pytest.raises(ValueError, match=r"system.prior=true.*train.prototype_fraction=0 train.prototype_weight=0"):
        plain.warmup_losses(supports, queries, 1)


def test_other_starts_and_strides_are_refused() -> None:
    with pytest.raises(ValueError, match="start must be one of released, scratch, got 'warm'"):
        univs(start="warm")
    with pytest.raises(ValueError, match="mask_stride must be one of 4, 1, got 2"):
        univs(mask_stride=2)


def test_a_query_without_any_reference_is_refused() -> None:
    system = univs(**SCRATCH).eval()
    with pytest.raises(ValueError, match="give supports or expressions"):
        system(noise_clips(1), ReferenceState(1))
