"""`python -m fewshot.davis results=… annotations=…`: score a folder of result PNGs with the DAVIS protocols."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from omegaconf import MISSING

from fewshot.cli.program import Command, Program
from fewshot.config.keys import key
from fewshot.config.limits import MOST_PROCESSES


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
    keep_ids: bool = key(
        False,
        "unsupervised and referring: each object against its own number; false: assigned as fits best, as papers do. "
        "Of Ref-DAVIS17 the numbers are those of DAVIS/Annotations",
    )
    sequences: Optional[str] = key(
        None, "text file with one sequence per line; null: every folder of the annotations", place=True
    )
    out: Optional[str] = key(
        None,
        "folder of the two CSV tables of the DAVIS toolkit; null: results. referring: anno_0 to anno_3 in it",
        place=True,
    )
    split: str = key("val", "part of the data set, in the names of the tables: global_results-<split>.csv")
    binary: bool = key(False, "a pixel above 0 is object 1, in truth and result (DAVIS 2016)")
    processes: int = key(1, "sequences scored at a time", minimum=1, maximum=MOST_PROCESSES)
    wrapped_ids: bool = key(
        False,
        "the decay takes frame numbers modulo 256, as the DAVIS toolkit does, which holds them in 8 bits; for "
        "sequences above 255 frames",
    )


def run(config: DavisConfig, command: Command) -> None:
    """Score, print the table, and write it as the DAVIS toolkit does."""
    # here, so that help does not wait for the metrics' libraries
    from benchmarks.davis import (
        ANNOTATORS,
        Folders,
        evaluate,
        evaluate_referring,
        read_sequence_list,
        referring_table,
        refuse_foreign_csv,
        table,
        write_csv,
    )

    results, annotations = (Path(folder).expanduser() for folder in (config.results, config.annotations))
    out = results if config.out is None else Path(config.out).expanduser()
    referring = config.task == "referring"
    if config.keep_ids and config.task == "semi-supervised":
        raise ValueError("keep_ids=true is for unsupervised and referring: semi-supervised always keeps the ids")
    free = "identity" if config.keep_ids else "unsupervised"
    for folder in [out / name for name in ANNOTATORS] if referring else [out]:
        refuse_foreign_csv(folder, config.split)
    sequences = None if config.sequences is None else read_sequence_list(config.sequences)
    if referring:
        if config.binary:
            raise ValueError("binary=true is for DAVIS 2016; the results of task=referring hold object ids")
        runs = evaluate_referring(results, annotations, sequences, config.processes, free)
        print(referring_table(runs, config.wrapped_ids))
        tables = {out / name: run for name, run in runs.items()}
    else:
        task = free if config.task == "unsupervised" else config.task
        folders = Folders(results, annotations, task, config.binary)
        tables = {out: evaluate(folders, sequences, config.processes)}
        print(table(tables[out], config.wrapped_ids))
    for folder, scores in tables.items():
        for path in write_csv(scores, folder, config.split, config.wrapped_ids):
            print(f"table: {path}")


PROGRAM = Program(
    name="davis",
    schema=DavisConfig,
    about=(
        "Score a folder of result PNGs with the protocols of DAVIS: J and F, their recall and decay. Prints the tables "
        "and writes them as the DAVIS toolkit does, as global_results-<split>.csv and per-sequence_results-<split>.csv."
    ),
    examples=(("results=masks annotations=DAVIS/Annotations/480p", "given objects; first and last frame left out"),),
    run=run,
)

main = PROGRAM.main

if __name__ == "__main__":
    main()
