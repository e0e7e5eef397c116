"""SgMg and ReferFormer against the official code: every array of every case under `parity/sgmg`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from tests.parity.reference import check_case
from tests.shared import SHARED

# what a case says it is, and the module with its function `run(case, folder) -> problems`
WHOLE = {"eval": "sgmg_model", "train": "sgmg_model"}


def cases() -> list[Any]:
    """Every folder with a `case.json`, whatever the folder between the system and the case is called."""
    root = SHARED / "parity" / "sgmg"
    found = sorted((path.parent for path in root.glob("*/*/case.json")), key=lambda folder: (model_of(folder), folder))
    return [pytest.param(f, id=f.name, marks=pytest.mark.parity) for f in found or [root / "open"]]


def model_of(folder: Path) -> str:
    """What cases of one model have in common: it is filled once for all of them."""
    case = json.loads((folder / "case.json").read_text())
    return "" if case.get("kind") == "module" else case["keys"]


def runner_of(case: dict[str, Any]) -> str:
    """The module that runs a case. A kind of case that nobody knows is an error, not a skip."""
    kind = case.get("kind")
    if kind == "module":
        return "sgmg_modules"
    if kind not in WHOLE:
        raise AssertionError(f"unknown kind of case: {kind!r}")
    return WHOLE[kind]


@pytest.fixture(scope="module", autouse=True)
def _one_model_at_a_time() -> Iterator[None]:
    """The cases share a model of almost a gigabyte; the tests after them need not carry it."""
    yield
    module = sys.modules.get("tests.parity.sgmg_model")
    if module is not None:
        module.forget_models()


@pytest.mark.parametrize("folder", cases())
def test_case(folder: Path) -> None:
    check_case(folder, runner_of, listed=True)


def test_an_unknown_kind_of_case_fails() -> None:
    for case in ({"kind": "a kind of tomorrow"}, {}):
        with pytest.raises(AssertionError, match="unknown kind of case"):
            runner_of(case)
    with pytest.raises(AssertionError, match="unknown module"):
        import_module("tests.parity.sgmg_modules").run({"module": "a module of tomorrow"}, Path())
