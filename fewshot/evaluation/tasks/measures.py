"""The numbers of a test of a task, from its rows and its written masks."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.davis import Folders, evaluate, mean_of_runs
from benchmarks.metrics.davis import DavisAccumulator
from benchmarks.metrics.ris import RisAccumulator
from benchmarks.metrics.sentences import Candidate, SentenceAccumulator
from benchmarks.tables import NOT_SHARES, shown, text_table
from fewshot.evaluation.tasks.expressions import ExpressionScore

logger = logging.getLogger(__name__)
Row = Mapping[str, Any]
# J and F with the numbers of the objects kept -> their columns in the table of DAVIS
IDENTITY = {"J&F-identity": "J&F-Mean", "J-identity": "J-Mean", "F-identity": "F-Mean"}


@dataclass(frozen=True)
class Measures:
    """Numbers in 0..1, but for `benchmarks.tables.NOT_SHARES`.

    Attributes:
        values: by name, the headline first; empty if a server computes them. NaN: it is not there, `notes` say why.
        parts: the same for each part that the values are means of (annotators).
        beside: the same of some of the samples, and with information taken away, by what they are.
        objects: object -> (J, F), where objects are scored.
        notes: what could not be scored or counted, and why.
    """

    values: dict[str, float] = field(default_factory=dict)
    parts: dict[str, dict[str, float]] = field(default_factory=dict)
    beside: dict[str, dict[str, float]] = field(default_factory=dict)
    objects: dict[str, tuple[float, float]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def table(self) -> str:
        """A row of each part, of the values, and of what stands beside them, in percent but for `NOT_SHARES`."""
        if not self.values:
            return "nothing is scored here: the masks are for the benchmark's server"
        named = {**self.parts, "mean" if self.parts else "all": self.values, **self.beside}
        rows = [[name, *(shown(*pair) for pair in values.items())] for name, values in named.items()]
        return text_table(["", *self.values], rows)

    @property
    def logged(self) -> dict[str, float]:
        """The values that are finite, in percent where they are shares, by the names of a log."""
        known = {name: value for name, value in self.values.items() if math.isfinite(value)}
        return {f"test/{name}": value if name in NOT_SHARES else 100 * value for name, value in known.items()}


def ris_measures(rows: Sequence[Row]) -> Measures:
    """oIoU, mIoU and P@K of rows with `intersection` and `union`, by the definition of UniRef++'s evaluation."""
    score = RisAccumulator("uniref", ((row["intersection"], row["union"]) for row in rows)).compute()
    precision = {f"P@{threshold:g}": value for threshold, value in score.precision.items()}
    return Measures({"oIoU": score.overall_iou, "mIoU": score.mean_iou, **precision})


def expression_measures(scores: Sequence[ExpressionScore], probes: Mapping[str, Sequence[ExpressionScore]]) -> Measures:
    """J and F of expressions, mean over the expressions; those whose object has a twin apart, and with each probe.

    Args:
        probes: name -> scores of the same expressions.
    """
    beside = {}
    for name, found in {"": scores, **probes}.items():
        if name:
            beside[name] = _mean_jf(found)
        for twin, kind in ((True, "with a twin"), (False, "without a twin")) if any(s.twin for s in scores) else ():
            if chosen := [score for score in found if score.twin is twin]:
                beside[f"{name}, {kind}" if name else f"{kind} ({len(chosen)} of {len(found)})"] = _mean_jf(chosen)
    objects = {score.name: (score.j, score.f) for score in scores}
    return Measures(_mean_jf(scores), beside=beside, objects=objects, notes=tuple(_gaps(scores)))


def _gaps(scores: Sequence[ExpressionScore]) -> Iterator[str]:
    """Notes on what was not scored as it should be."""
    if missing := sum(score.missing for score in scores):
        yield f"{missing} of {len(scores)} expressions are of videos without results: they count 0"
    if hidden := [score.name for score in scores if not (score.shown or score.missing)]:
        more = f" and {len(hidden) - 1} more" if hidden[1:] else ""
        yield (
            f"{hidden[0]}{more}: no frame of the truth shows the object of the expression, so that empty masks count 1 "
            "and others 0: correct the list or the masks"
        )
    scored, listed = sum(score.frames for score in scores), sum(score.listed for score in scores)
    if scored < listed:
        yield f"the truth of {scored:,} of {listed:,} listed frames is there: the others do not count"


