"""The test of `python -m fewshot.meta_test`: every fold that is asked for, and one report on all of them."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from episodes.catalogue import names
from episodes.class_names import common_name
from episodes.episode import EpisodeSpec
from episodes.folds import Folds
from episodes.sampling.pools import NotFeasible
from fewshot.adaptation.build import adapting, told
from fewshot.cli.runs import MetaTestConfig
from fewshot.evaluation.benchmark import Benchmark, open_together, tell_count
from fewshot.evaluation.folds import test_fold
from fewshot.evaluation.given_weights import check_classes, filled
from fewshot.evaluation.leak import classes_of
from fewshot.evaluation.report import Origin, Outcome, build_report, tell, tell_protocol, write_report
from fewshot.inference.loading import load_into, stored_run
from fewshot.run.session import Session, tell_system
from fewshot.systems.base import System
from fewshot.systems.registry import make_system
from fewshot.weights.trained_on import TrainedOn, read_trained_on

logger = logging.getLogger(__name__)
UNKNOWN = "whether {} showed the tested classes is not known"


def meta_test(config: MetaTestConfig, groups: Sequence[int], here: Session) -> float:
    """Test every group that is asked for and report on all of them together, in an open session.

    Returns J or mIoU in percent.

    Raises:
        ValueError: no group is feasible, or the manifest does not fit.
    """
    benchmark = open_together(config, here.folder)
    outcome = Outcome(notes=told(config.adaptation))
    tests = feasible_tests(benchmark, groups, outcome)
    for group, seeds in tests.items():
        system, origin = tested_system(config, group)
        system.to(here.device)
        if group == min(tests):
            tell_system(system, system.name, here.device)
            tell_protocol(benchmark)
        outcome.notes += trained_elsewhere(config, group, benchmark.folds)
        tell_count(f"test of group {group}", [spec for specs in seeds for spec in specs])
        test_fold(system, benchmark, seeds, here.folder, outcome, origin)
        report = build_report(outcome, benchmark, origin)
        write_report(report, here.folder)  # after each group, so that a run that is stopped keeps what it has
    tell(report, outcome, benchmark, here.folder, here.log)
    logger.info("folder: %s", here.folder)
    return 100 * report.value(benchmark.headline)


def feasible_tests(benchmark: Benchmark, groups: Sequence[int], outcome: Outcome) -> dict[int, list[list[EpisodeSpec]]]:
    """The episodes of each group, one list per seed, before anything is tested.

    Of several groups those that have no class with enough videos are left out, which the protocol card then says.

    Raises:
        ValueError: no group is feasible, or the manifest does not fit.
    """
    tests = {}
    for group in groups:
        try:
            tests[group] = benchmark.tests(group)
        except NotFeasible as error:
            if group == groups[-1] and not tests:
                raise
            logger.warning("group %d is left out: %s", group, error)
            outcome.notes.append(f"group {group} left out, none of its classes has enough {benchmark.members}")
    return tests


def trained_elsewhere(config: MetaTestConfig, group: int, folds: Folds) -> list[str]:
    """Notes for the card on weights of another benchmark: which one, and which tested classes it trained.

    Raises:
        ValueError: the weights were trained on classes of the group, on this benchmark.
    """
    if config.weights is None:
        return []
    path = filled(config.weights, group)
    trained = read_trained_on(path)
    if trained is None:
        logger.warning("group %d: %s does not tell which classes it was trained on", group, path)
        return [f"group {group}: {UNKNOWN.format('the training of the weights')}"]
    check_classes(folds, group, trained, str(path))
    return notes_elsewhere(trained, group, folds)


def notes_elsewhere(trained: Sequence[TrainedOn], group: int, folds: Folds) -> list[str]:
    """Notes for the card on the trainings of weights on other benchmarks than the tested one."""
    return [note for one in trained if one.benchmark != folds.name for note in notes_on(one, group, folds)]


def notes_on(trained: TrainedOn, group: int, folds: Folds) -> list[str]:
    """Notes for the card on one training of the weights, on another benchmark than the tested one."""
    held_out = "" if trained.group is None else f" with group {trained.group} held out"
    began = "were trained on" if trained.benchmark in names() else "started from"
    note = f"group {group}: the weights {began} {trained.benchmark}{held_out}"
    classes = classes_of(trained)
    if classes is None:
        return [f"{note}; {UNKNOWN.format('its training')}"]
    shown = set(map(common_name, classes))
    seen = [name for name in map(folds.class_name, folds.test_classes(group)) if common_name(name) in shown]
    for name in seen[:1]:
        logger.warning("group %d: the weights were trained on tested classes (%s, ..)", group, name)
    return [f"{note}; training classes there, so not held out: {', '.join(seen)}" if seen else note]


def tested_system(config: MetaTestConfig, group: int) -> tuple[System, Origin]:
    """The system for a group, and where its weights come from."""
    system = adapting(make_system(config.system, config.seed), config.adaptation)
    if config.weights is None:
        return system, Origin.untrained(config.system)
    path = filled(config.weights, group)
    logger.info("%s", load_into(system, config.system, path))
    run, trained_on = stored_run(path), read_trained_on(path)
    if run is None:
        return system, Origin.given(path, trained_on)
    return system, Origin.of_training(run, trained_on, path)
