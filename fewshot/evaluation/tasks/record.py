"""Record of finished samples, kept on disk, so that a test that was stopped goes on where it stopped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

Row = dict[str, Any]
FILES = "finished*.jsonl"


class Record:
    """Finished samples and their rows: one JSON line per sample, on the disk when `add` returns.

    Each process writes a file of its own and reads those of all, so that a test may go on with another number of
    processes.

    Args:
        folder: the run folder.
        rank: number of this process.
    """

    def __init__(self, folder: Path, rank: int = 0) -> None:
        self.folder, self.path = folder, folder / ("finished.jsonl" if rank == 0 else f"finished-{rank}.jsonl")
        if self.path.exists():
            cut_to_lines(self.path)

    def add(self, sample: str, rows: list[Row], seconds: float) -> None:
        """Note that a sample is finished, after its masks have been written."""
        line = json.dumps({"sample": sample, "seconds": round(seconds, 3), "rows": rows})
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def finished(self) -> dict[str, dict[str, Any]]:
        """Sample -> `{sample, seconds, rows}` of everything that any process has finished."""
        found: dict[str, dict[str, Any]] = {}
        for path in sorted(self.folder.glob(FILES)):
            for line in path.read_text(encoding="utf-8").split("\n")[:-1]:  # after the last line end: empty or cut off
                entry = json.loads(line)
                found[entry["sample"]] = entry
        return found


def cut_to_lines(path: Path) -> None:
    """Remove an incomplete last line, which a kill has left."""
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if whole != content:
        path.write_bytes(whole)
