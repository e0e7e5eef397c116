"""`python -m fewshot.check benchmark=… data.root=…`: what is on disk of a data set, and what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from benchmarks.protocols import IMAGE_PROTOCOLS
from episodes.catalogue import KINDS, WITH_FOLDS, data_set, names
from fewshot.cli.program import Command, Program
from fewshot.config.keys import key

TASKS = tuple(kind for kind in KINDS if kind not in WITH_FOLDS)


@dataclass
class CheckDataConfig:
    """Places of the data."""

    root: Optional[str] = key(None, "folder of the data set; null: of a generated one", place=True)
    cache: Optional[str] = key(
        None, "folder for generated data; null: $FEWSHOT_CACHE, else ~/.cache/fewshot", place=True
    )
    lists: Optional[str] = key(None, "images: folder of the field's list files; null: none", place=True)


@dataclass
class CheckConfig:
    """A data set, and how much of it is read."""

    benchmark: Optional[str] = key(None, "a data set with folds", choices=names(*WITH_FOLDS))
    task: Optional[str] = key(None, "a data set of a task, in the place of benchmark", choices=names(*TASKS))
    split: Optional[str] = key(None, "of a task; null: the tested one")
    shots: list[int] = key([1, 5], "supports of an episode whose feasibility is told", minimum=1, maximum=1000)
    protocol: str = key(
        "hsnet", "images: says from how many pixels on an image shows a class", choices=tuple(IMAGE_PROTOCOLS)
    )
    limit: Optional[int] = key(
        None, "images or videos whose pixels are read, from the first on; null: all", minimum=1, maximum=10_000_000
    )
    out: str = key("check.png", "the contact sheet: an example of each class, or of each video", place=True)
    data: CheckDataConfig = field(default_factory=CheckDataConfig)


def run(config: CheckConfig, command: Command) -> None:
    """Check, print what was found; ends with 1 where something is broken."""
    chosen = [name for name in (config.benchmark, config.task) if name is not None]
    if len(chosen) != 1:
        raise ValueError("give the data set, either benchmark=<name> or task=<name>")
    row, split = data_set(chosen[0]), config.split
    if split is not None and split not in row.splits:
        valid = f"there are: {', '.join(row.splits)}" if row.splits else "it has folds: leave split away"
        raise ValueError(f"split={split}: {row.name} has no such split; {valid}")
    if config.data.root is None and not row.generated:
        raise ValueError(f"data.root is not set: {row.name} is read from a folder; give data.root=<folder>")
    # here, so that help does not wait for torch
    from episodes.catalogue import Opening
    from fewshot.evaluation.data_check import check_data
    from fewshot.media.class_sheet import refuse_foreign_sheet

    out, data = Path(config.out).expanduser(), config.data
    refuse_foreign_sheet(out)
    opening = Opening(data.root, data.cache, split=split or (row.splits or ("",))[0], lists=data.lists)
    print(f"{row.name}: reading {data.root or 'what is generated'}", flush=True)
    text, findings = check_data(
        row.open(opening),
        opening.split,
        shots=config.shots,
        protocol=config.protocol,
        lists=None if row.kind != "images" else data.lists,
        limit=config.limit,
        out=out,
    )
    print(text)
    if findings.broken:
        raise SystemExit(1)


PROGRAM = Program(
    name="check",
    schema=CheckConfig,
    about=(
        "Check a data set on disk: which known variant it is, what is missing or cannot be read, images and masks of "
        "different sizes, values that are no class or object, leaks between training and test, and for which folds and "
        "shots there are enough videos or images; with a contact sheet. Exit code 1 where something is broken."
    ),
    examples=(
        ("benchmark=pascal5i data.root=/data/VOCdevkit data.lists=lists/hsnet", "images, and the lists of a protocol"),
        ("task=ref_youtube_vos split=train data.root=/data/ref-youtube-vos limit=100", "the first 100 videos"),
    ),
    run=run,
)

main = PROGRAM.main

if __name__ == "__main__":
    main()
