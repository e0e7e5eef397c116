"""`System`: a reference is encoded once, then query clips are segmented against it.

Legend: B episodes, K shots, E expressions per episode, T frames, Q candidate masks per frame, (h, w) mask resolution.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from episodes.batch import ClipBatch, EpisodeBatch, References
from episodes.transforms.input_rule import InputRule
from fewshot.nn.outputs import Losses, Prediction
from fewshot.systems.config import SystemConfig

Supports = TypeVar("Supports")


@dataclass(frozen=True)
class ReferenceState:
    """What is remembered of the references of `N` queries.

    Attributes:
        count: `N`.
        supports: as `System.encode_supports` gives it, for `N` queries; None without supports.
        words: as `System.encode_text` gives it; None without words.
    """

    count: int
    supports: Any = None
    words: Any = None

    def check(self, clips: int) -> None:
        """Raise ValueError unless there is a reference for each of `clips` query clips."""
        if clips != self.count:
            raise ValueError(f"{clips} query clips for {self.count} references: encode a reference for each query")


class System(nn.Module):
    """A network that answers two questions: what do you remember of the reference, and where is it in these frames?

    A subclass is built from plain numbers and modules. Nothing is remembered on the module between calls: what is
    known of a reference lives in the state that `encode_reference` returns.

    Attributes:
        name: in the registry.
        accepts: what a reference may hold.
        needs: what a reference must hold.
        video_kinds: tasks on whole videos that it answers in a way of its own (`SystemSpec.video_task`): `vos`, `pvos`,
            `rvos`, `vis`, `vss` or `vps`.
        pad_multiple: height and width of the network input are padded to a multiple of this at test time.
        data_pad_multiples: other multiples for single data sets, by name, as in their released tests.
        resizes_once: whether masks of videos go from their own size to that of the result in one step where frames are
            not padded, as in its released test, and not by way of the network size.
        independent_of_padding: whether padding at the bottom and right leaves the masks as they are (the contract
            test holds a system to it).
        starts_anew: beginnings of names of tensors that keep their first values where a training starts from other
            weights.
        answers_together: whether masks depend on what else is asked of the same frames, so that all references of a
            clip share a forward pass, however much memory it takes.
        parts: beginnings of names of parameters, by the part that they belong to: `head` makes masks and scores of what
            was found, `fusion` relates query and reference. Only those under `backbone` have a share in
            `frame_features`.
        num_classes: classes that its scores tell apart; 1: the one that is referred to.
        text_is_frozen, text_dropout: of its text encoder `text`, if it has one: see `train`.
        settings, needs_training, input_rule: as of `SystemSpec`, for a system that is named by its class
            (`system.name=package.module:X`).
    """

    name: str = ""
    accepts: frozenset[str] = frozenset({"support", "expression"})
    needs: frozenset[str] = frozenset({"support"})
    video_kinds: frozenset[str] = frozenset()
    pad_multiple: int = 1
    data_pad_multiples: Mapping[str, int] = {}
    resizes_once: bool = False
    independent_of_padding: bool = False
    answers_together: bool = False
    starts_anew: tuple[str, ...] = ()
    parts: Mapping[str, tuple[str, ...]] = {
        "head": ("controller", "score_heads"),
        "fusion": ("fusion", "affinity"),
    }
    num_classes: int = 1
    text_is_frozen: bool = False
    text_dropout: bool = False
    settings: ClassVar[type[SystemConfig]] = SystemConfig
    needs_training: ClassVar[bool] = True
    input_rule: ClassVar[InputRule] = InputRule()

    @classmethod
    def from_settings(cls, settings: SystemConfig) -> System:
        """A system from its settings: every key but the name is an argument of the constructor."""
        return cls(**{entry.name: getattr(settings, entry.name) for entry in fields(settings) if entry.name != "name"})

    def pad_multiple_of(self, data: str) -> int:
        """Multiple to which height and width of the network input are padded in a test on the data set `data`."""
        return self.data_pad_multiples.get(data, self.pad_multiple)

    def encode_reference(self, references: References) -> ReferenceState:
        """Encode the references of `N` queries once, words included; the state serves any number of their frames.

        Raises:
            ValueError: a reference that the system cannot take.
        """
        supports = None
        if references.supports is not None:
            supports = self.encode_supports(references.supports, references.shots)
            if references.queries_per_episode > 1:
                supports = supports.repeat(references.queries_per_episode)
        return ReferenceState(len(references), supports, self.encode_text(references.expressions))

    def frame_features(self, clips: ClipBatch) -> tuple[Tensor, ...]:
        """Visual features of the frames, before any reference; those that `clips` brings, if it does.

        Maps `(N / copies * T, C, h, w)`: frames that several clips share are there once (`ClipBatch.for_each_clip`).
        Empty for a system that does not tell its visual features from the rest.
        """
        return clips.features

    def with_features(self, clips: ClipBatch, copies: int = 1) -> ClipBatch:
        """The same clips with their visual features, so that several passes share them.

        Args:
            copies: so many clips in a row show the same frames, which are encoded once.

        Raises:
            ValueError: the clips are not a multiple of `copies`.
        """
        if len(clips) % copies:
            raise ValueError(f"{len(clips)} clips are no rows of {copies} copies of the same frames")
        maps = self.frame_features(replace(clips, frames=clips.frames[::copies], features=(), copies=1))
        return replace(clips, features=maps, copies=copies)

    @abstractmethod
    def encode_supports(self, supports: ClipBatch, shots: int) -> Any:
        """Encode `(B * shots)` support clips once.

        Returns:
            A frozen dataclass with a method `repeat(expressions: int)` that repeats each episode's state for its `E`
            queries: B states become B * E, episode-major.

        Raises:
            ValueError: the system as it is built takes no supports, or a support has no mask.
        """

    def encode_text(self, expressions: Sequence[str | None]) -> Any | None:
        """Encode `N` expressions once; None where there is nothing to read, or the system reads no words.

        What is returned holds the texts in rows: `words[2:4]` are the third and the fourth of them, so that those of a
        video are read once and asked in several passes.
        """
        return None

    @abstractmethod
    def forward(self, queries: ClipBatch, state: ReferenceState) -> Prediction:
        """Segment the frames of `N` query clips by the `N` references of `state`; their words are in the state.

        Raises:
            ValueError: another number of references than of clips.
        """

    @abstractmethod
    def losses(self, prediction: Prediction, queries: ClipBatch, num_frames: float | None = None) -> Losses:
        """Training losses against the masks, boxes and visibility that `queries` carries.

        `num_frames` is the normaliser: the number of visible target frames in the whole step (over micro-batches)
        divided by the number of processes. None counts the frames of this batch.
        """

    def batch_losses(self, batch: EpisodeBatch, num_frames: float) -> Losses | None:
        """Losses of a batch that the system answers in its own way; None: it is asked by its references, as others are.

        Terms are always of the same names.

        Args:
            num_frames: the normaliser, see `losses`.
        """
        return None

    def warmup_losses(
        self,
        supports: ClipBatch | None,
        queries: ClipBatch,
        shots: int,
        num_frames: float | None = None,
        words: Any | None = None,
    ) -> Losses:
        """Losses of a simple read-out of the supports, with which training may start. A system need not have them.

        Args:
            words: of the queries' expressions, as `encode_text` gives them, where they were read before.

        Raises:
            NotImplementedError: this system has none.
        """
        raise NotImplementedError(f"system {self.name!r} has no warm-up losses")

    @property
    def has_warmup(self) -> bool:
        """True where the system has warm-up losses."""
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
        """Mask probabilities of the best candidate of clip `n` at its unpadded network size: `(T, H, W)`."""
        return self.logits(prediction, queries, n).sigmoid()

    @torch.no_grad()
    def logits(self, prediction: Prediction, queries: ClipBatch, n: int) -> Tensor:
        """Mask logits of the best candidate of clip `n` at its unpadded network size: `(T, H, W)` float32.

        The logits are resized bilinearly to the padded network size and the padding is cropped.
        """
        padded, logits = tuple(queries.frames.shape[-2:]), prediction.best_masks(n)[:, None]
        full = F.interpolate(logits, size=padded, mode="bilinear", align_corners=False)[:, 0]
        height, width = (int(v) for v in queries.sizes[n])
        return full[:, :height, :width]


def require_supports(supports: Supports | None, system: str) -> Supports:
    """Supports, or the state of supports, for a system that cannot do without.

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
