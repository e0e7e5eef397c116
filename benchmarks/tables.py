"""Plain-text tables."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence

WIDTH = 100  # columns of a printed card
NOT_SHARES = frozenset({"decay"})  # measures that are no share of a whole: they are printed as they are


def percent(value: float | tuple[float, float] | None) -> str:
    """Text of a number in percent: `0.5312` -> `53.1`, an interval -> `50.1..56.2`, None -> `-`."""
    if value is None:
        return "-"
    if isinstance(value, tuple):
        return f"{percent(value[0])}..{percent(value[1])}"
    return f"{100 * value:.1f}"


def shown(name: str, value: float | None) -> str:
    """Text of the number of a measure: `percent`, but of `NOT_SHARES` the number itself; None and NaN -> `-`."""
    if value is None or math.isnan(value):
        return "-"
    return f"{value:.2f}" if name in NOT_SHARES else percent(value)


def group_name(group: int | None) -> str:
    """First cell of a row: the fold, or `mean` for the mean over folds."""
    return "mean" if group is None else str(group)


def measure_key(measure: str) -> str:
    """Name of a measure in a log: `J` -> `J`, `mIoU` -> `miou`, `FB-IoU` -> `fb_iou`."""
    return measure.lower().replace("-", "_") if "IoU" in measure else measure


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns aligned by width: the first to the left, the others to the right; a rule below the header."""
    widths = [max(len(row[k]) for row in [header, *rows]) for k in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        padded = [cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)]
        return "  ".join([cells[0].ljust(widths[0]), *padded]).rstrip()

    return "\n".join([line(header), "  ".join("-" * width for width in widths), *map(line, rows)])


def wrapped(text: str, width: int = WIDTH) -> str:
    """Lines `key: value` of a card, each in as many lines of at most `width` columns as it needs."""
    lines = []
    for line in text.splitlines():
        indent = " " * (line.find(": ") + 2 if ": " in line else 0)
        lines.append(
            textwrap.fill(line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
        )
    return "\n".join(lines)


def card(lines: Mapping[str, str]) -> str:
    """Lines `key: value`, the values below each other: protocol cards, notes and legends."""
    return "\n".join(f"{key:<13}: {value}" for key, value in lines.items())
