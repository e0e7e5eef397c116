"""python -m fewshot.meta_test weights=<run folder> group=1: test a system on the held-out classes of a fold, or all."""

from __future__ import annotations

import logging
import sys
from dataclasses import asdict, replace
from pathlib import Path

from episodes.class_names import common_name
from episodes.episode import EpisodeSpec
from episodes.folds import FOLDS, Folds
from episodes.sampling.pools import NotFeasible
from episodes.sources.base import Source
from fewshot.cli.checks import check
from fewshot.cli.program import Command, Program
from fewshot.cli.runs import MetaTestConfig, MetaTrainConfig
from fewshot.evaluation.benchmark import count, kind_of, open_benchmark, open_data, test_specs
from fewshot.evaluation.folds import test_group
from fewshot.evaluation.report import Origin, Outcome, announce, build_report, tell, write_report
from fewshot.inference.loading import stored_run, stored_system
from fewshot.run.session import session
from fewshot.systems.base import System
from fewshot.systems.config import SystemConfig
from fewshot.systems.registry import make_system
from fewshot.weights.load import load_trained

logger = logging.getLogger(__name__)
NEEDS_NO_TRAINING = ("prototype",)
MOST_GROUPS = 8  # of any benchmark, a folder of one's own included
SHIFTED_FROM = {"coco2pascal": "coco20i"}  # benchmarks whose groups are those of another one
# Files that a system is built from; where they lie may differ between the machines of training and test.
PLACES = ("text_weights", "backbone_weights")


def run(config: MetaTestConfig, command: Command) -> float:
    """Test every group that is asked for and report on all of them together. Returns J or mIoU in percent.

    Raises:
        ValueError: a system that needs training has no weights, or the weights were trained on the tested classes.
    """
    config, command = as_trained(config, command)
    groups = every_group(config) if config.group == "all" else (int(config.group),)
    for group in groups if config.weights is not None else ():
        check_held_out(config, group, stored_run(filled(config.weights or "", group)))
    with session(config, command) as here:
        source, folds = open_data(config, here.folder)
        outcome = Outcome()
        tests = feasible_tests(config, source, folds, groups, outcome)
        for group, seeds in tests.items():
            system, origin = tested_system(config, group)
            system.to(here.device)
            if group == min(tests):
                announce(config, system, here.device, origin)
            outcome.notes += trained_elsewhere(config, group, folds)
            count(f"test of group {group}", [spec for specs in seeds for spec in specs])
            test_group(system, config, source, seeds, here.folder, outcome)
            report = build_report(outcome, config, origin)
            write_report(report, here.folder)  # after each group, so that a run that is stopped keeps what it has
        tell(report, outcome, config, here.folder, here.tracker)
        logger.info("folder: %s", here.folder)
        return 100 * report.value(kind_of(config).headline)


def every_group(config: MetaTestConfig) -> tuple[int, ...]:
    """The groups of the benchmark; those of a folder of one's own follow from its classes."""
    return FOLDS[config.benchmark.name].groups or open_benchmark(config).folds.groups


def feasible_tests(
    config: MetaTestConfig, source: Source, folds: Folds, groups: tuple[int, ...], outcome: Outcome
) -> dict[int, list[list[EpisodeSpec]]]:
    """The episodes of each group, one list per seed, before anything is tested.

    Of several groups those that have no class with enough videos are left out, which the protocol card then says.

    Raises:
        ValueError: no group is feasible, or the manifest does not fit.
    """
    tests = {}
    for group in groups:
        try:
            tests[group] = test_specs(config, source, folds, group)
        except NotFeasible as error:
            if group == groups[-1] and not tests:
                raise
            logger.warning("group %d is left out: %s", group, error)
            outcome.notes.append(f"group {group} left out, none of its classes has enough {kind_of(config).members}")
    return tests


def as_trained(config: MetaTestConfig, command: Command) -> tuple[MetaTestConfig, Command]:
    """The configuration with what the weights bring along: their system and, where none was typed, their benchmark.

    Raises:
        ValueError: no weights for a system that needs training, or a typed system that is not that of the weights.
        FileNotFoundError: there is nothing at the path of the weights.
    """
    if config.weights is None:
        if config.system.name in NEEDS_NO_TRAINING:
            return config, command
        raise ValueError(
            f"system {config.system.name} needs training: give weights=<run folder, converted folder or official "
            f"checkpoint>, or test one that needs none with system={NEEDS_NO_TRAINING[0]}"
        )
    typed = {override.partition("=")[0].lstrip("+~") for override in command.overrides}
    path = first_weights(config)
    run, stored = stored_run(path), stored_system(path)
    if stored is not None:
        config = replace(config, system=same_system(config, stored, typed))
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


def same_system(config: MetaTestConfig, stored: SystemConfig, typed: set[str]) -> SystemConfig:
    """The stored system with the file places of this machine; refuses a typed system that is another one."""
    ours, theirs = asdict(config.system), asdict(stored)
    differing = [f"{k}={theirs[k]} (typed: {ours[k]})" for k in theirs if k not in PLACES and ours[k] != theirs[k]]
    chosen = {name for name in typed if name.split(".")[0] == "system"} - {f"system.{place}" for place in PLACES}
    if chosen and differing:
        raise ValueError(
            f"weights={config.weights} bring their own system, which differs from the one that was typed: "
            f"{', '.join(differing)}. Leave {', '.join(sorted(chosen))} away"
        )
    return replace(stored, **{place: getattr(config.system, place) or getattr(stored, place) for place in PLACES})


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
    theirs = FOLDS[trained.benchmark.name]
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
    logger.info("%s", load_trained(system, path))
    run = stored_run(path)
    return system, Origin("given", path.name) if run is None else Origin.of_training(run)


PROGRAM = Program(
    module="fewshot.meta_test",
    config_name="meta_test",
    schema=MetaTestConfig,
    about=(
        "Test a trained or converted system on the held-out classes of a fold, or of all folds, with its sanity "
        "probes. A run folder brings its own system and benchmark."
    ),
    examples=(
        ("weights=runs/<name> group=1", "the best checkpoint of a training run, on its held-out classes"),
        ("group=all weights=runs/<name>-g{group} test.seeds=5", "every fold with its own run, five support draws"),
        ("system=prototype group=1", "the baseline that needs no training"),
    ),
    run=run,
)


def quoted(argument: str) -> str:
    """`weights=runs/g{group}` as Hydra reads it: a value with braces stands in quotes."""
    key, equals, value = argument.partition("=")
    plain = key in ("weights", "manifest") and "{group}" in value and not value.startswith(("'", '"'))
    return f"{key}{equals}'{value}'" if plain else argument


def main() -> None:
    """The command line."""
    sys.argv[1:] = [quoted(argument) for argument in sys.argv[1:]]
    PROGRAM.main()


if __name__ == "__main__":
    main()
