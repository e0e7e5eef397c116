"""The moving average of the weights: what it is, and that a resumed run has the same one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fewshot.training.loop import Trainer
from fewshot.training.settings import TrainSettings
from fewshot.training.teacher import Teacher
from fewshot.weights.checkpoint import load_checkpoint
from tests.fewshot.training.tiny_system import Rows, TinyEpisodes, TinySystem, score, tiny_settings


def test_an_average_follows_what_learns_and_has_the_rest() -> None:
    network = torch.nn.Sequential(torch.nn.Linear(1, 1), torch.nn.Linear(1, 1).requires_grad_(False))
    torch.nn.init.zeros_(network[0].weight)
    teacher = Teacher(network, 0.75)
    for _ in range(2):
        torch.nn.init.ones_(network[0].weight)
        teacher.follow()
    torch.nn.init.constant_(network[1].weight, 5.0)
    weights = teacher.weights()
    assert weights["0.weight"].item() == pytest.approx(1 - 0.75**2) and weights["1.weight"].item() == 5.0
    assert set(teacher.average) == {"0.weight", "0.bias"} and network[0].weight.item() == 1.0


class Stopped(RuntimeError):
    """In the place of a kill."""


class StopsAtStepTen(Rows):
    def log(self, row: dict, step: int) -> None:
        if step == 10:
            raise Stopped
        super().log(row, step)


def trained(folder: Path, log: Rows, resume: bool = False) -> dict[str, torch.Tensor]:
    settings = tiny_settings(teacher_decay=0.5)
    trainer = Trainer(TinySystem(), TinyEpisodes(), settings, folder, log=log, validate=score)
    trainer.run(resume)
    return load_checkpoint(folder / "checkpoints" / "teacher.pt")["model"]


def test_a_resumed_teacher_is_that_of_a_run_that_was_not_stopped(tmp_path: Path) -> None:
    whole = trained(tmp_path / "whole", Rows())
    with pytest.raises(Stopped):
        trained(tmp_path / "broken", StopsAtStepTen())
    again = trained(tmp_path / "broken", Rows(), resume=True)  # from step 8
    assert whole.keys() == again.keys() and all(torch.equal(again[name], x) for name, x in whole.items())
    student = load_checkpoint(tmp_path / "whole" / "checkpoints" / "best.pt")
    assert student["system"] == "tiny" and not torch.equal(student["model"]["head.weight"], whole["head.weight"])


def test_runs_from_before_there_were_teachers_go_on() -> None:
    assert "train.teacher_decay" not in TrainSettings(steps=1).fingerprint(1)
    assert TrainSettings(steps=1, teacher_decay=0.9).fingerprint(1)["train.teacher_decay"] == 0.9
