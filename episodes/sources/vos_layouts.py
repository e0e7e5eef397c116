"""Semi-supervised VOS on disk: the layouts of DAVIS, YouTube-VOS, LVOS and MOSE, and plain folders."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from episodes.clip import Clip
from episodes.episode import ClipSpec
from episodes.plain_files import read_text
from episodes.sources.base import Expression, objects_of
from episodes.sources.entries import whole
from episodes.sources.index import load_json
from episodes.sources.task_source import EVERYTHING, OBJECT, TaskSource, unknown_name
from episodes.sources.video_files import VideoFiles, list_frames
from episodes.task_items import VOSItem

if TYPE_CHECKING:
    from episodes.catalogue import DataSet, Opening

RESOLUTIONS = ("480p", "Full-Resolution")


@dataclass(frozen=True)
class VOSLayout:
    """Folders of a split and the meaning of its masks.

    Attributes:
        images: folder with one folder of frames per video.
        masks: folder with one folder of label PNGs per video.
        videos: names of its videos.
        known: video -> object ids, where a list says them (YouTube-VOS); masks of other ids are no objects.
        first_frame: objects are those of the first mask (DAVIS); else each enters at the first mask that shows it.
        merge_objects: every pixel above 0 is object 1 (DAVIS-2016).
    """

    images: Path
    masks: Path
    videos: tuple[str, ...]
    known: dict[str, frozenset[int]] = field(default_factory=dict)
    first_frame: bool = False
    merge_objects: bool = False


def davis_layout(root: Path, year: int, split: str, resolution: str = "480p") -> VOSLayout:
    """DAVIS: `JPEGImages/480p`, `Annotations/480p`, `ImageSets/2017/<split>.txt` under `root` or `root/DAVIS`.

    The lists of the first DAVIS-2016 release, `ImageSets/480p/<split>.txt` with a pair of files per line, are read too.

    Raises FileNotFoundError for a missing folder or list, ValueError for an unknown resolution.
    """
    if resolution not in RESOLUTIONS:
        raise ValueError(f"unknown resolution {resolution!r} of DAVIS; there are: {', '.join(RESOLUTIONS)}")
    base = _base(root, ("", "DAVIS"), f"JPEGImages/{resolution}")
    lists = [base / "ImageSets" / str(year) / f"{split}.txt"]
    if year == 2016:
        lists.append(base / "ImageSets" / "480p" / f"{split}.txt")
    path = next((path for path in lists if path.is_file()), None)
    if path is None:
        raise FileNotFoundError(f"{' or '.join(map(str, lists))} is missing: it lists the videos of split {split!r}")
    names = {_video_of(line) for line in read_text(path).splitlines() if line.strip()}
    return VOSLayout(
        base / "JPEGImages" / resolution,
        base / "Annotations" / resolution,
        tuple(sorted(names)),
        first_frame=True,
        merge_objects=year == 2016,
    )


def youtube_vos_layout(root: Path, split: str) -> VOSLayout:
    """YouTube-VOS: `<split>/{JPEGImages,Annotations,meta.json}`. Without meta.json the objects are those of the masks.

    Raises FileNotFoundError for a missing folder, ValueError for a broken meta.json.
    """
    layout, meta_path = split_layout(root, split), root / split / "meta.json"
    if not meta_path.is_file():
        return layout
    meta = load_json(meta_path)
    try:
        known = {name: frozenset(map(whole, video["objects"])) for name, video in meta.items()}
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{meta_path}: a video has no table 'objects' of ids ({error!r}): download it again"
        ) from error
    return VOSLayout(layout.images, layout.masks, tuple(sorted(known)), known)


def split_layout(root: Path, split: str) -> VOSLayout:
    """LVOS and MOSE: `<split>/{JPEGImages,Annotations}`, every folder a video. Raises FileNotFoundError."""
    return folder_layout(_base(root, (split,), "JPEGImages"))


def folder_layout(root: Path) -> VOSLayout:
    """A user's own videos: `JPEGImages` (or `images`) and `Annotations` (or `masks`). Raises FileNotFoundError."""
    images, masks = (
        next((root / name for name in names if (root / name).is_dir()), None)
        for names in (("JPEGImages", "images"), ("Annotations", "masks"))
    )
    if images is None or masks is None:
        raise FileNotFoundError(
            f"{root} must hold JPEGImages (or images) and Annotations (or masks), with a folder per video in both"
        )
    return VOSLayout(images, masks, tuple(sorted(path.name for path in images.iterdir() if path.is_dir())))


