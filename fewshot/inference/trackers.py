"""UniRef++ in videos, frame by frame: objects given by masks (VOS) or by expressions (RVOS).

Wu et al., UniRef++: Segment Every Reference Object in Spatial and Temporal Spaces, 2023, section 3.4, and the released
inference code. A tracker holds the numbers of the inference; what is known of one video is a state object:

    state = tracker.start(size)
    for frame in frames:
        state, found = tracker.step(state, frame)

Three frames make a prediction: the current one, the first in which the object was seen and the last before now.
Both remembered frames are mask references, their tokens are put side by side. Words are encoded once for a video, and a
frame is looked at once for all objects, which are found and remembered in one forward pass (as far as memory allows).
The same trackers serve every system whose encoded supports have `join(other)`, `stack(others)` and rows (`[1:2]`).

Legend: n objects (or expressions) of a video, (H, W) unpadded network size, (Ho, Wo) original size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from episodes.batch import ClipBatch
from fewshot.inference.look import at_once, runs
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
    encoded words of all.
    """

    size: tuple[int, int]
    expressions: tuple[str, ...]
    memories: tuple[Memory | None, ...]
    words: Any


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

    def seen(self, frame: ClipBatch) -> ClipBatch:
        """A frame with its visual features, which serve all objects.

        Raises:
            ValueError: `frame` is not one clip of one frame.
        """
        if tuple(frame.frames.shape[:2]) != (1, 1):
            raise ValueError(f"a tracker steps through single frames (1, 1, 3, H, W), got {tuple(frame.frames.shape)}")
        return self.system.with_features(frame)

    def find(self, frame: ClipBatch, size: tuple[int, int], state: ReferenceState) -> tuple[Tensor, list[float]]:
        """Probabilities `(n, Ho, Wo)` of `n` objects in a frame, zeros below the threshold; and their scores."""
        frames = frame.repeat(state.count)
        prediction = self.system(frames, state)
        scores = self.confidence(prediction)[:, 0].tolist()
        probabilities = self.enlarged(prediction, frames, size)
        if self.threshold is not None:
            probabilities[[not score > self.threshold for score in scores]] = 0
        return probabilities, scores

    def enlarged(self, prediction: Prediction, frames: ClipBatch, size: tuple[int, int]) -> Tensor:
        """The best masks `(n, *size)` of a frame: logits to network pixels, sigmoid, cropped, then bilinear."""
        padded, (height, width) = tuple(frames.frames.shape[-2:]), frames.sizes[0].tolist()
        best = prediction.best()[:, 0]
        logits = prediction.masks[torch.arange(len(best), device=best.device), 0, best][:, None].float()
        if self.aligned:
            logits = aligned_bilinear(logits, prediction.stride)
        values = F.interpolate(logits, padded, mode="bilinear", align_corners=False)
        values = values if self.logits else values.sigmoid()
        return F.interpolate(values[..., :height, :width], size, mode="bilinear", align_corners=False)[:, 0]

    def remembered(self, frame: ClipBatch, masks: Sequence[Tensor]) -> list[Any]:
        """The frame with the mask `(h, w)` bool of each of several objects, at any size, as references."""
        references = []
        for first, last in runs(len(masks), at_once(frame)):
            some = tuple(mask[None] for mask in masks[first:last])
            clips = replace(frame.repeat(len(some)), masks=some, expressions=(None,) * len(some))
            encoded = self.system.encode_supports(clips, 1)
            references += [encoded[k : k + 1] for k in range(len(some))]
        return references


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
        frame = self.seen(frame)
        given = {} if new_masks is None else dict(new_masks)
        for number, mask in given.items():
            _check_given(number, mask)
        references = self.remembered(frame, list(given.values()))
        new = {k: Memory(one, one) for k, one in zip(given, references, strict=True)}
        memories = {**state.memories, **new}
        found = self._find_all(frame, state.size, memories, given)
        shown = [(k, mask) for k, mask in zip(found.ids, found.masks, strict=True) if k not in given and mask.any()]
        references = self.remembered(frame, [mask for _, mask in shown])
        for (number, _), last in zip(shown, references, strict=True):
            memories[number] = replace(memories[number], last=last)
        return VOSState(state.size, memories), found

    def _find_all(
        self, frame: ClipBatch, size: tuple[int, int], memories: Mapping[int, Memory], given: Mapping[int, Tensor]
    ) -> FrameMasks:
        ids = tuple(sorted(memories))
        probabilities, scores = torch.zeros(len(ids), *size, device=frame.frames.device), [1.0] * len(ids)
        for number, given_mask in given.items():
            mask = given_mask[None, None].to(probabilities)
            probabilities[ids.index(number)] = F.interpolate(mask, size, mode="bilinear", align_corners=False)[0, 0]
        wanted = [at for at, number in enumerate(ids) if number not in given]
        for first, last in runs(len(wanted), at_once(frame)):
            some = wanted[first:last]
            state = ReferenceState(len(some), _stacked([memories[ids[at]] for at in some]))
            probabilities[some], found = self.find(frame, size, state)
            for at, score in zip(some, found, strict=True):
                scores[at] = score
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
        words = self.system.encode_text(tuple(expressions))
        return RVOSState(size, tuple(expressions), (None,) * len(expressions), words)

    def step(self, state: RVOSState, frame: ClipBatch) -> tuple[RVOSState, FrameMasks]:
        """Look for every expression in the next frame (one clip of one frame, on the device of the system).

        Raises ValueError if `frame` is not one frame.
        """
        frame = self.seen(frame)
        parts, scores = zip(*(self.find(frame, state.size, some) for some in self._states(state, frame)), strict=True)
        probabilities = torch.cat(parts)
        masks = owned(probabilities) if self.exclusive else probabilities > 0.5
        ids = tuple(range(1, len(state.expressions) + 1))
        found = FrameMasks(ids, probabilities, masks, tuple(score for some in scores for score in some))
        return replace(state, memories=self._memories(state, frame, masks)), found

    @staticmethod
    def _states(state: RVOSState, frame: ClipBatch) -> Iterator[ReferenceState]:
        """The references of the expressions, in their order; those in a row with a memory, or without, together."""
        start = 0
        for known, group in groupby(state.memories, key=lambda memory: memory is not None):
            memories = list(group)
            for first, last in runs(len(memories), at_once(frame)):
                words = state.words[start + first : start + last]
                supports = _stacked([m for m in memories[first:last] if m is not None]) if known else None
                yield ReferenceState(last - first, supports, words)
            start += len(memories)

    def _memories(self, state: RVOSState, frame: ClipBatch, masks: Tensor) -> tuple[Memory | None, ...]:
        if not self.use_memory:
            return state.memories
        memories = list(state.memories)
        shown = [at for at, mask in enumerate(masks) if mask.any()]
        for at, last in zip(shown, self.remembered(frame, [masks[at] for at in shown]), strict=True):
            known = memories[at]
            memories[at] = Memory(last if known is None else known.first, last)
        return tuple(memories)


def _stacked(memories: Sequence[Memory]) -> Any:
    """The memories of several objects as the supports of as many clips.

    Where each was seen in one frame alone, that frame is given once: to read the same tokens twice changes nothing.
    """
    once = all(memory.last is memory.first for memory in memories)
    first, *others = (memory.first if once else memory.reference() for memory in memories)
    return first.stack(others)


def owned(probabilities: Tensor) -> Tensor:
    """Masks `(n, H, W)` bool after soft aggregation of `n` objects."""
    owner = soft_aggregate(probabilities)
    return owner == torch.arange(1, len(probabilities) + 1, device=owner.device)[:, None, None]


def _check_given(number: int, mask: Tensor) -> None:
    if not 1 <= number <= 255:
        raise ValueError(f"object id {number}: valid ids are 1 to 255, as in a palette PNG")
    if mask.ndim != 2 or not mask.any():
        raise ValueError(f"the mask given for object {number} must be (h, w) with at least one pixel on the object")
