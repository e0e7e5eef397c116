"""Rows of the ledger and their files.

A folder holds `<protocol>@<version>/<benchmark>/<system>/<weights>.json` for what was measured, one row for each fold
and number of shots, or for each split of a task, `papers/<benchmark>/<system>.json` for what papers say, and
`index.txt` with the hash of every row, so that a row that is changed or taken out is noticed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar

from episodes.plain_files import read_text
from episodes.whole_files import replacing

FORMAT = "fewshot-ledger-1"
PAPERS, INDEX = "papers", "index.txt"
# of the leak line: what a system may know of the tested classes beside what its supports show
QUESTIONS = {
    "class_name": "class name given",
    "test_classes": "test classes in supervised training",
    "images": "queries seen in training",
}
NOT_KNOWN = "not known"  # answer to a question that nobody recorded
LATER = ("training_run",)  # fields that rows of earlier versions have not, which keep their hashes
NOT_TOLD = "not_known"  # of a training run of which nothing is known: why
OF_A_REPETITION = ("seed", "step", "digest", NOT_TOLD)  # of a training run: they may differ between repetitions
SET_UP = "set_up"  # of a training run: digest of all its settings but for seed and fold


@dataclass(frozen=True, kw_only=True)
class Result:
    """A result that was measured by this program; what a test of any kind says. Numbers are in 0..1.

    Attributes:
        protocol, rules: name with version (`hsnet@1`), and the digest of its rules.
        benchmark, data: its name, and the fingerprint of the data set.
        system, settings: what was tested; of files in the settings the names alone.
        weights, training: hash of the weights, and the data sets and files of their training, the last one first.
        measures: measure -> `value` and `interval` (95 %, bootstrap; None: there is none), the headline first.
        leak: the leak line, question -> `answer` and `why`.
        device, commit, versions, fewshot, date: of the test.
        file: hash of the whole `results.json`.
        note: why a result that looks suspicious is right all the same.
        training_run: how the weights were trained (`fewshot.inference.training_run`), or why that is not known; None:
            nothing was trained, or nobody recorded it.
    """

    protocol: str
    rules: str
    benchmark: str
    data: str
    system: str
    settings: Mapping[str, Any]
    weights: str
    training: str
    measures: Mapping[str, Mapping[str, Any]]
    leak: Mapping[str, Mapping[str, str]]
    device: str
    commit: str
    versions: str
    fewshot: str
    date: str
    file: str
    note: str = ""
    training_run: Mapping[str, Any] | None = None

    @property
    def place(self) -> str:
        """File of the row, in the folder of the ledger."""
        return f"{self.protocol}/{self.benchmark}/{_file_name(self.system)}/{self.weights[:8]}.json"

    @property
    def trained_like(self) -> dict[str, Any]:
        """What repetitions of a training have in common: all that is known of it but for what its seed decides."""
        return trained_like(self.training_run)

    @property
    def _set_up(self) -> tuple[Any, ...]:
        """Data, system and training, whatever the seed and the weights."""
        trained = self.system, _plain(self.settings), self.training, _plain(self.trained_like)
        return (self.protocol, self.benchmark, self.data, *trained)


@dataclass(frozen=True, kw_only=True)
class Measured(Result):
    """A result of one fold of a benchmark with folds.

    Attributes:
        adaptation: to the supports of each episode; None: none.
        group, shots: the fold, and supports of an episode.
        seeds, trained_with_seed: of the episodes, and of the training where the same run trained.
        episodes, queries: hash of the list of episodes, and their queries.
        draws, manifest: how the episodes were drawn, and the file that they were frozen in, if any.
        probes: sanity probe -> measure -> value.
    """

    KIND: ClassVar[str] = "measured"
    adaptation: Mapping[str, Any] | None
    group: int
    shots: int
    seeds: Sequence[int]
    trained_with_seed: int | None
    episodes: str
    queries: int
    draws: str
    manifest: str | None
    probes: Mapping[str, Mapping[str, float]]

    @property
    def key(self) -> tuple[Any, ...]:
        """What may be there once."""
        test = self.group, self.shots, self.episodes, _plain(self.settings), _plain(self.adaptation)
        return (self.protocol, self.benchmark, self.data, self.system, self.weights, *test)

    @property
    def alike(self) -> tuple[Any, ...]:
        """What rows of the same fold of a system have in common, whatever their seed and weights."""
        return (*self.of_one_line, self.group)

    @property
    def of_one_line(self) -> tuple[Any, ...]:
        """What rows of a set-up have in common, whatever their fold."""
        return (*self._set_up, _plain(self.adaptation), self.draws, self.manifest, self.shots)

    @property
    def seed(self) -> int:
        """The seed of the training where the same run trained, else the first of the episodes."""
        return self.seeds[0] if self.trained_with_seed is None else self.trained_with_seed

    @property
    def repetition(self) -> tuple[Any, ...]:
        """What tells repetitions apart: the seed of the training, where it is known, and those of the episodes."""
        known = (self.training_run or {}).get("seed")
        return known if self.trained_with_seed is None else self.trained_with_seed, tuple(self.seeds)

    def __str__(self) -> str:
        return f"{self.place}, group {self.group}, {self.shots} shots, seed {self.seed}"


@dataclass(frozen=True, kw_only=True)
class MeasuredTask(Result):
    """A result of a task without folds: expressions, given masks, or everything in a video.

    Attributes:
        split: of the data set.
        test: settings of the test, but for names and places of files.
        seed: of the test: of exchanged expressions, and of the weights of an untrained system.
        samples, items: videos or images, and rows of the test: objects, expressions, tracks.
        beside: the same measures of parts of the test, in other readings, and with information taken away.
        computed_again: the measures that were computed again from what `results.json` holds when the row was added.
    """

    KIND: ClassVar[str] = "task"
    split: str
    test: Mapping[str, Any]
    seed: int
    samples: int
    items: int
    beside: Mapping[str, Mapping[str, float]]
    computed_again: Sequence[str]

    @property
    def tested(self) -> str:
        """Data set and split, as papers name what they tested: `refcoco-testA`."""
        return f"{self.benchmark}-{self.split}"

    @property
    def key(self) -> tuple[Any, ...]:
        """What may be there once."""
        test = self.split, self.seed, _plain(self.settings), _plain(self.test)
        return (self.protocol, self.benchmark, self.data, self.system, self.weights, *test)

    @property
    def alike(self) -> tuple[Any, ...]:
        """What rows of the same test of a system have in common, whatever their weights."""
        return (*self._set_up, self.split, _plain(self.test))

    @property
    def of_one_line(self) -> tuple[Any, ...]:
        """The same: a task has no folds."""
        return self.alike

    def __str__(self) -> str:
        return f"{self.place}, {self.split}"


@dataclass(frozen=True)
class Claimed:
    """A number that a paper says, in 0..1.

    Attributes:
        benchmark, system, shots, measure: what it is of; of a task `<benchmark>-<split>`, with 0 shots.
        value: mean over the folds.
        folds: fold -> value, where they are said.
        variant: what tells it from other rows of the system; '' for nothing.
        protocol: name with version where it is one that is known here; '': the paper's own.
        source: the paper.
        seen: where the number was read.
        leak: question of the leak line -> answer, where it is known.
    """

    KIND: ClassVar[str] = "claimed"
    benchmark: str
    system: str
    shots: int
    measure: str
    value: float
    source: str
    seen: str
    folds: Mapping[str, float] = field(default_factory=dict)
    variant: str = ""
    protocol: str = ""
    leak: Mapping[str, str] = field(default_factory=dict)

    @property
    def place(self) -> str:
        """File of the row, in the folder of the ledger."""
        return f"{PAPERS}/{self.benchmark}/{_file_name(self.system)}.json"

    @property
    def key(self) -> tuple[Any, ...]:
        """What may be there once."""
        return self.benchmark, self.system, self.variant, self.shots, self.measure, self.source

    def __str__(self) -> str:
        return f"{self.place}, {self.measure}, {self.shots} shots{', ' if self.variant else ''}{self.variant}"


AnyMeasured = Measured | MeasuredTask
Row = Measured | MeasuredTask | Claimed
KINDS: dict[str, type[Row]] = {kind.KIND: kind for kind in (Measured, MeasuredTask, Claimed)}


def digest_of(row: Row) -> str:
    """SHA-256 over everything that a row says. Fields that came later count where they say something."""
    said = {name: value for name, value in asdict(row).items() if name not in LATER or value is not None}
    return hashlib.sha256(_plain({"kind": row.KIND, **said}).encode()).hexdigest()


def read_rows(path: Path) -> list[tuple[Row, str]]:
    """The rows of a file, each with the hash that is written beside it.

    Raises:
        ValueError: it is no such file, or a row lacks something; it is named.
    """
    try:
        content = json.loads(read_text(path))
        if content["format"] != FORMAT:
            raise ValueError(f"its format is {content['format']!r}, this version reads {FORMAT!r}")
        return [_row(stored) for stored in content["rows"]]
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no file of a ledger ({error}): put back a copy of it") from error


def files_of(folder: Path) -> list[Path]:
    """The files of rows in a ledger, sorted. Raises ValueError where there is no such folder."""
    if not folder.is_dir():
        raise ValueError(f"there is no ledger in {folder}: give folder=<folder>")
    return sorted(path for path in folder.rglob("*.json") if not path.name.startswith("."))


def read_ledger(folder: Path) -> list[Row]:
    """All rows. Raises ValueError as `read_rows`."""
    return [row for path in files_of(folder) for row, _ in read_rows(path)]


def read_index(folder: Path) -> dict[str, str]:
    """Hash of each row -> its place, as the index says. Raises ValueError for a damaged line."""
    path = folder / INDEX
    found: dict[str, str] = {}
    for number, line in enumerate(read_text(path).splitlines() if path.exists() else [], start=1):
        digest, _, place = line.partition("  ")
        if not place:
            raise ValueError(f"{path}: line {number} is no hash and place: put back a copy of it")
        found[digest] = place
    return found


def write_rows(folder: Path, rows: Iterable[Row]) -> None:
    """Add rows to their files and to the index. Rows that are there stay as they are."""
    by_place: dict[str, list[Row]] = {}
    for row in rows:
        if ".." in row.place.split("/"):
            raise ValueError(f"{row.place} leads out of the ledger: its benchmark has no plain name")
        by_place.setdefault(row.place, []).append(row)
    index = read_index(folder)
    for place, new in by_place.items():
        path = folder / place
        before = read_rows(path) if path.exists() else []  # with their hashes, so that one that was edited stays known
        hashed = [*before, *((row, digest_of(row)) for row in new)]
        content = [{"kind": row.KIND, **asdict(row), "sha256": digest} for row, digest in hashed]
        _write(path, json.dumps({"format": FORMAT, "rows": content}, indent=1, ensure_ascii=False) + "\n")
        index |= {digest_of(row): place for row in new}
    lines = sorted(f"{digest}  {place}\n" for digest, place in index.items())
    _write(folder / INDEX, "".join(sorted(lines, key=lambda line: line.split("  ", 1)[1])))


def trained_like(run: Mapping[str, Any] | None) -> dict[str, Any]:
    """What repetitions of a training have in common: all that is known of it but for what its seed decides."""
    return {name: value for name, value in (run or {}).items() if name not in OF_A_REPETITION}


def said_by(record: Mapping[str, Any], file: str, note: str) -> dict[str, Any]:
    """Fields of a row that the record of a test of any kind holds under the same name; of files the names alone.

    Raises KeyError for one that the record lacks.
    """
    settings = {name: without_folder(value) for name, value in record["settings"].items()}
    same = {name: record[name] for name in ("data", "system", "commit", "versions", "fewshot", "date")}
    return {**same, "settings": settings, "file": file, "note": note}


def without_folder(value: Any) -> Any:
    """The name of a file; other settings as they are."""
    return Path(value).name if isinstance(value, str) and "/" in value else value


def _row(stored: dict[str, Any]) -> tuple[Row, str]:
    kind = KINDS[stored["kind"]]
    names = {one.name for one in fields(kind)}
    if unknown := stored.keys() - names - {"kind", "sha256"}:
        raise ValueError(f"unknown {', '.join(sorted(unknown))}")
    row = kind(**{name: stored[name] for name in names if name in stored})
    for value in _numbers(row):
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError(f"{value!r} is no number")
    return row, stored["sha256"]


def _numbers(row: Row) -> Iterator[Any]:
    """What a row says in numbers."""
    if isinstance(row, Claimed):
        yield from (row.value, *row.folds.values())
        return
    yield from (found["value"] for found in row.measures.values())
    for part in (row.probes if isinstance(row, Measured) else row.beside).values():
        yield from part.values()


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def _plain(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _file_name(system: str) -> str:
    """The name of a system as that of a folder: one of another package is `package.module:Class`."""
    return "".join(c if c.isalnum() or c in "._-+" else "." for c in system)
