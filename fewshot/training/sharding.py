"""Weights, gradients and moments shared out among the processes (FSDP2), and whole again for checkpoints and tests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer

from fewshot.run import processes
from fewshot.training.step import TrainingStep


def share_out(model: TrainingStep, device: torch.device) -> None:
    """Give each process its part of every parameter; layers of the backbone are made whole one at a time when used.

    The rest is whole during a step, since systems call its parts in other ways than by their `forward`.
    """
    mesh = init_device_mesh(device.type, (processes.world_size(),))
    backbone = getattr(model.system, "backbone", None)
    for layer in layers_of(backbone) if isinstance(backbone, nn.Module) else ():
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    model.last = partial(balanced, model.system)


def balanced(system: nn.Module, total: Tensor) -> Tensor:
    """The same loss, with a gradient of 0 for every parameter that it does not use but that of another process does.

    Gradients travel together, so that all processes must have those of the same parameters. What no process uses
    has none, as without sharing.
    """
    own = [p for p in system.parameters() if p.requires_grad and not isinstance(p, DTensor)]  # those that are whole
    used = _used(total)
    mine = [id(p) in used for p in own]
    others = processes.all_reduce_sum([float(here) for here in mine])
    idle = [p for p, here, count in zip(own, mine, others, strict=True) if count and not here]
    return total + sum((0.0 * p.sum() for p in idle), torch.zeros_like(total))


def _used(total: Tensor) -> set[int]:
    """Identities of the parameters that a loss depends on."""
    found: set[int] = set()
    seen: set[Any] = set()
    waiting = [total.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if (parameter := getattr(node, "variable", None)) is not None:
            found.add(id(parameter))
        waiting += [following for following, _ in node.next_functions]
    return found


def layers_of(backbone: nn.Module) -> Iterator[nn.Module]:
    """The outermost members of lists and sequences of modules in a backbone, which have parameters."""
    for child in backbone.children():
        if isinstance(child, (nn.ModuleList, nn.Sequential)):
            yield from (layer for layer in child if any(True for _ in layer.parameters()))
        else:
            yield from layers_of(child)


@contextmanager
def silent(model: FSDPModule) -> Iterator[None]:
    """Inside, gradients are added up in each process and do not travel."""
    model.set_requires_gradient_sync(False)
    try:
        yield
    finally:
        model.set_requires_gradient_sync(True)


def whole(content: Any) -> Any:
    """The same nested content with whole tensors on the CPU where they were shared out. Every process must call it."""
    if isinstance(content, DTensor):
        return content.full_tensor().cpu()
    if isinstance(content, Mapping):
        return {key: whole(value) for key, value in content.items()}
    return type(content)(map(whole, content)) if isinstance(content, (list, tuple)) else content


def take_weights(system: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Load whole weights into a system that may be shared out. Raises RuntimeError for other names."""
    own = system.state_dict()
    system.load_state_dict({name: _like(value, own.get(name)) for name, value in weights.items()})


def take_moments(optimizer: Optimizer, state: Mapping[str, Any]) -> None:
    """Load the whole state of an optimiser into one whose parameters may be shared out."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    moments = {
        number: {name: _like(value, parameters[number]) if name != "step" else value for name, value in own.items()}
        for number, own in state["state"].items()
    }
    optimizer.load_state_dict({**state, "state": moments})


def _like(value: Any, other: Tensor | None) -> Any:
    """A tensor, shared out as `other` is."""
    if not isinstance(other, DTensor):
        return value
    return distribute_tensor(value.to(other.device), other.device_mesh, other.placements)
