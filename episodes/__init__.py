"""Clips and episodes: data sets on disk, samplers, transforms, frozen lists. Nothing is imported before it is used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from episodes.catalogue import folds_of
    from episodes.clip import Clip, Objects
    from episodes.collation import collate
    from episodes.dataset import EpisodeDataset
    from episodes.episode import ClipSpec, Episode, EpisodeSpec, Reference
    from episodes.sources import open_source

__all__ = [
    "Clip",
    "ClipSpec",
    "Episode",
    "EpisodeDataset",
    "EpisodeSpec",
    "Objects",
    "Reference",
    "collate",
    "folds_of",
    "open_source",
]

_HOMES = {
    "Clip": "episodes.clip",
    "Objects": "episodes.clip",
    "ClipSpec": "episodes.episode",
    "Episode": "episodes.episode",
    "EpisodeSpec": "episodes.episode",
    "EpisodeDataset": "episodes.dataset",
    "Reference": "episodes.episode",
    "collate": "episodes.collation",
    "folds_of": "episodes.catalogue",
    "open_source": "episodes.sources",
}


def __getattr__(name: str) -> Any:
    """A public name, imported when it is first asked for: `import episodes` itself does not wait for torch."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
