"""A study: the plan of all runs of a sweep, which any number of workers share.

Every run of the plan waits in Optuna's queue from the start, so that each is taken exactly once, whoever asks. What a
run of the plan has come to is said by its latest trial.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState

from episodes.plain_files import make_folder
from fewshot.run.lock import one_at_a_time
from fewshot.run.logging.files import replace_file
from fewshot.sweeps.locks import hold
from fewshot.sweeps.space import Space, cells, pruner, sampler, space_of
from fewshot.sweeps.specification import Sweep
from fewshot.sweeps.storage import StudyError, open_storage, plain_errors

logger = logging.getLogger(__name__)

# Attributes of a trial: its place in the plan, its parameters as far as the plan says them, how many workers died with
# it, that its lock is held, why it failed.
PLACE, GIVEN, LOST, BEGUN, ERROR = "place", "given", "lost", "begun", "error"
RECORD = "sweep"  # attribute of a study: what was asked for
MOST_LOST = 3  # workers that may die with one run before it counts as failed
OWN = ".sweep"  # folder of a study for its own files, beside the run folders


@dataclass(frozen=True)
class Shared:
    """A study as the workers share it.

    Attributes:
        sweep: what is run.
        name: of the study.
        folder: of the study, with the folders of its runs.
        storage: place of the storage, for messages.
        words: `key=value` words that every run is given.
        seed: of what is drawn.
        opened: the storage.
    """

    sweep: Sweep
    name: str
    folder: Path
    storage: str
    words: tuple[str, ...]
    seed: int
    opened: BaseStorage = field(repr=False)
    space: Space = field(repr=False)

    @property
    def own(self) -> Path:
        """Folder of the study's own files: its journal, the locks and what the runs print."""
        return self.folder / OWN

    def study(self) -> Study:
        """Optuna's study, for one thread."""
        return optuna.load_study(study_name=self.name, storage=self.opened, pruner=pruner(self.sweep))

    def lock_of(self, trial: int) -> Path:
        """Lock file of the trial with this number, held as long as its worker or its run lives."""
        return self.own / f"trial_{trial}.lock"


def share(
    sweep: Sweep, name: str, out: Path, storage: str | None, words: Sequence[str], seed: int, runs: int | None
) -> Shared:
    """The study of a sweep, made where there is none, with its plan.

    Args:
        out: folder in which the folder of the study lies.
        storage: see `open_storage`; None: a journal in the folder of the study.
        runs: number of runs of a search; None: what the file says.

    Raises:
        ValueError: the sweep cannot be run on Optuna, or the folder holds something else.
        StudyError: the storage cannot be used, or holds another sweep of this name.
    """
    space, planned = space_of(sweep), None
    if sweep.method == "grid":
        planned = cells(space)[: runs or sweep.cap]
    elif (count := runs or sweep.cap) is not None:
        planned = [{}] * count
    else:
        raise ValueError(f"{sweep.path}: how many runs? Give runs=<n>, or run_cap: <n> in the file")
    pruner(sweep)
    folder = out / name
    if folder.exists() and not (folder / OWN).is_dir() and any(folder.iterdir()):
        raise ValueError(f"{folder} holds something else than this study: give another name=<name> or out=<folder>")
    make_folder(folder / OWN, "out")
    place = storage or str(folder / OWN / "journal.log")
    shared = Shared(sweep, name, folder, place, tuple(words), seed, open_storage(place), space)
    with one_at_a_time(shared.own / "plan.lock"), plain_errors(place):
        _plan(shared, planned)
    return shared


def _plan(shared: Shared, planned: Sequence[Mapping[str, Any]]) -> None:
    direction = StudyDirection.MAXIMIZE if shared.sweep.maximize else StudyDirection.MINIMIZE
    study = optuna.create_study(study_name=shared.name, storage=shared.opened, direction=direction, load_if_exists=True)
    now = json.loads(json.dumps({**shared.sweep.record(), "set": sorted(shared.words), "seed": shared.seed}))
    kept = shared.own / "sweep.json"  # for a study whose storage was lost, but not its runs
    before = study.user_attrs.get(RECORD) or (json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else now)
    if differing := [key for key in now if now[key] != before.get(key)]:
        told = ", ".join(f"{key} (was {before.get(key)}, now {now[key]})" for key in differing)
        raise StudyError(f"study {shared.name} in {shared.storage} is another sweep: {told}. Give another name=<name>")
    if RECORD not in study.user_attrs:
        study.set_user_attr(RECORD, now)
        replace_file(kept, json.dumps(now, indent=2) + "\n")
    for place in range(len(latest(study)), len(planned)):
        _enqueue(study, place, planned[place])


