"""Named protocols as data: how a number was computed, and the card that is printed beside it."""

from __future__ import annotations

from benchmarks.protocols.protocol import PROTOCOLS, Protocol, get_protocol

__all__ = ["PROTOCOLS", "Protocol", "get_protocol"]
