"""`EpisodeSpec` names the parts of an episode (JSON); `Episode` holds the loaded clips."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from episodes.clip import Clip


class Verbatim(str):
    """An expression whose capitals are read, also by systems that read expressions in lower case."""


@dataclass(frozen=True)
class ClipSpec:
    """Object, video, expression and frames of a clip by name (nothing loaded).

    `expression` is the text itself, so that a manifest can be read without the data set. `asked` is the index of the
    one frame that is asked for, where the others are shown for it; None: all are.
    """

    video: str
    object_id: int
    frames: tuple[str, ...]
    expression: str | None = None
    expression_id: str | None = None
    asked: int | None = None


@dataclass(frozen=True)
class EpisodeSpec:
    """One episode by name. A pure function of (benchmark, group, split, shots, seed, index).

    `supports` holds `shots` clips; `queries` one entry per query expression, all of the same video and frames.
    """

    benchmark: str
    group: int
    split: str
    seed: int
    index: int
    class_id: int
    class_name: str
    supports: tuple[ClipSpec, ...]
    queries: tuple[ClipSpec, ...]

    def __post_init__(self) -> None:
        if not self.queries:
            raise ValueError(f"episode {self.index} of {self.benchmark}: no query")

    @property
    def shots(self) -> int:
        """Number of support clips."""
        return len(self.supports)

    def to_json(self) -> dict[str, Any]:
        """Plain types only; the inverse of `from_json`. What is asked of a clip is left out where that is all of it."""
        content = asdict(self)
        for clip in (*content["supports"], *content["queries"]):
            if clip["asked"] is None:
                del clip["asked"]
        return content

    @staticmethod
    def from_json(data: dict[str, Any]) -> EpisodeSpec:
        """Rebuild a spec from `to_json`'s output (lists become tuples again)."""
        clips = {
            side: tuple(ClipSpec(**{**clip, "frames": tuple(clip["frames"])}) for clip in data[side])
            for side in ("supports", "queries")
        }
        return EpisodeSpec(**{**data, **clips})


@dataclass(frozen=True)
class Reference:
    """Reference for a query: an expression, masked support clips, or both.

    The tasks differ in nothing else: few-shot image segmentation has supports, referring segmentation has an
    expression, few-shot referring video segmentation has both.
    """

    expression: str | None = None
    supports: tuple[Clip, ...] = ()

    def __post_init__(self) -> None:
        if self.expression is None and not self.supports:
            raise ValueError("a reference needs an expression, at least one support clip, or both")
        if self.expression is not None and not self.expression.strip():
            raise ValueError("the expression of a reference is empty: give words, or None for no expression")
        for k, clip in enumerate(self.supports):
            if clip.masks is None:
                raise ValueError(f"support {k} ({clip.video!r}) has no masks: a support shows the object it stands for")


@dataclass(frozen=True)
class Episode:
    """A loaded episode: `shots` support clips with masks, and one query clip per query expression.

    The query clips carry the target masks where they are known. Clips of the same video share their frames.

    `problems` says what could not be read, where this episode took the place of others (`episodes.unbroken`).
    """

    spec: EpisodeSpec
    supports: tuple[Clip, ...]
    queries: tuple[Clip, ...]
    problems: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.queries:
            raise ValueError("an episode needs at least one query clip")
        _ = self.references  # built once here so that an invalid reference is refused with the episode

    @property
    def references(self) -> tuple[Reference, ...]:
        """One reference per query: the shared supports and that query's expression.

        There are none where no single object is meant, but all that are annotated (`Clip.exhaustive`).
        """
        if any(query.exhaustive for query in self.queries):
            return ()
        return tuple(Reference(query.expression, self.supports) for query in self.queries)
