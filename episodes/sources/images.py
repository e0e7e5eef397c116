"""`ImageSource`: still images with class masks. An image is a clip of one frame that is called `0`."""

from __future__ import annotations

import hashlib
import json
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from episodes.clip import Clip
from episodes.episode import ClipSpec
from episodes.sources.areas import MaskCounts, count_labels, scan
from episodes.sources.base import Expression, Source
from episodes.sources.files import ArrayCache, header_error, read_image

if TYPE_CHECKING:
    from episodes.catalogue import DataSet, Opening
    from episodes.folds import Folds

FRAME = "0"
SPLITS = ("train", "test")
IGNORE = 255
SHOWN = 20  # problems of one kind before they are counted only


class ImageSource(Source):
    """Images with a mask of class labels each, or of one class. All masks are counted at the first question.

    A layout says which images there are (`list_images`) and how a mask is read (`read_label_map`). The label of a class
    in the mask is the `object_id` of its clips. Images have no words: the name of a class would give it away.

    Args:
        root: folder of the data set.
        folds: names the classes.
        cache: folder for files made at first use (pixel counts); None is the default of `cache_folder`.
        cache_frames: bytes of decoded images and masks kept in memory; 0 keeps none.
    """

    ignore_label: int | None = None  # the label of void pixels
    rule = ""  # how label maps are made of files, for the cache of pixel counts

    def __init__(
        self, root: Path | str, folds: Folds, *, cache: Path | str | None = None, cache_frames: int = 0
    ) -> None:
        self.name = folds.name
        self.root = Path(root).expanduser()
        self.folds = folds
        self.cache = cache
        self._arrays = ArrayCache(cache_frames)
        self._last: tuple[str, np.ndarray] | None = None
        self._errors: dict[str, str] = {}

    @classmethod
    def open(cls, row: DataSet, opening: Opening) -> ImageSource:
        """Reader of the catalogue, for layouts that are told their folds."""
        assert row.folds is not None  # the catalogue checks it
        return cls(opening.folder, row.folds, cache=opening.cache, cache_frames=opening.cache_frames)

    @abstractmethod
    def list_images(self) -> dict[str, tuple[Path, Path]]:
        """Image name -> its file and the file of its mask, sorted by name."""

    @abstractmethod
    def read_label_map(self, image: str) -> np.ndarray:
        """Labels `(H, W)` uint8 as the layout has them. Raises FileNotFoundError or ValueError, naming the file."""

    def class_of(self, image: str, label: int) -> int | None:
        """Class id of a label in the mask of `image`; None for a label that stands for no class."""
        return label if 1 <= label <= len(self.folds.classes) else None

    def in_split(self, image: str, split: str) -> bool:
        """True if the data set itself gives `image` to `split` (`train` or `test`). Without such a division: always."""
        return True

    def find(self, name: str) -> str | None:
        """The image that a list file calls `name` (without folder and suffix), or None."""
        return name if name in self.files else None

    def check_labels(self, image: str, labels: np.ndarray, areas: dict[int, int]) -> tuple[str, str]:
        """(error, remark) of a label map, as sentences, empty if there is none. Labels of no class are an error."""
        odd = [v for v in areas if v != self.ignore_label and self.class_of(image, v) is None]
        if not odd:
            return "", ""
        allowed = f"0 to {len(self.folds.classes)}" + (f" and {self.ignore_label}" if self.ignore_label else "")
        shown = ", ".join(map(str, odd[:5]))
        return f"has the value {shown}, but labels are {allowed}: correct the mask, or remove the image", ""

    @cached_property
    def files(self) -> dict[str, tuple[Path, Path]]:
        """Image name -> its file and the file of its mask."""
        return self.list_images()

    @cached_property
    def counts(self) -> dict[str, MaskCounts]:
        """Image name -> what was counted in its mask."""
        rule = f"{type(self).__name__} {self.rule} {self.folds.classes}"
        return scan(self.name, list(self.files), self.mask_sources(), self._count, self.cache, rule=rule)

    def mask_sources(self) -> Sequence[Path]:
        """The files that the masks are made of, for the cache of pixel counts."""
        return [mask for _, mask in self.files.values()]

    @cached_property
    def _by_class(self) -> dict[int, tuple[str, ...]]:
        members: dict[int, list[str]] = {}
        for image in self.files:
            for class_id in self.classes_in(image):
                members.setdefault(class_id, []).append(image)
        return {class_id: tuple(sorted(images)) for class_id, images in members.items()}

    def videos(self, class_id: int) -> tuple[str, ...]:
        """Sorted names of the images that show the class."""
        return self._by_class.get(class_id, ())

    def images_of(self, class_id: int, split: str) -> tuple[str, ...]:
        """Sorted names of the images of `train` or `test` that show the class. Raises ValueError for other splits."""
        if split not in SPLITS:
            raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
        return tuple(image for image in self.videos(class_id) if self.in_split(image, split))

    def frames(self, video: str) -> tuple[str, ...]:
        """The one frame `0`. Raises KeyError for an unknown image."""
        self._known(video)
        return (FRAME,)

    def classes_in(self, image: str) -> dict[int, int]:
        """Class id -> its pixels, of the classes that `image` shows. Broken masks show none."""
        found = self.counts[self._known(image)]
        if found.error:
            return {}
        pairs = ((self.class_of(image, label), area) for label, area in sorted(found.areas.items()))
        return {class_id: area for class_id, area in pairs if class_id is not None}

    def area(self, image: str, class_id: int) -> int:
        """Pixels of the class in the mask of `image`, void pixels not counted."""
        return self.classes_in(image).get(class_id, 0)

    def label_of(self, image: str, class_id: int) -> int:
        """The label of the class in the mask of `image`, the inverse of `class_of`."""
        return class_id

    def picture_error(self, image: str) -> str:
        """Sentence on why an image does not go with its mask; empty if it does. Reads the file's header once."""
        if image not in self._errors:
            picture, mask = self.files[self._known(image)]
            self._errors[image] = header_error(picture, mask, self.counts[image].size)
        return self._errors[image]

    def expressions(self, video: str) -> tuple[Expression, ...]:
        """One per class that the image shows, without words. Raises ValueError for a broken mask or image file."""
        mask = self.files[self._known(video)][1]
        error = self.counts[video].error
        if error:
            raise ValueError(f"{self.name}: mask {mask} {error}")
        if error := self.picture_error(video):
            raise ValueError(f"{self.name}: {error}")
        return tuple(Expression(str(c), "", self.label_of(video, c), c) for c in self.classes_in(video))

    def read_frames(self, video: str, frames: Sequence[str]) -> Tensor:
        """Pixels `(T, 3, H, W)` uint8 RGB, the image once for each of `frames`. Raises as in `Source`."""
        picture = self.files[self._known(video)][0]
        pixels = torch.from_numpy(self._arrays.get(picture, read_image).copy())
        return pixels.permute(2, 0, 1).expand(len(frames), -1, -1, -1).contiguous()

    def labels(self, image: str) -> np.ndarray:
        """Labels `(H, W)` uint8 of an image, from memory if just read. Raises what `read_label_map` raises."""
        if self._last is None or self._last[0] != image:
            self._known(image)
            self._last = image, self._arrays.get(self.files[image][1], lambda _: self.read_label_map(image))
        return self._last[1]

    def read_masks(self, video: str, frames: Sequence[str], object_id: int) -> Tensor:
        """Masks `(T, H, W)` bool of one label. Raises ValueError where the image has no pixel of it."""
        masks = self.labels(video) == object_id
        if not masks.any():
            raise ValueError(
                f"{self.name}: {self.where(video, FRAME)} has no pixel with the label {object_id}: an image stands "
                f"for a class that it shows"
            )
        return torch.from_numpy(masks).expand(len(frames), -1, -1).contiguous()

    def visible(self, video: str, frame: str, object_id: int) -> bool:
        """True if the mask has a pixel of the label."""
        return self.counts[self._known(video)].areas.get(object_id, 0) > 0

    def where(self, video: str, frame: str) -> str:
        """Name of the image and its mask file, for messages."""
        return f"image {video!r}: mask {self.files[video][1]}"

    def with_object(self, spec: ClipSpec, frames: Tensor) -> Clip:
        """The clip with the object's mask and, where the layout has them, the void pixels."""
        clip = super().with_object(spec, frames)
        if self.ignore_label is None:
            return clip
        ignore = torch.from_numpy(self.labels(spec.video) == self.ignore_label)
        return replace(clip, ignore=ignore.expand(len(spec.frames), -1, -1).contiguous())

    def problems(self) -> list[str]:
        """Missing or broken files, odd masks, small classes. Counts all masks, reads the headers of all images."""
        # Broken files come first: a run shows only the first few problems.
        remarks = (self.layout_remarks(), _remarks(self), _empty_masks(self), _small_classes(self))
        return [*self.broken(), *(sentence for kind in remarks for sentence in _cut(kind))]

    def broken(self) -> list[str]:
        """Missing or broken files, and images of another size than their masks."""
        kinds = (self.layout_problems(), _mask_errors(self), filter(None, map(self.picture_error, self.files)))
        return [sentence for kind in kinds for sentence in _cut(kind)]

    def layout_problems(self) -> list[str]:
        """Faults that only the layout knows of: files without a partner, entries without a file."""
        return []

    def layout_remarks(self) -> list[str]:
        """Files of the layout that are left out, though nothing is wrong with them."""
        return []

    def fingerprint(self) -> str:
        """Hash of names, classes and pixel counts; the same on every machine."""
        rows = [[image, sorted(self.classes_in(image).items())] for image in self.files]
        return hashlib.sha256(json.dumps([self.draws_as, self.folds.classes, rows]).encode()).hexdigest()

    def _count(self, image: str) -> MaskCounts:
        try:
            labels = self.read_label_map(image)
        except FileNotFoundError:
            return MaskCounts((0, 0), {}, error="is missing: restore it, or remove the image")
        except ValueError as broken:
            return MaskCounts((0, 0), {}, error=f"cannot be used: {broken}")
        areas = count_labels(labels)
        error, remark = self.check_labels(image, labels, areas)
        return MaskCounts((labels.shape[0], labels.shape[1]), areas, error, remark)

    def _known(self, image: str) -> str:
        if image not in self.files:
            raise KeyError(f"{self.name} in {self.root} has no image {image!r}")
        return image


