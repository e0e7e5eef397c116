"""Words that matter, with no download: the stage and its test, as a user types them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks.ledger.entry import entries
from episodes.sources import synthetic_rvos as world
from fewshot import task_test, train_stage

pytestmark = pytest.mark.end_to_end
QUICK = ("logging=disabled", "device=cpu", "threads=1")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(world, "VIDEOS", {"test": 3, "train": 6})
    monkeypatch.setenv("FEWSHOT_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(monkeypatch: pytest.MonkeyPatch, program: object, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["program", *arguments, *QUICK])
    program.main()  # type: ignore[attr-defined]


@pytest.mark.parametrize("system", ["", "referformer_tiny", "uniref_tiny"])
def test_a_stage_and_its_test_with_other_words_beside_the_number(here: Path, monkeypatch, capsys, system: str) -> None:
    chosen = [f"system={system}"] if system else []
    call(monkeypatch, train_stage, "stage=synthetic_rvos", "train.steps=2", "train.batch=2", *chosen)
    run = here / "runs" / f"synthetic_rvos-{system or 'sgmg_tiny'}-s0"
    (run,) = (here / "runs").iterdir()
    assert run.name.startswith(f"synthetic_rvos-{system or 'sgmg_tiny'}-s0")
    call(monkeypatch, task_test, "task=synthetic_rvos", f"weights={run}", "name=tested", "pictures=1")
    out = " ".join(capsys.readouterr().out.split())
    folder = here / "runs" / "tested"
    stored = json.loads((folder / "results.json").read_text())
    assert list(stored["measures"]) == ["J", "F", "J&F"] and 0 <= stored["measures"]["J"] <= 1
    assert stored["rows"] == len(stored["objects"]) and {"shuffled_text"} <= set(stored["beside"])
    assert any(name.startswith("with a twin") for name in stored["beside"])
    (row,) = entries(folder)
    assert row.training == "synthetic_rvos"
    assert row.leak["images"]["why"] == "split train of the same data set has others"
    assert row.training_run is not None and row.protocol == "expressions@1" and len(row.computed_again) == 3
    assert {name: row.training_run[name] for name in ("steps", "step", "seed", "recipe", "episodes_per_step")} == {
        **{"steps": 2, "step": 2, "seed": 0, "recipe": "corrected", "episodes_per_step": 2}
    }
    assert "an expression that was written for another class" in out and "shuffled_text" in out
    written = [
        sorted(p.relative_to(base) for p in base.rglob("*.png"))
        for base in (folder / "masks", folder / "probes" / "shuffled_text" / "masks")
    ]
    assert written[0] == written[1] and len(written[0]) == 8 * stored["rows"]
    assert len(list((folder / "pictures").iterdir())) == 1
    call(monkeypatch, task_test, "task=synthetic_rvos", f"weights={run}", "name=tested", "pictures=1", "resume=true")
    assert json.loads((folder / "results.json").read_text())["measures"] == stored["measures"]
