"""One reader per layout on disk, and the invented world. `open_source` opens a benchmark by name."""

from __future__ import annotations

from pathlib import Path

from episodes.sources.base import Expression, Source
from episodes.sources.images import ImageSource
from episodes.sources.mini_ref import MiniRefSource

__all__ = ["Expression", "ImageSource", "MiniRefSource", "Source", "open_source"]

INVENTED_CACHE = 512 << 20  # the whole default world fits: it is decoded once


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
    """Open the data set of `benchmark`.

    Args:
        benchmark: a key of `episodes.folds.FOLDS`.
        root: folder of the data set; None is allowed for the invented worlds only, which are then generated.
        cache: folder for generated data; None is the default of `cache_folder`.
        world_seed: seed of the invented world.
        world_videos: videos per class of the invented world.
        cache_frames: bytes of decoded frames kept in memory; None keeps 512 MB of the invented world, else nothing.
        class_of_last_expression, exchange_box_limits: two faults of CMA's released code, see `MiniRefSource`.
        lists: folder or file with the class lists of FSS-1000; None looks for them beside the images.

    Raises ValueError for an unknown benchmark or a missing root, FileNotFoundError for a folder without the data set.
    """
    from episodes.folds import FOLDS  # here, since the folds name the classes of the invented world

    if benchmark not in FOLDS:
        raise ValueError(f"unknown benchmark {benchmark!r}; there are: {', '.join(FOLDS)}")
    invented = benchmark in ("invented", "invented_images")
    if invented and root is None:
        from episodes.sources.synthetic import ensure_world

        root = ensure_world(None if cache is None else Path(cache), world_seed, world_videos)
    if root is None:
        raise ValueError(f"benchmark {benchmark} needs data.root, the folder that holds the data set")
    if cache_frames is None:
        cache_frames = INVENTED_CACHE if invented else 0
    if benchmark in ("invented", "mini_ref_ytvos", "mini_ref_sailvos"):
        return MiniRefSource(
            root,
            FOLDS[benchmark],
            cache_frames=cache_frames,
            merge_objects=benchmark == "mini_ref_sailvos",
            class_of_last_expression=class_of_last_expression,
            exchange_box_limits=exchange_box_limits,
        )
    return _open_images(benchmark, root, cache, cache_frames, lists)


def _open_images(
    benchmark: str, root: Path | str, cache: Path | str | None, cache_frames: int, lists: Path | str | None
) -> ImageSource:
    from episodes.folds import FOLDS
    from episodes.sources.coco import COCOSource
    from episodes.sources.folder import FolderSource
    from episodes.sources.fss1000 import FSS1000Source
    from episodes.sources.synthetic_images import InventedImageSource
    from episodes.sources.voc import VOCSource

    if benchmark == "folder":
        return FolderSource(root, cache=cache, cache_frames=cache_frames)
    if benchmark in ("fss1000", "fss1000_val"):
        return FSS1000Source(root, benchmark, lists=lists, cache=cache, cache_frames=cache_frames)
    layouts: dict[str, type[VOCSource | COCOSource | InventedImageSource]] = {
        "pascal5i": VOCSource,
        "coco2pascal": VOCSource,
        "coco20i": COCOSource,
        "coco20i_contiguous": COCOSource,
        "invented_images": InventedImageSource,
    }
    return layouts[benchmark](root, FOLDS[benchmark], cache=cache, cache_frames=cache_frames)
