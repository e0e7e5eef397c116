"""The test of `python -m fewshot.meta_test`: every fold that is asked for, and one report on all of them."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from episodes.catalogue import folds_of
from episodes.class_names import common_name
from episodes.episode import EpisodeSpec
from episodes.folds import Folds
from episodes.sampling.pools import NotFeasible
from fewshot.cli.checks import check
from fewshot.cli.program import Command
from fewshot.cli.runs import MetaTestConfig, MetaTrainConfig
from fewshot.evaluation.benchmark import Benchmark, folds_in, open_data, open_together, tell_count
from fewshot.evaluation.folds import test_fold
from fewshot.evaluation.report import Origin, Outcome, build_report, tell, tell_protocol, write_report
from fewshot.inference.loading import load_into, same_system, stored_run, stored_system
from fewshot.run.session import session, tell_system
from fewshot.systems.base import System
from fewshot.systems.registry import make_system, spec_of, systems

logger = logging.getLogger(__name__)
MOST_GROUPS = 8  # of any benchmark, a folder of one's own included
SHIFTED_FROM = {"coco2pascal": "coco20i"}  # benchmarks whose groups are those of another one


def meta_test(config: MetaTestConfig, command: Command) -> float:
    """Test every group that is asked for and report on all of them together. Returns J or mIoU in percent.

    Raises:
        ValueError: a system that needs training has no weights, or the weights were trained on the tested classes.
    """
    config, command = as_trained(config, command)
    groups = every_group(config) if config.group == "all" else (int(config.group),)
    for group in groups if config.weights is not None else ():
        check_held_out(config, group, stored_run(filled(config.weights or "", group)))
    with session(config, command) as here:
        benchmark = open_together(config, here.folder)
        outcome = Outcome()
        tests = feasible_tests(benchmark, groups, outcome)
        for group, seeds in tests.items():
            system, origin = tested_system(config, group)
            system.to(here.device)
            if group == min(tests):
                tell_system(system, system.name, here.device)
                tell_protocol(benchmark, origin)
            outcome.notes += trained_elsewhere(config, group, benchmark.folds)
            tell_count(f"test of group {group}", [spec for specs in seeds for spec in specs])
            test_fold(system, benchmark, seeds, here.folder, outcome)
            report = build_report(outcome, benchmark, origin)
            write_report(report, here.folder)  # after each group, so that a run that is stopped keeps what it has
        tell(report, outcome, benchmark, here.folder, here.log)
        logger.info("folder: %s", here.folder)
        return 100 * report.value(benchmark.headline)


def every_group(config: MetaTestConfig) -> tuple[int, ...]:
    """The groups of the benchmark; those of a folder of one's own follow from its classes."""
    return folds_of(config.benchmark.name).groups or folds_in(open_data(config)).groups


def feasible_tests(
    benchmark: Benchmark, groups: tuple[int, ...], outcome: Outcome
) -> dict[int, list[list[EpisodeSpec]]]:
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


def as_trained(config: MetaTestConfig, command: Command) -> tuple[MetaTestConfig, Command]:
    """The configuration with what the weights bring along: their system and, where none was typed, their benchmark.

    Raises:
        ValueError: no weights for a system that needs training, or a typed system that is not that of the weights.
        FileNotFoundError: there is nothing at the path of the weights.
    """
    if config.weights is None:
        if not spec_of(config.system).needs_training:
            return config, command
        others = [name for name, spec in systems().items() if not spec.needs_training]
        raise ValueError(
            f"system {config.system.name} needs training: give weights=<run folder, converted folder or official "
            f"checkpoint>, or test one that needs none with system={' or '.join(others)}"
        )
    typed = command.typed
    path = first_weights(config)
    run, stored = stored_run(path), stored_system(path)
    if stored is not None:
        config = replace(config, system=same_system(config.system, stored, typed, config.weights))
        command = replace(command, options={k: v for k, v in command.options.items() if k != "system"})
    if run is not None and "benchmark" not in typed:
        config = with_benchmark(config, run, typed)
        command = replace(command, options={k: v for k, v in command.options.items() if k != "benchmark"})
    check(config)
    return config, command


def first_weights(config: MetaTestConfig) -> Path:
    """The weights of the group, or of the first one that there are weights for."""
    groups = range(MOST_GROUPS) if config.group == "all" else (int(config.group),)
    paths = [filled(config.weights or "", group) for group in groups]
    return next((path for path in paths if path.exists()), paths[-1])


def filled(path: str, group: int) -> Path:
    """A path with its `{group}` filled in."""
    return Path(path.replace("{group}", str(group))).expanduser()


def with_benchmark(config: MetaTestConfig, run: MetaTrainConfig, typed: set[str]) -> MetaTestConfig:
    """The benchmark and the data folder of the training run, but for the keys that were typed."""
    names = [name.partition(".")[2] for name in typed if name.startswith("benchmark.")]
    names += ["protocol"] if config.protocol is not None else []
    benchmark = replace(run.benchmark, **{name: getattr(config.benchmark, name) for name in names})
    places = {key: getattr((config if f"data.{key}" in typed else run).data, key) for key in ("root", "lists")}
    return replace(config, benchmark=benchmark, data=replace(config.data, **places))


def check_held_out(config: MetaTestConfig, group: int, trained: MetaTrainConfig | None) -> None:
    """Refuse to test classes that were trained on."""
    if trained is None or trained.group == group:
        return
    if trained.benchmark.name not in (config.benchmark.name, SHIFTED_FROM.get(config.benchmark.name)):
        return
    raise ValueError(
        f"{filled(config.weights or '', group)} was trained with group {trained.group} held out: it has seen the "
        f"classes of group {group}. Test group={trained.group}, or give the weights of each group, as in "
        f"group=all weights=runs/name-g{{group}}"
    )


def trained_elsewhere(config: MetaTestConfig, group: int, folds: Folds) -> list[str]:
    """A note for the card if the weights are of another benchmark: which one, and which tested classes it trained."""
    trained = None if config.weights is None else stored_run(filled(config.weights, group))
    if trained is None or trained.benchmark.name == folds.name:
        return []
    theirs = folds_of(trained.benchmark.name)
    note = f"group {group}: the weights were trained on {theirs.name} with group {trained.group} held out"
    if not theirs.classes:
        return [f"{note}; whether its training showed the tested classes is not known"]
    shown = {common_name(theirs.class_name(c)) for c in theirs.train_classes(trained.group)}
    tested = [folds.class_name(c) for c in folds.test_classes(group)]
    seen = [name for name in tested if common_name(name) in shown]
    for name in seen[:1]:
        logger.warning("group %d: the weights were trained on tested classes (%s, ..)", group, name)
    return [f"{note}; training classes there, so not held out: {', '.join(seen)}" if seen else note]


def tested_system(config: MetaTestConfig, group: int) -> tuple[System, Origin]:
    """The system for a group, and where its weights come from."""
    system = make_system(config.system, config.seed)
    if config.weights is None:
        return system, Origin.untrained(config.system)
    path = filled(config.weights, group)
    logger.info("%s", load_into(system, config.system, path))
    run = stored_run(path)
    return system, Origin("given", path.name) if run is None else Origin.of_training(run)
