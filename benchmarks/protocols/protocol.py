"""`BaseProtocol`: what the protocols of videos (J and F) and of images (mIoU and FB-IoU) share."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, ClassVar

from benchmarks.scores.sums import Sums
from benchmarks.tables import card

NOT_STATED = "not stated"
CHECKPOINT_TEXTS = {
    "val": "chosen on validation episodes of the training classes",
    "test": "chosen on the test classes themselves, as the official code does: not an honest held-out number",
    "last": "the last one, nothing chosen",
    "given": "given by the user, choice not known",
}
PRETRAINING_CAVEAT = (
    "these weights may have seen held-out classes (ReferFormer's were trained on RefCOCO/+/g, which name person, cat, "
    "dog, train, bus, horse, ...; ImageNet shows most animals and vehicles): the few-shot split is then not "
    "class-disjoint with respect to pre-training"
)


@dataclass(frozen=True)
class Setting:
    """Facts about a test that its card tells beside the protocol itself; see `BaseProtocol.card`."""

    benchmark: str
    size: str | None
    shots: int | None
    supports: str | None
    seeds: Sequence[int]
    episodes: int | None
    lists: str | None = None
    frozen: str | None = None
    stream: bool = False
    sampling: str | None = None

    def supports_line(self, usual: str) -> str:
        """Number of supports of an episode, and the way in which they were chosen."""
        return (f"{self.shots} per episode, " if self.shots is not None else "") + (self.supports or usual)

    def seeds_line(self) -> str:
        """The seeds of the support draws."""
        return ", ".join(str(seed) for seed in self.seeds) or NOT_STATED


@dataclass(frozen=True)
class NamedRules:
    """Rules under a name, so that a number tells by which it was counted. A subclass adds the rules as fields.

    Attributes:
        name: of the protocol.
        source: where the definition comes from.
        version: raised when a rule changes, so that a number of before is not taken for one of now.
    """

    name: str
    source: str
    version: int = field(default=1, kw_only=True)

    @property
    def versioned(self) -> str:
        """Name and version: `hsnet@1`."""
        return f"{self.name}@{self.version}"

    @cached_property
    def digest(self) -> str:
        """Twelve hexadecimal digits over every rule (all fields but the words about the source): the same rules, the
        same digits."""
        rules = {name: value for name, value in asdict(self).items() if name != "source"}
        return hashlib.sha256(json.dumps(rules, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def record(self) -> dict[str, Any]:
        """Name, version and digest, for a file of results."""
        return {"protocol": self.name, "protocol_version": self.version, "protocol_digest": self.digest}

    @property
    def heading(self) -> str:
        """Name, version, digest and source, for a card."""
        return f"{self.versioned}, rules {self.digest} ({self.source})"


@dataclass(frozen=True)
class BaseProtocol(NamedRules, ABC):
    """Rules by which the numbers of a fold are computed. Every number in a report belongs to one protocol.

    Its name is a key in `PROTOCOLS`.

    Attributes:
        score_type: class of the scores that it averages.
        measures: names of the headline numbers.
        extras: names of further numbers, shown beside them and named as what they are.
        unit: what a bootstrap resamples, in words.
        lists_classes: true: a report prints the classes one by one.
        note: printed below the table of the folds, '' for nothing.
    """

    score_type: ClassVar[type]
    measures: ClassVar[tuple[str, ...]]
    unit: ClassVar[str]
    lists_classes: ClassVar[bool]

    @property
    def extras(self) -> tuple[str, ...]:
        """None, unless a protocol names some."""
        return ()

    @property
    def note(self) -> str:
        """Nothing, unless a protocol has something to say."""
        return ""

    @property
    def columns(self) -> tuple[str, ...]:
        """All measures, in the order of `sums(...).averages(...)`."""
        return (*self.measures, *self.extras)

    @property
    def basic(self) -> tuple[str, ...]:
        """The measures that are no mean of others: `J` and `F`, `mIoU` and `FB-IoU`."""
        return tuple(measure for measure in self.measures if "&" not in measure)

    @abstractmethod
    def sums(self, scores: Sequence[Any]) -> Sums:
        """Sums that every average of the scores of one fold and probe (at least one score) is made of."""

    @abstractmethod
    def per_class(self, scores: Sequence[Any]) -> dict[str, float]:
        """The row of one class: its measures and counts."""

    @abstractmethod
    def serves(self, other: BaseProtocol) -> bool:
        """True if scores that were made for this protocol also give the numbers of `other`."""

    @abstractmethod
    def card_lines(self, setting: Setting) -> Mapping[str, str]:
        """The lines of the card between `checkpoint` and `start weights`."""

    def check(self, scores: Sequence[Any]) -> None:
        """Raise ValueError unless all scores are of the kind that this protocol averages."""
        if wrong := {type(score).__name__ for score in scores if not isinstance(score, self.score_type)}:
            raise ValueError(
                f"protocol {self.name!r} averages {self.score_type.__name__}, got {', '.join(sorted(wrong))}: "
                "choose a protocol of the kind of the scores"
            )

    def card(
        self,
        *,
        benchmark: str = NOT_STATED,
        size: str | None = None,
        checkpoint: str = NOT_STATED,
        shots: int | None = None,
        supports: str | None = None,
        seeds: Sequence[int] = (),
        start_weights: str | None = NOT_STATED,
        episodes: int | None = None,
        lists: str | None = None,
        frozen: str | None = None,
        stream: bool = False,
        sampling: str | None = None,
    ) -> str:
        """The text printed beside every number: one `key: value` line per choice that moves it.

        Args:
            benchmark: name of the benchmark.
            size: network resolution in words (for instance `short side 360`).
            checkpoint: `val`, `test`, `last` or `given`: on what the checkpoint was chosen.
            shots: supports per episode.
            supports: how they were chosen; None for the usual way.
            seeds: seeds of the support draws.
            start_weights: pre-trained weights the model started from, None for training from scratch. A caveat
                about class overlap is printed with them.
            episodes: number of episodes per fold and seed, where it is not the official one.
            lists: name of the list files of the field that say which images a fold has; None: the masks say it.
            frozen: name of the file of a frozen list of episodes, where they were not drawn by the protocol.
            stream: the episodes of a list were drawn in turn from one generator, not each from its own index.
            sampling: of the training episodes (images only), see `episodes.sampling.images.ImageEpisodes`; None: not
                known.
        """
        setting = Setting(benchmark, size, shots, supports, seeds, episodes, lists, frozen, stream, sampling)
        lines = {
            "protocol": self.heading,
            "benchmark": benchmark,
            "checkpoint": _checkpoint_line(checkpoint),
            **self.card_lines(setting),
            "start weights": _start_weights_line(start_weights),
        }
        return card(lines)


def _checkpoint_line(choice: str) -> str:
    if choice == NOT_STATED:
        return choice
    if choice not in CHECKPOINT_TEXTS:
        raise ValueError(f"unknown choice of checkpoint {choice!r}: valid are {', '.join(CHECKPOINT_TEXTS)}")
    return f"{choice}: {CHECKPOINT_TEXTS[choice]}"


def _start_weights_line(start_weights: str | None) -> str:
    if start_weights is None:
        return "none (from scratch)"
    return start_weights if start_weights == NOT_STATED else f"{start_weights}; {PRETRAINING_CAVEAT}"
