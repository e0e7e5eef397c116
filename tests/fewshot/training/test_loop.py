"""The loop: resume, accumulation, bad numbers, recipes, selection."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from episodes.batch import ClipBatch
from fewshot.config.sections import TrainConfig
from fewshot.nn.outputs import Losses, Prediction
from fewshot.systems.base import System
from fewshot.training.loop import NonFiniteLoss, Trainer
from fewshot.training.optim import clear_gradients, make_optimizer
from fewshot.training.settings import micro_batches
from fewshot.training.step import set_training_mode
from fewshot.weights.checkpoint import CheckpointError, load_checkpoint
from tests.fewshot.training.runs import assert_same_run, program, run, weights, weights_of_best
from tests.fewshot.training.tiny_system import Rows, TinyEpisodes, TinySystem, score, tiny_settings, train


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.mark.parametrize("train_affinity", [True, False])
def test_killed_and_resumed_is_bit_identical(tmp_path: Path, train_affinity: bool) -> None:
    (tmp_path / "whole").mkdir()
    train(tmp_path / "whole", train_affinity=train_affinity)
    settings = json.dumps({"train_affinity": train_affinity})
    killed = run(
        program(tmp_path / "broken", "--settings", settings, "--episodes", json.dumps({"stop_at": 4 * 10 + 1}))
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    rows = Rows(tmp_path / "broken" / "rows.jsonl").losses()
    assert max(step for step, _ in rows) == 10  # after the checkpoint of step 8: these rows are repeated
    resumed = run(program(tmp_path / "broken", "--settings", settings, "--resume"))
    assert resumed.returncode == 0, resumed.stderr
    assert "going on from" in resumed.stderr and "step_00000008.pt" in resumed.stderr
    assert_same_run(tmp_path / "whole", tmp_path / "broken", 12)


def test_resume_of_a_finished_run_returns_at_once(tmp_path: Path) -> None:
    train(tmp_path)
    before = Rows(tmp_path / "rows.jsonl").rows

    class NoEpisodes:
        def __getitem__(self, index: int) -> None:
            raise AssertionError("a finished run needs no episode")

    log = Rows(tmp_path / "rows.jsonl")
    trainer = Trainer(TinySystem(), NoEpisodes(), tiny_settings(), tmp_path, log=log, validate=score)
    result = trainer.run(resume=True)
    assert (result.steps, result.last.name, result.best.name) == (12, "step_00000012.pt", "best.pt")
    assert log.rows == before


def test_workers_do_not_change_the_episodes(tmp_path: Path) -> None:
    for workers in (0, 2):
        (tmp_path / str(workers)).mkdir()
        train(tmp_path / str(workers), workers=workers)
    assert_same_run(tmp_path / "0", tmp_path / "2", 12)


def test_accumulation_is_one_big_batch(tmp_path: Path) -> None:
    runs = {}
    for batch, accumulate in ((4, 1), (2, 2), (1, 4)):
        system, log = TinySystem(dropout=0.0), Rows()
        settings = tiny_settings(batch=batch, accumulate=accumulate, select="last")
        Trainer(system, TinyEpisodes(), settings, tmp_path / f"{batch}", log=log).run()
        runs[batch] = (log.losses(), system.state_dict())
    for batch in (2, 1):
        for (_, one), (_, other) in zip(runs[4][0], runs[batch][0], strict=True):
            assert one == pytest.approx(other, rel=1e-5)
        for name, tensor in runs[4][1].items():
            torch.testing.assert_close(tensor, runs[batch][1][name], rtol=1e-4, atol=1e-6)


def run_two(folder: Path, **options: dict) -> subprocess.CompletedProcess[str]:
    """Two processes by torchrun, each with one of the two micro-batches of a step."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    options = {"settings": {"accumulate": 1}, **options}
    given = [f"--{name}" if value is True else f"--{name}={json.dumps(value)}" for name, value in options.items()]
    return run([*launch, *program(folder, *given)[1:]])


