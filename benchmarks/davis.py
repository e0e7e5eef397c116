"""Evaluation of a folder of result PNGs with the DAVIS protocols."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.masks.png import LabelFiles
from benchmarks.metrics.davis import (
    DavisAccumulator,
    SequenceScore,
    score_identity,
    score_semi_supervised,
    score_unsupervised,
)
from benchmarks.tables import text_table
from episodes.plain_files import read_text
from episodes.whole_files import replacing

ANNOTATORS = ("anno_0", "anno_1", "anno_2", "anno_3")
PER_OBJECT = ["Sequence", "J-Mean", "F-Mean"]
SCORES = {
    "semi-supervised": score_semi_supervised,
    "unsupervised": score_unsupervised,
    "identity": score_identity,
}


@dataclass(frozen=True)
class Folders:
    """Results and truth of each sequence on disk, and the way in which they are read and scored.

    Attributes:
        results, annotations: folders with one folder of PNGs per sequence.
        task: `semi-supervised`, `unsupervised`, or `identity` (unsupervised with the ids kept, see `score_identity`).
        binary: every pixel above 0 is object 1.

    Raises:
        ValueError: an unknown task, or a folder that is not there.
    """

    results: Path
    annotations: Path
    task: str = "semi-supervised"
    binary: bool = False

    def __post_init__(self) -> None:
        if self.task not in SCORES:
            raise ValueError(f"unknown task {self.task!r}: valid are {', '.join((*SCORES, 'referring'))}")
        for folder in (self.results, self.annotations):
            if not folder.is_dir():
                raise ValueError(f"{folder} is not a folder")

    def sequences(self) -> list[str]:
        """Every folder of the annotations, sorted. Raises ValueError if there is none."""
        if names := sorted(path.name for path in self.annotations.iterdir() if path.is_dir()):
            return names
        raise ValueError(f"{self.annotations} holds no folder of a sequence: there is nothing to score")

    def frames(self, sequence: str) -> list[str]:
        """Names of the annotated frames, sorted."""
        names = sorted(path.stem for path in (self.annotations / sequence).glob("*.png"))
        if not names:
            raise ValueError(f"{self.annotations / sequence} holds no PNG: the sequence cannot be scored")
        return names

    def maps(self, sequence: str) -> tuple[LabelFiles, LabelFiles]:
        """Truth and result of a sequence, to be read frame by frame.

        Raises:
            ValueError: no frame is left to score, or the results have another size than the truth.
        """
        names = self.frames(sequence)
        truth, result = (LabelFiles(path / sequence, names, self.binary) for path in (self.annotations, self.results))
        first = 1 if self.task == "semi-supervised" else 0
        if len(names) <= 2 * first:
            raise ValueError(f"{self.annotations / sequence}: {len(names)} frames, none is left without first and last")
        found, wanted = result[first].shape, truth[first].shape
        if found != wanted:
            raise ValueError(
                f"{self.results / sequence}: results are {found}, the truth is {wanted}: write the masks at the "
                "resolution of the annotations"
            )
        return truth, result


def read_sequence_list(path: Path | str) -> list[str]:
    """Names of sequences, one per line of a text file in UTF-8. Raises ValueError if there is none, or it is empty."""
    path = Path(path)
    names = read_text(path).split() if path.is_file() else []
    if not names:
        raise ValueError(f"{path} is not a file of sequence names: give a text file with one name per line")
    return names


def score_sequence(folders: Folders, sequence: str) -> SequenceScore:
    """Read and score one sequence."""
    return SCORES[folders.task](sequence, *folders.maps(sequence))


def evaluate(folders: Folders, sequences: Sequence[str] | None = None, processes: int = 1) -> DavisAccumulator:
    """Score `sequences` (default: all), several at a time in processes of their own.

    Raises:
        ValueError: a folder or PNG is missing or broken, sizes differ, or ids do not fit the protocol.
    """
    names = list(folders.sequences() if sequences is None else sequences)
    if processes < 2 or len(names) < 2:
        return DavisAccumulator(score_sequence(folders, name) for name in names)
    longest_first = sorted(names, key=lambda name: -len(folders.frames(name)))
    # Not forked: a caller may have threads (of torch, say), and a fork would copy their locks.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(processes, len(names)), mp_context=context) as pool:
        try:
            return DavisAccumulator(pool.map(partial(score_sequence, folders), longest_first))
        except ValueError as error:  # of another process: said again here, as an error of this package
            raise ValueError(str(error)) from error


def evaluate_referring(
    results: Path,
    annotations: Path,
    sequences: Sequence[str] | None = None,
    processes: int = 1,
    task: str = "unsupervised",
) -> dict[str, DavisAccumulator]:
    """Score the four runs of Ref-DAVIS17, one for each annotator's expressions.

    Args:
        results: holds the folders anno_0 to anno_3, each with a folder of PNGs per sequence.
        annotations: the truth, a folder of PNGs per sequence.
        task: `unsupervised`, as papers report it, or `identity`: as `Folders` has them.

    Raises:
        ValueError: a run is missing, and what `evaluate` raises.
    """
    if absent := [name for name in ANNOTATORS if not (results / name).is_dir()]:
        raise ValueError(
            f"{results} has no {', '.join(absent)}: Ref-DAVIS17 is the mean over the expressions of four annotators, "
            f"write a folder of results for each"
        )
    runs = {name: Folders(results / name, annotations, task) for name in ANNOTATORS}
    return {name: evaluate(folders, sequences, processes) for name, folders in runs.items()}


def mean_of_runs(runs: Iterable[DavisAccumulator], wrapped_ids: bool = False) -> dict[str, float]:
    """The plain mean over runs of each column of the toolkit's table, in 0..1 (Ref-DAVIS17's number)."""
    rows = [run.compute(wrapped_ids) for run in runs]
    if not rows:
        raise ValueError("no run was given: there is nothing to average")
    return {column: float(np.mean([row[column] for row in rows])) for column in rows[0]}


def referring_table(runs: Mapping[str, DavisAccumulator], wrapped_ids: bool = False) -> str:
    """The mean over the runs and the row of each run, as fractions with three decimals."""
    rows = {"mean": mean_of_runs(runs.values(), wrapped_ids)}
    rows.update((name, run.compute(wrapped_ids)) for name, run in runs.items())
    cells = [[name, *(f"{value:.3f}" for value in row.values())] for name, row in rows.items()]
    return text_table(["Annotator", *rows["mean"]], cells)


def csv_tables(accumulator: DavisAccumulator, split: str, wrapped_ids: bool = False) -> dict[str, str]:
    """The two tables of the DAVIS toolkit as CSV, by the names of its files: fractions with three decimals.

    Args:
        split: the part of the data set, which the names of the files hold.
    """
    rows = [[name, *map(_three, pair)] for name, pair in accumulator.rows().items()]
    columns = accumulator.compute(wrapped_ids)
    return {
        csv_names(split)[0]: _csv([list(columns), list(map(_three, columns.values()))]),
        csv_names(split)[1]: _csv([PER_OBJECT, *rows]),
    }


def write_csv(accumulator: DavisAccumulator, folder: Path, split: str, wrapped_ids: bool = False) -> list[Path]:
    """Write the two tables of `csv_tables` into a folder, which is made; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    tables = csv_tables(accumulator, split, wrapped_ids)
    for name, text in tables.items():
        with replacing(folder / name) as partial:
            partial.write_text(text, encoding="utf-8")
    return [folder / name for name in tables]


