"""`Protocol`: resolution, threshold, tolerance and averaging order of a J and F number, as data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

from benchmarks.metrics.jf import CMA_TOLERANCE, DAVIS_TOLERANCE

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
class Protocol:
    """How J and F of a fold come about. Every number in a report belongs to one of these.

    Attributes:
        name: key in `PROTOCOLS`.
        source: where the definition comes from.
        resolution: `network` (size of the resized frames) or `original` (size on disk).
        truth: how the ground truth gets to that size.
        prediction: how mask logits become a mask.
        bound_th: boundary tolerance as a share of the image diagonal.
        frames: which frames count.
        reducer: `frames` (all frames of all queries pooled, long videos weigh more), `classes` (frames pooled within
            a class, then the mean over classes) or `queries` (mean over a query's frames, then over queries).
    """

    name: str
    source: str
    resolution: Literal["network", "original"]
    truth: str
    prediction: str
    bound_th: float
    frames: str
    reducer: Literal["frames", "classes", "queries"]

    @property
    def scores(self) -> tuple[str, str]:
        """The two fields of a `QueryScore` that hold J and F at this resolution and tolerance."""
        suffix = "cma" if self.resolution == "network" else "davis"
        return f"j_{suffix}", f"f_{suffix}"

    def card(
        self,
        *,
        benchmark: str = NOT_STATED,
        size: str | None = None,
        checkpoint: str = NOT_STATED,
        shots: int | None = None,
        supports: str = "drawn once per class and seed, used for all queries of the class",
        seeds: Sequence[int] = (),
        start_weights: str | None = NOT_STATED,
    ) -> str:
        """The text printed beside every number: one `key: value` line per choice that moves it.

        Args:
            benchmark: name of the benchmark.
            size: network resolution in words (for instance `short side 360`).
            checkpoint: `val`, `test`, `last` or `given`: on what the checkpoint was chosen.
            shots: supports per episode.
            supports: how they were chosen.
            seeds: seeds of the support draws.
            start_weights: pre-trained weights the model started from, None for training from scratch. A caveat
                about class overlap is printed with them.
        """
        resolution = self.resolution + (f" ({size})" if size and self.resolution == "network" else "")
        lines = {
            "protocol": f"{self.name} ({self.source})",
            "benchmark": benchmark,
            "checkpoint": _checkpoint_line(checkpoint),
            "supports": (f"{shots} per episode, " if shots is not None else "") + supports,
            "seeds": ", ".join(str(seed) for seed in seeds) or NOT_STATED,
            "resolution": f"{resolution}; truth: {self.truth}; prediction: {self.prediction}",
            "boundary": f"tolerance {self.bound_th:.3f} of the image diagonal, rounded up to pixels",
            "frames": self.frames,
            "averaging": AVERAGING_TEXTS[self.reducer],
            "start weights": _start_weights_line(start_weights),
        }
        return "\n".join(f"{key:<13}: {value}" for key, value in lines.items())


AVERAGING_TEXTS = {
    "frames": "all frames of all queries and expressions of the fold pooled (long videos weigh more)",
    "classes": "frames pooled within each class, then the plain mean over the classes of the fold",
    "queries": "mean over the frames of a query (object), then the plain mean over all queries of the fold",
}


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


def _network(name: str, source: str, reducer: Literal["frames", "classes", "queries"]) -> Protocol:
    return Protocol(
        name=name,
        source=source,
        resolution="network",
        truth="bilinearly resized as float, > 0.5",
        prediction="sigmoid of the bilinearly resized logits > 0.5",
        bound_th=CMA_TOLERANCE,
        frames="all annotated frames of the query video, first and last included, no void",
        reducer=reducer,
    )


_ALL = (
    _network("cma", "Li et al., ICCV 2023, as its evaluation averages", "frames"),
    _network("cma_per_class", "Li et al., ICCV 2023, with the class list of its training-time evaluation", "classes"),
    Protocol(
        name="davis",
        source="Perazzi et al., CVPR 2016; Pont-Tuset et al., 2017",
        resolution="original",
        truth="as annotated",
        prediction="probabilities bilinearly resized to the original size, >= 0.5",
        bound_th=DAVIS_TOLERANCE,
        frames="all annotated frames of the query video, first and last included, no void",
        reducer="queries",
    ),
)
PROTOCOLS: dict[str, Protocol] = {protocol.name: protocol for protocol in _ALL}


def get_protocol(name: str) -> Protocol:
    """`PROTOCOLS[name]`; an unknown name raises ValueError with the valid ones and the closest."""
    if name in PROTOCOLS:
        return PROTOCOLS[name]
    close = get_close_matches(name, PROTOCOLS, n=1)
    hint = f", did you mean {close[0]!r}?" if close else ""
    raise ValueError(f"unknown protocol {name!r}{hint} (valid: {', '.join(PROTOCOLS)})")
