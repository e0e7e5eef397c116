"""`python -m fewshot.davis results=… annotations=…`: score a folder of result PNGs with the DAVIS protocols."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from omegaconf import MISSING

from fewshot.cli.program import Command, Program
from fewshot.config.keys import key


@dataclass
class DavisConfig:
    """Results, their truth, and the reading of DAVIS that compares them."""

    results: str = key(
        MISSING, "folder with one folder of PNGs per sequence; a pixel's value is its object id", place=True
    )
    annotations: str = key(MISSING, "the same for the truth (for instance DAVIS/Annotations/480p)", place=True)
    task: str = key(
        "semi-supervised",
        "unsupervised takes DAVIS/Annotations_unsupervised; referring (Ref-DAVIS17) is the mean of anno_0 to anno_3 in "
        "results, each scored as unsupervised",
        choices=("semi-supervised", "unsupervised", "referring"),
    )
    sequences: Optional[str] = key(
        None, "text file with one sequence per line; null: every folder of the annotations", place=True
    )
    binary: bool = key(False, "a pixel above 0 is object 1, in truth and result (DAVIS 2016)")
    processes: int = key(1, "sequences scored at a time", minimum=1)
    wrapped_ids: bool = key(
        False,
        "the decay takes frame numbers modulo 256, as the DAVIS toolkit does, which holds them in 8 bits; for "
        "sequences above 255 frames",
    )


def run(config: DavisConfig, command: Command) -> None:
    """Score, and print the table."""
    # here, so that help does not wait for the metrics' libraries
    from benchmarks.davis import Folders, evaluate, evaluate_referring, read_sequence_list, referring_table, table

    results, annotations = (Path(folder).expanduser() for folder in (config.results, config.annotations))
    sequences = None if config.sequences is None else read_sequence_list(config.sequences)
    if config.task == "referring":
        if config.binary:
            raise ValueError("binary=true is for DAVIS 2016; the results of task=referring hold object ids")
        found = evaluate_referring(results, annotations, sequences, config.processes)
        print(referring_table(found, config.wrapped_ids))
        return
    folders = Folders(results, annotations, config.task, config.binary)
    print(table(evaluate(folders, sequences, config.processes), config.wrapped_ids))


PROGRAM = Program(
    name="davis",
    schema=DavisConfig,
    about="Score a folder of result PNGs with the protocols of DAVIS: J and F, their recall and decay.",
    examples=(("results=masks annotations=DAVIS/Annotations/480p", "given objects; first and last frame left out"),),
    run=run,
)

main = PROGRAM.main

if __name__ == "__main__":
    main()
