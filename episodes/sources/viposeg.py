"""VIPOSeg on disk: objects and stuff of videos from given masks (Xu et al., IJCAI 2023).

The folders are those of YouTube-VOS, with the class of every object in `obj_class.json`. The masks of all frames, which
results are scored against, are expected in `Annotations_gt`, the groups of the classes in `class_groups.json`, and the
names of the classes, where they are asked for, in `class_names.json`: these names of files are this package's own, as
the data set has them under others or in the code of its evaluation.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from episodes.panoptic import GROUPS
from episodes.sources.entries import load_json, whole
from episodes.sources.vos_layouts import VOSLayout, VOSSource, split_layout

if TYPE_CHECKING:
    from episodes.catalogue import DataSet, Opening

CLASS_FILE, GROUP_FILE, TRUTH = "obj_class.json", "class_groups.json", "Annotations_gt"
NAME_FILE = "class_names.json"


class VIPOSegSource(VOSSource):
    """Videos with the masks of their objects and stuff in some frames, and the class of each.

    An item gives each object once, in the first frame that has its mask; `all_given` gives the repeats too.

    Args:
        name: the benchmark.
        root: the folder that the user gave.
        split: one of its folders.
        layout: where the frames and the given masks are.
        cache_frames: bytes of decoded frames and masks to keep in memory; 0 keeps none.

    Raises FileNotFoundError for a missing list of classes, ValueError for a broken one.
    """

    task = "pvos"

    def __init__(self, name: str, root: Path, split: str, layout: VOSLayout, *, cache_frames: int = 0) -> None:
        super().__init__(name, root, split, layout, cache_frames=cache_frames)
        self._file = _beside(root, split, CLASS_FILE, "the class of every object, by video and object id")
        table: Mapping[str, Mapping[str, Any]] = load_json(self._file)
        try:
            self._classes = {
                str(video): {whole(k): whole(number) for k, number in own.items()} for video, own in table.items()
            }
        except (AttributeError, TypeError, ValueError) as error:
            raise ValueError(
                f"{self._file} is no table of videos and objects ({error!r}): download it again"
            ) from error

    def classes_of(self, video: str) -> dict[int, int]:
        """Class of every object that a mask gives. Raises ValueError for an object that the list lacks."""
        known = self._classes.get(video, {})
        given = {k for ids in self.all_given(video).values() for k in ids}
        if absent := sorted(given - known.keys()):
            raise ValueError(f"{self._file} has no class for object {absent[0]} of video {video!r}: add it")
        return {k: known[k] for k in sorted(given)}

    def all_given(self, video: str) -> dict[str, tuple[int, ...]]:
        """Frame -> ids of all objects in its mask, whether they were given before or not. Reads all given masks."""
        return {frame: tuple(sorted(self.object_ids(video, frame))) for frame in self.frames(video)}

    def truth_folder(self, video: str) -> Path:
        """The masks of all frames. Raises FileNotFoundError where they are not."""
        folder = self.layout.masks.with_name(TRUTH)
        if not (folder / video).is_dir():
            raise FileNotFoundError(f"{folder / video} is missing: it must hold the masks of all frames of the video")
        return folder

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, by their numbers. Raises FileNotFoundError or ValueError."""
        what = "a list of the names of the classes, from number 0 on, which are those of VIPSeg"
        path = _beside(self.root, self.split, NAME_FILE, what)
        names = load_json(path)
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError(f"{path} must be {what}: correct it")
        return tuple(names)

    @cached_property
    def groups(self) -> dict[str, frozenset[int]]:
        """Classes of the four groups. Raises FileNotFoundError or ValueError."""
        table = self._groups
        return {name: frozenset(map(whole, table[name])) for name in GROUPS}

    @cached_property
    def exceptions(self) -> dict[str, dict[int, str]]:
        """Video -> class -> group, where it is another than that of the class. Errors as of `groups`."""
        rows = self._groups.get("exceptions", {}).items()
        return {video: {whole(k): group for k, group in own.items()} for video, own in rows}

    @cached_property
    def _groups(self) -> dict[str, Any]:
        what = f"the classes of {', '.join(GROUPS)} and, by video and class, `exceptions`"
        path = _beside(self.root, self.split, GROUP_FILE, what)
        table = load_json(path)
        if not _names_groups(table):
            raise ValueError(f"{path} must be a table of {what}: correct it")
        return table


def _names_groups(table: Any) -> bool:
    """Whether a table has a list of classes for each group, and exceptions, if any, that name groups."""
    if not isinstance(table, dict) or not all(isinstance(table.get(name), list) for name in GROUPS):
        return False
    rows = table.get("exceptions", {})
    return isinstance(rows, dict) and all(
        isinstance(own, dict) and all(group in GROUPS for group in own.values()) for own in rows.values()
    )


def _beside(root: Path, split: str, name: str, what: str) -> Path:
    """The file in the folder of the split, or in the root. Raises FileNotFoundError."""
    path = next((path for path in (root / split / name, root / name) if path.is_file()), None)
    if path is None:
        raise FileNotFoundError(f"{root / name} is missing: it must hold {what}")
    return path


def open_viposeg(row: DataSet, opening: Opening) -> VIPOSegSource:
    """Reader of VIPOSeg."""
    root, layout = opening.folder, split_layout(opening.folder, opening.split)
    return VIPOSegSource(row.name, root, opening.split, layout, cache_frames=opening.cache_frames)
