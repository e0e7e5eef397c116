"""A contact sheet of a data set: an example of each class, or of each video, with its mask picked out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from episodes.clip import Clip
from episodes.episode import ClipSpec
from episodes.folds import Folds
from episodes.sources.base import Source
from episodes.sources.images import ImageSource
from episodes.sources.vocabulary import VocabularySource
from episodes.whole_files import replacing
from fewshot.media.pictures import SUPPORT, Tile, clip_tile, sheet

MOST = 96  # tiles of a sheet
COLUMNS = 8
TRIED = 3  # videos or images of a class
HEIGHT = 120  # pixels of a tile
MARK = ("Software", "fewshot check")  # of a sheet that this program has written


def class_tiles(source: Source, folds: Folds) -> list[Tile]:
    """A tile for each class that has a sound example, evenly spread over the classes where they are too many."""
    classes = [c for c in range(1, len(folds.classes) + 1) if source.videos(c)]
    return [tile for c in _spread(classes) if (tile := _class_tile(source, folds, c)) is not None]


def _class_tile(source: Source, folds: Folds, class_id: int) -> Tile | None:
    """A sound example of a class, of images the largest; None where there is none: what is broken is told elsewhere."""
    videos = source.videos(class_id)
    if isinstance(source, ImageSource):
        videos = tuple(sorted(videos, key=lambda image: -source.area(image, class_id)))
    for video in videos[:TRIED]:
        try:
            said = next(e for e in source.expressions(video) if e.class_id == class_id)
            frame = next(f for f in source.frames(video) if source.visible(video, f, said.object_id))
            clip = source.read(ClipSpec(video, said.object_id, (frame,)))
        except (ValueError, FileNotFoundError, StopIteration):
            continue
        return _tile(clip, folds.class_name(class_id))
    return None


def video_tiles(source: Source, names: Sequence[str]) -> list[Tile]:
    """A tile for each video of a task, evenly spread over them, with all objects that its first frame shows."""
    return [tile for name in _spread(list(names)) for tile in _video_tiles(source, name)]


def _video_tiles(source: Source, name: str) -> Iterator[Tile]:
    try:
        frame = source.frames(name)[:1]
        clip = Clip(source.read_frames(name, frame), video=name, frame_names=frame)
        yield _tile(clip if (masked := _masked(source, clip)) is None else masked, name)
    except (ValueError, FileNotFoundError):
        return  # told elsewhere


def _masked(source: Source, clip: Clip) -> Clip | None:
    """The clip with an object that it shows; None where it shows none, or the truth is not there."""
    if isinstance(source, VocabularySource):
        ids: Sequence[int] = source.object_ids(clip.video)
    else:
        ids = sorted({e.object_id for e in source.expressions(clip.video)})
    try:
        shown = next((k for k in ids if source.visible(clip.video, clip.frame_names[0], k)), None)
    except FileNotFoundError:
        return None
    return None if shown is None else source.with_object(ClipSpec(clip.video, shown, clip.frame_names), clip.frames)


def _tile(clip: Clip, caption: str) -> Tile:
    mask = None if clip.masks is None else clip.masks[0].numpy()
    return clip_tile(clip, 0, mask=mask, colour=SUPPORT, caption=caption, height=HEIGHT)


def _spread(items: list) -> list:
    return items if len(items) <= MOST else [items[k * len(items) // MOST] for k in range(MOST)]


def refuse_foreign_sheet(path: Path) -> None:
    """Raise ValueError for a file that is no sheet of this program."""
    if not path.exists():
        return
    try:
        with Image.open(path) as image:
            known = image.info.get(MARK[0]) == MARK[1]
    except OSError:
        known = False
    if not known:
        raise ValueError(f"{path} is no contact sheet that this program wrote: give another out=<file>.png")


def write_sheet(path: Path, tiles: Sequence[Tile], heading: str) -> None:
    """Write tiles in rows as a PNG."""
    rows = [("", tiles[k : k + COLUMNS]) for k in range(0, len(tiles), COLUMNS)]
    info = PngInfo()
    info.add_text(*MARK)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, sync=False) as partial:
        sheet(rows, heading=heading).save(partial, "png", pnginfo=info)
