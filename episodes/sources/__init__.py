"""One reader per layout on disk, and the synthetic world. `open_source` opens a benchmark by name."""

from __future__ import annotations

from pathlib import Path

from episodes.catalogue import WITH_FOLDS, Opening, data_set
from episodes.sources.base import Expression, Source
from episodes.sources.images import ImageSource
from episodes.sources.mini_ref import MiniRefSource

__all__ = ["Expression", "ImageSource", "MiniRefSource", "Source", "open_source"]

GENERATED_CACHE = 512 << 20  # the whole default world fits: it is decoded once


def open_source(
    benchmark: str,
    root: Path | str | None = None,
    cache: Path | str | None = None,
    world_seed: int = 0,
    world_videos: int = 24,
    *,
    cache_frames: int | None = None,
    class_of_last_expression: bool = False,
    exchange_box_limits: bool = False,
    lists: Path | str | None = None,
) -> Source:
    """Open a data set of few-shot segmentation.

    Args:
        benchmark: a data set of the catalogue, of the kind `videos` or `images`.
        root: folder of the data set; None is allowed for generated ones only.
        cache: folder for generated data; None is the default of `cache_folder`.
        world_seed: seed of the generated world.
        world_videos: videos per class of the generated world.
        cache_frames: bytes of decoded frames kept in memory; None keeps 512 MB of a generated world, else nothing.
        class_of_last_expression: a fault of CMA's released code, see `MiniRefSource`; benchmarks of videos only.
        exchange_box_limits: another one, see `MiniRefSource`; benchmarks of videos only.
        lists: folder or file with the class lists of FSS-1000; None looks for them beside the images.

    Raises:
        ValueError: an unknown benchmark, a missing root, or a switch that the benchmark does not have.
        FileNotFoundError: a folder without the data set.
    """
    row = data_set(benchmark, *WITH_FOLDS)
    if row.kind != "videos" and (class_of_last_expression or exchange_box_limits):
        raise ValueError(f"class_of_last_expression and exchange_box_limits are for videos, {benchmark} has images")
    if cache_frames is None:
        cache_frames = GENERATED_CACHE if row.generated else 0
    opening = Opening(
        root,
        cache,
        cache_frames,
        lists=lists,
        world_seed=world_seed,
        world_videos=world_videos,
        class_of_last_expression=class_of_last_expression,
        exchange_box_limits=exchange_box_limits,
    )
    return row.open(opening)
