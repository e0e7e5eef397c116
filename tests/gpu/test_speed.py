"""The script of the timings: what it measures works, and it says why it measures nothing."""

from __future__ import annotations

import pytest
import torch

from experiments.speed import gpu
from tests.gpu.tiny import DEVICES, tiny_system


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("name", ["cma", "uniref"])
def test_what_is_measured(name: str, bf16: bool, device: str) -> None:
    system = tiny_system(name, device)
    query, support = (gpu.clips(1, 60, 90, seed).to(device) for seed in (1, 2))
    assert query.frames.shape[-2:] == (64, 96)
    assert gpu.forward(system, query, support, bf16).masks.isfinite().all()
    gpu.step(system, query, support, bf16)
    gradients = [parameter.grad for parameter in system.parameters() if parameter.grad is not None]
    assert gradients and all(gradient.isfinite().all() for gradient in gradients)


def test_without_a_device_it_says_why(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    gpu.main()
    assert capsys.readouterr().out == "skipped: torch finds no CUDA device\n"


def test_the_table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """With a clock that ticks and no GPU."""
    ticks = iter(range(2, 100, 2))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a device")
    monkeypatch.setattr(torch.nn.Module, "cuda", lambda self: self)
    monkeypatch.setattr(gpu, "clips", lambda *size, real=gpu.clips: real(1, 60, 90, size[-1]))
    monkeypatch.setattr(type(gpu.clips(1, 60, 90, 0)), "to", lambda self, device: self)
    monkeypatch.setattr(gpu, "full_size", lambda: {"CMA": (lambda: tiny_system("cma"), 1)})
    monkeypatch.setattr(gpu, "milliseconds", lambda work: (work(), float(next(ticks)))[1])
    gpu.main()
    row = capsys.readouterr().out.splitlines()[-1]
    assert row.split() == ["CMA", "2.0", "ms", "1.00", "2.00", "3.00", "4.00"]
