"""`Clip`: some frames of one video, and `Objects`: those that are known in them. An image is a clip of one frame."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Objects:
    """The `M` objects of a clip of `T` frames: those that are meant or, if `exhaustive`, all that are annotated.

    The single object is M = 1, see `one`; M may be 0.

    Attributes:
        ids: `(M,)` int64, the number of each object in its video.
        labels: `(M,)` int64, the class of each, counted from 0; zeros where classes play no part.
        masks: `(M, T, Hm, Wm)` bool, True on the object; None where unknown. `(Hm, Wm)` may differ from the size of the
            frames: testing keeps masks at the original resolution while the frames are resized.
        boxes: `(M, T, 4)` float32 `x0, y0, x1, y1` in pixels of the frames, zeros where absent; None where unknown.
        valid: `(M, T)` bool, True where the object is visible (and its box has a positive area); None where unknown.
        exhaustive: these are all annotated objects of the clip, and no single one is meant.

    Raises:
        ValueError: tensors of a wrong type or that do not fit together.
    """

    ids: Tensor
    labels: Tensor
    masks: Tensor | None = None
    boxes: Tensor | None = None
    valid: Tensor | None = None
    exhaustive: bool = False

    def __post_init__(self) -> None:
        m = len(self.ids) if self.ids.ndim else 0
        _check_shape("ids", self.ids, (m,))
        _check_shape("labels", self.labels, (m,))
        _check_shape("masks", self.masks, (m, "T", "H", "W"))
        _check_shape("boxes", self.boxes, (m, "T", 4))
        _check_shape("valid", self.valid, (m, "T"))
        for name, tensor in (("masks", self.masks), ("valid", self.valid)):
            if tensor is not None and tensor.dtype != torch.bool:
                raise ValueError(f"objects: {name} must be bool, got {tensor.dtype}")
        lengths = {name: x.shape[1] for name, x in self._over_time().items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"objects: masks, boxes and valid must have as many frames as one another, got {lengths}")

    @classmethod
    def one(
        cls,
        masks: Tensor | None = None,
        boxes: Tensor | None = None,
        valid: Tensor | None = None,
        object_id: int = 1,
        label: int = 0,
    ) -> Objects:
        """The one object that is meant, from masks `(T, H, W)`, boxes `(T, 4)` and visibility `(T,)`, if known."""
        device = next((x.device for x in (masks, boxes, valid) if x is not None), None)
        masks, boxes, valid = (None if x is None else x[None] for x in (masks, boxes, valid))
        return cls(torch.tensor([object_id], device=device), torch.tensor([label], device=device), masks, boxes, valid)

    @classmethod
    def of_image(cls, boxes: Tensor, labels: Tensor, masks: Tensor | None = None) -> Objects:
        """All objects of an image, numbered from 1, from boxes `(M, 4)`, labels `(M,)` and masks `(M, H, W)`."""
        ids = torch.arange(1, len(labels) + 1, device=labels.device)
        valid = torch.ones(len(labels), 1, dtype=torch.bool, device=labels.device)
        return cls(ids, labels, None if masks is None else masks[:, None], boxes[:, None], valid, exhaustive=True)

    def __len__(self) -> int:
        """`M`."""
        return len(self.ids)

    def __getitem__(self, keep: Tensor) -> Objects:
        """Those that `keep` selects: `(M,)` bool, or indices."""
        masks, boxes, valid = (None if x is None else x[keep] for x in (self.masks, self.boxes, self.valid))
        return replace(self, ids=self.ids[keep], labels=self.labels[keep], masks=masks, boxes=boxes, valid=valid)

    @property
    def length(self) -> int | None:
        """`T`; None where neither masks nor boxes nor visibility are known."""
        return next((x.shape[1] for x in self._over_time().values()), None)

    def visible(self) -> Objects:
        """Those that a frame shows; all of them where this is unknown."""
        return self if self.valid is None else self[self.valid.any(1)]

    def in_frame(self, t: int) -> Objects:
        """Those that frame `t` shows, in this frame alone (T = 1)."""
        masks, boxes, valid = (None if x is None else x[:, t : t + 1] for x in (self.masks, self.boxes, self.valid))
        return replace(self, masks=masks, boxes=boxes, valid=valid).visible()

    def hidden(self) -> Objects:
        """The same ones, seen nowhere: empty masks, boxes of zeros."""
        gone: dict[str, Any] = {name: torch.zeros_like(x) for name, x in self._over_time().items()}
        return replace(self, **gone)

    def to(self, device: torch.device | str) -> Objects:
        """The same on `device`."""
        tensors = {"ids": self.ids, "labels": self.labels, **self._over_time()}
        moved: dict[str, Any] = {name: x.to(device, non_blocking=True) for name, x in tensors.items()}
        return replace(self, **moved)

    def _over_time(self) -> dict[str, Tensor]:
        """What is known frame by frame."""
        tensors = {"masks": self.masks, "boxes": self.boxes, "valid": self.valid}
        return {name: x for name, x in tensors.items() if x is not None}


@dataclass(frozen=True)
class Clip:
    """Frames of a video, with the objects that are known in them.

    `masks`, `boxes` and `valid` show the one object that is meant; change it with `with_masks` or by other `objects`.

    Attributes:
        frames: `(T, 3, H, W)` RGB, either uint8 in 0..255 (as read) or float32 (after the transforms).
        objects: the object that is meant (`Objects.one`), or all that are annotated; None where none is known.
        expression: the words that refer to the object, or None.
        video: name of the video (or image) on disk; `frame_names` the `T` names of its frames.
        original_size: `(height, width)` of the frames on disk, before any transform.
        ignore: `(T, Hm, Wm)` bool like the masks, True on void pixels (label 255 of PASCAL VOC); None: there are none.
        asked: index of the one frame that is asked for, see `ClipBatch.asked`; None: all are.
        vocabulary: names of the classes that the labels of `objects` count; empty: classes play no part.
        moments: places of the `T` frames in their video, from 0; empty: unknown.

    Raises:
        ValueError: tensors of a wrong shape, or objects or names of another number of frames.
    """

    frames: Tensor
    objects: Objects | None = None
    expression: str | None = None
    video: str = ""
    frame_names: tuple[str, ...] = ()
    original_size: tuple[int, int] | None = None
    ignore: Tensor | None = None
    asked: int | None = None
    vocabulary: tuple[str, ...] = ()
    moments: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        t = self.frames.shape[0] if self.frames.ndim == 4 else 0
        if self.frames.ndim != 4 or self.frames.shape[1] != 3 or t == 0:
            raise ValueError(
                f"Clip {self.video!r}: frames must be (T, 3, H, W) with T >= 1, got {tuple(self.frames.shape)}"
            )
        if self.objects is not None and self.objects.length not in (None, t):
            raise ValueError(f"Clip {self.video!r}: objects of {self.objects.length} frames for a clip of {t}")
        masks = None if self.objects is None else self.objects.masks
        if self.ignore is not None and (masks is None or self.ignore.shape != masks.shape[1:]):
            found = tuple(self.ignore.shape)
            raise ValueError(f"Clip {self.video!r}: ignore must have the shape of masks, got {found}")
        if self.frame_names and len(self.frame_names) != t:
            raise ValueError(f"Clip {self.video!r}: {len(self.frame_names)} frame names for {t} frames")

    @property
    def size(self) -> tuple[int, int]:
        """`(height, width)` of `frames`."""
        return self.frames.shape[-2], self.frames.shape[-1]

    @property
    def exhaustive(self) -> bool:
        """Whether the clip carries all of its objects and no single one is meant."""
        return self.objects is not None and self.objects.exhaustive

    @property
    def masks(self) -> Tensor | None:
        """Masks `(T, Hm, Wm)` of the one object that is meant; None where it is to be found, or where none is meant.

        Raises ValueError if several objects are meant.
        """
        return self._of_one("masks")

    @property
    def boxes(self) -> Tensor | None:
        """Boxes `(T, 4)` of the one object that is meant, None and errors as of `masks`."""
        return self._of_one("boxes")

    @property
    def valid(self) -> Tensor | None:
        """`(T,)` bool, True where the object that is meant, or any one of all, is visible; errors as of `masks`."""
        if self.objects is not None and self.exhaustive:
            return None if self.objects.valid is None else self.objects.valid.any(0)
        return self._of_one("valid")

    def with_masks(self, masks: Tensor | None) -> Clip:
        """The same clip with other masks `(T, Hm, Wm)` of the one object that is meant. Raises as `masks` does."""
        objects = Objects.one() if self.objects is None else self._one(self.objects, "masks")
        return replace(self, objects=replace(objects, masks=None if masks is None else masks[None]))

    def _of_one(self, name: str) -> Tensor | None:
        if self.objects is None or self.objects.exhaustive:
            return None
        tensor: Tensor | None = getattr(self._one(self.objects, name), name)
        return None if tensor is None else tensor[0]

    def _one(self, objects: Objects, name: str) -> Objects:
        if len(objects) != 1 or objects.exhaustive:
            kind = "all of its" if objects.exhaustive else "not one but"
            raise ValueError(
                f"Clip {self.video!r} has {kind} {len(objects)} objects: their {name} are in clip.objects.{name}"
            )
        return objects


def _check_shape(name: str, tensor: Tensor | None, wanted: tuple[int | str, ...]) -> None:
    """Compare a shape with `wanted`, where a letter stands for any number. Raises ValueError."""
    if tensor is None:
        return
    fits = [isinstance(w, str) or w == n for w, n in zip(wanted, tensor.shape, strict=False)]
    if tensor.ndim != len(wanted) or not all(fits):
        shown = f"({', '.join(map(str, wanted))}{',' * (len(wanted) == 1)})"
        raise ValueError(f"objects: {name} must be {shown}, got {tuple(tensor.shape)}")
