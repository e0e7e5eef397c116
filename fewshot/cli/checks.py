"""Checks of a configuration beyond its types. Everything is refused before anything is loaded or written."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.protocols import PROTOCOLS, get_protocol
from benchmarks.protocols.images import ImageProtocol
from benchmarks.protocols.readings import READINGS
from episodes.catalogue import data_set, folds_of, names
from episodes.hints import did_you_mean
from episodes.sampling.draws import check_draws
from episodes.sampling.official import official_list
from fewshot._origin import config_folder
from fewshot.cli.runs import MetaTestConfig, MetaTrainConfig, RunConfig, StageConfig, TaskTestConfig, parts_in_use
from fewshot.config.keys import Key, in_words, keys_of, schema_keys, value_of
from fewshot.config.sections import AdaptationConfig
from fewshot.config.task_sections import PartConfig
from fewshot.systems.config import SystemConfig
from fewshot.systems.registry import spec_of, systems

STEPS = ("parts", "steps", "rates")
# adaptation -> keys that change what it does; finetune does not train, so that the order of its gradients plays no part
READ = {
    "none": (),
    "linear_probe": ("decay",),
    "finetune": STEPS,
    **dict.fromkeys(("maml", "anil", "metasgd"), (*STEPS, "second_order")),
}
# kind of a part -> kinds of its data sets, where these differ
DATA = {"fss": ("images",), "clips": ("rvos", "rfs", "ris"), "objects": ("vis", "vss", "vps", "vos", "pvos")}


def check(config: RunConfig, complete: bool = True) -> None:
    """Refuse values that cannot work. Not `complete`: the benchmark is still to come, with the weights that are tested.

    Raises:
        ValueError: names the key, its value and what is valid.
    """
    check_values(config)
    check_device(config.device)
    check_name(config.name)
    config.system.check()
    if isinstance(config, TaskTestConfig):
        check_task(config)
    elif isinstance(config, StageConfig):
        check_stage(config)
    elif isinstance(config, (MetaTrainConfig, MetaTestConfig)):
        if complete:
            check_benchmark(config)
        else:
            check_number(config.group)
    if isinstance(config, MetaTrainConfig):
        check_training(config)


def check_values(config: Any) -> None:
    """Every value against the valid values and the limits of its key. Raises ValueError that names it."""
    for key in keys_of(config):
        check_value(key, value_of(config, key.name))


def check_benchmark(config: MetaTrainConfig | MetaTestConfig) -> None:
    """The benchmark with its group, its protocol and its folder; and that the system takes its supports."""
    small = f"{config.system.name}_tiny"
    there = data_set(config.benchmark.name).generated and (config_folder() / "system" / f"{small}.yaml").is_file()
    instead = f"take system={small} as it is, or " if there else ""
    check_takes_supports(config.system, config.benchmark.name, instead)
    check_adaptation(config.adaptation)
    check_group(config)
    check_protocol(config)
    if not data_set(config.benchmark.name).generated and config.data.root is None:
        raise ValueError(
            f"data.root is not set: benchmark {config.benchmark.name} is read from a folder; give data.root=<folder>"
        )


def check_takes_supports(system: SystemConfig, benchmark: str, instead: str = "") -> None:
    """Every episode has supports, and some systems take none, or none as they are set; `instead` is said first."""
    check_takes_references(system, f"benchmark {benchmark}")
    if system.support_key is not None:
        raise ValueError(
            f"system {system.name} as it is set takes no supports, which benchmark {benchmark} gives: {instead}add "
            f"{system.support_key}"
        )


def check_adaptation(adaptation: AdaptationConfig) -> None:
    """Parts that adapt, and a step size for each of them or for all."""
    if not adaptation.parts or len(adaptation.rates) not in (1, len(adaptation.parts)):
        raise ValueError(
            f"adaptation.rates={adaptation.rates}, adaptation.parts={adaptation.parts}: give at least one part, and "
            "one rate, or one for each of the parts"
        )


def check_adaptation_reads(adaptation: AdaptationConfig, typed: Iterable[str]) -> None:
    """Refuse typed keys `adaptation.x` that change nothing, such as the steps of an adaptation without any."""
    read = READ[adaptation.name]
    for name in sorted(typed):
        section, _, own = name.partition(".")
        if section != "adaptation" or not own or own in read:
            continue
        valid = f"its keys are {', '.join(read)}" if read else "add adaptation=<name>"
        raise ValueError(f"{name} has no effect with adaptation={adaptation.name}: {valid}, or leave {name} away")


def check_takes_references(system: SystemConfig, what: str) -> None:
    """Some systems answer tasks on whole videos alone, and are not trained here."""
    if not spec_of(system).references:
        raise ValueError(
            f"system {system.name} takes no references, so that {what} is not for it: bring its weights and test it "
            "with python -m fewshot.task_test"
        )


def check_name(name: str | None) -> None:
    """The folder of a run lies in that of the runs."""
    if name is not None and (Path(name).is_absolute() or ".." in Path(name).parts):
        raise ValueError(f"name={name} leads out of the folder of the runs: give the place as out=<folder>")


def check_device(device: str) -> None:
    """A device must have a name that torch knows."""
    if not re.fullmatch(r"auto|cpu|cuda(:\d{1,3})?", device):
        raise ValueError(f"device={device}: valid are auto, cpu, cuda and cuda:0, cuda:1, ...")


def check_task(config: TaskTestConfig) -> None:
    """Keys of a task that depend on each other."""
    task, known = config.task, data_set(config.task.benchmark)
    if config.data.root is None and not known.generated:
        raise ValueError(
            f"data.root is not set: benchmark {task.benchmark} is read from a folder; give data.root=<folder>"
        )
    if task.split is not None and task.split not in known.splits:
        raise ValueError(f"task.split={task.split}: benchmark {task.benchmark} has {', '.join(known.splits)}")
    if task.short is not None and task.short > task.long:
        raise ValueError(f"task.short={task.short} is more than task.long={task.long}")
    if task.threshold is not None and task.threshold >= 1:
        raise ValueError(f"task.threshold={task.threshold}: scores lie between 0 and 1; null takes every object")
    of_kind = {"ris": ("ris",), "rfs": ("sentences",), "vos": ("none", "davis")}
    scored_here = ("none", "davis_unsupervised", "expressions", "if_there")
    of_kind |= {"rvos": scored_here, **dict.fromkeys(READINGS, ("none", "protocol"))}
    valid = of_kind[known.kind]
    if task.score not in valid:
        raise ValueError(f"task.score={task.score}: for benchmark {task.benchmark} valid are {', '.join(valid)}")
    readings = READINGS.get(known.kind, ())
    if task.protocol is not None and task.protocol not in readings:
        said = f"valid are {', '.join(readings)}" if readings else "leave it out"
        raise ValueError(f"task.protocol={task.protocol} is not for benchmark {task.benchmark}: {said}")
    if task.probes and task.score != "expressions":
        raise ValueError(f"task.probes={task.probes}: they are for task.score=expressions; leave them out")


def check_value(key: Key, value: Any) -> None:
    """One value (or each value of a list) against the key's valid values, its smallest and its largest one."""
    for item in value if isinstance(value, list) else [value]:
        if item is None:
            continue
        if key.choices and item not in key.choices:
            hint = did_you_mean(str(item), key.choices)
            raise ValueError(f"{key.name}={item}: valid are {', '.join(key.choices)}.{hint}")
        if isinstance(item, float) and not math.isfinite(item):
            raise ValueError(f"{key.name}={item}: give a finite number")
        if isinstance(value, list) and isinstance(item, (list, dict)):
            raise ValueError(f"{key.name}={item}: give a list of single values")
        if key.place and item == "":
            raise ValueError(f"{key.name} is empty: give a file or folder, or leave the key out")
        if isinstance(item, str):
            continue
        if key.minimum is not None and item < key.minimum:
            raise ValueError(f"{key.name}={item}: the smallest valid value is {in_words(key.minimum)}")
        if key.maximum is not None and item > key.maximum:
            raise ValueError(f"{key.name}={item}: the largest valid value is {in_words(key.maximum)}")


