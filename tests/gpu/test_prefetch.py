"""Batches that are copied on a side stream give the same numbers as batches that are not."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
import torch

from episodes.batch import EpisodeBatch
from fewshot.training.prefetch import prefetched
from tests.gpu.tiny import DEVICES, tiny_batch

STEPS = 12


def steps() -> list[list[EpisodeBatch]]:
    """Two micro-batches a step."""
    return [[tiny_batch(4 * n), tiny_batch(4 * n + 2)] for n in range(STEPS)]


def worked_on(batches: Iterable[list[EpisodeBatch]]) -> list[torch.Tensor]:
    """A number of each step, after work that is long enough for the next copy to run into it."""
    results = []
    for step in batches:
        total = torch.zeros((), dtype=torch.float64, device=step[0].queries.frames.device)
        for batch in step:
            frames = batch.queries.frames.flatten(1)
            product = torch.eye(len(frames), device=frames.device)
            for _ in range(20):
                product = product @ (frames @ frames.T / frames.shape[1]) / 2
            masks = torch.stack([mask for mask in batch.queries.masks if mask is not None])
            total += product.double().sum() + (frames.double().sum() * masks.sum())
            spoilt = torch.empty_like(batch.queries.frames).fill_(torch.nan)  # memory that was freed too early
            del spoilt
        results.append(total)
    return results


@pytest.mark.parametrize("device", DEVICES)
def test_prefetched_batches_give_the_same_numbers(device: str) -> None:
    direct = worked_on([batch.to(device) for batch in step] for step in steps())
    ahead = worked_on(there for _, there in prefetched(steps(), torch.device(device)))
    assert len(ahead) == STEPS
    assert torch.equal(torch.stack(ahead), torch.stack(direct))


@pytest.mark.parametrize("device", DEVICES)
def test_the_batches_of_the_host_stay_where_they_are(device: str) -> None:
    for host, there in prefetched(steps(), torch.device(device)):
        assert host[0].queries.frames.device.type == "cpu"
        assert there[0].queries.frames.device.type == device
        assert torch.equal(there[0].queries.frames.cpu(), host[0].queries.frames)
        assert there[0].specs == host[0].specs
