"""python -m fewshot.davis results=... annotations=...: score a folder of result PNGs with the DAVIS protocols."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.davis import Folders, evaluate, evaluate_referring, read_sequence_list, referring_table, table
from fewshot.cli.words import asks_for_help, filled, flag, whole_number

USAGE = """
python -m fewshot.davis results=FOLDER annotations=FOLDER [key=value ...]

  results         folder with one folder of PNGs per sequence; the value of a pixel is the object id
  annotations     the same for the truth (for instance DAVIS/Annotations/480p)
  task            semi-supervised (default), unsupervised (annotations from DAVIS/Annotations_unsupervised), or
                  referring (Ref-DAVIS17: the mean of anno_0 to anno_3 in results, each scored as unsupervised)
  sequences       text file with one sequence name per line (default: every folder of the annotations)
  binary          true: a pixel above 0 is object 1, in truth and result (DAVIS 2016) (default false)
  processes       sequences scored at a time (default 1)
  wrapped_ids     true: the decay takes frame numbers modulo 256, as the DAVIS toolkit does, which holds them in 8
                  bits; for sequences above 255 frames (default false)

Example:
  python -m fewshot.davis results=masks annotations=DAVIS/Annotations/480p
"""
NEEDED = ("results", "annotations")
DEFAULTS = {"task": "semi-supervised", "sequences": "", "binary": "false", "processes": "1", "wrapped_ids": "false"}


def run(words: Sequence[str]) -> str:
    """The table that the command line asks for.

    Raises:
        ValueError: a wrong word, and what the evaluation raises.
    """
    values = filled(words, DEFAULTS, NEEDED)
    binary, wrapped = (flag(key, values[key]) for key in ("binary", "wrapped_ids"))
    results, annotations = (Path(values[key]).expanduser() for key in NEEDED)
    sequences = read_sequence_list(values["sequences"]) if values["sequences"] else None
    processes = whole_number("processes", values["processes"])
    if values["task"] != "referring":
        folders = Folders(results, annotations, values["task"], binary)
        return table(evaluate(folders, sequences, processes), wrapped)
    if binary:
        raise ValueError("binary=true is for DAVIS 2016; the results of task=referring hold object ids")
    return referring_table(evaluate_referring(results, annotations, sequences, processes), wrapped)


def main() -> None:
    """Entry point."""
    words = sys.argv[1:]
    if asks_for_help(words):
        print(USAGE.strip())
        return
    from fewshot.cli.program import short_errors  # not at the top: worker processes import this module too

    with short_errors():
        print(run(words))


if __name__ == "__main__":
    main()
