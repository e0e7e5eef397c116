"""The training loop: episodes in, checkpoints and a log out; stopped at any moment, it goes on bit for bit.

Nothing depends on the history of a random generator: the episodes of a step and the dropout of its forward passes are
functions of the step, so that a checkpoint needs no generator states and one process can repeat what several did.
"""

from __future__ import annotations

import copy
import json
import logging
import math
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, nullcontext
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from signal import Signals
from typing import Any

import torch
from torch import nn
from torch.distributed.fsdp import FSDPModule
from torch.nn.parallel import DistributedDataParallel

from episodes.batch import EpisodeBatch
from episodes.seeding import derive
from fewshot.run import processes
from fewshot.run.flat import flat
from fewshot.run.signals import CAUGHT, Interrupted, SignalWatch
from fewshot.systems.base import System
from fewshot.training.data import Episodes, describe, first_index, problems_of, steps_of_batches, visible_frames
from fewshot.training.optim import clear_gradients, clip_gradients, make_optimizer, make_schedule
from fewshot.training.prefetch import prefetched
from fewshot.training.progress import Progress, memory_gib
from fewshot.training.result import Log, NonFiniteLoss, TrainResult, Validate
from fewshot.training.settings import TrainSettings, check_fit
from fewshot.training.sharding import share_out, silent, take_moments, take_weights, whole
from fewshot.training.step import TrainingStep, set_training_mode
from fewshot.training.teacher import Teacher
from fewshot.weights.checkpoint import FORMAT, CheckpointFolder, check_fingerprint, check_system
from fewshot.weights.trained_on import KEY, TrainedOn, to_json

__all__ = ["Interrupted", "Log", "NonFiniteLoss", "TrainResult", "TrainSettings", "Trainer"]

logger = logging.getLogger(__name__)