def _base(root: Path, folders: tuple[str, ...], inner: str) -> Path:
    """The first of `root/<folder>` that has the folder `inner`."""
    if not root.is_dir():
        raise FileNotFoundError(f"data.root={root} is not a folder: give the folder that holds the data set")
    base = next((root / folder for folder in folders if (root / folder / inner).is_dir()), None)
    if base is None:
        places = " or ".join(str(root / folder / inner) for folder in folders)
        raise FileNotFoundError(f"{places} is missing: data.root must be the folder that holds the data set")
    return base


def _video_of(line: str) -> str:
    """The video's name, whether the line is the name or `/JPEGImages/480p/<video>/00000.jpg <mask>`."""
    path = Path(line.split()[0])
    return path.parent.name if path.suffix else path.name


class VOSSource(VideoFiles, TaskSource):
    """Videos with the masks of their objects, for semi-supervised VOS.

    Masks of an object after its first are truth for training and scoring; they are never given in an item.

    Args:
        name: the benchmark.
        root: the folder that the user gave, for messages.
        split: for messages.
        layout: where the files are.
        cache_frames: bytes of decoded frames and masks to keep in memory; 0 keeps none.
    """

    task = "vos"

    def __init__(self, name: str, root: Path, split: str, layout: VOSLayout, *, cache_frames: int = 0) -> None:
        super().__init__(cache_frames=cache_frames, merge_objects=layout.merge_objects)
        self.name, self.root, self.split, self.layout = name, root, split, layout
        self._listed = frozenset(layout.videos)
        self._images: dict[str, dict[str, Path]] = {}
        self._masks: dict[str, tuple[str, ...]] = {}
        self._given: dict[str, dict[str, tuple[int, ...]]] = {}

    def names(self) -> tuple[str, ...]:
        """Names of the videos, in the order of the layout."""
        return self.layout.videos

    def frames(self, video: str) -> tuple[str, ...]:
        """Frames with a mask file. A validation set on a server has few, see `all_frames`."""
        if video not in self._masks:
            self._masks[video] = tuple(list_frames(self._folder(self.layout.masks, video), (".png",)))
        return self._masks[video]

    def all_frames(self, video: str) -> tuple[str, ...]:
        """Every frame of the video, with a mask or without, in time order."""
        return tuple(self._files(video))

    def given(self, video: str) -> dict[str, tuple[int, ...]]:
        """Frame -> ids of the objects whose first mask it has. Reads masks once, until all listed objects are found."""
        if video not in self._given:
            seen: set[int] = set()
            given: dict[str, tuple[int, ...]] = {}
            known = self.layout.known.get(video)
            for frame in self.frames(video)[: 1 if self.layout.first_frame else None]:
                ids = self.object_ids(video, frame)
                if new := sorted((ids if known is None else ids & known) - seen):
                    given[frame] = tuple(new)
                    seen.update(new)
                if known is not None and known <= seen:
                    break
            self._given[video] = given
        return self._given[video]

    def expressions(self, video: str) -> tuple[Expression, ...]:
        """One for each object, without words. Reads no mask where a list says the objects."""
        known = self.layout.known.get(video)
        ids = known if known is not None else (k for ids in self.given(video).values() for k in ids)
        return tuple(Expression(str(k), "", k, OBJECT) for k in sorted(ids))

    def with_object(self, spec: ClipSpec, frames: Tensor) -> Clip:
        """The clip with one object or, for object `EVERYTHING`, with all that it shows, which have no classes."""
        if spec.object_id != EVERYTHING:
            return super().with_object(spec, frames)
        ids = [said.object_id for said in self.expressions(spec.video)]
        masks = [self.read_masks(spec.video, spec.frames, k) for k in ids]
        found = objects_of(ids, [0] * len(ids), torch.stack(masks))
        size = (frames.shape[-2], frames.shape[-1])
        clip = Clip(frames, found, None, spec.video, spec.frames, size)
        return replace(clip, moments=self.moments(spec))

    def items(self) -> Iterator[VOSItem]:
        """Items to test, one for each video. Raises ValueError for a broken video."""
        for video in self.names():
            yield self.item(video)

    def item(self, video: str) -> VOSItem:
        """The item of one video. Raises ValueError where no mask gives an object, or a mask has no frame."""
        frames, given = self.all_frames(video), self.given(video)
        if not given:
            raise ValueError(
                f"{self.name}: no mask in {self.layout.masks / video} shows an object: a video needs one to start from"
            )
        if absent := [frame for frame in given if frame not in self._files(video)]:
            raise ValueError(
                f"{self.name}: mask {self.mask_path(video, absent[0])} has no frame in {self.layout.images / video}: "
                f"restore the frame, or remove the mask"
            )
        return VOSItem(video, frames, given)

    def image_path(self, video: str, frame: str) -> Path:
        """File of a frame, whatever its suffix."""
        return self._files(video).get(frame, self.layout.images / video / f"{frame}.jpg")

    def mask_path(self, video: str, frame: str) -> Path:
        """File of a frame's mask."""
        return self.layout.masks / video / f"{frame}.png"

    def listed_objects(self, video: str) -> frozenset[int] | None:
        """Objects of meta.json, where there is one."""
        return self.layout.known.get(video)

    def problems(self) -> list[str]:
        """Reads folder listings and the masks that are given, not those that are truth only."""
        return [problem for video in self.names() for problem in self._problems(video)]

    def content(self) -> Any:
        """Videos with frames, annotated frames and listed objects."""
        return [[v, self.all_frames(v), self.frames(v), sorted(self.layout.known.get(v, ()))] for v in self.names()]

    def _problems(self, video: str) -> list[str]:
        folders = (self.layout.images / video, self.layout.masks / video)
        if absent := [folder for folder in folders if not folder.is_dir()]:
            return [f"folder {f} is missing: restore it, or remove the video from the lists" for f in absent]
        there = self._files(video)
        found = [
            f"mask {self.mask_path(video, frame)} has no frame in {folders[0]}: restore the frame, or remove the mask"
            for frame in self.frames(video)
            if frame not in there
        ]
        return found or self._mask_problems(video)

    def _mask_problems(self, video: str) -> list[str]:
        """Faults of the given masks. None is read where all frames have one and no list says the objects."""
        sparse = 2 * len(self.frames(video)) <= len(self.all_frames(video))
        if not (sparse or self.layout.first_frame or video in self.layout.known):
            return []
        try:
            item = self.item(video)
            for frame in item.given:
                self.read_given(item, frame)
        except (FileNotFoundError, ValueError) as error:
            return [str(error)]
        known = self.layout.known.get(video, frozenset(item.objects))
        shown = {k for frame in item.given for k in self.object_ids(video, frame)}
        where = f"video {video!r} of {self.name}"
        return [
            *(f"{where}: object {k} of meta.json is in no mask: restore it" for k in sorted(known - {*item.objects})),
            *(f"{where}: object {k} of a mask is not in meta.json: it is left out" for k in sorted(shown - known)),
        ]

    def _files(self, video: str) -> dict[str, Path]:
        if video not in self._images:
            self._images[video] = list_frames(self._folder(self.layout.images, video))
        return self._images[video]

    def _folder(self, folder: Path, video: str) -> Path:
        if video not in self._listed:
            raise unknown_name(self, video)
        return folder / video


def open_davis16(row: DataSet, opening: Opening) -> VOSSource:
    """Reader of DAVIS-2016."""
    return _open(row, opening, davis_layout(opening.folder, 2016, opening.split, opening.resolution))


def open_davis17(row: DataSet, opening: Opening) -> VOSSource:
    """Reader of DAVIS-2017."""
    return _open(row, opening, davis_layout(opening.folder, 2017, opening.split, opening.resolution))


def open_youtube_vos(row: DataSet, opening: Opening) -> VOSSource:
    """Reader of YouTube-VOS."""
    return _open(row, opening, youtube_vos_layout(opening.folder, opening.split))


def open_split(row: DataSet, opening: Opening) -> VOSSource:
    """Reader of LVOS and MOSE."""
    return _open(row, opening, split_layout(opening.folder, opening.split))


def open_folder(row: DataSet, opening: Opening) -> VOSSource:
    """Reader of a user's own videos."""
    return _open(row, opening, folder_layout(opening.folder))


def _open(row: DataSet, opening: Opening, layout: VOSLayout) -> VOSSource:
    return VOSSource(row.name, opening.folder, opening.split, layout, cache_frames=opening.cache_frames)
