"""Threads: how they wait, and how many there are."""

from __future__ import annotations

import pytest

from fewshot.cli.threads import PATIENT, wait_patiently
from fewshot.systems.registry import systems
from fewshot.systems.uniref.config import UniRefConfig


def test_waiting_threads_sleep_unless_the_environment_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in PATIENT:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    wait_patiently()
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE" and os.environ["KMP_BLOCKTIME"] == "0"
    monkeypatch.delenv("KMP_BLOCKTIME")


@pytest.mark.parametrize("name", ["cma", "uniref", "prototype"])
def test_small_systems_ask_for_one_thread(name: str) -> None:
    config = systems()[name].config
    assert config(name=name, backbone="tiny").threads == 1
    assert config(name=name, backbone="mobilenet_v2").threads is None


def test_a_system_without_a_backbone_leaves_the_threads_to_torch() -> None:
    assert systems()["uniref_sam"].config(name="uniref_sam").threads is None
    assert UniRefConfig(name="uniref").threads is None