class Trainer:
    """Trains a system on episodes.

    Args:
        system: on the device where it is to be trained.
        dataset: `dataset[i]` is episode i, for every `i >= 0`.
        settings: length and mechanics.
        folder: of the run; checkpoints go to `folder/checkpoints`.
        log: where the rows go (process 0 only).
        validate: `validate(system, step)` returns numbers for the log, `score` among them (higher is better). Runs in
            process 0 while the others wait. Needed unless `settings.select` is `last`.
        fingerprint: what else changes the numbers (system, benchmark, group, ...), as plain types; a run is not
            continued with another one.
        trained_on: what the weights are trained on, this training first; it is kept in every checkpoint.
        on_resume: called in process 0 of a run with `resume`, once its checkpoint is known to fit.

    Raises:
        ValueError: settings that do not fit the system or the device.
    """

    def __init__(
        self,
        system: System,
        dataset: Episodes,
        settings: TrainSettings,
        folder: Path,
        *,
        log: Log,
        validate: Validate | None = None,
        fingerprint: dict[str, Any] | None = None,
        trained_on: Sequence[TrainedOn] = (),
        on_resume: Callable[[], None] = lambda: None,
    ) -> None:
        self.system, self.dataset, self.settings = system, dataset, settings
        self.log, self.validate, self.on_resume = log, validate, on_resume
        self.device = next(system.parameters()).device
        check_fit(settings, system, self.device, validates=validate is not None)
        self.rank, self.world = processes.rank(), processes.world_size()
        self.fingerprint = {**json.loads(json.dumps(flat(fingerprint or {}))), **settings.fingerprint(self.world)}
        self.trained_on = to_json(trained_on)
        self.checkpoints = CheckpointFolder(Path(folder), settings.keep_checkpoints)
        self.model: TrainingStep | None = None  # whose parameters are shared out among the processes
        if settings.sharding == "fsdp":
            self.system = copy.deepcopy(system)
            self.model = TrainingStep(self.system, settings.precision)
            share_out(self.model, self.device)
            system.cpu()  # until it validates
        self.plain = system  # what validates, and is tested in the end
        self.optimizer = make_optimizer(self.system, settings)
        self.schedule = make_schedule(self.optimizer, settings)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=settings.precision == "fp16")
        self.kept = self.system.kept_gradients()
        self.teacher = Teacher(self.system, settings.teacher_decay) if settings.teacher_decay else None
        self.step = 0  # finished optimiser steps
        self.validated = 0  # the step of the last validation
        self.broken = 0  # episodes that could not be read so far
        self.best_score: float | None = None

    def run(self, resume: bool = False) -> TrainResult:
        """Trains to the end, from the newest good checkpoint with `resume`.

        Raises:
            Interrupted: SIGINT or SIGTERM arrived; the step was finished and a checkpoint written.
            NonFiniteLoss: the loss is not finite; no checkpoint is written, so the last good one stays.
            CheckpointError: nothing to resume from can be read, or it belongs to another system or other settings.
            FileExistsError: the folder holds checkpoints and `resume` is False.
            OSError: the disk is full at the very end, or a checkpoint cannot be written for another reason.
        """
        self._restore(resume)
        if self.step >= self.settings.steps and self.validated == self.step:
            logger.info("the run is finished: %d steps", self.step)
            return self._result()
        progress = Progress(self.step, self.settings.steps, self.device, processes.is_main())
        try:
            with SignalWatch() as signals:
                stop = self._train(signals, progress)
        finally:
            progress.close()
            self.plain.to(self.device)
        processes.barrier()  # the first process that ends takes the others down with it
        if stop is not None:
            logger.warning("%s: stopped after step %d; resume=true goes on from here", stop.name, self.step)
            raise Interrupted(stop)
        return self._result()

    def _result(self) -> TrainResult:
        return TrainResult(self.checkpoints.best, self.checkpoints.path(self.step), self.step, self.best_score)

    def _train(self, signals: SignalWatch, progress: Progress) -> Signals | None:
        """Steps until the end or a signal, which is returned after a save."""
        model = self._differentiated()
        set_training_mode(self.system)
        self._validate_if_due(signals, progress)  # where the run was stopped between a step and its validation
        # Closed whatever happens: loading processes hear no signal, and the program would wait for them at its end.
        with closing(steps_of_batches(self.dataset, self.settings, self.step, self.rank, self.world)) as steps:
            for batches, there in prefetched(steps, self.device):
                visible, stop = self._agree(batches, signals)
                if stop is not None:
                    break
                row = self._one_step(model, batches, there, max(visible, 1.0) / self.world)
                self.step += 1
                progress.advance()
                self._tell_broken(batches)
                self._tell(row, progress)
                self._validate_if_due(signals, progress)
                if self._due(self.settings.checkpoint_every):
                    self._save(must=self.step == self.settings.steps)
            else:
                _, stop = self._agree([], signals)
        if stop is not None:
            self._save()
        return stop

    def trial_steps(self, starts: Sequence[int], count: int) -> Generator[int, None, None]:
        """Makes `count` steps after each of `starts` finished ones, and yields it after each; nothing is saved."""
        model = self._differentiated()
        set_training_mode(self.system)
        for start in starts:
            with closing(steps_of_batches(self.dataset, self.settings, start, self.rank, self.world)) as steps:
                for batches, there in islice(prefetched(steps, self.device), count):
                    visible, *_ = processes.all_reduce_sum([sum(map(visible_frames, batches))])
                    self.step = start  # which tells whether the features are still warmed up
                    self._one_step(model, batches, there, max(visible, 1.0) / self.world)
                    yield start

    def _due(self, every: int) -> bool:
        return self.step % every == 0 or self.step == self.settings.steps

    def _differentiated(self) -> nn.Module:
        if self.model is not None:
            return self.model
        model = TrainingStep(self.system, self.settings.precision)
        if self.world == 1:
            return model
        # Parts of a system stay unused in some variants and during the warm-up. Where none does, torch would complain
        # of the search for them; so there is always one.
        model.register_parameter("never_used", nn.Parameter(torch.zeros((), device=self.device)))
        return DistributedDataParallel(model, find_unused_parameters=True)

    def _agree(self, batches: list[EpisodeBatch], signals: SignalWatch) -> tuple[float, Signals | None]:
        """Visible frames of the step over all processes, and the signal that any process received."""
        visible = sum(visible_frames(batch) for batch in batches)
        received = [float(signals.received == signum) for signum in CAUGHT]
        total, *counts = processes.all_reduce_sum([visible, *received])
        return total, next((signum for signum, count in zip(CAUGHT, counts, strict=True) if count > 0), None)

    def _one_step(
        self, model: nn.Module, batches: list[EpisodeBatch], there: list[EpisodeBatch], num_frames: float
    ) -> dict[str, float]:
        """Forward, backward and update; the losses of the whole step, for the log. `there`: batches on the device."""
        clear_gradients(self.system, self.optimizer, keep=bool(self.kept))
        losses = self._backward(model, batches, there, num_frames)
        self.scaler.unscale_(self.optimizer)
        norm = float(clip_gradients(self.system, self.optimizer, self.settings.clip_norm, keep=bool(self.kept)))
        if not math.isfinite(norm) and not self.scaler.is_enabled():  # the scaler expects it, and skips the step
            self._refuse("the gradient", batches)
        lr = self.optimizer.param_groups[0]["lr"]
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.schedule.step()
        if self.teacher is not None:
            self.teacher.follow()
        return {**{f"train/{name}": value for name, value in losses.items()}, "train/grad_norm": norm, "train/lr": lr}

    def _backward(
        self, model: nn.Module, batches: list[EpisodeBatch], there: list[EpisodeBatch], num_frames: float
    ) -> dict[str, float]:
        """Adds the gradients of all micro-batches; the losses over all of them and all processes."""
        settings, rows, names = self.settings, [], []
        own = not settings.warms_up or self.step >= settings.prototype_steps
        prototype_weight = (settings.prototype_weight if own else 1.0) if settings.warms_up else 0.0
        # Gradients travel once a step, with the last micro-batch.
        quiet = model.no_sync if isinstance(model, DistributedDataParallel) else nullcontext
        if isinstance(model, FSDPModule):
            quiet = partial(silent, model)
        for micro, batch in enumerate(there):
            first = first_index(self.step, micro, settings, self.rank, self.world)
            torch.manual_seed(derive(settings.seed, "dropout", first))
            with quiet() if micro < len(batches) - 1 else nullcontext():
                total, terms = model(batch, num_frames, own, prototype_weight)
                self.scaler.scale(total).backward()
            names = ["loss", *terms]
            rows.append(torch.stack([total.detach().double(), *(term.double() for term in terms.values())]))
        local = torch.stack(rows)
        means = processes.all_reduce_mean(local.sum(0).tolist())
        if not math.isfinite(means[0]):
            finite = local[:, 0].isfinite().tolist()
            self._refuse("the loss", [batch for batch, good in zip(batches, finite, strict=True) if not good])
        return dict(zip(names, means, strict=True))

    def _refuse(self, what: str, batches: list[EpisodeBatch]) -> None:
        """Stops every process, naming the episodes of the `batches` of all of them."""
        described = [describe(spec) for batch in batches for spec in batch.specs]
        episodes = [line for lines in processes.gather(described) for line in lines]
        raise NonFiniteLoss(
            f"step {self.step + 1}: {what} is not finite; last good checkpoint: "
            f"{next(iter(self.checkpoints.paths()), 'none')}. Episodes:\n  " + "\n  ".join(episodes)
        )

    def _tell(self, row: dict[str, float], progress: Progress) -> None:
        if self._due(self.settings.log_every) and processes.is_main():
            row = {**row, "train/steps_per_second": progress.speed(), "train/memory_gib": memory_gib(self.device)}
            if self.broken:
                row["train/broken_episodes"] = self.broken
            self.log.log(dict(row), self.step)
            progress.say(self.step, row)

    def _tell_broken(self, batches: list[EpisodeBatch]) -> None:
        """Counts and names the episodes of all processes in whose place others were taken."""
        for problem in problems_of(batches):
            self.broken += 1
            if processes.is_main():
                logger.warning("step %d: %s; another episode was taken, %d so far", self.step, problem, self.broken)

    def _validate_if_due(self, signals: SignalWatch, progress: Progress) -> None:
        if self.step == self.validated or not self._due(self.settings.val_every):
            return
        progress.pause()
        if self.model is not None:
            self.plain.load_state_dict(whole(self.system.state_dict()))
        if processes.is_main():
            self.plain.to(self.device)
            self._judge(signals)
        if self.model is not None:
            self.plain.cpu()
        self.best_score = processes.broadcast(self.best_score)  # where the other processes wait
        self.validated = self.step
        set_training_mode(self.system)
        progress.go_on()

    def _judge(self, signals: SignalWatch) -> None:
        """Validates, and keeps the weights if they are the best so far (`select=last`: if they are the last)."""
        score = None if self.validate is None else self._score(self.validate, signals)
        end = self.step == self.settings.steps
        if self.settings.select == "last":
            better, score = end, None
        else:
            assert score is not None  # `check_fit` has refused a choice without validation
            better = self.best_score is None or score > self.best_score
        if better and self._save_best(score, must=end):
            self.best_score = score
            if self.teacher is not None:
                self.checkpoints.save_teacher(self._content(self.teacher.weights()), must=end)

    def _score(self, validate: Validate, signals: SignalWatch) -> float:
        """The validation score; minus infinity for NaN, which is never the best."""
        try:
            with signals.at_once() if self.world == 1 else nullcontext():
                row = validate(self.plain, self.step)
        except Interrupted:
            self._save()  # going on from here validates first
            raise
        self.log.log({f"val/{name}": value for name, value in row.items()}, self.step)
        logger.info("step %d  %s", self.step, "  ".join(f"val {name} {value:.4g}" for name, value in row.items()))
        return -math.inf if math.isnan(row["score"]) else float(row["score"])

    def _content(self, weights: dict[str, Any]) -> dict[str, Any]:
        """Content of every checkpoint."""
        return {
            "format": FORMAT,
            "system": self.system.name,
            "step": self.step,
            "best_score": self.best_score,
            "fingerprint": self.fingerprint,
            KEY: self.trained_on,
            "model": weights,
        }

    def _save_best(self, score: float | None, must: bool) -> bool:
        content = self._content(self.plain.state_dict())
        return self.checkpoints.save_best({**content, "best_score": score}, must=must)

    def _save(self, must: bool = False) -> None:
        """Writes a checkpoint to go on from; a full disk is an error only if it `must` be written."""
        weights, moments = self.system.state_dict(), self.optimizer.state_dict()
        if self.model is not None:
            weights, moments = whole(weights), whole(moments)
        if not processes.is_main():
            return
        state = {
            **self._content(weights),
            "optimizer": moments,
            "scheduler": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
            "validated": self.validated,
            "processes": self.world,
            "broken": self.broken,
            "kept_gradients": {name: p.grad for name, p in self.kept.items() if p.grad is not None},
            "teacher": {} if self.teacher is None else self.teacher.average,
        }
        self.checkpoints.save(state, must=must)

    def _restore(self, resume: bool) -> None:
        """Goes back to the newest good checkpoint, and the log with it. Every process reads the same file."""
        if not resume:
            if self.checkpoints.paths():
                raise FileExistsError(
                    f"{self.checkpoints.folder} holds checkpoints of an earlier run: go on with resume=true, or choose "
                    "another folder"
                )
            return
        found = self.checkpoints.newest()
        if found is None:
            logger.info("no checkpoint in %s yet: training starts from the beginning", self.checkpoints.folder)
        else:
            path, state = found
            check_system(state, self.system.name, path)
            self._share_steps_as(state)
            check_fingerprint(state, self.fingerprint, path)
            self._take(state)
            logger.info("going on from %s", path)
        if processes.is_main():
            self.on_resume()
            self.checkpoints.clear_parts()
            self.log.rewind(self.step, self.validated)

    def _share_steps_as(self, state: dict[str, Any]) -> None:
        """Accumulates as much as keeps the episodes of a step, where another number of processes goes on."""
        before, batch = state.get("processes", self.world), self.settings.batch
        total, name = state["fingerprint"].get("train.episodes_per_step", 0), "train.episodes_per_step"
        if before == self.world or total in (0, self.fingerprint[name]) or total % (self.world * batch):
            return
        self.settings = replace(self.settings, accumulate=total // (self.world * batch))
        self.fingerprint |= self.settings.fingerprint(self.world)
        logger.warning(
            "the run goes on with %d process(es) in the place of %d: train.accumulate=%d keeps its %d episodes a step",
            *(self.world, before, self.settings.accumulate, total),
        )

    def _take(self, state: dict[str, Any]) -> None:
        if self.model is None:
            self.system.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
        else:
            take_weights(self.system, state["model"])
            take_moments(self.optimizer, state["optimizer"])
        self.schedule.load_state_dict(state["scheduler"])
        self.scaler.load_state_dict(state["scaler"])
        if self.teacher is not None:
            self.teacher.take(state["teacher"])
        for name, gradient in state["kept_gradients"].items():
            self.kept[name].grad = gradient.to(self.device)
        self.broken = state.get("broken", 0)
        self.step, self.validated, self.best_score = state["step"], state["validated"], state["best_score"]
