"""Reading ahead: order, the place of errors, and copies of whatever a batch is made of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from fewshot.training.prefetch import prefetched, read_ahead, with_tensors


@dataclass(frozen=True)
class Part:
    frames: Tensor
    names: tuple[str, ...] = ("a", "b")


@dataclass(frozen=True)
class Batch:
    part: Part
    masks: tuple[Tensor | None, ...]
    more: dict[str, list[Tensor]]
    shots: int = 1


def batch(n: int = 0) -> Batch:
    return Batch(Part(torch.full((2,), float(n))), (torch.ones(1), None), {"x": [torch.zeros(3)]})


def test_on_a_cpu_the_copies_are_the_batches_themselves() -> None:
    steps = [[batch(n)] for n in range(3)]
    pairs = list(prefetched(iter(steps), torch.device("cpu")))
    assert len(pairs) == 3
    assert all(host is step and there is step for step, (host, there) in zip(steps, pairs, strict=True))


def test_on_a_cpu_nothing_is_read_ahead() -> None:
    steps = iter([[batch(n)] for n in range(3)])
    next(prefetched(steps, torch.device("cpu")))
    assert len(list(steps)) == 2


def test_every_tensor_is_changed_and_nothing_else() -> None:
    before = batch(3)
    after = with_tensors(before, lambda x: x + 1)
    assert after.part.frames.tolist() == [4, 4] and after.part.names is before.part.names
    assert after.masks[0] is not None and after.masks[0].tolist() == [2] and after.masks[1] is None
    assert after.more["x"][0].tolist() == [1, 1, 1] and after.shots == 1
    assert before.part.frames.tolist() == [3, 3]


def test_what_holds_no_tensor_stays_the_same_object() -> None:
    value = ({"a": [1, "b", None]}, Part)
    assert with_tensors(value, lambda x: x + 1) is value


def test_the_next_step_is_started_before_the_present_one_is_used() -> None:
    events: list[str] = []

    def start(step: int) -> int:
        events.append(f"start {step}")
        return 10 * step

    for item in read_ahead([1, 2, 3], start, lambda item: events.append(f"hand over {item}")):
        events.append(f"use {item}")
    assert events == [
        *("start 1", "hand over 10", "start 2", "use 10"),
        *("hand over 20", "start 3", "use 20"),
        *("hand over 30", "use 30"),
    ]


def test_an_error_comes_at_its_own_turn() -> None:
    def steps() -> Iterator[int]:
        yield 1
        yield 2
        raise OSError("no such image")

    used = []
    with pytest.raises(OSError, match="no such image"):
        for item in read_ahead(steps(), lambda step: step, lambda item: None):
            used.append(item)
    assert used == [1, 2]


def test_an_error_of_the_first_step() -> None:
    def steps() -> Iterator[int]:
        raise OSError("no such image")
        yield 1

    with pytest.raises(OSError, match="no such image"):
        list(read_ahead(steps(), lambda step: step, lambda item: None))


def test_no_steps() -> None:
    assert list(read_ahead([], lambda step: step, lambda item: None)) == []
