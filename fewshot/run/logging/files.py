"""The measurements of a run as JSON lines and as CSV, in its folder."""

from __future__ import annotations

import csv
import io
import json
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from episodes.whole_files import replacing

logger = logging.getLogger(__name__)
LINES = "metrics.jsonl"
Row = dict[str, Any]


class MetricFiles:
    """`metrics.jsonl`, one row a line as it comes, and `metrics.csv`, the same with one column per name.

    The JSON lines are the record; the CSV is written anew from them whenever a row brings a new column.
    """

    def __init__(self, folder: Path) -> None:
        self.lines, self.sheet = folder / LINES, folder / "metrics.csv"
        self._set_damaged_aside()
        self.columns = columns_of(self.rows())
        self._write_sheet()

    def append(self, row: Row) -> None:
        """Add a row; it is on the disk when this returns."""
        with self.lines.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        if set(row) <= set(self.columns):
            with self.sheet.open("a", encoding="utf-8", newline="") as file:
                csv.DictWriter(file, self.columns).writerow(row)
        else:
            self.columns = columns_of([dict.fromkeys(self.columns), row])
            self._write_sheet()

    def rows(self) -> list[Row]:
        """All rows. A last line that was cut off by a kill does not count."""
        return _rows(self._whole_lines())

    def rewind(self, step: int, validated: int) -> None:
        """Drop the rows after `step`, and of validations after `validated`: a run that continues repeats them."""
        kept = [row for row in self.rows() if row["step"] <= (validated if is_validation(row) else step)]
        replace_file(self.lines, "".join(json.dumps(row) + "\n" for row in kept))
        self.columns = columns_of(kept)
        self._write_sheet()

    def _whole_lines(self) -> list[str]:
        return _whole_lines(self.lines)

    def _set_damaged_aside(self) -> None:
        """Go on with the rows that can be read; the file as it was found is kept beside them."""
        lines = self._whole_lines()
        whole = [line for line in lines if _row(line) is not None]
        if len(whole) == len(lines):
            return
        kept = self.lines.with_name("metrics.damaged.jsonl")
        logger.warning(
            "%s: %d of %d rows cannot be read and are left out; the file as it was found is %s",
            *(self.lines, len(lines) - len(whole), len(lines), kept),
        )
        self.lines.replace(kept)
        replace_file(self.lines, "".join(f"{line}\n" for line in whole))

    def _write_sheet(self) -> None:
        replace_file(self.sheet, sheet(self.columns, self.rows()), sync=False)  # the lines are the record


def read_rows(folder: Path) -> list[Row]:
    """The rows of a run folder that can be read, none where there are no measurements; nothing is written."""
    return _rows(_whole_lines(folder / LINES))


def _whole_lines(path: Path) -> list[str]:
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8", errors="replace")
    return text.split("\n")[:-1]  # what follows the last line end is empty or cut off


def _rows(lines: Iterable[str]) -> list[Row]:
    return [row for row in map(_row, lines) if row is not None]


def is_validation(row: Row) -> bool:
    """Whether a row holds the numbers of a validation."""
    return any(name.startswith("val/") for name in row)


def _row(line: str) -> Row | None:
    """A row, None for a line that a power cut or a bad disk has damaged."""
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) and isinstance(row.get("step"), int) else None


def columns_of(rows: Iterable[Row]) -> list[str]:
    """The names in the rows, in the order in which they first appear, `step` first."""
    return list(dict.fromkeys(["step", *(name for row in rows for name in row)]))


def strict_json(content: Mapping[str, Any]) -> str:
    """JSON that every reader takes: a number that is not finite (a mean over nothing) becomes null."""
    return json.dumps(_finite(content), indent=2, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def sheet(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows as CSV text with a header."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def replace_file(path: Path, text: str, sync: bool = True) -> None:
    """Write a file so that at every moment either the old or the new content is there as a whole.

    With `sync` it survives a power cut, which takes as long as the disk needs.
    """
    with replacing(path, sync) as partial:
        partial.write_text(text, encoding="utf-8", newline="")
