"""What a training will need, said before it runs; what cannot fit is refused."""

from __future__ import annotations

from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fewshot.cli.program import Command
from fewshot.run.session import in_session
from fewshot.training import rehearsal
from fewshot.training.loop import Trainer
from fewshot.training.rehearsal import MEASURED, DoesNotFit, checkpoint_bytes, rehearse
from tests.fewshot.run.test_session import Work, configured
from tests.fewshot.training.tiny_system import Rows, TinyEpisodes, TinySystem, score, tiny_settings

Usage = namedtuple("Usage", "total used free")


class Counted(TinyEpisodes):
    """Remembers which episodes were asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[int] = []

    def __getitem__(self, index: int):
        self.asked.append(index)
        return super().__getitem__(index)


def trainer(folder: Path, dataset: TinyEpisodes | None = None, width: int = 4, **changes: object) -> Trainer:
    log = Rows(folder / "rows.jsonl")
    system = TinySystem(width=width)
    return Trainer(system, dataset or TinyEpisodes(), tiny_settings(**changes), folder, log=log, validate=score)


def test_a_few_steps_of_both_phases_tell_what_the_run_needs(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("INFO")
    clock = iter([0.0, *(k + 1.0 for k in range(MEASURED)), *(MEASURED + 10.0 * (k + 1) for k in range(MEASURED))])
    monkeypatch.setattr(rehearsal.time, "perf_counter", lambda: next(clock))  # steps of 1 second, then of 10
    episodes = Counted()
    needs = rehearse(trainer(tmp_path, episodes, steps=100, prototype_steps=30), tmp_path / "none" / "run")
    assert needs["seconds"] == 30 * 1 + 70 * 10 and needs["memory_gib"] > 0
    assert sorted(set(episodes.asked)) == [*range(4 * MEASURED), *range(4 * 30, 4 * 30 + 4 * MEASURED)]
    assert "100 steps, about 0:12:10, validation and test apart" in caplog.text
    assert "4 a step: 1 process(es) x train.batch=2 x train.accumulate=2" in caplog.text
    assert list(tmp_path.iterdir()) == []


def test_the_disk_that_checkpoints_need_is_what_they_take(tmp_path: Path) -> None:
    own = trainer(tmp_path, width=128)
    rehearse(own, tmp_path)
    said = checkpoint_bytes(own)
    trainer(tmp_path, width=128).run()
    files = tmp_path / "checkpoints"
    full, best = ((files / name).stat().st_size for name in ("step_00000012.pt", "best.pt"))
    assert said == pytest.approx(3 * full + 2 * best, rel=0.05)  # two kept and one being written, the best twice


def test_what_does_not_fit_is_refused_with_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as small:
        small.setattr(rehearsal.shutil, "disk_usage", lambda _: Usage(2000, 1000, 1000))
        with pytest.raises(DoesNotFit, match="checkpoints take .* give another out=<folder>, or a smaller train.keep"):
            rehearse(trainer(tmp_path), tmp_path)
    with monkeypatch.context() as small:
        small.setattr(rehearsal, "total_gib", lambda _: 0.01)
        with pytest.raises(
            DoesNotFit, match=r"1 process\(es\) of .* do not fit into 0.0 GiB: give a smaller train.batch"
        ):
            rehearse(trainer(tmp_path), tmp_path)
        small.setattr(rehearsal, "total_gib", lambda _: 1e-6)
        with pytest.raises(DoesNotFit, match="weights, gradients and AdamW alone take"):
            rehearse(trainer(tmp_path), tmp_path)
    own = trainer(tmp_path)

    def full(*_: object) -> dict[str, float]:
        raise torch.OutOfMemoryError("CUDA out of memory")

    own._one_step = full
    with pytest.raises(DoesNotFit, match="a step does not fit into the .* of cpu"):
        rehearse(own, tmp_path)


def test_a_rehearsal_writes_nothing_and_is_not_marked_as_finished(tmp_path: Path) -> None:
    config = replace(configured(f"out={tmp_path}", "logging=disabled", "name=one", "device=cpu"), dry_run=True)
    assert in_session(config, Command((), {}), Work()) == 41.0
    assert list(tmp_path.iterdir()) == []