def check_group(config: MetaTrainConfig | MetaTestConfig) -> None:
    """The group must be a fold of the benchmark; testing also takes `all`."""
    folds = folds_of(config.benchmark.name)
    if isinstance(config, MetaTestConfig) and config.group == "all":
        return
    if not folds.classes:  # known when the data are opened
        check_number(config.group)
        return
    if config.group not in folds.groups:
        valid = [str(group) for group in folds.groups] + ["all"] * isinstance(config, MetaTestConfig)
        raise ValueError(f"group={config.group}: benchmark {folds.name} has the groups {', '.join(valid)}")
    if isinstance(config, MetaTrainConfig) and not folds.train_classes(config.group):
        raise ValueError(
            f"benchmark {folds.name} only tests: all of its classes are held out; train on another benchmark and run "
            f"python -m fewshot.meta_test benchmark={folds.name} weights=<run folder>"
        )


def check_number(group: int | str) -> None:
    """A group that no benchmark can have."""
    if group != "all" and not str(group).isdigit():
        raise ValueError(f"group={group}: give the number of a group, or all")


def check_protocol(config: MetaTrainConfig | MetaTestConfig) -> None:
    """Protocols of images count pixels, those of videos measure J and F; and some things only videos have."""
    images = isinstance(get_protocol(config.benchmark.protocol), ImageProtocol)
    of_images = data_set(config.benchmark.name).kind == "images"
    if images != of_images:
        valid = [name for name, protocol in PROTOCOLS.items() if isinstance(protocol, ImageProtocol) == of_images]
        raise ValueError(
            f"protocol={config.benchmark.protocol} is not for benchmark {config.benchmark.name}: valid are "
            f"{', '.join(valid)}"
        )
    own = f"protocol {config.benchmark.protocol} has none of its own: give a number"
    if not images and config.benchmark.test_size is None:
        raise ValueError(f"benchmark.test_size=null: {own}")
    if not images and config.test.seeds is None:
        raise ValueError(f"test.seeds=null: {own}")
    check_draws_of(config)
    if of_images and (config.benchmark.query_expressions != 1 or config.benchmark.twin_share is not None):
        raise ValueError(
            f"benchmark {config.benchmark.name} has no expressions: leave benchmark.query_expressions and "
            "benchmark.twin_share away"
        )
    if of_images and "expression" in spec_of(config.system).needs:
        others = [name for name, spec in systems().items() if spec.references and "expression" not in spec.needs]
        raise ValueError(
            f"system.name={config.system.name} needs an expression with every support, and benchmark "
            f"{config.benchmark.name} has none: take a system that does without, {' or '.join(others)}"
        )