def _mean_jf(scores: Sequence[ExpressionScore]) -> dict[str, float]:
    j, f = (sum(values) / len(scores) for values in zip(*((score.j, score.f) for score in scores), strict=True))
    return {"J": j, "F": f, "J&F": (j + f) / 2}


def sentence_measures(rows: Sequence[Row]) -> Measures:
    """mAP of all candidates, and oIoU, mIoU and P@K of the best one, of rows with `runs` (see `SentencePredictor`)."""
    accumulator = SentenceAccumulator()
    for row in rows:
        runs = row["runs"]
        truth, *masks = ({"size": runs["size"], "counts": counts} for counts in (runs["truth"], *runs["candidates"]))
        candidates = [Candidate(score, mask) for score, mask in zip(runs["scores"], masks, strict=True)]
        accumulator.update((row["sample_id"], row["expression_id"]), truth, candidates)
    return Measures(accumulator.compute())


@dataclass(frozen=True)
class ScoredFolder:
    """Results that are scored together: a folder with one folder of PNGs per video."""

    folder: Path
    videos: tuple[str, ...]


def davis_measures(
    folders: Mapping[str, ScoredFolder],
    annotations: Path,
    *,
    unsupervised: bool,
    binary: bool = False,
    processes: int = 1,
    identity: Path | None = None,
) -> Measures:
    """J and F of written masks, as the DAVIS toolkit computes them. The values are means over the folders (annotators).

    Videos whose truth has too few frames are left out, with a note.

    Args:
        folders: by annotator, or one named `all`.
        annotations: folder with one folder of PNGs per video.
        unsupervised: every frame counts and objects are matched; else the first and last frame are left out and
            objects are known by their number.
        binary: every pixel above 0 is object 1.
        processes: videos scored at a time.
        identity: truth whose numbers are those of the results; J and F with these numbers kept stand beside the others
            (`IDENTITY`), see `benchmarks.metrics.davis.score_identity`.

    Raises ValueError: a PNG is missing or broken.
    """
    task = "unsupervised" if unsupervised else "semi-supervised"
    found, notes = _scored(folders, annotations, task, binary, processes)
    kept, more = ({}, []) if identity is None else _scored(folders, identity, "identity", binary, processes)
    told = tuple(dict.fromkeys([*notes, *more]))
    if not found:
        return Measures(notes=told)
    runs = {name: {**accumulator.compute(), **_identity(kept.get(name))} for name, accumulator in found.items()}
    values = mean_of_runs(found.values())
    if kept.keys() == found.keys():
        means = mean_of_runs(kept.values())
        values |= {name: means[column] for name, column in IDENTITY.items()}
    return Measures(values, runs if len(runs) > 1 else {}, objects=_objects(found), notes=told)


def _scored(
    folders: Mapping[str, ScoredFolder], annotations: Path, task: str, binary: bool, processes: int
) -> tuple[dict[str, DavisAccumulator], list[str]]:
    """Scores by folder, and a note on each video whose truth has too few frames."""
    needed = 3 if task == "semi-supervised" else 1
    found, notes = {}, []
    for name, results in folders.items():
        annotated = {video: len(list((annotations / video).glob("*.png"))) for video in results.videos}
        scored = [video for video, frames in annotated.items() if frames >= needed]
        notes += [
            f"{video} is not scored: its truth has {frames} frames, and {needed} are needed"
            for video, frames in annotated.items()
            if frames < needed
        ]
        if scored:
            found[name] = evaluate(Folders(results.folder, annotations, task, binary), scored, processes)
    return found, notes


def _identity(kept: DavisAccumulator | None) -> dict[str, float]:
    columns = {} if kept is None else kept.compute()
    return {name: columns[column] for name, column in IDENTITY.items() if column in columns}


def _objects(found: Mapping[str, DavisAccumulator]) -> dict[str, tuple[float, float]]:
    prefixed = len(found) > 1
    return {
        f"{part}/{name}" if prefixed else name: pair
        for part, accumulator in found.items()
        for name, pair in accumulator.rows().items()
    }
