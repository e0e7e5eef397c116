"""`python -m fewshot.compare`: two reports in, the table of differences out."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.report import Report
from fewshot import compare
from tests.benchmarks.test_compare import shifted
from tests.benchmarks.test_report import many


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    """Runs the command in a folder with `a.csv` and `b.json`: its exit code, output and errors."""
    scores = many()
    Report(scores, bootstrap=0).write_csv(tmp_path / "a.csv")
    Report(shifted(scores, 0.05, 0.01), bootstrap=0).write_json(tmp_path / "b.json")
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["compare", *words])
        code = 0
        try:
            compare.main()
        except SystemExit as end:
            code = end.code
        return code, *capsys.readouterr()

    return run


def test_the_command_prints_the_differences(call) -> None:
    code, out, err = call("a.csv", "b.json", "bootstrap=100", "seed=3")
    mean = next(line for line in out.splitlines() if line.startswith("mean"))
    assert (code, err) == (0, "") and float(mean.split()[4]) == pytest.approx(5, abs=0.5)
    assert call("b.json", "a.csv", "protocol=davis")[0] == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a.csv"], "two reports are needed, got 1"),
        (["a.csv", "c.csv"], "c.csv is not a file"),
        (["a.csv", "b.json", "protocl=cma"], "Did you mean 'protocol'?"),
        (["a.csv", "b.json", "protocol=davs"], "unknown protocol 'davs'. Did you mean 'davis'?"),
        (["a.csv", "b.json", "bootstrap=few"], "bootstrap=few: give a whole number of at least 1"),
        (["a.csv", "broken.json"], "broken.json is no JSON file"),
    ],
)
def test_wrong_words(call, words: list[str], message: str) -> None:
    Path("broken.json").write_text("{")
    code, out, err = call(*words)
    assert (code, out) == (1, "") and err.startswith("error: ") and message in err
    assert err.count("\n") == 1


def test_help(call) -> None:
    code, out, _ = call("--help")
    assert code == 0 and "bootstrap" in out
