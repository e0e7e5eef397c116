"""Weights shared out among two processes (FSDP2) learn what one process learns, and go on in any arrangement."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import torch
from torch import nn

from fewshot.training.loop import Trainer
from fewshot.training.sharding import balanced, layers_of
from tests.fewshot.training.runs import weights_of_best
from tests.fewshot.training.test_loop import assert_close_runs, run_two
from tests.fewshot.training.tiny_system import Rows, TinyEpisodes, TinySystem, score, tiny_settings, train

SHARDED = {"sharding": "fsdp", "batch": 1, "accumulate": 2}


def test_processes_that_share_the_weights_learn_what_one_learns_and_go_on_without_sharing(tmp_path: Path) -> None:
    stopped = run_two(tmp_path / "two", settings=SHARDED, episodes={"stop_at": 26, "by": int(signal.SIGTERM)})
    assert "stopped after step 6" in stopped.stderr, stopped.stderr
    train(tmp_path / "two", resume=True, batch=1, accumulate=1)
    (tmp_path / "one").mkdir()
    train(tmp_path / "one", batch=1, accumulate=4)
    assert_close_runs(tmp_path / "one", tmp_path / "two")


def test_a_run_of_one_process_goes_on_with_two_that_share_the_weights(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    train(tmp_path / "one", batch=1, accumulate=4)
    with pytest.raises(FileNotFoundError):
        train(tmp_path / "two", TinyEpisodes(broken=4 * 9), batch=1, accumulate=4)
    two = run_two(tmp_path / "two", settings=SHARDED, resume=True)
    assert two.returncode == 0, two.stderr
    assert "step_00000008.pt" in two.stderr and "Traceback" not in two.stderr
    assert_close_runs(tmp_path / "one", tmp_path / "two")
    (step, best), (other, same) = (weights_of_best(tmp_path / name) for name in ("one", "two"))
    assert step == other and best == pytest.approx(same, rel=1e-5)


def test_the_layers_of_a_backbone_are_shared_out_one_by_one() -> None:
    stage = nn.ModuleDict({"blocks": nn.ModuleList([nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2))])})
    backbone = nn.ModuleDict({"stem": nn.Linear(2, 2), "stages": nn.Sequential(nn.ReLU(), nn.Conv2d(3, 4, 1))})
    backbone["own"] = stage
    found = [*layers_of(backbone)]
    assert found == [backbone["stages"][1], *stage["blocks"]]


def test_what_another_process_uses_has_a_gradient_here_too_and_what_nobody_uses_has_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    system = nn.ModuleDict({name: nn.Linear(2, 1, bias=False) for name in ("here", "there", "nowhere")})
    monkeypatch.setattr("fewshot.training.sharding.processes.all_reduce_sum", lambda mine: [mine[0], 1.0, 0.0])
    loss = system["here"](torch.ones(2)).square().sum()
    total = balanced(system, loss)
    assert torch.equal(total, loss)
    total.backward()
    assert system["here"].weight.grad.abs().sum() > 0 and system["nowhere"].weight.grad is None
    assert torch.equal(system["there"].weight.grad, torch.zeros(1, 2))


def test_sharing_is_refused_where_it_cannot_work(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="train.sharding=fsdp shares weights among processes: start with torchrun"):
        Trainer(TinySystem(), TinyEpisodes(), tiny_settings(sharding="fsdp"), tmp_path, log=Rows(), validate=score)
    system = TinySystem(train_affinity=False)
    with pytest.raises(ValueError, match="fsdp takes no precision=fp16 and no gradients that are kept"):
        Trainer(system, TinyEpisodes(), tiny_settings(sharding="fsdp"), tmp_path, log=Rows(), validate=score)
