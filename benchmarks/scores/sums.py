"""Sums of scores per resampling unit: the metrics make every average of a fold, and its bootstrap, from them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.metrics.ratios import Floats, Totals


@dataclass(frozen=True)
class Units:
    """The units of a fold's scores: a unit is a query video, or a query image, of a class.

    Several units may be of one video or image, which a bootstrap then resamples together.

    Attributes:
        seeds: sorted.
        keys: `(class id, name)` of each unit, sorted.
    """

    seeds: tuple[int, ...]
    keys: tuple[tuple[int, str], ...]

    @staticmethod
    def of(scores: Sequence[Any]) -> Units:
        """The seeds and units that `scores` (at least one; with `seed`, `class_id` and `unit`) hold."""
        seeds = sorted({score.seed for score in scores})
        return Units(tuple(seeds), tuple(sorted({(score.class_id, score.unit) for score in scores})))

    def add_up(self, scores: Sequence[Any], values: NDArray) -> Floats:
        """Sums over the scores of each seed and unit: `(scores, columns)` -> `(seeds, units, columns)`."""
        rows, columns = _positions(self.seeds), _positions(self.keys)
        at = [rows[s.seed] for s in scores], [columns[s.class_id, s.unit] for s in scores]
        sums = np.zeros((len(self.seeds), len(self.keys), values.shape[1]))
        np.add.at(sums, at, values)
        return sums

    def by_class(self) -> tuple[slice, ...]:
        """The units of each class, which lie side by side."""
        classes = np.array([class_id for class_id, _ in self.keys])
        limits = [0, *(np.flatnonzero(np.diff(classes)) + 1).tolist(), len(classes)]
        return tuple(slice(*pair) for pair in pairwise(limits))

    def pooled(self) -> tuple[slice, ...]:
        """All units in one stratum."""
        return (slice(0, len(self.keys)),)

    @property
    def names(self) -> tuple[str, ...]:
        """The video or image of each unit; one that shows several classes is there several times."""
        return tuple(name for _, name in self.keys)


def _positions(keys: Sequence[Hashable]) -> dict[Any, int]:
    return {key: position for position, key in enumerate(keys)}


@dataclass(frozen=True)
class UnitTotals:
    """Numerators and denominators of a fold, unit by unit, which are added up within each stratum.

    Attributes:
        part, whole: `(seeds, units, columns)` numerators and denominators (or one for all columns).
        scores: `(seeds, units)` how many scores a unit has (or their weight).
        strata: the units of each stratum; each unit belongs to one.
    """

    part: Floats
    whole: Floats
    scores: Floats
    strata: tuple[slice, ...]

    def drawn(self, counts: Floats) -> list[Totals]:
        """Sums of each stratum when unit u is counted `counts[n, u]` times: arrays `(n, seeds, columns)`."""
        sums = np.concatenate([self.part, self.whole, self.scores[..., None]], axis=-1)  # one product for all three
        limits = [self.part.shape[2], self.part.shape[2] + self.whole.shape[2]]
        products = (np.tensordot(counts[:, units], sums[:, units], (1, 1)) for units in self.strata)
        return [Totals(*np.split(product, limits, axis=-1)) for product in products]


@dataclass(frozen=True)
class Sums:
    """Everything that the measures of a protocol need of one fold.

    Attributes:
        parts: what is added up.
        measures: makes the measures, `(n, seeds)` each, from the strata of each of the parts.
        names: the video or image of each unit; units of one name are resampled together.
    """

    parts: tuple[UnitTotals, ...]
    measures: Callable[..., Sequence[Floats]]
    names: tuple[str, ...]

    @property
    def units(self) -> int:
        """Number of units."""
        return self.parts[0].part.shape[1]

    @property
    def can_be_resampled(self) -> bool:
        """False if no stratum has two videos or images: nothing then says how a measure would vary."""
        return any(len(set(self.names[units])) > 1 for units in self.parts[0].strata)

    def averages(self, counts: Floats) -> Floats:
        """Measures per seed when unit u is counted `counts[n, u]` times: `(n, units)` -> `(n, seeds, measures)`.

        NaN for a seed without any counted score.
        """
        return np.stack(self.measures(*(part.drawn(counts) for part in self.parts)), axis=-1)
