"""`System`: a reference is encoded once, then query clips are segmented against it.

Legend: B episodes, K shots, E expressions per episode, T frames, Q candidate masks per frame, (h, w) mask resolution.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from episodes.batch import ClipBatch
from fewshot.nn.outputs import Losses, Prediction
from fewshot.systems.config import SystemConfig


class System(nn.Module):
    """A network that answers two questions: what do you remember of the reference, and where is it in these frames?

    A subclass is built from plain numbers and modules. Nothing is remembered on the module between calls: what is
    known of a reference lives in the state that `encode_reference` returns.

    Attributes:
        name: in the registry.
        accepts: what a reference may hold.
        needs: what a reference must hold.
        pad_multiple: height and width of the network input are padded to a multiple of this at test time.
        independent_of_padding: whether padding at the bottom and right leaves the masks as they are (the contract
            test holds a system to it).
        num_classes: classes that its scores tell apart; 1: the one that is referred to.
        text_is_frozen, text_dropout: of its text encoder `text`, if it has one: see `train`.
        settings: dataclass of its settings, for a system that is named by its class (`system.name=package.module:X`).
    """

    name: str = ""
    accepts: frozenset[str] = frozenset({"support", "expression"})
    needs: frozenset[str] = frozenset({"support"})
    pad_multiple: int = 1
    independent_of_padding: bool = False
    num_classes: int = 1
    text_is_frozen: bool = False
    text_dropout: bool = False
    settings: ClassVar[type[SystemConfig]] = SystemConfig

    @classmethod
    def from_settings(cls, settings: SystemConfig) -> System:
        """A system from its settings: every key but the name is an argument of the constructor."""
        return cls(**{entry.name: getattr(settings, entry.name) for entry in fields(settings) if entry.name != "name"})

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

    def warmup_losses(
        self, supports: ClipBatch | None, queries: ClipBatch, shots: int, num_frames: float | None = None
    ) -> Losses:
        """Losses of a simple read-out of the supports, with which training may start. A system need not have them.

        Raises:
            NotImplementedError: this system has none.
        """
        raise NotImplementedError(f"system {self.name!r} has no warm-up losses")

    @property
    def has_warmup(self) -> bool:
        """Whether the system has warm-up losses."""
        return type(self).warmup_losses is not System.warmup_losses

    def parameter_groups(self, lr: float) -> list[dict[str, Any]]:
        """Optimiser groups `[{params, lr, name}]`. The default trains everything that asks for a gradient at `lr`."""
        params = [p for p in self.parameters() if p.requires_grad]
        return [{"params": params, "lr": lr, "name": "all"}]

    def kept_gradients(self) -> dict[str, nn.Parameter]:
        """Parameters that no group holds, whose gradients add up from step to step and enter the clipping norm: none.

        A system whose released training code does so may repeat it.
        """
        return {}

    def train(self, mode: bool = True) -> System:
        """Training mode; a frozen text encoder stays in evaluation mode unless `text_dropout` is set."""
        super().train(mode)
        text = getattr(self, "text", None)
        if text is not None and self.text_is_frozen and not self.text_dropout:
            text.eval()
        return self

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


def require_supports(supports: ClipBatch | None, system: str) -> ClipBatch:
    """The supports, for a system that cannot do without.

    Raises:
        ValueError: there are none.
    """
    if supports is None:
        raise ValueError(f"system {system!r} segments what supports show, and there are none: give it supports")
    return supports


def learning_groups(
    parameters: Iterable[tuple[str, nn.Parameter]],
    rates: Mapping[str, float],
    part_of: Callable[[str], str] | None = None,
) -> list[dict[str, Any]]:
    """Optimiser groups by the part of the network; parameters that ask for no gradient are left out.

    Args:
        parameters: names and parameters.
        rates: learning rate of each part, in the order of the groups; parameters of other parts are left out.
        part_of: part of a parameter by its name; None: `main`, `backbone`, `text` or `offsets` (the sampling offsets
            of deformable attention).
    """
    part_of = part_of or _part_of
    groups: dict[str, list[nn.Parameter]] = {name: [] for name in rates}
    for name, parameter in parameters:
        if parameter.requires_grad and part_of(name) in groups:
            groups[part_of(name)].append(parameter)
    return [{"params": params, "lr": rates[name], "name": name} for name, params in groups.items() if params]


def _part_of(name: str) -> str:
    first = name.split(".")[0]
    if first in ("backbone", "text"):
        return first
    return "offsets" if "sampling_offsets" in name else "main"
