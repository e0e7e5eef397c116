"""Groups, schedules and clipping."""

from __future__ import annotations

import pytest
import torch

from fewshot.training.optim import clip_gradients, make_optimizer, make_schedule
from tests.fewshot.training.tiny_system import TinySystem, tiny_settings


def rates(**changes: object) -> list[list[float]]:
    """Learning rates of all groups in every step."""
    settings = tiny_settings(**changes)
    optimizer = make_optimizer(TinySystem(), settings)
    schedule = make_schedule(optimizer, settings)
    seen = []
    for _ in range(settings.steps):
        seen.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        schedule.step()
    return seen


def test_step_schedule_drops_at_shares_of_the_run() -> None:
    seen = rates(steps=24, schedule="step", drop_at=(0.125, 0.2083), lr=1.0)
    first = [group[0] for group in seen]
    assert first[:3] == [1.0] * 3
    assert first[3:5] == pytest.approx([0.1] * 2)
    assert first[5:] == pytest.approx([0.01] * 19)
    assert [group[1] for group in seen] == pytest.approx([rate / 2 for rate in first])


@pytest.mark.parametrize(("steps", "fraction"), [(10, 0.1), (4, 0.25), (1, 0.1), (1, 0.99), (10, 0.0), (3, 0.99)])
def test_onecycle_of_few_steps_has_a_rate_in_each(steps: int, fraction: float) -> None:
    first = [group[0] for group in rates(steps=steps, schedule="onecycle", warmup_fraction=fraction, lr=1.0)]
    assert len(first) == steps and all(0 < rate <= 1.0 for rate in first)


def test_onecycle_rises_and_falls() -> None:
    first = [group[0] for group in rates(steps=41, schedule="onecycle", warmup_fraction=0.25, lr=1.0)]
    assert first[0] == pytest.approx(0.04)  # torch's div_factor of 25
    assert max(first) == pytest.approx(1.0, abs=0.02)
    assert 8 <= first.index(max(first)) <= 10
    assert first[-1] < 1e-4
    assert first[:9] == sorted(first[:9]) and first[10:] == sorted(first[10:], reverse=True)


@pytest.mark.parametrize("schedule", ["step", "onecycle", "constant"])
def test_schedules_last_for_the_whole_run(schedule: str) -> None:
    for steps in (1, 2, 3, 10):
        assert len(rates(steps=steps, schedule=schedule)) == steps
    assert rates(schedule="constant", lr=0.3) == [[0.3, 0.15]] * 12


def test_groups_and_weight_decay() -> None:
    optimizer = make_optimizer(TinySystem(), tiny_settings(lr=0.2, weight_decay=0.05))
    assert [(g["name"], g["lr"], g["weight_decay"]) for g in optimizer.param_groups] == [
        ("all", 0.2, 0.05),
        ("head", 0.1, 0.05),
    ]


def test_nothing_to_train_is_refused() -> None:
    system = TinySystem().requires_grad_(False)
    with pytest.raises(ValueError, match="'tiny' has no parameter to train"):
        make_optimizer(system, tiny_settings())


@pytest.mark.parametrize("keep", [False, True])
def test_clipping_counts_what_is_trained_or_where_gradients_are_kept_everything(keep: bool) -> None:
    """Parameters that are in no group have a large gradient here, and the others a small one."""
    system = TinySystem(train_affinity=not keep)
    optimizer = make_optimizer(system, tiny_settings())
    if not keep:
        system.stranger = torch.nn.Parameter(torch.zeros(3))  # a parameter after the groups were made
    stranger = system.affinity.weight if keep else system.stranger
    system.head.bias.grad = torch.full((1,), 0.5)
    stranger.grad = torch.full_like(stranger, 100.0)
    norm = clip_gradients(system, optimizer, clip_norm=1.0, keep=keep)
    assert (norm > 1) == keep
    assert (system.head.bias.grad.item() < 0.5) == keep


def test_clip_norm_zero_clips_nothing() -> None:
    system = TinySystem()
    optimizer = make_optimizer(system, tiny_settings())
    system.head.bias.grad = torch.full((1,), 7.0)
    assert clip_gradients(system, optimizer, clip_norm=0.0, keep=False).item() == pytest.approx(7.0)
    assert system.head.bias.grad.item() == 7.0
