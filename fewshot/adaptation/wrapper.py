"""`Wrapper`: a system around a system. What it does not say otherwise, the one inside says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from episodes.batch import ClipBatch
from fewshot.nn.outputs import Losses
from fewshot.systems.base import System


class Wrapper(System):
    """A system around `system`, with the name and the tensors of that one, so that files of weights are the same."""

    def __init__(self, system: System) -> None:
        super().__init__()
        self.system = system
        for name in System.__annotations__:
            setattr(self, name, getattr(system, name))

    @property
    def text(self) -> nn.Module | None:
        """The text encoder of the system inside, if it has one."""
        return getattr(self.system, "text", None)

    def encode_text(self, expressions: Sequence[str | None]) -> Any | None:
        """See `System.encode_text`."""
        return self.system.encode_text(expressions)

    @property
    def has_warmup(self) -> bool:
        """See `System.has_warmup`."""
        return self.system.has_warmup

    def warmup_losses(
        self,
        supports: ClipBatch | None,
        queries: ClipBatch,
        shots: int,
        num_frames: float | None = None,
        words: Any | None = None,
    ) -> Losses:
        """Those of the system inside, which does not adapt for them."""
        return self.system.warmup_losses(supports, seen_once(self.system, queries), shots, num_frames, words)

    def parameter_groups(self, lr: float) -> list[dict[str, Any]]:
        """See `System.parameter_groups`."""
        return self.system.parameter_groups(lr)

    def kept_gradients(self) -> dict[str, nn.Parameter]:
        """See `System.kept_gradients`."""
        return self.system.kept_gradients()

    def own_tensors(self) -> dict[str, Tensor]:
        """Tensors of the adaptation itself, by their names in a file of weights."""
        return {}

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]  # it is overloaded
        """The tensors of the system inside under their own names, and those of the adaptation."""
        return {**self.system.state_dict(*args, **kwargs), **{k: x.detach() for k, x in self.own_tensors().items()}}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Copy tensors into the system inside and the adaptation.

        Raises:
            RuntimeError: with `strict`, tensors are missing or left over.
        """
        own = self.own_tensors()
        for name, tensor in own.items():
            if name in state_dict:
                tensor.data.copy_(state_dict[name])
        inside = {name: tensor for name, tensor in state_dict.items() if name not in own}
        return self.system.load_state_dict(inside, strict, assign)


def seen_once(system: System, clips: ClipBatch) -> ClipBatch:
    """Clips with the features of the frames that they share, where a wrapper without features of its own gave none."""
    return system.with_features(clips, clips.copies) if clips.copies > 1 and not clips.features else clips


def unwrapped(system: System) -> System:
    """The system inside a wrapper; one that is none as it is."""
    return system.system if isinstance(system, Wrapper) else system