def _enqueue(study: Study, place: int, params: Mapping[str, Any], lost: int = 0) -> None:
    study.enqueue_trial(dict(params), user_attrs={PLACE: place, GIVEN: dict(params), LOST: lost})


def params_of(trial: FrozenTrial) -> dict[str, Any]:
    """The parameters of a trial: those that the plan gives it, and those that have been drawn since.

    One that waits, or whose worker died at its start, has been told none yet.
    """
    return {**trial.user_attrs.get(GIVEN, {}), **trial.params}


def latest(study: Study) -> dict[int, FrozenTrial]:
    """The latest trial of each run of the plan, by its place in it."""
    found = {trial.user_attrs[PLACE]: trial for trial in study.get_trials(deepcopy=False) if PLACE in trial.user_attrs}
    return dict(sorted(found.items()))


def take(shared: Shared, study: Study) -> tuple[Trial, int | None] | None:
    """The next run of the plan, its parameters drawn, with the handle of its lock; None where none waits."""
    with one_at_a_time(shared.own / "plan.lock") as alone:
        recover(shared, study, alone)
        waiting = study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        if not waiting:
            return None
        study.sampler = sampler(shared.sweep.method, shared.seed, waiting[0].user_attrs[PLACE])
        trial = study.ask(dict(shared.space))  # which takes the first that waits
        handle = hold(shared.lock_of(trial.number))
        trial.set_user_attr(BEGUN, True)
    return trial, handle


def recover(shared: Shared, study: Study, alone: bool) -> None:
    """Put back into the queue what a worker had taken that is gone, and with it the run that it had started.

    `alone`: nobody else takes a run meanwhile, so that one whose lock nobody has taken yet is of a dead worker.
    """
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        path = shared.lock_of(trial.number)
        if not trial.user_attrs.get(BEGUN):
            if alone:
                put_back(study, trial, lost=True)
        elif path.exists() and (handle := hold(path)) is not None:  # no such file: a worker without a shared folder
            try:
                if state_of(study, trial.number) is TrialState.RUNNING:  # its worker has not told the end meanwhile
                    put_back(study, trial, lost=True)
            finally:
                os.close(handle)


def state_of(study: Study, number: int) -> TrialState:
    """The state of the trial with this number at this moment."""
    return study.get_trials(deepcopy=False)[number].state


def put_back(study: Study, trial: FrozenTrial, lost: bool) -> None:
    """End a trial that was not finished, and let its run wait again with the same parameters.

    `lost`: its worker died; a run that takes several workers with it is failed.
    """
    place, count = trial.user_attrs[PLACE], trial.user_attrs[LOST] + lost
    study.tell(trial.number, state=TrialState.FAIL)
    if count <= MOST_LOST:
        _enqueue(study, place, params_of(trial), count)
    if lost:
        logger.warning("run %d: its worker is gone, %s", place, "it waits again" if count <= MOST_LOST else "failed")


def reason(trial: FrozenTrial) -> str:
    """Why a trial failed."""
    return str(trial.user_attrs.get(ERROR, f"its worker died {MOST_LOST + 1} times"))


def again(shared: Shared) -> None:
    """Let the runs that failed wait once more."""
    with one_at_a_time(shared.own / "plan.lock"), plain_errors(shared.storage):
        study = shared.study()
        for place, trial in latest(study).items():
            if trial.state is TrialState.FAIL:
                _enqueue(study, place, params_of(trial))


def label(shared: Shared, place: int, params: Mapping[str, Any]) -> str:
    """Name of the folder of a run of the plan: its place, and the values of a grid or a hash of what was drawn."""
    words = [f"{place:03d}"]
    if shared.sweep.method != "grid":
        if not params:  # it waits
            return words[0]
        words.append(hashlib.sha256(json.dumps(params, sort_keys=True).encode()).hexdigest()[:6])
    else:
        varying = [name for name, drawn in shared.space.items() if not drawn.single()]
        told = (f"{name.rpartition('.')[2]}{params[name]}" for name in varying)
        words += ["".join(c if c.isalnum() or c in ".+_-" else "_" for c in word) for word in told]
    return "-".join(words)[:80]
