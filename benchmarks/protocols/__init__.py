"""Named protocols as data: how a number was computed, and the card that is printed beside it."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

from benchmarks.protocols.images import IMAGE_PROTOCOLS, EpisodeRule, ImageProtocol
from benchmarks.protocols.protocol import BaseProtocol
from benchmarks.protocols.videos import VIDEO_PROTOCOLS, Protocol

__all__ = [
    "IMAGE_PROTOCOLS",
    "PROTOCOLS",
    "VIDEO_PROTOCOLS",
    "BaseProtocol",
    "EpisodeRule",
    "ImageProtocol",
    "Protocol",
    "default_protocol",
    "get_protocol",
    "protocols_served",
]
PROTOCOLS: dict[str, Protocol | ImageProtocol] = {**VIDEO_PROTOCOLS, **IMAGE_PROTOCOLS}


def get_protocol(name: str) -> Protocol | ImageProtocol:
    """`PROTOCOLS[name]`; an unknown name raises ValueError with the valid ones and the closest."""
    if name in PROTOCOLS:
        return PROTOCOLS[name]
    close = get_close_matches(name, PROTOCOLS, n=1)
    hint = f", did you mean {close[0]!r}?" if close else ""
    raise ValueError(f"unknown protocol {name!r}{hint} (valid: {', '.join(PROTOCOLS)})")


def protocols_served(protocol: BaseProtocol) -> list[BaseProtocol]:
    """The protocols whose numbers follow from scores made for `protocol`, in the order of `PROTOCOLS`."""
    return [other for other in PROTOCOLS.values() if protocol.serves(other)]


def default_protocol(scores: Sequence[Any]) -> str:
    """The first protocol that averages scores of this kind (at least one)."""
    return next(name for name, protocol in PROTOCOLS.items() if isinstance(scores[0], protocol.score_type))
