"""`Protocol`: resolution, threshold, tolerance and averaging order of a J and F number, as data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from benchmarks.metrics.jf import CMA_TOLERANCE, DAVIS_TOLERANCE
from benchmarks.metrics.ratios import Floats, Totals, mean_ratio
from benchmarks.protocols.protocol import BaseProtocol, Setting
from benchmarks.scores.scores import QueryScore
from benchmarks.scores.sums import Sums, Units, UnitTotals

Reducer = Literal["frames", "classes", "queries"]
Queries = Literal["cma", "clean", "any"]
QUERY_TEXTS = {
    "cma": "the official list: a video is of the class of its last expression's object, and every expression of every "
    "video but the supports is asked, also for objects of another class; support windows are drawn once, whether or "
    "not they show the object",
    "clean": "every expression of every video but the supports, asked with supports of the class of its object; "
    "support windows whose middle frame shows the object, where there are some",
}
AVERAGING_TEXTS = {
    "frames": "all frames of all queries and expressions of the fold pooled (long videos weigh more)",
    "classes": "frames pooled within each class, then the plain mean over the classes of the fold",
    "queries": "mean over the frames of a query (object), then the plain mean over all queries of the fold",
}
OFFICIAL_SHOTS = 1  # of CMA's test
FRAMES = "all annotated frames of the query video, first and last included, no void"


@dataclass(frozen=True)
class Protocol(BaseProtocol):
    """Rules by which J and F of a fold are computed.

    Attributes:
        queries: the list of test episodes: `cma` (the official one), `clean` (that of `test_episodes`), or `any` where
            the rules say nothing of it (the clean one is drawn).
        resolution: `network` (size of the resized frames) or `original` (size on disk).
        truth: how the ground truth gets to that size.
        prediction: how mask logits become a mask.
        bound_th: boundary tolerance as a share of the image diagonal.
        frames: which frames count.
        reducer: `frames` (all frames of all queries pooled, long videos weigh more), `classes` (frames pooled within
            a class, then the mean over classes) or `queries` (mean over a query's frames, then over queries).
    """

    resolution: Literal["network", "original"]
    truth: str
    prediction: str
    bound_th: float
    frames: str
    reducer: Reducer
    queries: Queries = "any"
    score_type: ClassVar[type] = QueryScore
    measures: ClassVar[tuple[str, ...]] = ("J", "F", "J&F")
    unit: ClassVar[str] = "query video"
    lists_classes: ClassVar[bool] = False

    @property
    def drawn(self) -> Literal["cma", "clean"]:
        """The list of test episodes that is drawn."""
        return "clean" if self.queries == "any" else self.queries

    @property
    def scores(self) -> tuple[str, str]:
        """The two fields of a `QueryScore` that hold J and F at this resolution and tolerance."""
        suffix = "cma" if self.resolution == "network" else "davis"
        return f"j_{suffix}", f"f_{suffix}"

    def sums(self, scores: Sequence[QueryScore]) -> Sums:
        """Weighted sums of J and F per query video; J&F is their mean."""
        units = Units.of(scores)
        weight = np.array([1.0 if self.reducer == "queries" else float(score.frames) for score in scores])[:, None]
        values = np.array([[getattr(score, name) for name in self.scores] for score in scores])
        strata = units.by_class() if self.reducer == "classes" else units.pooled()
        whole = units.add_up(scores, weight)
        frames = UnitTotals(units.add_up(scores, weight * values), whole, whole[..., 0], strata)
        return Sums((frames,), _measures, units.names)

    def per_class(self, scores: Sequence[QueryScore]) -> dict[str, float]:
        """J and F (at the resolution of this protocol, frames pooled) and the numbers of queries and frames."""
        frames = sum(score.frames for score in scores)
        j, f = (sum(score.frames * getattr(score, name) for score in scores) / frames for name in self.scores)
        return {"J": j, "F": f, "queries": len(scores), "frames": frames}

    def serves(self, other: BaseProtocol) -> bool:
        """A query score holds J and F of both resolutions, so it serves every protocol with the same queries."""
        return isinstance(other, Protocol) and other.queries in (self.drawn, "any")

    def card_lines(self, setting: Setting) -> Mapping[str, str]:
        """Queries, supports, resolution, boundary, frames and averaging."""
        size, episodes = setting.size, setting.episodes
        more = (
            f" (official: {OFFICIAL_SHOTS})"
            if self.drawn == "cma" and setting.shots not in (None, OFFICIAL_SHOTS)
            else ""
        )
        resolution = self.resolution + (f" ({size})" if size and self.resolution == "network" else "")
        return {
            "queries": QUERY_TEXTS[self.drawn] if setting.frozen is None else f"frozen in {setting.frozen}",
            "supports": setting.supports_line("drawn once per class and seed, used for all queries of the class")
            + more,
            "seeds": setting.seeds_line(),
            **({} if episodes is None else {"episodes": f"{episodes} per fold and seed"}),
            "resolution": f"{resolution}; truth: {self.truth}; prediction: {self.prediction}",
            "boundary": f"tolerance {self.bound_th:.3f} of the image diagonal, rounded up to pixels",
            "frames": self.frames,
            "averaging": AVERAGING_TEXTS[self.reducer],
        }


def _measures(strata: Sequence[Totals]) -> tuple[Floats, Floats, Floats]:
    """J, F and their mean: ratios of weighted sums to weights, averaged over the strata."""
    found = mean_ratio(strata)
    return found[..., 0], found[..., 1], found.mean(-1)


def _network(name: str, source: str, reducer: Reducer, queries: Queries) -> Protocol:
    return Protocol(
        name=name,
        source=source,
        resolution="network",
        truth="bilinearly resized as float, > 0.5",
        prediction="sigmoid of the bilinearly resized logits > 0.5",
        bound_th=CMA_TOLERANCE,
        frames=FRAMES,
        reducer=reducer,
        queries=queries,
    )


_CMA = "Li et al., ICCV 2023"
_ALL = (
    _network("cma", f"{_CMA}, its test list and averages", "frames", "cma"),
    _network("cma_per_class", f"{_CMA}, with the class list of its training-time evaluation", "classes", "cma"),
    _network("clean", f"averages of {_CMA}, on a cleaner list", "frames", "clean"),
    _network("clean_per_class", f"as clean, with the class list of {_CMA}", "classes", "clean"),
    Protocol(
        name="davis",
        source="Perazzi et al., CVPR 2016; Pont-Tuset et al., 2017",
        resolution="original",
        truth="as annotated",
        prediction="probabilities bilinearly resized to the original size, >= 0.5",
        bound_th=DAVIS_TOLERANCE,
        frames=FRAMES,
        reducer="queries",
    ),
)
VIDEO_PROTOCOLS: dict[str, Protocol] = {protocol.name: protocol for protocol in _ALL}
