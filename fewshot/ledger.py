"""`python -m fewshot.ledger add|check|table|export`: results as data, what papers say beside what was measured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from episodes.plain_files import make_folder
from fewshot.cli.program import Command, Program
from fewshot.config.keys import key

ACTIONS = ("add", "check", "table", "export")
LOCK = ".lock"  # of the ledger: two that add at once would read the same rows and index


@dataclass
class LedgerConfig:
    """What is done, with which files, and where the ledger lies."""

    words: list[str] = key([], f"{', '.join(ACTIONS)}; then run folders (add, check) or files of the ledger (export)")
    folder: str = key("ledger", "of the ledger", place=True)
    against: Optional[str] = key(
        None, "check: another copy, such as that of the main branch, all of whose rows must be here", place=True
    )
    note: str = key("", "add: why a result that looks suspicious is right all the same")
    benchmark: list[str] = key([], "table: the benchmarks that are shown, of tasks also benchmark-split; none: all")
    measure: str = key("", "table: the measure that is shown; empty: the first of each protocol, and those of papers")
    format: str = key(
        "text", "table: its form; latex needs the package booktabs", choices=("text", "markdown", "latex", "csv")
    )
    dataset: Optional[str] = key(None, "export: the data set of the benchmark on the Hub, organisation/name")
    source: str = key("", "export: address of the ledger, for readers of the page")
    out: str = key(".eval_results/fewshot.yaml", "export: the file to write", place=True)


def run(config: LedgerConfig, command: Command) -> None:
    """Do what the first word says."""
    action, *files = config.words or [""]
    if action not in ACTIONS:
        raise ValueError(f"say first what is to be done, {', '.join(ACTIONS)}; got {action!r}")
    folder, paths = Path(config.folder).expanduser(), [Path(file).expanduser() for file in files]
    if action in ("add", "export") and not paths:
        raise ValueError(f"{action} needs files: {'run folders' if action == 'add' else f'files of {folder}'}")
    if action == "table" and paths:
        raise ValueError(f"table takes keys alone, got {paths[0]}; benchmark=<name> chooses rows")
    {"add": _add, "check": _check, "table": _table, "export": _export}[action](config, folder, paths)


def _add(config: LedgerConfig, folder: Path, paths: list[Path]) -> None:
    from benchmarks.ledger.check import refuse  # here, so that help does not wait for the numbers' libraries
    from benchmarks.ledger.entry import entries
    from benchmarks.ledger.rows import read_ledger, write_rows
    from fewshot.run.lock import one_at_a_time

    new = [row for path in paths for row in entries(path, config.note)]
    make_folder(folder, "folder")
    with one_at_a_time(folder / LOCK):
        refuse(new, read_ledger(folder))
        write_rows(folder, new)
    for row in new:
        print(f"added: {row}")


def _check(config: LedgerConfig, folder: Path, paths: list[Path]) -> None:
    from benchmarks.ledger.check import check_ledger
    from benchmarks.ledger.rows import read_ledger

    against = None if config.against is None else Path(config.against).expanduser()
    problems = check_ledger(folder, paths, against)
    for line in problems:
        print(line)
    if problems:
        raise ValueError(f"the ledger in {folder} has {len(problems)} problem(s), listed above")
    print(f"{folder}: {len(read_ledger(folder))} rows, nothing wrong")


def _table(config: LedgerConfig, folder: Path, paths: list[Path]) -> None:
    from benchmarks.ledger.rows import read_ledger
    from benchmarks.ledger.table import ledger_table

    print(ledger_table(read_ledger(folder), config.format, config.benchmark, config.measure))


def _export(config: LedgerConfig, folder: Path, paths: list[Path]) -> None:
    from benchmarks.ledger.export import eval_results, write_eval_results
    from benchmarks.ledger.rows import Result, read_rows

    if config.dataset is None:
        raise ValueError("export needs dataset=<organisation>/<name>, the data set of the benchmark on the Hub")
    rows = [row for path in paths for row, _ in read_rows(path) if isinstance(row, Result)]
    out = Path(config.out).expanduser()
    write_eval_results(out, eval_results(rows, config.dataset, config.source))
    print(f"{len(rows)} row(s): {out}")


PROGRAM = Program(
    name="ledger",
    schema=LedgerConfig,
    about=(
        "Keep results as data: add the results of meta_train, meta_test and task_test after computing their numbers "
        "again, check every row, and print what papers say beside what was measured."
    ),
    examples=(
        ("add runs/NAME", "one row for each fold of a run, or one of a task"),
        (
            "check",
            "hashes, duplicates, removed rows, unknown protocols, suspicious jumps; else exit code 1",
        ),
        ("table format=markdown benchmark=coco20i", "papers and measurements side by side"),
        ("export ledger/hsnet@1/pascal5i/cma/1a2b3c4d.json dataset=me/pascal5i", "for the page of a model"),
    ),
    run=run,
    words="words",
)

main = PROGRAM.main

if __name__ == "__main__":
    main()