def test_two_processes_are_one(tmp_path: Path) -> None:
    """Dropout is drawn per micro-batch, so that even with it two processes do what one does in two micro-batches."""
    two = run_two(tmp_path / "two")
    assert two.returncode == 0, two.stderr
    (tmp_path / "one").mkdir()
    train(tmp_path / "one")
    ours, theirs = Rows(tmp_path / "one" / "rows.jsonl").losses(), Rows(tmp_path / "two" / "rows.jsonl").losses()
    assert [step for step, _ in ours] == [step for step, _ in theirs]
    for (_, one), (_, other) in zip(ours, theirs, strict=True):
        assert one == pytest.approx(other, rel=1e-5)
    for name, tensor in weights(tmp_path / "one", 12).items():
        torch.testing.assert_close(tensor, weights(tmp_path / "two", 12)[name], rtol=1e-4, atol=1e-6)
    assert weights_of_best(tmp_path / "one")[0] == weights_of_best(tmp_path / "two")[0]


def assert_close_runs(one: Path, other: Path) -> None:
    """Two runs of twelve steps whose numbers differ by rounding alone."""
    ours, theirs = Rows(one / "rows.jsonl").losses(), Rows(other / "rows.jsonl").losses()
    assert [step for step, _ in ours] == [step for step, _ in theirs]
    for (_, first), (_, second) in zip(ours, theirs, strict=True):
        assert first == pytest.approx(second, rel=1e-5)
    for name, tensor in weights(one, 12).items():
        torch.testing.assert_close(tensor, weights(other, 12)[name], rtol=1e-4, atol=1e-6)