def _cut(sentences: Iterable[str]) -> list[str]:
    found = list(sentences)
    more = len(found) - SHOWN
    return found[:SHOWN] + ([f"and {more} more problems like the one before"] if more > 0 else [])


def _small_classes(source: ImageSource) -> Iterable[str]:
    for class_id, name in enumerate(source.folds.classes, start=1):
        images = source.videos(class_id)
        if not images:
            yield f"class {name!r} has no image: it is left out of every episode; add at least two to use it"
        elif len(images) == 1:
            yield (
                f"class {name!r} has one image ({images[0]}): an episode needs a support and a query, so it is left "
                f"out; add at least one more to use it"
            )


def _mask_errors(source: ImageSource) -> Iterable[str]:
    for image, counts in source.counts.items():
        if counts.error:
            yield f"mask {source.files[image][1]} {counts.error}"


def _remarks(source: ImageSource) -> Iterable[str]:
    odd: dict[str, list[str]] = {}
    for image, counts in source.counts.items():
        if counts.remark:
            odd.setdefault(counts.remark, []).append(image)
    for remark, images in odd.items():
        yield f"{len(images)} mask{'s' * (len(images) > 1)} ({', '.join(images[:3])}) with {remark}"


def _empty_masks(source: ImageSource) -> Iterable[str]:
    for image, counts in source.counts.items():
        if not counts.error and not source.classes_in(image):
            yield f"mask {source.files[image][1]} is empty: its image is not used; mark the object, or remove both"