def check_draws_of(config: MetaTrainConfig | MetaTestConfig) -> None:
    """Refuse the stream or the list of a program of which it is not known."""
    benchmark, protocol = config.benchmark, get_protocol(config.benchmark.protocol)
    if benchmark.draws == "indexed":
        return
    if not isinstance(protocol, ImageProtocol):
        raise ValueError(f"benchmark.draws={benchmark.draws} is for benchmarks of images: leave it out")
    if benchmark.draws == "official" and config.test.seeds not in (None, 1):
        raise ValueError(f"test.seeds={config.test.seeds}: benchmark.draws=official is one list, leave test.seeds out")
    try:
        queries = protocol.rule(benchmark.name).queries
        check_draws(queries, protocol.supports, benchmark.draws)
        if benchmark.draws == "official":
            official_list(benchmark.name, queries, protocol.supports, protocol.seeds[0])
    except ValueError as error:
        raise ValueError(f"protocol={protocol.name}, benchmark={benchmark.name}: {error}") from error


def check_training(config: MetaTrainConfig) -> None:
    """Keys of the training that depend on each other."""
    sizes, longest = config.benchmark.train_sizes, config.benchmark.train_max_size
    if not sizes or max(sizes) > longest:
        raise ValueError(
            f"benchmark.train_sizes={sizes}: give at least one, none above benchmark.train_max_size={longest}"
        )
    if config.adaptation.name in ("linear_probe", "finetune"):
        raise ValueError(
            f"adaptation={config.adaptation.name} is for tests, of weights that were trained without: train with "
            f"adaptation=none and run python -m fewshot.meta_test adaptation={config.adaptation.name} "
            "weights=<run folder>, or train with maml, anil or metasgd"
        )
    sampling, images = config.benchmark.sampling, data_set(config.benchmark.name).kind == "images"
    if sampling != "balanced" and images == (sampling == "blocks"):
        kind = "videos" if images else "images"
        raise ValueError(f"benchmark.sampling={sampling} is for benchmarks of {kind}: take balanced")
    if config.benchmark.sampling == "blocks":
        check_sampling_in_blocks(config)


