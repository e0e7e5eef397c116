"""What a sweep has come to: its runs, and one table over folds and seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from benchmarks.overview import RESULTS, overview
from benchmarks.tables import text_table
from fewshot.sweeps.study import Shared, label, latest, params_of, reason

MOST_SHOWN = 30  # runs, the best first
REPEATED = ("group", "seed")  # what a table averages over, or has a column for
WORDS = {
    TrialState.COMPLETE: "finished",
    TrialState.PRUNED: "ended early",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "is running",
    TrialState.WAITING: "waits",
}


def summary(shared: Shared, form: str) -> tuple[str, list[str]]:
    """The text that a sweep ends with, and the runs that failed, one line each. `form`: see `overview`."""
    trials = latest(shared.study())
    parts = [_runs(shared, trials)]
    done = {place: trial for place, trial in trials.items() if trial.state is TrialState.COMPLETE}
    setting, best = _best(shared, done)
    places = [shared.folder / label(shared, place, done[place].params) for place in best]
    if any((place / RESULTS).is_file() for place in places):
        table, remarks = overview(places, form=form)
        several = f" of the best setting ({setting})" if len(best) < len(done) else ""
        parts += [f"Folds and seeds{several}:\n{table}", *remarks]
    return "\n\n".join(parts), [
        f"run {place}: {reason(trial)}" for place, trial in trials.items() if trial.state is TrialState.FAIL
    ]


def _runs(shared: Shared, trials: Mapping[int, FrozenTrial]) -> str:
    """How many runs are in which state, and the runs with their values, the best first."""
    states = [trial.state for trial in trials.values()]
    counted = ", ".join(f"{states.count(state)} {word}" for state, word in WORDS.items() if state in states)
    sign = -1 if shared.sweep.maximize else 1
    order = sorted(trials, key=lambda place: _key(trials[place], sign))
    rows = [
        [
            label(shared, place, params_of(trials[place])),
            *(str(v) for v in _values(shared, trials[place])),
            _told(trials[place]),
        ]
        for place in order[:MOST_SHOWN]
    ]
    more = f"\n... and {len(order) - MOST_SHOWN} more" if len(order) > MOST_SHOWN else ""
    table = text_table(["run", *shared.space, shared.sweep.metric], rows)
    return f"{shared.name}: {counted} ({shared.folder})\n{table}{more}"


def _key(trial: FrozenTrial, sign: int) -> tuple[bool, float]:
    finished = trial.state is TrialState.COMPLETE
    return not finished, sign * trial.values[0] if finished else math.inf


def _values(shared: Shared, trial: FrozenTrial) -> list[Any]:
    values = [params_of(trial).get(name, "-") for name in shared.space]
    return [f"{value:.4g}" if isinstance(value, float) else value for value in values]


def _told(trial: FrozenTrial) -> str:
    return f"{trial.values[0]:.2f}" if trial.state is TrialState.COMPLETE else WORDS[trial.state]


def _best(shared: Shared, done: Mapping[int, FrozenTrial]) -> tuple[str, Sequence[int]]:
    """The setting with the best mean over folds and seeds, and the places of its runs in the plan.

    Only settings with as many finished runs as any other are compared.
    """
    settings: dict[str, list[int]] = {}
    for place, trial in done.items():
        own = {name: value for name, value in trial.params.items() if name not in REPEATED}
        settings.setdefault(", ".join(f"{name}={value}" for name, value in own.items()), []).append(place)
    if not settings:
        return "", []
    most = max(map(len, settings.values()))
    whole = {setting: places for setting, places in settings.items() if len(places) == most}
    sign = 1 if shared.sweep.maximize else -1
    return max(whole.items(), key=lambda entry: sign * mean(done[place].values[0] for place in entry[1]))
