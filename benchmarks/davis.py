"""Score a folder of result PNGs with the DAVIS protocols: `python -m benchmarks.davis results=... annotations=...`"""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.arguments import count, fail, flag, parse
from benchmarks.metrics.davis import DavisAccumulator, SequenceScore, score_semi_supervised, score_unsupervised
from benchmarks.png import Labels, read_sequence
from benchmarks.tables import text_table

USAGE = """
python -m benchmarks.davis results=FOLDER annotations=FOLDER [key=value ...]

  results         folder with one folder of PNGs per sequence; the value of a pixel is the object id
  annotations     the same for the truth (for instance DAVIS/Annotations/480p)
  task            semi-supervised (default) or unsupervised (annotations from DAVIS/Annotations_unsupervised)
  sequences       text file with one sequence name per line (default: every folder of the annotations)
  binary          true: a pixel above 0 is object 1, in truth and result (DAVIS 2016) (default false)
  processes       sequences scored at a time (default 1)
  official_decay  true: frame numbers in 8 bits, as in the official program, for sequences above 255 frames
"""
KEYS = {
    "results": None,
    "annotations": None,
    "task": "semi-supervised",
    "sequences": "",
    "binary": "false",
    "processes": "1",
    "official_decay": "false",
}


@dataclass(frozen=True)
class Folders:
    """Where results and truth of each sequence lie, and how they are read and scored."""

    results: Path
    annotations: Path
    task: str = "semi-supervised"
    binary: bool = False

    def __post_init__(self) -> None:
        if self.task not in ("semi-supervised", "unsupervised"):
            raise ValueError(f"unknown task {self.task!r}: valid are semi-supervised and unsupervised")
        for folder in (self.results, self.annotations):
            if not folder.is_dir():
                raise ValueError(f"{folder} is not a folder")

    def sequences(self) -> list[str]:
        """Every folder of the annotations, sorted."""
        return sorted(path.name for path in self.annotations.iterdir() if path.is_dir())

    def frames(self, sequence: str) -> list[str]:
        """Names of the annotated frames, sorted."""
        names = sorted(path.stem for path in (self.annotations / sequence).glob("*.png"))
        if not names:
            raise ValueError(f"{self.annotations / sequence} holds no PNG: the sequence cannot be scored")
        return names

    def read(self, sequence: str) -> tuple[Labels, Labels]:
        """Truth and result, `(T, H, W)` each; results of frames that are not scored may be missing (zeros)."""
        names = self.frames(sequence)
        truth = read_sequence(self.annotations / sequence, names)
        scored = slice(1, -1) if self.task == "semi-supervised" else slice(None)
        if len(names[scored]) == 0:
            raise ValueError(f"{self.annotations / sequence}: {len(names)} frames, none is left without first and last")
        result = np.zeros_like(truth)
        found = read_sequence(self.results / sequence, names[scored])
        if found.shape[1:] != truth.shape[1:]:
            raise ValueError(
                f"{self.results / sequence}: results are {found.shape[1:]}, the truth is {truth.shape[1:]}: write the "
                "masks at the resolution of the annotations"
            )
        result[scored] = found
        return (np.minimum(truth, 1), np.minimum(result, 1)) if self.binary else (truth, result)


def score_sequence(folders: Folders, sequence: str) -> SequenceScore:
    """Read and score one sequence."""
    score = score_semi_supervised if folders.task == "semi-supervised" else score_unsupervised
    return score(sequence, *folders.read(sequence))


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
        return DavisAccumulator(pool.map(partial(score_sequence, folders), longest_first))


def table(accumulator: DavisAccumulator, wrapped_ids: bool = False) -> str:
    """The official global row and the row of each object, as fractions with three decimals."""
    columns = accumulator.compute(wrapped_ids)
    rows = [[name, f"{j:.3f}", f"{f:.3f}"] for name, (j, f) in accumulator.rows().items()]
    first = [f"{value:.3f}" for value in columns.values()]
    return "\n\n".join([text_table(list(columns), [first]), text_table(["Sequence", "J-Mean", "F-Mean"], rows)])


def main(argv: Sequence[str]) -> None:
    """The command line."""
    plain, values = parse(argv, KEYS, USAGE)
    if plain:
        fail(f"{plain[0]!r} is not a key=value pair", USAGE)
    try:
        binary, wrapped = (flag(values[key], key) for key in ("binary", "official_decay"))
        folders = Folders(Path(values["results"]), Path(values["annotations"]), values["task"], binary)
        sequences = Path(values["sequences"]).read_text().split() if values["sequences"] else None
        print(table(evaluate(folders, sequences, count(values["processes"], "processes")), wrapped))
    except (ValueError, OSError) as error:
        fail(str(error))


if __name__ == "__main__":
    main(sys.argv[1:])