def check_sampling_in_blocks(config: MetaTrainConfig) -> None:
    """Refuse what the sampling of CMA's released code cannot do."""
    if config.shots != 1:
        raise ValueError(
            f"shots={config.shots}: benchmark.sampling=blocks (part of recipe=official) trains with one support; take "
            "shots=1 or benchmark.sampling=balanced"
        )
    if config.benchmark.query_expressions != 1 or config.benchmark.twin_share is not None:
        raise ValueError(
            "benchmark.sampling=blocks (part of recipe=official) draws one expression of any video: take "
            "benchmark.query_expressions=1 and benchmark.twin_share=null"
        )
    if config.train.select_on == "val":
        raise ValueError(
            "train.select_on=val: benchmark.sampling=blocks (part of recipe=official) trains on every video of the "
            "training classes, so none are left for validation; take test (as the released code does) or last"
        )


def check_stage(config: StageConfig) -> None:
    """The parts of a mixture, and what a stage cannot do."""
    if not parts_in_use(config):
        raise ValueError("parts: a stage needs at least one part with a ratio above 0")
    check_takes_references(config.system, f"stage {config.stage}")
    for name, part in config.parts.items():
        for key in schema_keys(PartConfig, f"parts.{name}."):
            check_value(key, getattr(part, key.name.rsplit(".", 1)[-1]))
        if part.ratio is None or part.ratio > 0:
            check_part(name, part)
            if part.kind == "fss":
                check_takes_supports(config.system, f"{part.benchmark} (parts.{name})")
            if part.kind == "objects" and not spec_of(config.system).learns_objects:
                raise ValueError(
                    f"parts.{name}.kind=objects: system {config.system.name!r} does not learn from clips with all of "
                    "their objects; take system=univs, or leave the part out (ratio=0)"
                )
    if config.train.select_on != "last" or config.train.prototype_fraction or config.train.prototype_weight:
        raise ValueError(
            "a stage has no validation and no prototype warm-up: take train.select_on=last, train.prototype_fraction=0 "
            "and train.prototype_weight=0"
        )


def check_part(name: str, part: PartConfig) -> None:
    """A part that is used: where its data lie, and that its data set is one for its task."""
    of_files = part.kind in ("detection", "still_vos")  # read from the files that are named, whatever their name
    known = () if of_files else names(*DATA.get(part.kind, (part.kind,)))
    generated = part.benchmark in known and data_set(part.benchmark).generated
    if part.root is None and not generated:
        raise ValueError(
            f"parts.{name}.root is not set: give the folder of {part.benchmark}, or leave it out with "
            f"parts.{name}.ratio=0"
        )
    if of_files:
        if part.annotations is None or part.images is None:
            raise ValueError(f"parts.{name}: give annotations=<file in COCO's form> and images=<folder> under its root")
        return
    if part.benchmark not in known:
        raise ValueError(f"parts.{name}.benchmark={part.benchmark}: for {part.kind} valid are {', '.join(known)}")
    if part.kind != "clips" and part.ratio is None:
        raise ValueError(f"parts.{name}.ratio=null: {part.kind} is drawn without end; give a number")
    if part.expressions > 1 and data_set(part.benchmark).kind != "rvos":
        raise ValueError(f"parts.{name}.expressions={part.expressions}: several are for videos; take 1")
    if len(part.crop_range) != 2:
        raise ValueError(f"parts.{name}.crop_range={part.crop_range}: give the least and the largest side")
    if part.crop_range[0] > part.crop_range[1]:
        raise ValueError(f"parts.{name}.crop_range={part.crop_range}: the least side is more than the largest")
