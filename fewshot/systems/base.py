"""What every system is: a reference is encoded once, then query clips are segmented against it.

Legend: B episodes, K shots, E expressions per episode, T frames, Q candidate masks per frame, (h, w) mask resolution.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from episodes.batch import ClipBatch
from fewshot.pretrained import Pretrained

if TYPE_CHECKING:
    from fewshot.inference import Result


@dataclass(frozen=True)
class Prediction:
    """What a system says of `N` query clips.

    Attributes:
        masks: `(N, T, Q, h, w)` mask logits, at `stride` pixels of the padded network input per cell.
        scores: `(N, T, Q)` logits that say how well candidate `q` fits the reference; None where Q is 1.
        boxes: `(N, T, Q, 4)` `cx, cy, w, h` as fractions of the unpadded frame, or None.
        stride: network pixels per mask cell.
        layers: the same for earlier decoder layers (auxiliary losses), first layer first.
        tracked: whether candidate q is the same thing in every frame; if not, each frame has a best one of its own.
    """

    masks: Tensor
    scores: Tensor | None = None
    boxes: Tensor | None = None
    stride: int = 4
    layers: tuple[Prediction, ...] = ()
    tracked: bool = True

    def best(self) -> Tensor:
        """Index of the best candidate of every frame `(N, T)`: the highest probability, ties to the lowest index.

        Tracked candidates are judged by their mean over the frames, so that all frames of a clip have the same one.
        """
        if self.scores is None:
            return self.masks.new_zeros(self.masks.shape[:2], dtype=torch.long)
        probabilities = self.scores.float().sigmoid()
        if self.tracked:
            probabilities = probabilities.mean(1, keepdim=True).expand_as(probabilities)
        return probabilities.argmax(-1)


@dataclass(frozen=True)
class Losses:
    """`total` is what is minimised; `terms` are the unweighted parts, for the log."""

    total: Tensor
    terms: dict[str, Tensor] = field(default_factory=dict)

    def times(self, factor: float) -> Losses:
        """All of them times a number."""
        return Losses(self.total * factor, {name: term * factor for name, term in self.terms.items()})


class System(nn.Module, Pretrained):
    """The two questions every system answers: what do you remember of the reference, and where is it in these frames?

    A subclass is built from plain numbers and modules. Nothing is remembered on the module between calls: what is
    known of a reference lives in the state that `encode_reference` returns.
    """

    name: str = ""
    accepts: frozenset[str] = frozenset({"support", "expression"})  # what a reference may hold
    needs: frozenset[str] = frozenset({"support"})  # what it must hold
    pad_multiple: int = 1  # height and width of the network input are padded to a multiple of this at test time

    @abstractmethod
    def encode_reference(self, supports: ClipBatch | None, shots: int) -> Any:
        """Encode `(B * shots)` support clips once; the state serves any number of query clips.

        `supports` is None (and `shots` 0) where the reference is an expression alone. Returns None in that case, else
        a frozen dataclass with a method `repeat(expressions: int)` that repeats each episode's state for its
        `E` query clips (B states become B * E, episode-major).
        """

    @abstractmethod
    def forward(self, queries: ClipBatch, state: Any) -> Prediction:
        """Segment `N` query clips, `N` equal to the number of references in `state`."""

    @abstractmethod
    def losses(self, prediction: Prediction, queries: ClipBatch, num_frames: float | None = None) -> Losses:
        """Training losses against the masks, boxes and visibility that `queries` carries.

        `num_frames` is the normaliser: the number of visible target frames in the whole step (over micro-batches)
        divided by the number of processes. None counts the frames of this batch.
        """

    def parameter_groups(self, lr: float, recipe: str = "fixed") -> list[dict[str, Any]]:
        """Optimiser groups `[{params, lr, name}]`. The default trains everything that asks for a gradient at `lr`."""
        params = [p for p in self.parameters() if p.requires_grad]
        return [{"params": params, "lr": lr, "name": "all"}]

    @torch.no_grad()
    def probabilities(self, prediction: Prediction, queries: ClipBatch, n: int) -> Tensor:
        """Mask probabilities of the best candidate of clip `n` at its unpadded network size: `(T, H, W)`.

        The logits are resized bilinearly to the padded network size and the padding is cropped.
        """
        best = prediction.best()[n]
        logits = prediction.masks[n, torch.arange(len(best), device=best.device), best][:, None].float()
        padded = tuple(queries.frames.shape[-2:])
        full = F.interpolate(logits, size=padded, mode="bilinear", align_corners=False)[:, 0]
        height, width = (int(v) for v in queries.sizes[n])
        return full[:, :height, :width].sigmoid()

    def segment(
        self,
        source: Any,
        support: Any = None,
        text: Any = None,
        *,
        size: int | None = None,
        chunk: int = 10,
        min_score: float = 0.0,
    ) -> Result:
        """Find in an image or a video of your own what supports show and words say.

        Args:
            source: an array `(H, W, 3)` or `(T, H, W, 3)` of uint8 RGB, a tensor `(3, H, W)` or `(T, 3, H, W)` of uint8
                or floats in 0..1, a PIL image, or the path of an image, of a folder of frames or of a video file.
            support: `[(image, mask), ...]`, or `{class: [(image, mask), ...]}` for several classes at once. Images are
                given as `source` is, masks as bool, 0/1 or 0/255 `(H, W)`, PIL images or paths; a support may also be
                a clip with masks `(T, H, W)`. `fewshot.Support` says more of one, which object of a mask say.
            text: an expression, several, or `{class: expression}`. A system that cannot do without words reads the
                supports with these words too, unless `Support.text` has others.
            size: side of the frames that the network sees, in pixels (the short one, or as `test_rule` says); None:
                `test_size`.
            chunk: frames of one forward pass.
            min_score: frames with a lower score get an empty mask, 0..1.

        Returns:
            A mask for each class or expression at the size of `source`, scores, and a label map.

        Raises:
            ValueError: what the system cannot take, or what cannot be read; the message names it and what to do.
            FileNotFoundError: a path with nothing there.
            TypeError: an image or mask of another kind.
        """
        from fewshot.inference import segment_media

        return segment_media(self, source, support, text, size=size, chunk=chunk, min_score=min_score)
