"""`python -m experiments.speed.loader` on a small world."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from experiments.speed import loader


def test_a_row_for_each_number_of_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ["group=1", "system=prototype", "benchmark.world_videos=3", f"data.cache={tmp_path}", "train.batch=1"]
    monkeypatch.setattr(loader, "cases", lambda shared: {"a small world": small})
    loader.main(["steps=2", "workers=1"])
    rows = [re.split(r"  +", line) for line in capsys.readouterr().out.splitlines()[-2:]]
    assert [row[:2] for row in rows] == [["a small world, prototype", "0"], ["a small world, prototype", "1"]]
    for alone, rate, waits in (row[2:] for row in rows):
        assert float(alone) > 0 and float(rate) > 0 and 0 <= float(waits.removesuffix(" %")) <= 100


def test_real_data_are_measured_where_they_are(tmp_path: Path) -> None:
    assert list(loader.cases(tmp_path)) == ["generated clips"]
    (tmp_path / "data" / "voc2012-subset").mkdir(parents=True)
    assert list(loader.cases(tmp_path)) == ["generated clips", "561 images of VOC"]
