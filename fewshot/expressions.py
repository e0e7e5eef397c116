"""`python -m fewshot.expressions task=… results=… data.root=…`: score a folder of masks of expressions in videos."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from omegaconf import MISSING

from benchmarks.protocols.expressions import EXPRESSION_PROTOCOLS
from episodes.catalogue import data_set
from fewshot.cli.program import Command, Program
from fewshot.config.keys import key
from fewshot.config.limits import MOST_PROCESSES


@dataclass
class ExpressionsDataConfig:
    """Place of the data."""

    root: str = key(MISSING, "folder of the data set, with the truth", place=True)


@dataclass
class ExpressionsConfig:
    """Results, and the data set whose truth they are compared with."""

    task: str = key(MISSING, "the data set", choices=tuple(EXPRESSION_PROTOCOLS))
    results: str = key(
        MISSING,
        "folder of masks VIDEO/EXPRESSION/FRAME.png (in Annotations/ or not), above 0 is the object",
        place=True,
    )
    split: Optional[str] = key(None, "part of the data set; null: valid, of MeViS valid_u")
    out: Optional[str] = key(None, "file for the numbers of all expressions, JSON; null: none is written", place=True)
    processes: int = key(1, "videos scored at a time", minimum=1, maximum=MOST_PROCESSES)
    data: ExpressionsDataConfig = field(default_factory=ExpressionsDataConfig)


def run(config: ExpressionsConfig, command: Command) -> None:
    """Score, and print the card and the numbers."""
    row = data_set(config.task)
    if config.split is not None and config.split not in row.splits:
        raise ValueError(f"split={config.split}: {row.name} has {', '.join(row.splits)}")
    # here, so that help does not wait for the metrics' libraries
    from fewshot.evaluation.tasks.folder import refuse_foreign, score_folder, write_scores

    out = None if config.out is None else Path(config.out).expanduser()
    if out is not None:
        refuse_foreign(out)
    results, root = (Path(folder).expanduser() for folder in (config.results, config.data.root))
    card, measures = score_folder(row.name, root, config.split, results, config.processes)
    print(card, measures.table(), *measures.notes, sep="\n\n")
    if out is not None:
        write_scores(out, card, measures)
        print(f"scores: {out}")


PROGRAM = Program(
    name="expressions",
    schema=ExpressionsConfig,
    about=(
        "Score a folder of masks of expressions in videos against the truth on disk: J and F of the validation split "
        "of Ref-YouTube-VOS, whose server is closed, and of valid_u of MeViS. The card says by which rules."
    ),
    examples=(
        ("task=mevis results=masks data.root=/data/MeViS", "valid_u; a video without results counts 0"),
        (
            "task=ref_youtube_vos results=masks data.root=/data/ref-youtube-vos out=scores.json",
            "the 202 videos of the benchmark; also the numbers of every expression",
        ),
    ),
    run=run,
)

main = PROGRAM.main

if __name__ == "__main__":
    main()
