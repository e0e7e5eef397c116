"""Named protocols as data: the way in which a number was computed, and the card that is printed beside it."""

from __future__ import annotations

from benchmarks.protocols.images import IMAGE_PROTOCOLS, EpisodeRule, ImageProtocol
from benchmarks.protocols.protocol import BaseProtocol
from benchmarks.protocols.registry import PROTOCOLS, default_protocol, get_protocol, protocols_served
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
