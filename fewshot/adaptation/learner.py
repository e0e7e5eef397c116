"""Copies of a network whose weights take gradient steps: the one file that knows learn2learn.

learn2learn (Arnold et al., 2020) clones and updates modules so that the outer loss can be differentiated through the
steps. Of its package `utils` alone is read, from its file: importing the package brings in gym, which prints a notice
at every start. Its Meta-SGD update reads `.grad` of every tensor, which here may be gradients of the outer loss that
accumulate; the same update is made with `update_module`.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.batchnorm import _BatchNorm

Module = TypeVar("Module", bound=nn.Module)

INSTALL = (
    "pip install cython setuptools wheel && pip install --no-deps --use-pep517 --no-build-isolation "
    "--config-settings=--global-option=build_ext learn2learn==0.2.0"
)


class Learn2LearnMissing(RuntimeError):
    """learn2learn is not installed; the message has the command that installs it."""


@cache
def learn2learn() -> ModuleType:
    """The module `learn2learn.utils`, without the rest of its package.

    Raises:
        Learn2LearnMissing: it is not installed.
    """
    package = importlib.util.find_spec("learn2learn")
    places = () if package is None else tuple(package.submodule_search_locations or ())
    file = next((path for place in places if (path := Path(place) / "utils" / "__init__.py").is_file()), None)
    if file is None:
        raise Learn2LearnMissing(f"adaptation by gradients needs learn2learn, which is not installed: {INSTALL}")
    spec = importlib.util.spec_from_file_location("learn2learn_utils", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def cloned(module: Module, adapting: Mapping[str, object], outer: bool) -> Module:
    """A copy of a module in which the parameters named in `adapting` are its own, and all others are shared.

    Batch norms of the copy use their running statistics and leave them alone: copies share buffers, and statistics of
    a few supports would move those of the original.

    Args:
        outer: gradients flow to the original, so that a loss of the copy trains it; else they end at the copy.
    """
    named = dict(module.named_parameters())
    # learn2learn takes a tensor that it finds here, under this odd key, as it is; others it clones
    memo = {p.data_ptr: p if outer else p.detach() for name, p in named.items() if name not in adapting}
    if not outer:
        memo |= {named[name].data_ptr: named[name].detach().clone().requires_grad_() for name in adapting}
    copy: Module = learn2learn().clone_module(module, memo=memo)
    for part in copy.modules():
        if isinstance(part, _BatchNorm) and part.track_running_stats:
            part.training = False
    return copy


def descend(copy: Module, loss: Tensor, rates: Mapping[str, float | Tensor], second_order: bool) -> Module:
    """The copy after one gradient step; parameters without a gradient stay as they are.

    Args:
        copy: as `cloned` gives it. It is changed.
        loss: of the copy.
        rates: step size of each parameter that adapts, by its name; tensors may be learnt (Meta-SGD, Li et al., 2017).
        second_order: the step itself can be differentiated (MAML); False: its gradient is a constant (FOMAML).
    """
    named = dict(copy.named_parameters())
    wanted = [named[name] for name in rates]
    gradients = torch.autograd.grad(
        loss, wanted, retain_graph=second_order, create_graph=second_order, allow_unused=True
    )
    steps = {
        name: None if gradient is None else -rate * gradient
        for (name, rate), gradient in zip(rates.items(), gradients, strict=True)
    }
    for name, tensor in named.items():
        if (step := steps.get(name)) is not None:
            tensor.update = step  # type: ignore[attr-defined]  # where learn2learn looks for it
    updated: Module = learn2learn().update_module(copy)
    return updated


def freeze(copy: nn.Module) -> None:
    """Cut a copy off from the graph of its steps, in place; the shared parameters of the original stay as they are."""
    for part in copy.modules():
        for name, tensor in part._parameters.items():
            if tensor is not None and not tensor.is_leaf:
                part._parameters[name] = tensor.detach()  # type: ignore[assignment]  # a clone's are plain tensors


@contextmanager
def differentiable(second_order: bool) -> Iterator[None]:
    """Gradients are on, also inside a test; attention that can be differentiated twice where this is needed."""
    with torch.inference_mode(False), torch.enable_grad():
        if second_order:  # the fused kernels of attention have no second derivative
            with sdpa_kernel(SDPBackend.MATH):
                yield
        else:
            yield
