"""`Report`: per-fold tables with intervals and probes side by side, from a list of scores of queries or images."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmarks.protocols import BaseProtocol, default_protocol, get_protocol, protocols_served
from benchmarks.scores.estimates import Estimate, FoldReport, build_folds
from benchmarks.scores.scores import ImageScore, QueryScore, Score, scores_to_json, write_scores
from benchmarks.scores.twins import TwinPart, twin_line, twin_parts, twin_table
from benchmarks.tables import card, group_name, measure_key, percent, text_table, wrapped

__all__ = ["Estimate", "FoldReport", "ImageScore", "QueryScore", "Report"]
MOST_CLASSES = 100  # a longer list of classes is left to the JSON file


@dataclass(frozen=True)
class Report:
    """All numbers of a test, built from one score per query: `QueryScore`s or `ImageScore`s.

    Attributes:
        scores: queries of all seeds, groups and probes, all of one kind.
        protocol: name of the protocol of the headline numbers ('': `cma` or `hsnet`, by the kind of the scores). The
            other protocols that the scores serve are reported as well.
        card: protocol card, printed above the tables (`Protocol.card`); '' prints the card with what is known here.
        bootstrap: number of bootstrap samples; 0 leaves those intervals out.
        random_seed: of the bootstrap.
        record: what was tested, in plain types: weights, data, seeds, versions; written as `run` of the JSON file.
        bridge: protocol -> scores of the same predictions on the same episodes, counted by it.

    Raises:
        ValueError: no real score, a query scored twice, an unknown protocol, or one of the other kind of scores.
    """

    scores: tuple[Score, ...]
    protocol: str = ""
    card: str = ""
    bootstrap: int = 2000
    random_seed: int = 0
    record: Mapping[str, Any] = field(default_factory=dict)
    bridge: Mapping[str, Sequence[Score]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "scores", tuple(self.scores))
        if not any(score.probe == "" for score in self.scores):
            raise ValueError("a report needs at least one query score with probe '' (the real numbers)")
        object.__setattr__(self, "protocol", self.protocol or default_protocol(self.scores))
        self.definition.check(self.scores)
        seen = set()
        for score in self.scores:
            if score.key in seen:
                raise ValueError(f"scored twice: ({score.KEY}) = {score.key}")
            seen.add(score.key)

    @property
    def definition(self) -> BaseProtocol:
        """The protocol of the headline numbers."""
        return get_protocol(self.protocol)

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
        options = self.bootstrap, self.random_seed
        reports = (build_folds(self.scores, self.definition, probe, *options) for probe in self.probes)
        return tuple(fold for of_probe in reports for fold in of_probe)

    @cached_property
    def bridged(self) -> dict[str, list[FoldReport]]:
        """For each protocol of the bridge one entry per group, then one for the mean over groups (group None)."""
        options = self.bootstrap, self.random_seed
        return {name: build_folds(scores, get_protocol(name), "", *options) for name, scores in self.bridge.items()}

    def fold(self, group: int | None = None, probe: str = "") -> FoldReport:
        """The entry of one group (None: the mean over groups) and probe; ValueError if there are no such scores."""
        if (found := self._find(group, probe)) is None:
            raise ValueError(f"no scores of group {group}, probe {probe!r}: groups {self.groups}, probes {self.probes}")
        return found

    def value(
        self, measure: str | None = None, probe: str = "", group: int | None = None, protocol: str | None = None
    ) -> float:
        """One number in 0..1.

        Args:
            measure: one of the protocol's (`J`, `F`, `J&F`; `mIoU`, `FB-IoU`); None: the first.
            group: None is the mean over groups.
            protocol: None is that of the report.
        """
        estimates = self.fold(group, probe).estimates[protocol or self.protocol]
        if measure is not None and measure not in estimates:
            raise ValueError(f"unknown measure {measure!r} of protocol {self.protocol!r}: valid are {list(estimates)}")
        return estimates[measure or self.definition.measures[0]].value

    def per_class(self, probe: str = "") -> dict[str, dict[str, float]]:
        """The measures of each class under the headline protocol, with its counts."""
        classes: dict[str, list[Score]] = {}
        for score in self.scores:
            if score.probe == probe:
                classes.setdefault(score.class_name, []).append(score)
        return {name: self.definition.per_class(rows) for name, rows in sorted(classes.items())}

    @cached_property
    def twins(self) -> tuple[TwinPart, ...]:
        """Queries with and without a twin, of every probe; nothing where no query has one."""
        if not any(getattr(score, "twin", False) for score in self.scores):
            return ()
        return tuple(part for probe in self.probes for part in twin_parts(self.scores, self.definition, probe))

    def summary(self) -> dict[str, float]:
        """Flat numbers in percent for a log: `J`, `group_1/J`, `<probe>/J`, `<other protocol>/J`, `miou`, ..."""
        flat = {}
        others = [p.name for p in protocols_served(self.definition) if p.name != self.protocol]
        for measure in self.definition.measures:
            key = measure_key(measure)
            flat[key] = self.value(measure)
            flat |= {f"group_{group}/{key}": self.value(measure, group=group) for group in self.groups}
            flat |= {f"{probe}/{key}": self.value(measure, probe) for probe in self.probes[1:]}
            flat |= {f"{name}/{key}": self.value(measure, protocol=name) for name in others}
        for part in self.twins:
            if (part.group, part.probe) == (None, ""):
                where = "with_twin" if part.twin else "without_twin"
                flat |= {f"{where}/{measure_key(m)}": part.values[m] for m in self.definition.measures}
        return {key: 100 * value for key, value in flat.items()}

    def to_json(self) -> dict[str, Any]:
        """Everything in plain types: card, folds with intervals, classes, and the scores of all queries."""
        return {
            **self.definition.record,
            "card": self._card().splitlines(),
            **({"run": dict(self.record)} if self.record else {}),
            "bootstrap": {"samples": self.bootstrap, "unit": self.definition.unit, "seed": self.random_seed},
            "folds": [asdict(fold) for fold in self.folds],
            **({"bridge": self._bridge_to_json()} if self.bridge else {}),
            **({"twins": [asdict(part) for part in self.twins]} if self.twins else {}),
            "classes": {probe or "main": self.per_class(probe) for probe in self.probes},
            "queries": scores_to_json(self.scores),
        }

    def _bridge_to_json(self) -> dict[str, Any]:
        return {
            name: {
                "protocol": get_protocol(name).versioned,
                "protocol_digest": get_protocol(name).digest,
                "folds": [asdict(fold) for fold in folds],
            }
            for name, folds in self.bridged.items()
        }

    def write_json(self, path: Path | str) -> None:
        """Write `to_json`; missing folders are created."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(json.dumps(self.to_json(), indent=1) + "\n", encoding="utf-8")

    def write_csv(self, path: Path | str) -> None:
        """Write one line per query, all probes; `benchmarks.scores.scores.read_scores` reads it back."""
        write_scores(Path(path), self.scores)

    def table(self) -> str:
        """Plain text: card, folds and their mean with the probes, intervals, twins, classes, and the other averages."""
        parts = [wrapped(self._card()), self._fold_table(), self._interval_table()]
        parts += [twin_table(self.twins, self.definition.basic)] if self.twins else []
        parts += [self._class_table()] if self.definition.lists_classes else []
        parts += [self._protocol_table()] if len(self.fold().estimates) > 1 or self.bridge else []
        return "\n\n".join(parts)

    def _card(self) -> str:
        text = self.card or self.definition.card(seeds=self.fold().seeds)
        if not self.twins:
            return text
        return f"{text}\n{card({'twins': twin_line(self.twins, self.fold().queries, self.definition.basic)})}"

    def _find(self, group: int | None, probe: str) -> FoldReport | None:
        return next((fold for fold in self.folds if (fold.group, fold.probe) == (group, probe)), None)

    def _fold_table(self) -> str:
        columns, basic = self.definition.columns, self.definition.basic
        header = ["group", "queries", *columns, *(f"{probe} {' / '.join(basic)}" for probe in self.probes[1:])]
        rows = []
        for group in (*self.groups, None):
            fold = self.fold(group)
            values = [percent(fold.estimates[self.protocol][measure].value) for measure in columns]
            probes = [self._probe_cell(group, probe) for probe in self.probes[1:]]
            rows.append([group_name(group), str(fold.queries), *values, *probes])
        title = f"{' and '.join(basic)} in percent, protocol {self.protocol}"
        return "\n".join(filter(None, [title, text_table(header, rows), self.definition.note, self._fewer_queries()]))

    def _fewer_queries(self) -> str:
        """Says so where a probe was not tested on all queries: its numbers are then of other queries."""
        counts = {probe: self.fold(None, probe).queries for probe in self.probes}
        fewer = [f"{probe} on {counts[probe]}" for probe in self.probes[1:] if counts[probe] != counts[""]]
        return f"probes on other queries than the {counts['']}: {', '.join(fewer)}" if fewer else ""

    def _probe_cell(self, group: int | None, probe: str) -> str:
        """`J / F` of a probe, `-` where it was not scored."""
        if (fold := self._find(group, probe)) is None:
            return "-"
        return " / ".join(percent(fold.estimates[self.protocol][m].value) for m in self.definition.basic)

    def _interval_table(self) -> str:
        basic = self.definition.basic
        header = ["group", *(f"{measure} over {kind}" for kind in ("episodes", "seeds") for measure in basic)]
        rows = []
        for group in (*self.groups, None):
            found = [self.fold(group).estimates[self.protocol][measure] for measure in basic]
            intervals = [*(e.bootstrap for e in found), *(e.over_seeds for e in found)]
            rows.append([group_name(group), *map(percent, intervals)])
        unit = self.definition.unit
        title = f"intervals (95 %): bootstrap over episodes ({unit}s), Student's t over seeds\n"
        return title + text_table(header, rows)

    def _class_table(self) -> str:
        """One row per class, the probes beside the real numbers."""
        tables = [self.per_class(probe) for probe in self.probes]
        if len(tables[0]) > MOST_CLASSES:
            return f"classes: {len(tables[0])}, listed in the JSON file"
        first = next(iter(next(iter(tables[0].values()))))  # the first column of a row is its measure
        header = ["class", "queries", first, *(f"{probe} {first}" for probe in self.probes[1:])]
        rows = []
        for name, row in tables[0].items():
            values = [percent(table[name][first]) if name in table else "-" for table in tables]
            rows.append([name, str(row["queries"]), *values])
        return "classes, in percent\n" + text_table(header, rows)

    def _protocol_table(self) -> str:
        basic, columns = self.definition.basic, self.definition.columns
        header = ["protocol (mean over groups)", *columns, *(f"{measure} 95 %" for measure in basic)]
        own = self.fold().estimates
        bridged = {name: folds[-1].estimates[name] for name, folds in self.bridged.items()}
        rows = []
        for name, of in {**own, **bridged}.items():
            values = [percent(of[measure].value if measure in of else None) for measure in columns]
            rows.append([name, *values, *(percent(of[measure].bootstrap) for measure in basic)])
        title = "the same predictions under every protocol"
        if bridged:
            title += f" that can count them (episodes, supports and input of {self.protocol})"
        return f"{title}\n{text_table(header, rows)}"
