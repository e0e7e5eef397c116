"""What is sampled: clips, episodes, the sources on disk that they come from, and frozen episode lists."""

from episodes.clip import Clip
from episodes.episode import ClipSpec, Episode, EpisodeSpec, Reference

__all__ = ["Clip", "ClipSpec", "Episode", "EpisodeSpec", "Reference"]
