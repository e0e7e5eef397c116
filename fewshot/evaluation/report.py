"""Results of a test on episodes: report, card, files, table and log."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import tables
from benchmarks.protocols import get_protocol
from benchmarks.protocols.images import ImageProtocol
from benchmarks.protocols.protocol import NOT_STATED
from benchmarks.report import Report
from episodes.episode import EpisodeSpec
from episodes.sampling.official import official_file
from episodes.sampling.probes import PROBES
from fewshot.cli.runs import EpisodeRunConfig, MetaTrainConfig
from fewshot.evaluation.benchmark import Benchmark, Score
from fewshot.evaluation.leak import Leak, Past, lines
from fewshot.evaluation.record import record
from fewshot.inference.training_run import training_run
from fewshot.run import processes
from fewshot.run.logging import RunLogger
from fewshot.systems.config import SystemConfig
from fewshot.weights.trained_on import TrainedOn

logger = logging.getLogger(__name__)
RESULTS, SHEET = "results.json", "results.csv"


@dataclass(frozen=True)
class Origin:
    """Origin of the weights, as the protocol card tells it.

    Attributes:
        checkpoint: on what the checkpoint was chosen: `val`, `test`, `last`, or `given` when that is not known.
        start_weights: pre-trained weights that the training started from; None for training from scratch.
        past: what the weights have seen, for the leak line.
        run: how they were trained (`training_run`); None: nothing was.
    """

    checkpoint: str = NOT_STATED
    start_weights: str | None = None
    past: Past = Past()
    run: Mapping[str, Any] | None = None

    @staticmethod
    def of_training(
        config: MetaTrainConfig, trained_on: tuple[TrainedOn, ...] | None, weights: Path | None = None
    ) -> Origin:
        """Origin of `weights` that a training run made; `trained_on` is what they declare, the start included."""
        run = None if weights is None else training_run(weights)
        start, files = config.train.init_from, _files(config.system)
        return Origin(config.train.select_on, _names(start, *files), Past(trained_on, files), run)

    @staticmethod
    def untrained(config: SystemConfig) -> Origin:
        """A system as it is built."""
        files = _files(config)
        return Origin(start_weights=_names(*files), past=Past((), files))

    @staticmethod
    def given(weights: Path, trained_on: tuple[TrainedOn, ...] | None) -> Origin:
        """Weights of a file or folder whose run is not at hand, with what they declare, if anything."""
        return Origin("given", weights.name, Past(trained_on), training_run(weights))


def _files(config: SystemConfig) -> tuple[str, ...]:
    """Names of the files that the settings name."""
    return tuple(Path(file).name for place in config.places() if (file := getattr(config, place)))


def _names(*files: str | None) -> str | None:
    return ", ".join(Path(file).name for file in files if file) or None


@dataclass
class Outcome:
    """Results measured so far.

    Attributes:
        scores: of every query of every seed and probe.
        notes: groups and probes that were left out, and why.
        pictures: of a few episodes, in the order of `shown`.
        shown: the episodes of the pictures.
        shots: support clips per episode.
        tested: of each group, what was tested (`fewshot.evaluation.record.tested`), and how it was trained.
        leaks: of each group, its leak line.
        bridge: protocol -> the scores of the same predictions by it, see `fewshot.evaluation.bridge`.
    """

    scores: list[Score] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    pictures: list[Path] = field(default_factory=list)
    shown: list[EpisodeSpec] = field(default_factory=list)
    shots: int | None = None
    tested: dict[int, dict[str, Any]] = field(default_factory=dict)
    leaks: dict[int, Leak] = field(default_factory=dict)
    bridge: dict[str, list[Score]] = field(default_factory=dict)

    @property
    def seeds(self) -> list[int]:
        """Seeds of the episodes that were tested, sorted; those of a frozen list are its own."""
        return sorted({score.seed for score in self.scores})


def build_report(outcome: Outcome, benchmark: Benchmark, origin: Origin) -> Report:
    """The report of everything that has been measured so far."""
    told, bootstrap = card(outcome, benchmark, origin), benchmark.config.test.bootstrap
    tested = record(benchmark, outcome.seeds, outcome.tested, outcome.leaks)
    return benchmark.report(outcome.scores, told, bootstrap, tested, outcome.bridge)


def write_report(report: Report, folder: Path) -> None:
    """Write `results.json` and `results.csv` (process 0 only)."""
    if processes.is_main():
        report.write_json(folder / RESULTS)
        report.write_csv(folder / SHEET)


def tell(report: Report, outcome: Outcome, benchmark: Benchmark, folder: Path, log: RunLogger | None) -> None:
    """Print the tables and log the numbers (process 0 only)."""
    if not processes.is_main():
        return
    parts = [report.table(), legend(report.probes)]
    logger.info("\n%s\n", "\n\n".join(part for part in parts if part))
    logger.info("results: %s and %s", folder / RESULTS, folder / SHEET)
    if log is not None:
        log.summary({f"test/{name}": value for name, value in report.summary().items()})
        if outcome.pictures:
            _tabulate(log, outcome, benchmark)


def tell_protocol(benchmark: Benchmark) -> None:
    """Log under which protocol a system will be tested; the whole card is printed once, above the numbers."""
    frozen = places(benchmark.config)["frozen"]
    drawn = f"seeds {', '.join(map(str, benchmark.seeds))}" if frozen is None else f"the episodes of {frozen}"
    told = f"protocol {benchmark.protocol.name}, shots {benchmark.config.shots}, {drawn}"
    logger.info("test: %s; the card is printed with the numbers", told)


def card(outcome: Outcome, benchmark: Benchmark, origin: Origin) -> str:
    """The protocol card of what was measured, with what was left out."""
    text = benchmark.card(
        checkpoint=origin.checkpoint,
        shots=outcome.shots,
        seeds=outcome.seeds,
        start_weights=origin.start_weights,
        episodes=_tested(outcome, benchmark.config),
        **places(benchmark.config),
        **ways(benchmark.config),
    )
    notes = (*outcome.notes, *_fewer(outcome, benchmark.config))
    more = [("leak", line) for line in lines(outcome.leaks)] + [("note", note) for note in notes]
    return "\n".join([text, *(tables.card({key: value}) for key, value in more)])


def places(config: EpisodeRunConfig) -> dict[str, str | None]:
    """The names of the list files and of the frozen episodes, as the card tells them."""
    lists, manifest = config.data.lists, getattr(config, "manifest", None)
    protocol = get_protocol(config.benchmark.protocol)
    if config.benchmark.draws == "official" and manifest is None and isinstance(protocol, ImageProtocol):
        rule = protocol.rule(config.benchmark.name)
        name = official_file(config.benchmark.name, rule.queries, protocol.supports).name
        return {"lists": name, "frozen": name}
    return {
        "lists": None if lists is None else "/".join(Path(lists).parts[-2:]),
        "frozen": None if manifest is None else Path(manifest).name,
    }


def ways(config: EpisodeRunConfig) -> dict[str, Any]:
    """The ways in which the episodes of the test, and of the training if there was one, are drawn, for the card."""
    benchmark = config.benchmark
    return {"stream": benchmark.draws == "stream", "sampling": benchmark.sampling if config.trains else None}


def _tested(outcome: Outcome, config: EpisodeRunConfig) -> int | None:
    """Episodes per fold and seed where the user limited or froze them; None where the protocol decides."""
    if config.benchmark.test_episodes is None and getattr(config, "manifest", None) is None:
        return None
    return max(_episodes(outcome).values())


def _episodes(outcome: Outcome) -> dict[int, int]:
    """Group -> its episodes of one seed."""
    seed = outcome.scores[0].seed
    found: dict[int, set[int]] = {}
    for score in outcome.scores:
        if (score.seed, score.probe) == (seed, ""):
            found.setdefault(score.group, set()).add(score.episode)
    return {group: len(episodes) for group, episodes in found.items()}


def _fewer(outcome: Outcome, config: EpisodeRunConfig) -> list[str]:
    """Notes on the groups that have fewer episodes than the card says."""
    most = _tested(outcome, config)
    less = {} if most is None else {group: n for group, n in _episodes(outcome).items() if n < most}
    return [f"group {group} has {n} episodes per seed" for group, n in less.items()]


def legend(probes: Sequence[str]) -> str:
    """Meaning of the probes of a report."""
    return tables.wrapped(tables.card({probe: PROBES[probe] for probe in probes if probe}))


def _tabulate(log: RunLogger, outcome: Outcome, benchmark: Benchmark) -> None:
    """A fixed handful of episodes with their scores and pictures."""
    measures, number = benchmark.protocol.measures[:2], benchmark.config.logging.pictures
    columns = ("group", "seed", "class", "query", "expressions", *measures, "picture")
    rows = []
    for spec, picture in list(zip(outcome.shown, outcome.pictures, strict=True))[:number]:
        place = (spec.group, spec.seed, "", spec.index)
        scores = tuple(s for s in outcome.scores if (s.group, s.seed, s.probe, s.episode) == place)
        report = benchmark.report(scores)
        said = "; ".join(query.expression or "" for query in spec.queries)
        values = (100 * report.value(measure) for measure in measures)
        rows.append((spec.group, spec.seed, spec.class_name, spec.queries[0].video, said, *values, picture))
    log.table("test_episodes", columns, rows)
