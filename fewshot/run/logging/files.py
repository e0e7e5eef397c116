"""The measurements of a run as JSON lines and as CSV, in its folder."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

Row = dict[str, Any]


class MetricFiles:
    """`metrics.jsonl`, one row a line as it comes, and `metrics.csv`, the same with one column per name.

    The JSON lines are the record; the CSV is written anew from them whenever a row brings a new column.
    """

    def __init__(self, folder: Path) -> None:
        self.lines, self.sheet = folder / "metrics.jsonl", folder / "metrics.csv"
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
        if not self.lines.exists():
            return []
        lines = self.lines.read_text(encoding="utf-8").split("\n")
        return [json.loads(line) for line in lines[:-1]]  # what follows the last line end is empty or cut off

    def rewind(self, step: int) -> None:
        """Drop the rows after `step`, so that a run that continues from there repeats nothing."""
        kept = [row for row in self.rows() if row["step"] <= step]
        replace_file(self.lines, "".join(json.dumps(row) + "\n" for row in kept))
        self.columns = columns_of(kept)
        self._write_sheet()

    def _write_sheet(self) -> None:
        replace_file(self.sheet, sheet(self.columns, self.rows()))


def columns_of(rows: Iterable[Row]) -> list[str]:
    """The names in the rows, in the order in which they first appear, `step` first."""
    return list(dict.fromkeys(["step", *(name for row in rows for name in row)]))


def sheet(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows as CSV text with a header."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def replace_file(path: Path, text: str) -> None:
    """Write a file so that at every moment either the old or the new content is there as a whole."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        with temporary.open("w", encoding="utf-8", newline="") as file:
            file.write(text)
        os.replace(temporary, path)
    except OSError as error:  # a full disk is reported without a name
        temporary.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from error
