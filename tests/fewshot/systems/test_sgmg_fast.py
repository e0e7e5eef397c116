"""Fast SgMg: expressions about the same frames share the fusion and the encoder, and are told apart afterwards."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from episodes.batch import ClipBatch, References
from fewshot.systems.registry import make_system
from fewshot.systems.sgmg.checkpoint import plan_of
from fewshot.systems.sgmg.config import SMALL, SgMgConfig
from fewshot.systems.sgmg.model import SgMg
from fewshot.testing import noise_clips

SIDE, TEXTS = 64, ("the red thing", "the green thing")


def sgmg(fast: bool, **options: object) -> SgMg:
    system = make_system(SgMgConfig(**{**SMALL, "fast": fast, **options}), 0)
    assert isinstance(system, SgMg)
    return system


def pictures(seed: int, count: int = 4) -> ClipBatch:
    """Images of noise with a red and a green rectangle in different halves, each image once for either."""
    draw = torch.Generator().manual_seed(seed)
    frames = 0.3 * torch.randn(count, 1, 3, SIDE, SIDE, generator=draw)
    masks, boxes = torch.zeros(count, 2, 1, SIDE, SIDE, dtype=torch.bool), torch.zeros(count, 2, 1, 4)
    for n in range(count):
        for colour in range(2):
            y, x = torch.randint(0, 32, (), generator=draw), torch.randint(0, 16, (), generator=draw)
            y, x = int(y), int(x) + 32 * ((n + colour) % 2)
            masks[n, colour, :, y : y + 24, x : x + 16] = True
            boxes[n, colour] = torch.tensor([x + 8, y + 12, 16, 24]) / SIDE
            frames[n, :, colour][masks[n, colour]] += 3
    return ClipBatch(
        frames=frames.repeat_interleave(2, 0),
        padding=torch.zeros(2 * count, SIDE, SIDE, dtype=torch.bool),
        sizes=torch.full((2 * count, 2), SIDE),
        expressions=TEXTS * count,
        masks=tuple(masks.flatten(0, 1)),
        boxes=boxes.flatten(0, 1),
        valid=torch.ones(2 * count, 1, dtype=torch.bool),
    )


def seen_together(system: SgMg, queries: ClipBatch) -> ClipBatch:
    return system.with_features(queries, copies=2)


def masks_of(system: SgMg, queries: ClipBatch) -> Tensor:
    return system(queries, system.encode_reference(References(expressions=queries.expressions))).masks


def encoded_rows(system: SgMg, queries: ClipBatch) -> int:
    """Frames that pass the encoder for these queries."""
    rows: list[int] = []
    handle = system.transformer.encoder[0].register_forward_hook(lambda *call: rows.append(len(call[-1])))
    masks_of(system, queries)
    handle.remove()
    return rows[0]


@torch.no_grad()
@pytest.mark.parametrize(("fast", "rows"), [(False, 8), (True, 4)])
def test_queries_of_the_same_frames_are_encoded_once(fast: bool, rows: int) -> None:
    system = sgmg(fast).eval()
    assert encoded_rows(system, seen_together(system, pictures(0))) == rows
    assert encoded_rows(system, pictures(0)) == 8  # nothing says that they share their frames


@torch.no_grad()
def test_masks_of_the_fast_way_depend_on_what_else_is_asked_and_on_their_own_words() -> None:
    system = sgmg(True).eval()
    queries = pictures(0)
    together, alone = masks_of(system, seen_together(system, queries)), masks_of(system, queries)
    assert together.shape == alone.shape and (together - alone).abs().max() > 1e-4
    assert (together[0] - together[1]).abs().max() > 1e-4
    same = masks_of(system, seen_together(system, replace(queries, expressions=TEXTS[:1] * 8)))
    torch.testing.assert_close(same[0], same[1])


def test_the_fast_way_learns_with_supports_and_word_positions() -> None:
    system = sgmg(True, affinity="cma", affinity_init="similarity", word_positions=True).train()
    queries, supports = seen_together(system, pictures(0)), noise_clips(4, seed=1)
    state = system.encode_reference(References(supports, 1, queries.expressions))
    system.losses(system(queries, state), queries).total.backward()
    assert system.decoupling is not None and system.affinity is not None
    for part in (system.decoupling, system.affinity.support, system.fusion):
        learning = [p for p in part.parameters() if p.requires_grad]
        assert learning and all(p.grad is not None and p.grad.isfinite().all() for p in learning)


def test_what_tells_expressions_apart_starts_from_scratch_beside_an_official_file() -> None:
    assert plan_of({}, sgmg(True)).fresh == ("decoupling.",)
    assert plan_of({}, sgmg(False)).fresh == ()


def trained(system: SgMg, steps: int) -> float:
    """J of new pictures after a training."""
    optimiser = torch.optim.AdamW(system.train().parameters(), lr=3e-3)
    for step in range(steps):
        queries = seen_together(system, pictures(step))
        state = system.encode_reference(References(expressions=queries.expressions))
        optimiser.zero_grad()
        system.losses(system(queries, state), queries).total.backward()
        torch.nn.utils.clip_grad_norm_(system.parameters(), 0.5)
        optimiser.step()
    queries = pictures(10_000, 12)
    with torch.no_grad():
        found = masks_of(system.eval(), seen_together(system, queries))[:, :, 0] > 0
    truth = torch.stack([mask for mask in queries.masks if mask is not None])
    return float(((found & truth).sum((1, 2, 3)) / (found | truth).sum((1, 2, 3))).mean())


@pytest.mark.slow
def test_the_fast_way_learns_what_the_exact_way_learns() -> None:
    exact, fast = trained(sgmg(False), 120), trained(sgmg(True), 200)
    # one that does not tell the two things apart has half of it
    assert exact > 0.8 and fast > 0.8 and abs(exact - fast) < 0.1, f"J {exact:.3f} exact, {fast:.3f} fast"