def csv_names(split: str) -> tuple[str, str]:
    """Names of the two files of `csv_tables`. Raises ValueError for a split that cannot be a part of them."""
    if not split or not split.replace("-", "").replace("_", "").isalnum():
        raise ValueError(f"split={split}: give the name of a part of the data set, letters and digits, such as val")
    return f"global_results-{split}.csv", f"per-sequence_results-{split}.csv"


def refuse_foreign_csv(folder: Path, split: str) -> None:
    """Raise ValueError for a file that has the name of a table of `csv_tables` and is none."""
    for name, first in zip(csv_names(split), ("J&F-Mean,", ",".join(PER_OBJECT)), strict=True):
        path = folder / name
        if path.exists() and not (path.is_file() and read_text(path).startswith(first)):
            raise ValueError(f"{path} is no table of DAVIS: move it away, or give another out=<folder> or split=<name>")


def _csv(rows: Sequence[Sequence[str]]) -> str:
    return "".join(",".join(row) + "\n" for row in rows)


def _three(value: float) -> str:
    """Three decimals; nothing for NaN, as the toolkit writes it."""
    return "" if np.isnan(value) else f"{value:.3f}"


def table(accumulator: DavisAccumulator, wrapped_ids: bool = False) -> str:
    """The global row of the DAVIS toolkit and the row of each object, as fractions with three decimals."""
    columns = accumulator.compute(wrapped_ids)
    rows = [[name, f"{j:.3f}", f"{f:.3f}"] for name, (j, f) in accumulator.rows().items()]
    first = [f"{value:.3f}" for value in columns.values()]
    return "\n\n".join([text_table(list(columns), [first]), text_table(PER_OBJECT, rows)])
