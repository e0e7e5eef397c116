"""The check of a data set: everything that is known of it without a model, told as text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.protocols import get_protocol
from benchmarks.protocols.images import ImageProtocol
from benchmarks.tables import card, text_table, wrapped
from episodes.checking.feasibility import Feasible, feasibility
from episodes.checking.leaks import class_leaks, same_pictures, split_remarks
from episodes.checking.pixels import look_at_all, names_of
from episodes.checking.variants import census, known_variant
from episodes.folds import Folds
from episodes.sources.base import Source
from episodes.sources.images import ImageSource
from fewshot.evaluation.benchmark import folds_in
from fewshot.media.class_sheet import class_tiles, video_tiles, write_sheet
from fewshot.run.console import counted

MOST = 50  # problems of a kind that are told


@dataclass
class Findings:
    """What a check has found: `broken` makes a run fail, or its numbers others than it says; `remarks` do not."""

    broken: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        parts = []
        for title, found in (("broken", self.broken), ("left out, or odd", self.remarks)):
            more = [f"and {len(found) - MOST} more"] if len(found) > MOST else []
            lines = [f"  - {line}" for line in [*found[:MOST], *more]]
            parts.append("\n".join([f"{title}: {len(found) or 'nothing'}", *lines]))
        return "\n\n".join(parts)


def check_data(
    source: Source, split: str, *, shots: Sequence[int], protocol: str, lists: str | None, limit: int | None, out: Path
) -> tuple[str, Findings]:
    """Check a data set, and write its contact sheet to `out`. Returns the text, and what was found.

    Args:
        source: opened, without a cache in memory.
        split: of a task; '' for a data set with folds.
        shots: numbers of supports whose feasibility is told.
        protocol: of images: says from how many pixels on an image shows a class.
        lists: folder of list files, of images; None: none.
        limit: images or videos that are read whole, from the first on; None: all.
    """
    findings = Findings(source.broken())
    findings.remarks += [line for line in source.problems() if line not in set(findings.broken)]
    names = names_of(source)[:limit]
    looked = look_at_all(source, names, _watched)
    told = set(findings.broken)
    findings.broken += [line for found in looked.values() for line in found.broken if line not in told]
    findings.remarks += [line for found in looked.values() for line in found.odd]
    leaks, same = same_pictures(source, looked)
    findings.broken += leaks
    findings.remarks += same
    parts = [_census(source, split, len(names))]
    if not split:
        folds = folds_in(source)
        findings.broken += class_leaks(folds)
        parts.append(_folds(source, folds, shots, protocol, lists, findings))
    tiles = class_tiles(source, folds_in(source)) if not split else video_tiles(source, names_of(source))
    if tiles:
        write_sheet(out, tiles, f"{source.name} {split}".strip())
        parts.append(f"contact sheet: {out}")
    return "\n\n".join([*parts[:1], str(findings), *parts[1:]]), findings


def _watched(names: Sequence[str]) -> Iterator[str]:
    return counted(names, "reading", "item", True)


def _census(source: Source, split: str, read: int) -> str:
    """How much there is, and which known variant that makes it."""
    try:
        found = census(source)
    except ValueError as error:  # a broken entry, which is among the findings
        return card({"data set": f"{source.name} {split}".strip(), "folder": str(source.root), "counted": str(error)})
    variant = known_variant(source.name, split, found)
    lines = {
        "data set": f"{source.name} {split}".strip(),
        "folder": str(source.root),
        "holds": ", ".join(f"{number:,} {what}" for what, number in found.items() if number),
        "variant": variant or "none is known to compare with",
        "read whole": f"{read:,} of {len(names_of(source)):,}",
    }
    return wrapped(card(lines))


def _folds(
    source: Source, folds: Folds, shots: Sequence[int], protocol: str, lists: str | None, findings: Findings
) -> str:
    """Feasibility of every fold; what stands in its way is added to the findings."""
    rules = get_protocol(protocol) if protocol else None
    area = 0
    if isinstance(source, ImageSource):
        findings.remarks += split_remarks(source)
        area = rules.rule(source.name).min_area if isinstance(rules, ImageProtocol) and lists is None else 0
    try:
        rows = feasibility(source, folds, shots, area, lists)
    except (ValueError, FileNotFoundError) as error:
        findings.broken.append(str(error))
        return "folds: not told, see above"
    words = "images" if isinstance(source, ImageSource) else "videos"
    header = ["fold", "shots", "test classes", "queries", "training classes", f"training {words} with a test class"]
    title = f"folds: classes with enough {words}" + (f" of {area} pixels and more ({protocol})" if area else "")
    note = "" if words == "images" else "\ntraining videos with a test class are never used"
    return f"{title}\n{text_table(header, list(map(_row, rows)))}{note}"


def _row(one: Feasible) -> list[str]:
    test, train = (f"{enough} of {total}" for enough, total in (one.test, one.train))
    return [str(one.group), str(one.shots), test, f"{one.queries:,}", train, f"{one.held_out:,}"]
