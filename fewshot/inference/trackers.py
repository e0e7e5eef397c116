"""UniRef++ in videos, frame by frame: objects given by masks (VOS) or by expressions (RVOS).

Wu et al., UniRef++: Segment Every Reference Object in Spatial and Temporal Spaces, 2023, section 3.4, and the released
inference code. A tracker holds the numbers of the inference; what is known of one video is a state object:

    state = tracker.start(size)
    for frame in frames:
        state, found = tracker.step(state, frame)

Three frames make a prediction: the current one, the first in which the object was seen and the last before now.
Both remembered frames are mask references, their tokens are put side by side. Words are encoded once for a video. The
same trackers serve every system whose encoded supports have `join(other)`.

Legend: n objects (or expressions) of a video, (H, W) unpadded network size, (Ho, Wo) original size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from episodes.batch import ClipBatch
from fewshot.nn.mask_head import aligned_bilinear
from fewshot.nn.outputs import Prediction
from fewshot.systems.base import ReferenceState, System

Confidence = Callable[[Prediction], Tensor]


@dataclass(frozen=True)
class FrameMasks:
    """Masks found in one frame.

    Attributes:
        ids: the `n` objects known so far, ascending; of expressions 1 to n in their order.
        probabilities: `(n, Ho, Wo)` float32, zeros where the score was too low.
        masks: `(n, Ho, Wo)` bool. No two of them overlap if the tracker lets objects compete for pixels.
        scores: confidence of each; 1 for an object whose mask is given in this frame.
    """

    ids: tuple[int, ...]
    probabilities: Tensor
    masks: Tensor
    scores: tuple[float, ...]

    def labels(self, ids: Sequence[int] | None = None) -> Tensor:
        """Ids `(Ho, Wo)` uint8, 0 where no object is; where masks overlap the most probable, of equals the first.

        `ids` are other numbers for the objects, in their order.
        """
        numbers = torch.tensor((0, *(self.ids if ids is None else ids)), dtype=torch.uint8, device=self.masks.device)
        values = self.probabilities.masked_fill(~self.masks, -torch.inf)
        # below every value of a mask, above that of no mask
        background = values.new_full((1, *values.shape[1:]), -torch.finfo(values.dtype).max)
        return numbers[torch.cat([background, values]).argmax(0)]


@dataclass(frozen=True)
class Memory:
    """An object in the first frame that showed it and in the last: two encoded supports."""

    first: Any
    last: Any

    def reference(self) -> Any:
        """Both, as one reference."""
        return self.first.join(self.last)


@dataclass(frozen=True)
class VOSState:
    """State of a video: its original size and the memory of each object by id."""

    size: tuple[int, int]
    memories: Mapping[int, Memory]


@dataclass(frozen=True)
class RVOSState:
    """State of a video: its original size, the expressions, the memory of each (None before it is found), and the
    encoded words of each.
    """

    size: tuple[int, int]
    expressions: tuple[str, ...]
    memories: tuple[Memory | None, ...]
    words: tuple[Any, ...]


def best_confidence(prediction: Prediction) -> Tensor:
    """Probability that the best candidate of each frame is the object: `(N, T)` in 0..1; 1 without scores."""
    best = prediction.best()
    if prediction.scores is None:
        return torch.ones(best.shape, device=best.device)
    return prediction.scores.float().gather(-1, best[..., None])[..., 0].sigmoid()


def soft_aggregate(probabilities: Tensor) -> Tensor:
    """Owner of each pixel among `n` objects: `(H, W)` int64, 0 for the background, k for the k-th object.

    The background has the probability that no object is there, the product of `1 - p` (Oh et al., Video Object
    Segmentation using Space-Time Memory Networks, ICCV 2019, section 3.4, without its normalisation, which does not
    change the order). Equal values go to the lower number.

    Args:
        probabilities: `(n, H, W)`.
    """
    background = (1 - probabilities).prod(0, keepdim=True)
    return torch.cat([background, probabilities]).argmax(0)


class Tracker:
    """Base of the trackers of VOS and RVOS: finds an object in one frame, and makes a memory of the frame.

    Args:
        system: an UniRef or one with its interface; the caller puts it in eval mode, without gradients.
        threshold: a mask counts if its score is above this, else it is empty; None: every mask counts.
        aligned: enlarge mask logits to network pixels by aligned-bilinear instead of plain bilinear interpolation.
        logits: official behaviour of the SAM variant: logits stand for probabilities in resizing, thresholding and
            aggregation. False: their sigmoid.
        confidence: the score of each frame's best candidate `(N, T)`, from a prediction.
    """

    def __init__(
        self,
        system: System,
        *,
        threshold: float | None,
        aligned: bool,
        logits: bool = False,
        confidence: Confidence = best_confidence,
    ) -> None:
        if threshold is not None and not 0 <= threshold < 1:
            raise ValueError(f"threshold must lie in 0..1 (1 excluded) or be None, got {threshold}")
        self.system, self.threshold, self.aligned, self.logits = system, threshold, aligned, logits
        self.confidence = confidence

    def find(self, frame: ClipBatch, size: tuple[int, int], words: Any, memory: Memory | None) -> tuple[Tensor, float]:
        """Probabilities `(Ho, Wo)` of one object in a frame, zeros below the threshold; and its score."""
        state = ReferenceState(1, None if memory is None else memory.reference(), words)
        prediction = self.system(frame, state)
        score = float(self.confidence(prediction)[0, 0])
        if self.threshold is not None and not score > self.threshold:
            return torch.zeros(size, device=frame.frames.device), score
        return self.enlarged(prediction, frame, size), score

    def enlarged(self, prediction: Prediction, frame: ClipBatch, size: tuple[int, int]) -> Tensor:
        """The best mask of a frame at `size`: logits to network pixels, sigmoid, cropped, then bilinear: `(*size)`."""
        padded, (height, width) = tuple(frame.frames.shape[-2:]), frame.sizes[0].tolist()
        logits = prediction.masks[0, 0, prediction.best()[0, 0]][None, None].float()
        if self.aligned:
            logits = aligned_bilinear(logits, prediction.stride)
        values = F.interpolate(logits, padded, mode="bilinear", align_corners=False)
        values = values if self.logits else values.sigmoid()
        return F.interpolate(values[..., :height, :width], size, mode="bilinear", align_corners=False)[0, 0]

    def remembered(self, frame: ClipBatch, mask: Tensor) -> Any:
        """The frame with the mask `(h, w)` bool of an object, at any size, as a reference."""
        return self.system.encode_supports(replace(frame, masks=(mask[None],), expressions=(None,)), 1)

    @staticmethod
    def check(frame: ClipBatch) -> None:
        """Raises ValueError unless `frame` is one clip of one frame."""
        if tuple(frame.frames.shape[:2]) != (1, 1):
            raise ValueError(f"a tracker steps through single frames (1, 1, 3, H, W), got {tuple(frame.frames.shape)}")


class VOSTracker(Tracker):
    """Follows objects whose mask is given in some frame, mostly the first. Objects compete for pixels.

    Args:
        threshold: scores up to this give an empty mask. Released models: 0.3 for DAVIS, 0.4 for YouTube-VOS and MOSE,
            0.5 for LVOS.
    """

    def __init__(
        self,
        system: System,
        *,
        threshold: float | None = 0.4,
        aligned: bool = True,
        logits: bool = False,
        confidence: Confidence = best_confidence,
    ) -> None:
        super().__init__(system, threshold=threshold, aligned=aligned, logits=logits, confidence=confidence)

    def start(self, size: tuple[int, int]) -> VOSState:
        """A video of original size `(Ho, Wo)`, no object of which is known."""
        return VOSState(size, {})

    def step(
        self, state: VOSState, frame: ClipBatch, new_masks: Mapping[int, Tensor] | None = None
    ) -> tuple[VOSState, FrameMasks]:
        """Look for every known object in the next frame, and get to know new ones.

        Args:
            frame: one clip of one frame, normalised, on the device of the system.
            new_masks: masks `(h, w)` bool that are given in this frame, by object id 1..255, at network or original
                size. They enter the result (bilinearly resized) in place of a prediction.

        Returns:
            The state after this frame, and what was found in it: no ids before the first object is given.

        Raises:
            ValueError: `frame` is not one frame, an id is out of range, or a given mask is empty.
        """
        self.check(frame)
        given = {} if new_masks is None else dict(new_masks)
        memories = dict(state.memories)
        for number, mask in given.items():
            _check_given(number, mask)
            reference = self.remembered(frame, mask)
            memories[number] = Memory(reference, reference)
        found = self._find_all(frame, state.size, memories, given)
        for number, mask in zip(found.ids, found.masks, strict=True):
            if number not in given and mask.any():
                memories[number] = replace(memories[number], last=self.remembered(frame, mask))
        return VOSState(state.size, memories), found

    def _find_all(
        self, frame: ClipBatch, size: tuple[int, int], memories: Mapping[int, Memory], given: Mapping[int, Tensor]
    ) -> FrameMasks:
        ids = tuple(sorted(memories))
        probabilities, scores = torch.zeros(len(ids), *size, device=frame.frames.device), [1.0] * len(ids)
        for at, number in enumerate(ids):
            if number in given:
                mask = given[number][None, None].to(probabilities)
                probabilities[at] = F.interpolate(mask, size, mode="bilinear", align_corners=False)[0, 0]
            else:
                probabilities[at], scores[at] = self.find(frame, size, None, memories[number])
        return FrameMasks(ids, probabilities, owned(probabilities), tuple(scores))


class RVOSTracker(Tracker):
    """Follows the objects of expressions, each found by its words alone until a mask of it is not empty.

    Args:
        threshold: scores up to this give an empty mask. Ref-YouTube-VOS: 0.3; Ref-DAVIS17: None.
        use_memory: remember the first and the last frame with a mask. Released models on Ref-DAVIS17: False.
        exclusive: the expressions of a video are objects that compete for pixels (Ref-DAVIS17). False: each mask is
            where its own probability is above 0.5 (Ref-YouTube-VOS).
    """

    def __init__(
        self,
        system: System,
        *,
        threshold: float | None = 0.3,
        use_memory: bool = True,
        exclusive: bool = False,
        logits: bool = False,
        confidence: Confidence = best_confidence,
    ) -> None:
        super().__init__(system, threshold=threshold, aligned=False, logits=logits, confidence=confidence)
        self.use_memory, self.exclusive = use_memory, exclusive

    def start(self, size: tuple[int, int], expressions: Sequence[str]) -> RVOSState:
        """A video of original size `(Ho, Wo)` in which `expressions` are looked for.

        Raises ValueError without any expression.
        """
        if not expressions or isinstance(expressions, str):
            raise ValueError(f"a video needs a list of expressions to look for, got {expressions!r}")
        words = tuple(self.system.encode_text((text,)) for text in expressions)
        return RVOSState(size, tuple(expressions), (None,) * len(expressions), words)

    def step(self, state: RVOSState, frame: ClipBatch) -> tuple[RVOSState, FrameMasks]:
        """Look for every expression in the next frame (one clip of one frame, on the device of the system).

        Raises ValueError if `frame` is not one frame.
        """
        self.check(frame)
        pairs = zip(state.words, state.memories, strict=True)
        maps, scores = zip(*(self.find(frame, state.size, words, memory) for words, memory in pairs), strict=True)
        probabilities = torch.stack(maps)
        masks = owned(probabilities) if self.exclusive else probabilities > 0.5
        found = FrameMasks(tuple(range(1, len(maps) + 1)), probabilities, masks, scores)
        return replace(state, memories=self._memories(state, frame, masks)), found

    def _memories(self, state: RVOSState, frame: ClipBatch, masks: Tensor) -> tuple[Memory | None, ...]:
        if not self.use_memory:
            return state.memories
        memories = list(state.memories)
        for at, (mask, known) in enumerate(zip(masks, state.memories, strict=True)):
            if mask.any():
                last = self.remembered(frame, mask)
                memories[at] = Memory(last if known is None else known.first, last)
        return tuple(memories)


def owned(probabilities: Tensor) -> Tensor:
    """Masks `(n, H, W)` bool after soft aggregation of `n` objects."""
    owner = soft_aggregate(probabilities)
    return owner == torch.arange(1, len(probabilities) + 1, device=owner.device)[:, None, None]


def _check_given(number: int, mask: Tensor) -> None:
    if not 1 <= number <= 255:
        raise ValueError(f"object id {number}: valid ids are 1 to 255, as in a palette PNG")
    if mask.ndim != 2 or not mask.any():
        raise ValueError(f"the mask given for object {number} must be (h, w) with at least one pixel on the object")
