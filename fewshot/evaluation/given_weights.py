"""Weights that are given to a test: the system and the benchmark that they bring, and the classes that they have seen.

Light, so that a test is refused, or says its first line, before data and metrics are imported.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from episodes.catalogue import folds_of
from episodes.folds import Folds
from fewshot.cli.checks import check
from fewshot.cli.program import Command
from fewshot.cli.runs import MetaTestConfig, MetaTrainConfig
from fewshot.inference.loading import same_system, stored_adaptation, stored_run, stored_system
from fewshot.systems.registry import spec_of, systems
from fewshot.weights.trained_on import TrainedOn, read_trained_on

MOST_GROUPS = 8  # of any benchmark, a folder of one's own included


OTHER_WEIGHTS = "Test group={group}, or give the weights of each group, as in group=all weights=runs/name-g{{group}}"
SHIFTED_FROM = {"coco2pascal": "coco20i"}  # benchmarks whose groups are those of another one


def every_group(config: MetaTestConfig) -> tuple[int, ...]:
    """The groups of the benchmark; those of a folder of one's own follow from its classes."""
    if groups := folds_of(config.benchmark.name).groups:
        return groups
    from fewshot.evaluation.benchmark import folds_in, open_data

    return folds_in(open_data(config)).groups


def groups_of(config: MetaTestConfig) -> tuple[int, ...]:
    """The groups that are tested.

    Raises:
        ValueError: the weights were trained on classes of one of them.
    """
    groups = every_group(config) if config.group == "all" else (int(config.group),)
    for group in groups if config.weights is not None else ():
        path = filled(config.weights or "", group)
        check_held_out(config.benchmark.name, group, read_trained_on(path) or (), str(path))
    return groups


def refuse_limit(config: MetaTestConfig, command: Command) -> None:
    """Raise ValueError where some episodes of a frozen list are asked for, which is tested whole."""
    if config.manifest is not None and "benchmark.test_episodes" in command.typed:
        raise ValueError(
            f"manifest={config.manifest} is tested whole: leave benchmark.test_episodes away, or freeze fewer episodes "
            "with python -m fewshot.freeze count=..."
        )


def as_trained(config: MetaTestConfig, command: Command) -> tuple[MetaTestConfig, Command]:
    """The configuration with what the weights bring: their system and, where none was typed, adaptation and benchmark.

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
    if (adaptation := stored_adaptation(path)) is not None and "adaptation" not in typed:
        names = [name.partition(".")[2] for name in typed if name.startswith("adaptation.")]
        own = {name: getattr(config.adaptation, name) for name in names}
        config = replace(config, adaptation=replace(adaptation, **own))
    if run is not None and "benchmark" not in typed:
        config = with_benchmark(config, run, typed)
        command = replace(command, options={k: v for k, v in command.options.items() if k != "benchmark"})
    check(config)
    return config, command


def first_weights(config: MetaTestConfig) -> Path:
    """The weights of the group, or of the first one that there are weights for.

    Raises FileNotFoundError where there are none for any group.
    """
    if config.group != "all":
        return filled(config.weights or "", int(config.group))
    paths = (filled(config.weights or "", group) for group in range(MOST_GROUPS))
    found = next((path for path in paths if path.exists()), None)
    if found is None:
        raise FileNotFoundError(
            f"no weights at {config.weights}, whatever the group: group=all tests those of each group, as in "
            "weights=runs/name-g{group}"
        )
    return found


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


def check_held_out(
    benchmark: str, group: int, trained: Iterable[TrainedOn], where: str, advice: str = OTHER_WEIGHTS
) -> None:
    """Refuse to hold out a group whose classes weights have seen, by the names of benchmarks and groups alone.

    Args:
        benchmark, group: what is held out now.
        trained: what the weights were trained on.
        where: name of the weights in the message.
        advice: what to do.

    Raises:
        ValueError: another group of the benchmark was held out in one of the trainings.
    """
    for one in trained:
        same = one.benchmark in (benchmark, SHIFTED_FROM.get(benchmark))
        if same and one.group not in (None, group):
            raise ValueError(
                f"{where} was trained with group {one.group} held out: it has seen the classes of group {group}. "
                f"{advice.format(group=one.group)}"
            )


def check_classes(
    folds: Folds, group: int, trained: Iterable[TrainedOn], where: str, advice: str = OTHER_WEIGHTS
) -> None:
    """Refuse to hold out a class that weights have seen, by name: the groups of a folder follow from what is in it.

    Arguments as of `check_held_out`; `folds` are those of the opened data set.

    Raises:
        ValueError: one of the trainings, on the same benchmark, has shown a held-out class; it is named.
    """
    held_out = {folds.class_name(c) for c in folds.test_classes(group)}
    for one in trained:
        shown = sorted(held_out & set(one.classes or ())) if one.benchmark == folds.name else []
        if shown:
            raise ValueError(
                f"{where} was trained on {', '.join(shown[:3])}, of group {group}, when {folds.name} had other "
                f"groups. {advice.format(group=one.group)}"
            )
