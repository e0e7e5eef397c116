"""`python -m fewshot.table`: run folders in, one table out."""

from __future__ import annotations

from pathlib import Path

import pytest

from fewshot import table
from tests.benchmarks.test_overview import write
from tests.benchmarks.test_report import many


def test_the_command_prints_the_table_and_what_it_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    write(tmp_path / "a", many())
    (tmp_path / "b").mkdir()
    monkeypatch.setattr("sys.argv", ["table", str(tmp_path / "a"), str(tmp_path / "b"), "format=markdown"])
    table.main()
    out, err = capsys.readouterr()
    assert out.splitlines()[0].startswith("| system |") and out.splitlines()[2].startswith("| uniref |")
    assert err.startswith("left out: ") and err.count("\n") == 1
    monkeypatch.setattr("sys.argv", ["table", str(tmp_path / "b")])
    with pytest.raises(SystemExit) as end:
        table.main()
    assert end.value.code == 1 and capsys.readouterr().err.startswith("error: ")