def test_a_run_of_two_processes_goes_on_with_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is typed for it: the one accumulates what the two had between them."""
    stopped = run_two(tmp_path / "two", episodes={"stop_at": 26, "by": int(signal.SIGTERM)})
    assert "stopped after step 6" in stopped.stderr
    train(tmp_path / "two", resume=True, accumulate=1)
    assert "train.accumulate=2 keeps its 4 episodes a step" in caplog.text
    (tmp_path / "one").mkdir()
    train(tmp_path / "one")
    assert_close_runs(tmp_path / "one", tmp_path / "two")


def test_a_run_of_one_process_goes_on_with_two(tmp_path: Path) -> None:
    class Stopped(RuntimeError):
        """In the place of a kill."""

    class StopsAtStepSix(Rows):
        def log(self, row: dict, step: int) -> None:
            if step == 6:
                raise Stopped
            super().log(row, step)

    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    train(tmp_path / "one")
    log = StopsAtStepSix(tmp_path / "two" / "rows.jsonl")
    with pytest.raises(Stopped):
        Trainer(TinySystem(), TinyEpisodes(), tiny_settings(), tmp_path / "two", log=log, validate=score).run()
    two = run_two(tmp_path / "two", settings={}, resume=True)
    assert two.returncode == 0, two.stderr
    assert "train.accumulate=1 keeps its 4 episodes a step" in two.stderr
    assert_close_runs(tmp_path / "one", tmp_path / "two")


def test_processes_that_cannot_share_the_episodes_of_a_step_are_refused(tmp_path: Path) -> None:
    train(tmp_path)
    state = load_checkpoint(tmp_path / "checkpoints" / "step_00000012.pt")
    torch.save({**state, "processes": 2}, tmp_path / "checkpoints" / "step_00000012.pt")
    with pytest.raises(CheckpointError, match="train.episodes_per_step: 4 in the checkpoint, 3 now"):
        train(tmp_path, resume=True, batch=3, accumulate=1)
    train_config = TrainConfig(steps=1, batch=2, episodes_per_step=8)
    assert [micro_batches(train_config, world) for world in (1, 2, 4)] == [4, 2, 1]
    assert micro_batches(TrainConfig(steps=1, batch=2, accumulate=3), 2) == 3
    with pytest.raises(ValueError, match=r"episodes_per_step=8 is no multiple of 3 process\(es\) x train.batch=2"):
        micro_batches(train_config, 3)


def test_two_processes_keep_the_gradients_of_what_no_group_holds(tmp_path: Path) -> None:
    changes = {"train_affinity": False, "prototype_steps": 0, "prototype_weight": 0}
    two = run_two(tmp_path / "two", settings={"accumulate": 1, **changes})
    assert two.returncode == 0, two.stderr
    (tmp_path / "one").mkdir()
    train(tmp_path / "one", **changes)
    ours, theirs = Rows(tmp_path / "one" / "rows.jsonl").losses(), Rows(tmp_path / "two" / "rows.jsonl").losses()
    for (_, one), (_, other) in zip(ours, theirs, strict=True):
        assert one == pytest.approx(other, rel=1e-5)


def test_one_of_two_processes_is_stopped(tmp_path: Path) -> None:
    """Episode 26 is of the second process only: both save after step 6 and end."""
    stopped = run_two(tmp_path, episodes={"stop_at": 26, "by": int(signal.SIGTERM)})
    assert stopped.returncode != 0 and "143" in stopped.stderr
    assert "SIGTERM: stopped after step 6" in stopped.stderr
    assert load_checkpoint(tmp_path / "checkpoints" / "step_00000006.pt")["step"] == 6


def test_poison_in_one_of_two_processes_is_named_by_both(tmp_path: Path) -> None:
    stopped = run_two(tmp_path, episodes={"poison": 26})
    assert stopped.returncode != 0
    assert stopped.stderr.count("step 7: the loss is not finite") >= 2
    assert "episode 26: class dax" in stopped.stderr and "episode 24: class dax" not in stopped.stderr


def test_poisoned_episode_is_named_and_the_checkpoint_stays(tmp_path: Path) -> None:
    with pytest.raises(NonFiniteLoss) as error:
        train(tmp_path, TinyEpisodes(poison=4 * 6 + 3))
    message = str(error.value)
    assert "step 7" in message and "episode 27" in message and "dax" in message and "query27" in message
    assert "support27" in message and "'a dax'" in message
    assert "episode 24" not in message  # of the other micro-batch
    assert "step_00000004.pt" in message
    assert all(torch.isfinite(tensor).all() for tensor in weights(tmp_path, 4).values())
    train(tmp_path, resume=True)  # without the poison it goes on


def test_infinite_gradient_stops_before_the_weights_change(tmp_path: Path) -> None:
    class Bad(TinySystem):
        def losses(self, prediction: Prediction, queries: ClipBatch, num_frames: float | None = None) -> Losses:
            losses = super().losses(prediction, queries, num_frames)
            zero = (self.head.bias - self.head.bias.detach()).square().sum().sqrt()  # 0, with an infinite slope
            return Losses(losses.total + zero, losses.terms)

    system = Bad()
    before = system.head.bias.detach().clone()
    with pytest.raises(NonFiniteLoss, match="step 1: the gradient"):
        Trainer(
            system,
            TinyEpisodes(),
            tiny_settings(prototype_steps=0, prototype_weight=0.0),
            tmp_path,
            log=Rows(),
            validate=score,
        ).run()
    assert torch.equal(system.head.bias, before)


def test_queries_without_targets_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="episodes 0, 1: .*valid is None"):
        train(tmp_path, TinyEpisodes(valid=False))


def test_warm_up_trains_features_first(tmp_path: Path) -> None:
    train(tmp_path)
    rows = [row for _, row in Rows(tmp_path / "rows.jsonl").losses() if "train/loss" in row]
    assert "train/mask" not in rows[2] and rows[2]["train/loss"] == pytest.approx(rows[2]["train/prototype_proto"])
    both = 2 * rows[3]["train/mask"] + 0.1 * rows[3]["train/prototype_proto"]
    assert rows[3]["train/loss"] == pytest.approx(both)


def test_best_checkpoint(tmp_path: Path) -> None:
    """`best.pt` follows the score, holds no optimiser, and is the last one for `select=last`."""
    scores = {5: {"score": 0.4}, 10: {"score": 0.7}, 12: {"score": float("nan")}}
    trainer = Trainer(
        TinySystem(), TinyEpisodes(), tiny_settings(), tmp_path / "val", log=Rows(), validate=lambda s, n: scores[n]
    )
    result = trainer.run()
    state = load_checkpoint(result.best)
    assert (state["step"], state["best_score"], result.best_score) == (10, 0.7, 0.7)
    assert "optimizer" not in state
    last = Trainer(TinySystem(), TinyEpisodes(), tiny_settings(select="last"), tmp_path / "last", log=Rows()).run()
    assert load_checkpoint(last.best)["step"] == 12 and last.best_score is None
    names = sorted(p.name for p in (tmp_path / "last" / "checkpoints").iterdir())
    assert names == ["best.pt", "step_00000008.pt", "step_00000012.pt"]


def test_other_system_and_other_settings_are_refused(tmp_path: Path) -> None:
    train(tmp_path)
    other = TinySystem()
    other.name = "gigantic"
    arguments = {"log": Rows(), "validate": score}
    with pytest.raises(CheckpointError, match="system 'tiny'.*'gigantic'"):
        Trainer(other, TinyEpisodes(), tiny_settings(), tmp_path, **arguments).run(resume=True)
    with pytest.raises(CheckpointError, match=r"(?s)train.lr: 0.01 in the checkpoint, 0.1 now"):
        Trainer(TinySystem(), TinyEpisodes(), tiny_settings(lr=0.1), tmp_path, **arguments).run(resume=True)
    with pytest.raises(CheckpointError, match="data.group: 'absent' in the checkpoint, 2 now"):
        fingerprint = {"data": {"group": 2}}
        trainer = Trainer(TinySystem(), TinyEpisodes(), tiny_settings(), tmp_path, **arguments, fingerprint=fingerprint)
        trainer.run(resume=True)
    with pytest.raises(FileExistsError, match="resume=true"):
        Trainer(TinySystem(), TinyEpisodes(), tiny_settings(), tmp_path, **arguments).run()
    free = tiny_settings(workers=1, log_every=7, batch=1, accumulate=4)
    assert Trainer(TinySystem(), TinyEpisodes(), free, tmp_path, **arguments).run(resume=True).steps == 12


def test_refusals_at_the_start(tmp_path: Path) -> None:
    class Cold(TinySystem):
        warmup_losses = System.warmup_losses

    arguments = {"folder": tmp_path, "log": Rows()}
    with pytest.raises(ValueError, match="fp16 needs a GPU"):
        Trainer(TinySystem(), TinyEpisodes(), tiny_settings(precision="fp16"), **arguments, validate=score)
    with pytest.raises(ValueError, match="select=val needs validation"):
        Trainer(TinySystem(), TinyEpisodes(), tiny_settings(), **arguments)
    with pytest.raises(ValueError, match="has no warm-up head"):
        Trainer(Cold(), TinyEpisodes(), tiny_settings(), **arguments, validate=score)
    with pytest.raises(ValueError, match="precision='fp8': valid are fp32, bf16, fp16"):
        tiny_settings(precision="fp8")
    with pytest.raises(ValueError, match="steps=0"):
        tiny_settings(steps=0)
    with pytest.raises(TypeError, match="JSON"):
        Trainer(TinySystem(), TinyEpisodes(), tiny_settings(), **arguments, validate=score, fingerprint={"a": {1, 2}})


def test_bf16_on_the_cpu_learns_in_float32(tmp_path: Path) -> None:
    system = train(tmp_path, precision="bf16")
    assert all(p.dtype is torch.float32 for p in system.parameters())
    (tmp_path / "exact").mkdir()
    train(tmp_path / "exact")
    rows, exact = Rows(tmp_path / "rows.jsonl").losses(), Rows(tmp_path / "exact" / "rows.jsonl").losses()
    assert rows[0][1]["train/loss"] != exact[0][1]["train/loss"]
    assert rows[0][1]["train/loss"] == pytest.approx(exact[0][1]["train/loss"], rel=0.02)


def test_gradients_of_what_no_group_holds_are_cleared_or_kept() -> None:
    system = TinySystem(train_affinity=False)
    optimizer = make_optimizer(system, tiny_settings())
    for p in system.parameters():
        p.grad = torch.ones_like(p)
    clear_gradients(system, optimizer, keep=True)
    assert system.affinity.weight.grad is not None and system.head.weight.grad is None
    clear_gradients(system, optimizer, keep=False)
    assert system.affinity.weight.grad is None


def test_kept_gradients_add_up_from_step_to_step(tmp_path: Path) -> None:
    system = TinySystem(train_affinity=False)
    before = system.affinity.weight.detach().clone()
    settings = tiny_settings(clip_norm=0.0, select="last")
    Trainer(system, TinyEpisodes(), settings, tmp_path, log=Rows()).run()
    assert torch.equal(system.affinity.weight, before)  # not trained
    state = load_checkpoint(tmp_path / "checkpoints" / "step_00000012.pt")
    assert set(state["kept_gradients"]) == {"affinity.weight", "affinity.bias"}
    assert torch.equal(state["kept_gradients"]["affinity.weight"], system.affinity.weight.grad)


@pytest.mark.parametrize("text_dropout", [True, False])
def test_frozen_parts_stay_in_evaluation_mode_but_for_a_text_encoder_with_dropout(text_dropout: bool) -> None:
    system = TinySystem()
    system.text = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5)).requires_grad_(False)
    system.text_is_frozen, system.text_dropout = True, text_dropout
    set_training_mode(system)
    assert not system.frozen.training and not system.frozen[1].training
    assert system.text.training == system.text[1].training == text_dropout
    assert system.training and system.dropout.training and system.features.training
