"""The leak line: what a system may know of the tested classes beside what its supports show.

Three questions, each with an answer and its reason. What nobody recorded is `not known`; nothing is guessed.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from benchmarks.ledger.rows import NOT_KNOWN, QUESTIONS
from episodes.catalogue import WITH_FOLDS, folds_of, names
from episodes.class_names import common_name
from episodes.episode import EpisodeSpec
from episodes.folds import Folds
from episodes.sources.task_source import TaskSource
from episodes.sources.tasks import open_task_source
from fewshot.evaluation.benchmark import Benchmark
from fewshot.weights.trained_on import TrainedOn

YES, SOME, NO = "yes", "in part", "no"
MOST_NAMED = 5  # classes
GIVEN_BY_MASKS, GIVEN_BY_WORDS = ("vos", "pvos"), ("ris", "rfs", "rvos")  # kinds of the catalogue
NOTHING = "nothing was trained"
SILENT = "the weights do not tell what they were trained on"


@dataclass(frozen=True)
class Answer:
    """`yes`, `in part`, `no` or `not known`, and why."""

    answer: str
    why: str

    def __str__(self) -> str:
        return f"{self.answer} ({self.why})"


@dataclass(frozen=True)
class Leak:
    """The answers to the questions of `QUESTIONS` for one fold."""

    class_name: Answer
    test_classes: Answer
    images: Answer

    def line(self) -> str:
        """All three in words."""
        return "; ".join(f"{QUESTIONS[one.name]}: {getattr(self, one.name)}" for one in fields(self))

    def to_json(self) -> dict[str, dict[str, str]]:
        """Plain types."""
        return asdict(self)


@dataclass(frozen=True)
class Past:
    """What weights went through before a test.

    Attributes:
        trained_on: as the weights declare it; None: they do not.
        files: names of weights that it started from, which declare nothing.
    """

    trained_on: tuple[TrainedOn, ...] | None = ()
    files: tuple[str, ...] = ()

    def __str__(self) -> str:
        """In words: `synthetic`, `synthetic, start.pth, r50.pth`, `none`, or `not known`."""
        if self.trained_on is None:
            return NOT_KNOWN
        return ", ".join(dict.fromkeys([*(one.benchmark for one in self.trained_on), *self.files])) or "none"

    def unknown(self, known: Collection[TrainedOn]) -> list[str]:
        """Names of what it started from and was trained on, but for the trainings of which something is known."""
        others = (one.benchmark for one in self.trained_on or () if one not in known)
        return list(dict.fromkeys([*self.files, *others]))


def leak(accepts: Collection[str], benchmark: Benchmark, specs: Sequence[EpisodeSpec], past: Past) -> Leak:
    """The leak line of one fold.

    Args:
        accepts: what a reference of the system may hold (`System.accepts`).
        specs: the episodes, all of one group, at least one.
        past: of the weights.
    """
    group = specs[0].group
    return Leak(
        name_given(accepts, specs),
        classes_shown(past, benchmark.folds, group),
        queries_shown(past, benchmark, specs),
    )


def task_leak(source: TaskSource, past: Past, root: Path | str | None = None) -> Leak:
    """The leak line of a test on a task, which holds no classes out.

    Args:
        past: of the weights.
        root: folder of the data set, where other splits of it are looked for; None: the source's own.
    """
    tested = source.label_names()
    classes = _unless_told(past) if tested is None else names_shown(past, tested)
    if source.task in GIVEN_BY_MASKS:
        named = Answer(NO, "objects are given by masks")
    elif source.task in GIVEN_BY_WORDS:
        named = Answer(YES, "objects are given by words")
    else:
        named = Answer(YES, "all classes of the data set are asked for")
    return Leak(named, classes, videos_shown(source, past, root or source.root))


def name_given(accepts: Collection[str], specs: Iterable[EpisodeSpec]) -> Answer:
    """Whether the words of an episode, those of its supports included, name its class (as a whole word)."""
    if "expression" not in accepts:
        return Answer(NO, "the system reads no words")
    said = [
        (_named(spec.class_name), [clip.expression for clip in (*spec.supports, query) if clip.expression])
        for spec in specs
        for query in spec.queries
    ]
    if not any(words for _, words in said):
        return Answer(NO, "the episodes have no words")
    count = sum(any(name.search(text) for text in words) for name, words in said)
    return Answer(_share(count, len(said)), f"the words of {count} of {len(said)} queries name it")


def classes_shown(past: Past, folds: Folds, group: int) -> Answer:
    """Whether a training with labels showed a tested class, by its name."""
    return names_shown(past, [folds.class_name(c) for c in folds.test_classes(group)])


def names_shown(past: Past, tested: Sequence[str]) -> Answer:
    """Whether a training with labels showed a class of these names."""
    if past.trained_on is None:
        return Answer(NOT_KNOWN, SILENT)
    known = {one: found for one in past.trained_on if (found := classes_of(one)) is not None}
    shown = {common_name(name) for found in known.values() for name in found}
    if seen := [name for name in tested if common_name(name) in shown]:
        told = ", ".join(seen[:MOST_NAMED]) + (", .." if len(seen) > MOST_NAMED else "")
        return Answer(_share(len(seen), len(tested)), f"{len(seen)} of {len(tested)}, declared by the weights: {told}")
    return _no_unless(past.unknown(known), "declared by the weights" if known else NOTHING)


def queries_shown(past: Past, benchmark: Benchmark, specs: Iterable[EpisodeSpec]) -> Answer:
    """Whether the queries may have been among the training videos or images."""
    if past.trained_on is None:
        return Answer(NOT_KNOWN, SILENT)
    asked = {query.video for spec in specs for query in spec.queries}
    folds, members = benchmark.folds, benchmark.members
    here = {one: found for one in past.trained_on if one.benchmark == folds.name and (found := classes_of(one))}
    classes = {folds.class_id(name) for found in here.values() for name in found}
    if seen := asked & benchmark.trains_on(sorted(c for c in classes if c is not None)):
        return Answer(_share(len(seen), len(asked)), f"{len(seen)} of {len(asked)} {members} may train too")
    return _no_unless(past.unknown(here), f"the training {members} are others" if here else NOTHING)


def videos_shown(source: TaskSource, past: Past, root: Path | str) -> Answer:
    """Whether the tested videos or images were trained on, as far as trainings were on splits of the same data set."""
    if past.trained_on is None:
        return Answer(NOT_KNOWN, SILENT)
    tested = source.members()
    seen: set[str] = set()
    known = []
    for one in past.trained_on:
        if (others := _members(source, one, root)) is not None:
            known.append(one)
            seen |= tested & others
    if seen:
        return Answer(_share(len(seen), len(tested)), f"{len(seen)} of {len(tested)} were trained on")
    names = ", ".join(dict.fromkeys(f"split {one.split}" for one in known))
    return _no_unless(past.unknown(known), f"{names} of the same data set has others" if known else NOTHING)


def _members(source: TaskSource, trained: TrainedOn, root: Path | str) -> frozenset[str] | None:
    """The videos or images of a training; None where it was on other data, or its split is not there."""
    if trained.benchmark != source.name or trained.split is None:
        return None
    if trained.split == source.split:
        return source.members()
    try:
        return open_task_source(source.name, root, trained.split).members()
    except (FileNotFoundError, ValueError):
        return None


def _unless_told(past: Past) -> Answer:
    """Of what nobody records: `no` where nothing was trained, else `not known`."""
    return Answer(NOT_KNOWN, SILENT) if past.trained_on is None else _no_unless(past.unknown(()), NOTHING)


def lines(leaks: Mapping[int, Leak]) -> list[str]:
    """The leak line of each group; one for all where they are the same."""
    told = {group: found.line() for group, found in leaks.items()}
    if len(set(told.values())) == 1:
        return list(told.values())[:1]
    return [f"group {group}: {line}" for group, line in told.items()]


def classes_of(trained: TrainedOn) -> Sequence[str] | None:
    """The classes that a training showed: as recorded, or those of its fold; None where they are not known."""
    if trained.classes is not None or trained.group is None or trained.benchmark not in names(*WITH_FOLDS):
        return trained.classes
    folds = folds_of(trained.benchmark)
    return [folds.class_name(c) for c in folds.train_classes(trained.group)] if folds.classes else None


def _named(class_name: str) -> re.Pattern[str]:
    """Finds the name of a class as whole words, in the singular or with a plural s."""
    words = r"[\s_-]+".join(map(re.escape, common_name(class_name).split()))
    return re.compile(rf"\b{words}(?:e?s)?\b", re.IGNORECASE)


def _share(count: int, total: int) -> str:
    return YES if count == total else SOME if count else NO


def _no_unless(unknown: Sequence[str], why: str) -> Answer:
    return Answer(NOT_KNOWN, f"what {', '.join(unknown)} showed") if unknown else Answer(NO, why)
