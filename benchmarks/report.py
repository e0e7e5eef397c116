"""`Report`: per-fold tables of J and F with intervals and probes side by side, from a list of query scores."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmarks.estimates import MEASURES, Estimate, FoldReport, build_folds
from benchmarks.protocols import PROTOCOLS, get_protocol
from benchmarks.scores import QueryScore, scores_to_json, write_scores
from benchmarks.tables import group_name, percent, text_table

__all__ = ["Estimate", "FoldReport", "QueryScore", "Report"]


@dataclass(frozen=True)
class Report:
    """All numbers of a test, built from one `QueryScore` per query.

    Attributes:
        scores: queries of all seeds, groups and probes.
        protocol: name of the protocol of the headline numbers; the others are reported as well.
        card: protocol card, printed above the tables (`Protocol.card`); '' prints the card with what is known here.
        bootstrap: number of bootstrap samples; 0 leaves those intervals out.
        random_seed: of the bootstrap.
    """

    scores: tuple[QueryScore, ...]
    protocol: str = "cma"
    card: str = ""
    bootstrap: int = 2000
    random_seed: int = 0

    def __post_init__(self) -> None:
        get_protocol(self.protocol)
        object.__setattr__(self, "scores", tuple(self.scores))
        if not any(score.probe == "" for score in self.scores):
            raise ValueError("a report needs at least one query score with probe '' (the real numbers)")
        seen = set()
        for score in self.scores:
            if score.key in seen:
                raise ValueError(f"scored twice: (seed, group, probe, episode, class, video, expression) = {score.key}")
            seen.add(score.key)

    @property
    def groups(self) -> tuple[int, ...]:
        """Folds with real scores."""
        return tuple(sorted({score.group for score in self.scores if score.probe == ""}))

    @property
    def probes(self) -> tuple[str, ...]:
        """'' (the real numbers) first, then the probes in the order in which they were scored."""
        return ("", *dict.fromkeys(score.probe for score in self.scores if score.probe != ""))

    @cached_property
    def folds(self) -> tuple[FoldReport, ...]:
        """For each probe one entry per group, then one for the mean over groups (group None)."""
        reports = (build_folds(self.scores, probe, self.bootstrap, self.random_seed) for probe in self.probes)
        return tuple(fold for of_probe in reports for fold in of_probe)

    def fold(self, group: int | None = None, probe: str = "") -> FoldReport:
        """The entry of one group (None: the mean over groups) and probe; ValueError if there are no such scores."""
        if (found := self._find(group, probe)) is None:
            raise ValueError(f"no scores of group {group}, probe {probe!r}: groups {self.groups}, probes {self.probes}")
        return found

    def value(
        self, measure: str = "J", probe: str = "", group: int | None = None, protocol: str | None = None
    ) -> float:
        """One number in 0..1: `measure` is J, F or J&F; group None is the mean over groups."""
        return self.fold(group, probe).estimates[protocol or self.protocol][measure].value

    def per_class(self, probe: str = "") -> dict[str, dict[str, float]]:
        """J and F of each class (headline resolution, frames pooled within the class), with its counts."""
        j_name, f_name = get_protocol(self.protocol).scores
        classes: dict[str, list[QueryScore]] = {}
        for score in self.scores:
            if score.probe == probe:
                classes.setdefault(score.class_name, []).append(score)
        table = {}
        for name, rows in sorted(classes.items()):
            frames = sum(row.frames for row in rows)
            j, f = (sum(row.frames * getattr(row, field) for row in rows) / frames for field in (j_name, f_name))
            table[name] = {"J": j, "F": f, "queries": len(rows), "frames": frames}
        return table

    def summary(self) -> dict[str, float]:
        """Flat numbers in percent for a tracker: `J`, `group_1/J`, `<probe>/J`, `<other protocol>/J`, ..."""
        flat = {}
        for measure in MEASURES:
            flat[measure] = self.value(measure)
            flat |= {f"group_{group}/{measure}": self.value(measure, group=group) for group in self.groups}
            flat |= {f"{probe}/{measure}": self.value(measure, probe) for probe in self.probes[1:]}
            others = (name for name in PROTOCOLS if name != self.protocol)
            flat |= {f"{name}/{measure}": self.value(measure, protocol=name) for name in others}
        return {key: 100 * value for key, value in flat.items()}

    def to_json(self) -> dict[str, Any]:
        """Everything in plain types: card, folds with intervals, classes, and the scores of all queries."""
        return {
            "protocol": self.protocol,
            "card": self._card().splitlines(),
            "bootstrap": {"samples": self.bootstrap, "unit": "query video", "seed": self.random_seed},
            "folds": [asdict(fold) for fold in self.folds],
            "classes": {probe or "main": self.per_class(probe) for probe in self.probes},
            "queries": scores_to_json(self.scores),
        }

    def write_json(self, path: Path | str) -> None:
        """Write `to_json`; missing folders are created."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(json.dumps(self.to_json(), indent=1) + "\n", encoding="utf-8")

    def write_csv(self, path: Path | str) -> None:
        """Write one line per query, all probes; `benchmarks.scores.read_scores` reads it back."""
        write_scores(Path(path), self.scores)

    def table(self) -> str:
        """Plain text: protocol card, folds and their mean with the probes, intervals, and the other averages."""
        return "\n\n".join([self._card(), self._fold_table(), self._interval_table(), self._protocol_table()])

    def _card(self) -> str:
        return self.card or get_protocol(self.protocol).card(seeds=self.fold().seeds)

    def _find(self, group: int | None, probe: str) -> FoldReport | None:
        return next((fold for fold in self.folds if (fold.group, fold.probe) == (group, probe)), None)

    def _fold_table(self) -> str:
        header = ["group", "queries", *MEASURES, *(f"{probe} J / F" for probe in self.probes[1:])]
        rows = []
        for group in (*self.groups, None):
            fold = self.fold(group)
            values = [percent(fold.estimates[self.protocol][measure].value) for measure in MEASURES]
            probes = [self._probe_cell(group, probe) for probe in self.probes[1:]]
            rows.append([group_name(group), str(fold.queries), *values, *probes])
        return f"J and F in percent, protocol {self.protocol}\n" + text_table(header, rows) + self._fewer_queries()

    def _fewer_queries(self) -> str:
        """Says so where a probe was not tested on all queries: its numbers are then of other queries."""
        counts = {probe: self.fold(None, probe).queries for probe in self.probes}
        fewer = [f"{probe} on {counts[probe]}" for probe in self.probes[1:] if counts[probe] != counts[""]]
        return f"\nprobes on other queries than the {counts['']}: {', '.join(fewer)}" if fewer else ""

    def _probe_cell(self, group: int | None, probe: str) -> str:
        """`J / F` of a probe, `-` where it was not scored."""
        if (fold := self._find(group, probe)) is None:
            return "-"
        return " / ".join(percent(fold.estimates[self.protocol][measure].value) for measure in ("J", "F"))

    def _interval_table(self) -> str:
        header = ["group", *(f"{measure} over {kind}" for kind in ("episodes", "seeds") for measure in ("J", "F"))]
        rows = []
        for group in (*self.groups, None):
            j, f = (self.fold(group).estimates[self.protocol][measure] for measure in ("J", "F"))
            rows.append([group_name(group), *map(percent, (j.bootstrap, f.bootstrap, j.over_seeds, f.over_seeds))])
        title = "intervals (95 %): bootstrap over episodes (query videos), Student's t over seeds\n"
        return title + text_table(header, rows)

    def _protocol_table(self) -> str:
        header = ["protocol (mean over groups)", *MEASURES, "J 95 %", "F 95 %"]
        rows = []
        for name, of in self.fold().estimates.items():
            intervals = [percent(of[measure].bootstrap) for measure in ("J", "F")]
            rows.append([name, *(percent(of[measure].value) for measure in MEASURES), *intervals])
        return "the same predictions under every protocol\n" + text_table(header, rows)
