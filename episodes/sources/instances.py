"""Images with all of their objects, from a file in COCO's form: COCO, Objects365, or a user's own."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pycocotools.coco import COCO
from torch import Tensor

from episodes.clip import Clip, Objects
from episodes.episode import ClipSpec
from episodes.plain_files import UnsuitableFile
from episodes.sources.base import Expression
from episodes.sources.entries import refuse_twice
from episodes.sources.files import read_image
from episodes.sources.segmentations import decode
from episodes.sources.task_source import OBJECT, TaskSource, unknown_name
from episodes.task_items import Item

FRAME = "0"
ALL_OBJECTS = 0


class InstanceSource(TaskSource):
    """Images whose objects have a box and a class, and a mask unless `boxes_only`.

    An image is a clip of one frame. Object `k` (from 1) is its k-th annotation; object 0 stands for all of them, and
    its clip is `exhaustive`. Crowds and boxes without an area are left out, and images that have nothing else.

    Args:
        name: the benchmark.
        annotations: the file.
        images: the folder of the images.
        split: for messages.
        boxes_only: masks are not read, even where the file has them.
        one_class: every object is of class 0; else classes are numbered in the order of category ids.

    Raises FileNotFoundError for a missing file or folder, ValueError for a file of another form.
    """

    task = "detection"

    def __init__(
        self,
        name: str,
        annotations: Path,
        images: Path,
        split: str = "train",
        *,
        boxes_only: bool = False,
        one_class: bool = True,
    ) -> None:
        for path, what, there in (
            (annotations, "file", annotations.is_file()),
            (images, "folder", images.is_dir()),
        ):
            if not there:
                raise FileNotFoundError(f"{name}: {what} {path} is missing: it must hold the {split} images' objects")
        self.name, self.root, self.split, self.images = name, annotations, split, images
        self.boxes_only, self.one_class = boxes_only, one_class
        self._index = _load(annotations)
        self._classes = {k: i for i, k in enumerate(sorted(self._index.cats))}

    def label_names(self) -> tuple[str, ...] | None:
        """Names of the categories, where the file has them, whether labels tell them apart or not: all are shown."""
        names = [self._index.cats[k].get("name") for k in self._classes]
        return None if None in names else tuple(map(str, names))

    @property
    def num_classes(self) -> int:
        """Classes of the labels."""
        return 1 if self.one_class else len(self._classes)

    @cached_property
    def _members(self) -> dict[str, tuple[dict[str, Any], list[dict[str, Any]]]]:
        """Image name -> its entry and its annotations."""
        found = {}
        for image_id, entry in self._index.imgs.items():
            objects = [a for a in self._index.imgToAnns[image_id] if _counts(a)]
            if objects:
                found[str(image_id)] = (entry, objects)
        return dict(sorted(found.items()))

    def names(self) -> tuple[str, ...]:
        """Sorted ids of the images that have an object."""
        return tuple(self._members)

    def items(self) -> Iterator[Item]:
        """Nothing to test: raises ValueError."""
        raise ValueError(f"{self.name} is a data set for training: there is no test of it here")

    def frames(self, video: str) -> tuple[str, ...]:
        """The one frame `0`. Raises KeyError for an unknown image."""
        self._entry(video)
        return (FRAME,)

    def expressions(self, video: str) -> tuple[Expression, ...]:
        """One for each object, without words."""
        count = len(self._entry(video)[1])
        return tuple(Expression(str(k), "", k, OBJECT) for k in range(1, count + 1))

    def read_frames(self, video: str, frames: Sequence[str]) -> Tensor:
        """Pixels `(T, 3, H, W)` uint8 RGB, the image once for each of `frames`."""
        pixels = torch.from_numpy(read_image(self._path(video)).copy())
        return pixels.permute(2, 0, 1).expand(len(frames), -1, -1, -1).contiguous()

    def read_masks(self, video: str, frames: Sequence[str], object_id: int) -> Tensor:
        """Mask `(T, H, W)` bool of the object with this number, from 1. Raises ValueError if broken."""
        mask = self._mask(video, self._entry(video)[1][object_id - 1])
        return torch.from_numpy(mask).expand(len(frames), -1, -1).contiguous()

    def with_object(self, spec: ClipSpec, frames: Tensor) -> Clip:
        """The clip with one object or, for object 0, with `instances`."""
        if spec.object_id != ALL_OBJECTS:
            return super().with_object(spec, frames)
        return Clip(
            frames=frames,
            objects=self.read_objects(spec.video),
            video=spec.video,
            frame_names=spec.frames,
            original_size=(frames.shape[-2], frames.shape[-1]),
        )

    def read_objects(self, image: str) -> Objects:
        """All objects of an image. Raises KeyError for an unknown one, ValueError for a mask that cannot be read."""
        entry, objects = self._entry(image)
        corners = torch.tensor([a["bbox"] for a in objects], dtype=torch.float32)
        corners[:, 2:] += corners[:, :2]
        size = torch.tensor([entry["width"], entry["height"]] * 2, dtype=torch.float32)
        labels = [0 if self.one_class else self._classes[a["category_id"]] for a in objects]
        masks = None if self.boxes_only else torch.from_numpy(np.stack([self._mask(image, a) for a in objects]))
        return Objects.of_image(corners.clamp(min=0).minimum(size), torch.tensor(labels), masks)

    def visible(self, video: str, frame: str, object_id: int) -> bool:
        """True if the image has an object of this number."""
        return 1 <= object_id <= len(self._entry(video)[1])

    def where(self, video: str, frame: str) -> str:
        """Name of the image and the annotation file, for messages."""
        return f"image {video} of {self.root}"

    def problems(self) -> list[str]:
        """One sentence on the image files that are missing. Empty: all is well."""
        absent = [str(path) for name in self.names() if not (path := self._path(name)).is_file()]
        shown = ", ".join(absent[:3])
        return [f"{len(absent)} images of {self.root} are missing, first {shown}: restore them"] if absent else []

    def content(self) -> Any:
        """Names with the ids, boxes and classes of their objects."""
        rows = self._members.items()
        return [[name, [[a["id"], a["bbox"], a["category_id"]] for a in objects]] for name, (_, objects) in rows]

    def _mask(self, image: str, annotation: dict[str, Any]) -> np.ndarray:
        entry = self._entry(image)[0]
        try:
            return decode(annotation["segmentation"], entry["height"], entry["width"])
        except (ValueError, TypeError, KeyError, IndexError) as error:
            raise ValueError(
                f"object {annotation['id']} of {self.root} has no mask that can be read: {error}"
            ) from error

    def _path(self, image: str) -> Path:
        """The file of an image, whether its folders are repeated under `images` or not."""
        name = Path(self._entry(image)[0]["file_name"])
        return self.images / name if (self.images / name).is_file() else self.images / name.name

    def _entry(self, video: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        if video not in self._members:
            raise unknown_name(self, video)
        return self._members[video]


def _counts(annotation: dict[str, Any]) -> bool:
    return not annotation.get("iscrowd", 0) and min(annotation["bbox"][2:]) > 0


def _load(path: Path) -> COCO:
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # pycocotools talks while it reads
            index = COCO(str(path))
        for table in ("images", "annotations"):
            refuse_twice((entry["id"] for entry in index.dataset.get(table, [])), path, f"{table} of the id")
    except UnsuitableFile:
        raise
    except (ValueError, AssertionError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not in COCO's form ({error!r}): download it again") from error
    if not index.imgs or not index.anns:
        raise ValueError(f"{path} lists {len(index.imgs)} images and {len(index.anns)} objects: both are needed")
    return index
