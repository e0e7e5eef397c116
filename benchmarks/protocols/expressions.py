"""Protocols of expressions in videos, as data: J and F of each expression against the truth of its own target."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from benchmarks.protocols.protocol import NamedRules

MISSING_TEXTS = {
    "refused": "results of every video and expression are needed",
    "zero": "a video without results counts 0 for each of its expressions, as in the released program; an expression "
    "without results in a video that has some is refused",
}
NOT_CHECKED = "not checked against the server: no submission whose score there is known has been compared"


@dataclass(frozen=True)
class ExpressionProtocol(NamedRules):
    """Rules by which expressions in videos are scored.

    Attributes:
        target: what the truth of an expression is, in words.
        frames: which frames count, in words.
        missing_video: what a video without results counts.
    """

    target: str
    frames: str
    missing_video: Literal["refused", "zero"]

    def lines(self) -> Mapping[str, str]:
        """The choices that move a number, in words."""
        return {
            "rules": self.heading,
            "target": self.target,
            "frames": self.frames,
            "averaging": "J and F of DAVIS (boundary tolerance 0.008): mean over the frames of an expression, then "
            "over the expressions; J&F is the mean of both. A target that is absent and an empty mask count 1",
            "missing": MISSING_TEXTS[self.missing_video],
            "server": NOT_CHECKED,
        }


EXPRESSION_PROTOCOLS = {
    "ref_youtube_vos": ExpressionProtocol(
        "ref_youtube_vos_local",
        "Seo et al., ECCV 2020; its server was closed before its program was public",
        "the object of the expression, in the masks of the validation split",
        "all listed frames whose truth is there, first and last included",
        "refused",
    ),
    "mevis": ExpressionProtocol(
        "mevis_local",
        "Ding et al., ICCV 2023, as its released program counts valid_u",
        "all objects of the expression together",
        "all frames of the video, first and last included",
        "zero",
    ),
}
