"""Weights into a system, from any of the files that hold them, with an account of every tensor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from fewshot.weights.checkpoint import CheckpointError, check_system, load_checkpoint
from fewshot.weights.files import find_weights, official_tensors, read_converted, read_pickle
from fewshot.weights.key_table import Plan, WeightsReport, check_fit, convert

PlanOf = Callable[[Mapping[str, Tensor], Any], Plan]  # official tensors and a system -> how the file is read


ADAPTATION = "adaptation."  # beginning of names of tensors that belong to no system but to its adaptation


class Named(Protocol):
    """A network with the name under which its weights are stored."""

    name: str

    def state_dict(self) -> dict[str, Tensor]:
        """Tensors by name."""

    def load_state_dict(self, tensors: Mapping[str, Tensor], strict: bool = True) -> Any:
        """Copy tensors into the network."""


def load_weights(system: Named, path: str | Path, plan_of: PlanOf | None = None) -> WeightsReport:
    """Fill `system` from a run folder or checkpoint, a converted folder, or an official file.

    An official file is read as `plan_of` says: it has exactly the tensors of the system, or is an initialisation, and
    the report says what starts from scratch. The report's `str` is meant to be printed.

    Args:
        system: the network to fill.
        path: of the file or its folder.
        plan_of: how official files of this system are read (`SystemSpec.plan`); None: it has none.

    Raises:
        FileNotFoundError: there is nothing at `path`.
        CheckpointError: the file is damaged, of another system, or its tensors do not fit; keys are named.
    """
    path = find_weights(Path(path))
    if path.suffix == ".safetensors":
        return _load_own(system, str(path), "converted weights", read_converted(path, system.name))
    content = read_pickle(path)
    if isinstance(content, dict) and "system" in content:
        state = load_checkpoint(path)
        check_system(state, system.name, path)
        return _load_own(system, str(path), f"checkpoint of step {state['step']}", state["model"])
    return load_official(system, official_tensors(content, path), str(path), plan_of)


def load_trained(system: Named, path: str | Path, plan_of: PlanOf | None = None) -> WeightsReport:
    """`load_weights` for a system that is used as it is.

    Raises:
        ValueError: the file is only a start for training, after which parts of the system would still be random.
    """
    report = load_weights(system, path, plan_of)
    if report.fresh:
        raise ValueError(
            f"{path} is a start for training, not a trained {system.name}: {len(report.fresh)} of its tensors are not "
            f"in the file (first {report.fresh[0]}). Train from it with train.init_from={path}"
        )
    return report


def load_official(system: Named, tensors: Mapping[str, Tensor], source: str, plan_of: PlanOf | None) -> WeightsReport:
    """Fill `system` from a state dict with official names; `source` names it in messages. Raises as `load_weights`."""
    if plan_of is None:
        raise CheckpointError(f"{source} is no checkpoint of system {system.name!r}, which has no official files")
    try:
        plan = plan_of(tensors, system)
    except ValueError as error:
        raise CheckpointError(f"{source}: {error}") from error
    try:
        own, ignored, aliases = convert(tensors, plan.table)
    except ValueError as error:
        raise CheckpointError(f"{source} is no {plan.kind}: {error}") from error
    fresh = tuple(name for name in system.state_dict() if name not in own and name.startswith(plan.fresh))
    _check(source, own, system, fresh)
    system.load_state_dict(own, strict=False)
    return WeightsReport(source, plan.kind, len(tensors), len(own) + aliases, aliases, ignored, fresh)


def _load_own(system: Named, source: str, kind: str, tensors: Mapping[str, Tensor]) -> WeightsReport:
    wanted = system.state_dict()
    ignored = [name for name in tensors if name.startswith(ADAPTATION) and name not in wanted]
    used = {name: tensor for name, tensor in tensors.items() if name not in ignored}
    _check_adaptation(source, used, wanted)
    _check(source, used, system)
    system.load_state_dict(used)
    reasons = dict.fromkeys(ignored, "step sizes of an adaptation that is not used")
    return WeightsReport(source, kind, len(tensors), len(used), 0, reasons, ())


def _check_adaptation(source: str, tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    for name in (name for name in wanted if name.startswith(ADAPTATION)):
        if name not in tensors:
            raise CheckpointError(
                f"{source} has no learnt step sizes ({name}): adaptation=metasgd tests weights that were trained with "
                "it; take adaptation=finetune for others"
            )
        if tensors[name].shape != wanted[name].shape:
            raise CheckpointError(
                f"{source} has learnt step sizes of {tensors[name].numel()} tensors ({name}), and "
                f"{wanted[name].numel()} adapt: give adaptation.parts as in its training"
            )


def _check(source: str, tensors: Mapping[str, Tensor], system: Named, fresh: tuple[str, ...] = ()) -> None:
    try:
        check_fit(tensors, system.state_dict(), fresh)
    except ValueError as error:
        raise CheckpointError(f"{source} does not fit: {error}") from error
    check_finite(tensors, source)


def check_finite(tensors: Mapping[str, Tensor], source: str) -> None:
    """Refuse weights that are no numbers; `source` names their file.

    Raises:
        CheckpointError: naming the first tensor with a NaN or an infinite value.
    """
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise CheckpointError(
                f"{source} is of no use: tensor {name} holds NaN or infinite values; take an earlier checkpoint, or "
                "fetch it again"
            )


def start_from(system: Named, path: Path, plan_of: PlanOf | None = None) -> WeightsReport:
    """Fill `system` from an earlier stage: what has the same name and shape; the rest starts from scratch.

    Raises:
        FileNotFoundError: there is nothing at `path`.
        CheckpointError: the file is damaged, of another system, or has no tensor of this one.
    """
    path = find_weights(path)
    if path.suffix == ".safetensors":
        return _start(system, path, read_converted(path, system.name))
    content = read_pickle(path)
    if isinstance(content, dict) and "system" in content:
        state = load_checkpoint(path)
        check_system(state, system.name, path)
        return _start(system, path, state["model"])
    return load_official(system, official_tensors(content, path), str(path), plan_of)


def start_training(system: Named, load: Callable[[], WeightsReport], anew: tuple[str, ...]) -> WeightsReport:
    """Fill `system` by `load`, but for tensors whose names begin with one of `anew`: these keep their first values."""
    kept = {name: x.clone() for name, x in system.state_dict().items() if name.startswith(anew)}
    report = load()
    system.load_state_dict(kept, strict=False)
    dropped = [name for name in kept if name not in report.fresh]
    return replace(report, used=report.used - len(dropped), fresh=(*report.fresh, *dropped))


def _start(system: Named, path: Path, tensors: dict[str, Tensor]) -> WeightsReport:
    wanted = system.state_dict()
    used = {k: x for k, x in tensors.items() if k in wanted and wanted[k].shape == x.shape}
    check_finite(used, str(path))
    if not used:
        raise CheckpointError(f"{path} has no tensor that fits this {system.name}: give its last checkpoint")
    ignored = {
        k: "of another shape here" if k in wanted else "this system has no such part" for k in tensors if k not in used
    }
    fresh = tuple(k for k in wanted if k not in used)
    system.load_state_dict({**wanted, **used})
    return WeightsReport(str(path), "weights of an earlier stage", len(tensors), len(used), 0, ignored, fresh)
