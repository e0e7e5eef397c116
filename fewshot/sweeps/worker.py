"""Workers: each takes one run after another until none waits, whatever becomes of the runs."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from optuna.study import Study
from optuna.trial import Trial, TrialState

from fewshot.run.signals import Interrupted, SignalWatch
from fewshot.sweeps.storage import plain_errors
from fewshot.sweeps.study import ERROR, PLACE, Shared, put_back, take
from fewshot.sweeps.trial import Outcome, run_trial

logger = logging.getLogger(__name__)
PAUSE = 0.2  # seconds between looks at the workers


def work(shared: Shared, workers: int) -> None:
    """Run the plan with `workers` runs at a time, beside other workers elsewhere, until none waits.

    Raises:
        Interrupted: SIGINT or SIGTERM arrived; the runs have saved, and wait to go on.
        StudyError: the storage cannot be used any more; results of finished runs stay in their folders.
    """
    ended = False

    with SignalWatch() as signals, ThreadPoolExecutor(workers) as pool:

        def stops() -> bool:
            return ended or signals.received is not None

        busy = [pool.submit(_work, shared, stops) for _ in range(workers)]
        while not all(worker.done() for worker in busy):
            time.sleep(PAUSE)
            ended = ended or any(worker.done() and worker.exception() is not None for worker in busy)
        for worker in busy:
            worker.result()
        if signals.received is not None:
            raise Interrupted(signals.received)


def _work(shared: Shared, stops: Callable[[], bool]) -> None:
    """One run after another."""
    with plain_errors(shared.storage):
        study = shared.study()
        while not stops() and (taken := take(shared, study)) is not None:
            trial, handle = taken
            logger.info("run %d: %s", trial.user_attrs[PLACE], told(trial.params))
            try:
                outcome = run_trial(shared, trial, handle, stops)
                _record(study, trial, outcome)
            finally:
                if handle is not None:
                    os.close(handle)


def _record(study: Study, trial: Trial, outcome: Outcome) -> None:
    place = trial.user_attrs[PLACE]
    if outcome.stopped:
        put_back(study, study.get_trials(deepcopy=False)[trial.number], lost=False)
        logger.info("run %d: stopped, it waits to go on", place)
    elif outcome.failed:
        trial.set_user_attr(ERROR, outcome.failed)
        study.tell(trial, state=TrialState.FAIL)
        logger.warning("run %d failed: %s", place, outcome.failed)
    elif outcome.pruned:
        study.tell(trial, state=TrialState.PRUNED)
        logger.info("run %d: ended early, others are better", place)
    else:
        study.tell(trial, outcome.value)
        logger.info("run %d: %.2f", place, outcome.value)


def told(params: dict[str, object]) -> str:
    """Values as on the command line."""
    return " ".join(f"{name}={value}" for name, value in params.items()) or "no parameter varies"
