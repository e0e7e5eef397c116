"""Training on a GPU: one step of each system, and a run that goes on from its checkpoint."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fewshot.training.loop import Trainer
from fewshot.training.settings import TrainSettings
from fewshot.training.step import TrainingStep
from tests.gpu.tiny import CONFIGS, DEVICES, TinyEpisodes, error, tiny_batch, tiny_system

LR = 1e-3


def one_step(name: str, device: str, precision: str) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
    """Loss, gradients, and changes of the parameters by one step of AdamW."""
    system, batch = tiny_system(name, device).train(), tiny_batch().to(device)
    before = {key: value.detach().clone() for key, value in system.named_parameters()}
    optimizer = torch.optim.AdamW(system.parameter_groups(LR), lr=LR)
    torch.manual_seed(0)
    assert batch.queries.valid is not None
    loss, _ = TrainingStep(system, precision)(batch, float(batch.queries.valid.sum()))
    loss.backward()
    optimizer.step()
    gradients = {key: value.grad for key, value in system.named_parameters() if value.grad is not None}
    changes = {key: value.detach() - before[key] for key, value in system.named_parameters()}
    return loss.detach(), gradients, changes


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", CONFIGS)
def test_one_step_learns_something(name: str, precision: str, device: str) -> None:
    loss, gradients, changes = one_step(name, device, precision)
    assert loss.isfinite() and loss > 0
    assert gradients and all(gradient.isfinite().all() for gradient in gradients.values())
    moved = [key for key, gradient in gradients.items() if gradient.abs().max() > 0]
    assert len(moved) > len(gradients) / 2
    assert all(0 < changes[key].abs().max() < 10 * LR for key in moved)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", CONFIGS)
def test_a_step_repeats(name: str, device: str) -> None:
    """To the last bit on a CPU. On a GPU the gradients of sampled features are summed in no fixed order."""
    (loss, gradients, _), (again, repeated, _) = (one_step(name, device, "fp32") for _ in range(2))
    assert gradients.keys() == repeated.keys()
    assert error(again, loss) <= (0 if device == "cpu" else 1e-6)
    largest = max(float(gradient.abs().max()) for gradient in gradients.values())
    differences = [float((gradients[key] - repeated[key]).abs().max()) for key in gradients]
    assert max(differences) <= (0 if device == "cpu" else 1e-4 * largest)


class Rows:
    """A log in memory: the losses by step."""

    def __init__(self) -> None:
        self.losses: dict[int, float] = {}

    def log(self, row: dict[str, Any], step: int) -> None:
        self.losses[step] = row["train/loss"]

    def rewind(self, step: int, validated: int | None = None) -> None:
        self.losses = {s: loss for s, loss in self.losses.items() if s <= step}


def train(name: str, device: str, folder: Path, precision: str, resume: bool = False) -> dict[int, float]:
    """The losses of a run of six steps with a checkpoint at the third and at the last."""
    settings = TrainSettings(
        steps=6,
        batch=2,
        lr=LR,
        schedule="constant",
        select="last",
        checkpoint_every=3,
        log_every=1,
        precision=precision,
    )
    rows = Rows()
    Trainer(tiny_system(name, device), TinyEpisodes(), settings, folder, log=rows).run(resume)
    return rows.losses


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", ["cma", "uniref"])
def test_a_run_goes_on_from_its_checkpoint(name: str, precision: str, device: str, tmp_path: Path) -> None:
    whole = train(name, device, tmp_path / "whole", precision)
    assert sorted(whole) == [1, 2, 3, 4, 5, 6] and len(set(whole.values())) == 6
    (tmp_path / "stopped" / "checkpoints").mkdir(parents=True)
    (third,) = (tmp_path / "whole" / "checkpoints").glob("step_*3.pt")
    shutil.copy(third, tmp_path / "stopped" / "checkpoints")
    rest = train(name, device, tmp_path / "stopped", precision, resume=True)
    assert sorted(rest) == [4, 5, 6]
    # The fourth loss is a function of the weights in the file; the next ones need the optimiser's state as well:
    # without it the fifth is off by 2e-4 in CMA and bf16, by more elsewhere. A CPU repeats to the last bit.
    rough = {"fp32": 1, "bf16": 10}[precision]
    for step, allowed in {4: 1e-6, 5: 1e-4 * rough, 6: 1e-3 * rough}.items():
        assert abs(rest[step] - whole[step]) <= (0 if device == "cpu" else allowed) * abs(whole[step]), (rest, whole)
