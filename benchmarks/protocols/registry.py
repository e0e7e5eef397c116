"""The named protocols: those of this package, then those of installed packages.

A package outside announces a `Protocol` or an `ImageProtocol` of its own under the entry-point group
`fewshot.protocols`; it then stands among the others by its name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from benchmarks.protocols.images import IMAGE_PROTOCOLS, ImageProtocol
from benchmarks.protocols.protocol import BaseProtocol
from benchmarks.protocols.videos import VIDEO_PROTOCOLS, Protocol

GROUP = "fewshot.protocols"  # of the entry points
AnyProtocol = Protocol | ImageProtocol


class ProtocolRegistry(Mapping[str, AnyProtocol]):
    """Protocols by name. Entry points are read when a name is not one of `own`, or all names are asked for.

    Raises:
        ValueError: (when they are read) an entry point that does not load, is no protocol, or has a name that is
            taken.
    """

    def __init__(self, own: Mapping[str, AnyProtocol], group: str = GROUP) -> None:
        self._own, self._group = dict(own), group

    def __getitem__(self, name: str) -> AnyProtocol:
        return self._own[name] if name in self._own else self._all[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    @cached_property
    def _all(self) -> dict[str, AnyProtocol]:
        from importlib.metadata import entry_points  # takes longer to import than all protocols

        found = dict(self._own)
        for point in entry_points(group=self._group):
            place = f"entry point {point.name!r} of {self._group} ({point.value})"
            try:
                protocol = point.load()
            except (ImportError, AttributeError) as error:
                raise ValueError(f"{place} does not load: {error}; repair or remove that package") from error
            if not isinstance(protocol, AnyProtocol):
                kinds = "benchmarks.protocols.Protocol or ImageProtocol"
                raise ValueError(f"{place} is a {type(protocol).__name__}: name an object of {kinds}")
            if protocol.name in found:
                raise ValueError(f"{place}: there is a protocol {protocol.name!r} already, choose another name")
            found[protocol.name] = protocol
        return found


PROTOCOLS = ProtocolRegistry({**VIDEO_PROTOCOLS, **IMAGE_PROTOCOLS})


def get_protocol(name: str) -> AnyProtocol:
    """Protocol of a name; an unknown name raises ValueError with the valid ones and the closest."""
    if name in PROTOCOLS:
        return PROTOCOLS[name]
    from episodes.hints import did_you_mean  # not needed for a name that is known

    raise ValueError(f"unknown protocol {name!r}.{did_you_mean(name, PROTOCOLS)} Valid: {', '.join(PROTOCOLS)}")


def protocols_served(protocol: BaseProtocol) -> list[AnyProtocol]:
    """The protocols whose numbers follow from scores made for `protocol`, in the order of `PROTOCOLS`."""
    return [other for other in PROTOCOLS.values() if protocol.serves(other)]


def default_protocol(scores: Sequence[Any]) -> str:
    """Name of the first protocol that averages scores of this kind (at least one)."""
    return next(name for name, protocol in PROTOCOLS.items() if isinstance(scores[0], protocol.score_type))
