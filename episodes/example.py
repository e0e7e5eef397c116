"""An episode to try things with, from the generated world: nothing is downloaded."""

from __future__ import annotations

from pathlib import Path

from episodes.catalogue import folds_of
from episodes.dataset import EpisodeDataset
from episodes.episode import Episode
from episodes.sampling.videos import test_episodes
from episodes.sources import open_source
from episodes.sources.synthetic import SIZE
from episodes.transforms.clips import TestTransform

SUPPORT_FRAMES = 2  # as in experiments/benchmark/synthetic.yaml


def example_episode(
    group: int = 1, index: int = 0, *, shots: int = 1, seed: int = 0, videos: int = 24, cache: Path | str | None = None
) -> Episode:
    """A test episode of the synthetic world: `shots` supports of a held-out class, and every query of one video.

    Args:
        group: the fold, 1 to 4; its classes are held out of training.
        index: which test episode of the fold.
        shots: support clips.
        seed: of the support draw.
        videos: per class of the world, which is generated at the first call.
        cache: where it is written; `$FEWSHOT_CACHE` or `~/.cache/fewshot` by default.

    Raises:
        ValueError: no such group or index, or more shots than there are videos.
    """
    source = open_source("synthetic", cache=cache, world_videos=videos)
    folds = folds_of("synthetic")
    specs = test_episodes(source, folds, group, shots=shots, seed=seed, support_frames=SUPPORT_FRAMES)
    if not 0 <= index < len(specs):
        raise ValueError(f"group {group} has the test episodes 0 to {len(specs) - 1}, not {index}")
    return EpisodeDataset(source, specs, TestTransform(SIZE), seed=seed)[index]
