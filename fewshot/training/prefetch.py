"""The next batches travel to the GPU while the present ones are used."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields, is_dataclass, replace
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")
U = TypeVar("U")


def prefetched(steps: Iterable[T], device: torch.device) -> Iterator[tuple[T, T]]:
    """Batches as they come, each with its copy on `device`; on a GPU the next one is read and copied ahead.

    A step is anything made of tensors, dataclasses, tuples, lists and dictionaries. The copies are the same numbers
    with and without a GPU. An error of reading a step is raised when it is that step's turn.
    """
    if device.type != "cuda":
        for step in steps:
            yield step, with_tensors(step, lambda x: x.to(device))
        return
    stream: Any = torch.cuda.Stream(device)  # Any: torch does not annotate its streams alike
    yield from read_ahead(steps, partial(_copy, device=device, stream=stream), partial(_hand_over, stream=stream))


def _copy(step: T, device: torch.device, stream: Any) -> tuple[T, T]:
    """Start the copy on the side stream: from pinned memory, else the host would wait for it."""
    with torch.cuda.stream(stream):
        return step, with_tensors(step, lambda x: x if x.is_cuda else x.pin_memory().to(device, non_blocking=True))


def _hand_over(pair: tuple[T, T], stream: Any) -> None:
    """Let the present stream wait for the copies, and keep their memory until it has used them."""
    present = torch.cuda.current_stream(stream.device)
    present.wait_stream(stream)
    with_tensors(pair[1], lambda x: _recorded(x, present))


def _recorded(tensor: Tensor, stream: Any) -> Tensor:
    tensor.record_stream(stream)
    return tensor


def read_ahead(steps: Iterable[T], start: Callable[[T], U], hand_over: Callable[[U], None]) -> Iterator[U]:
    """Results of `start` for each step, started one step early; `hand_over` sees each when its turn comes.

    An error of `steps` or `start` is raised after the steps before it.
    """
    iterator = iter(steps)
    following, error = _next(iterator, start)
    while following:
        (present,) = following
        hand_over(present)  # before the next copy is queued, for which this step need not wait
        following, error = _next(iterator, start)
        yield present
    if error is not None:
        raise error


def _next(iterator: Iterator[T], start: Callable[[T], U]) -> tuple[tuple[U, ...], Exception | None]:
    """The next step in a tuple of one; an empty one at the end, or with the error that came instead."""
    try:
        return (start(next(iterator)),), None
    except StopIteration:
        return (), None
    except Exception as error:  # it belongs to the next step, and the present one is still to be used
        return (), error


def with_tensors(value: T, change: Callable[[Tensor], Tensor]) -> T:
    """The same value with each tensor in it changed; parts without a changed tensor are the very same objects."""
    changed: Any = value
    if isinstance(value, Tensor):
        changed = change(value)
    elif isinstance(value, dict):
        changed = {key: with_tensors(part, change) for key, part in value.items()}
        changed = changed if any(changed[key] is not value[key] for key in value) else value
    elif isinstance(value, (tuple, list)):
        parts = [with_tensors(part, change) for part in value]
        changed = type(value)(parts) if any(a is not b for a, b in zip(parts, value, strict=True)) else value
    elif is_dataclass(value) and not isinstance(value, type):
        old = {entry.name: getattr(value, entry.name) for entry in fields(value)}
        new = {name: with_tensors(part, change) for name, part in old.items()}
        new = {name: part for name, part in new.items() if part is not old[name]}
        changed = replace(value, **new) if new else value
    return changed
