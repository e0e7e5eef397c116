"""`python -m fewshot.compare`: two reports in, the table of differences out."""

from __future__ import annotations

import json
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
    assert "J: B better by " in out and "A: a.csv" not in out


def test_run_folders_and_several_runs(call, tmp_path: Path) -> None:
    Report(shifted(many(), -0.05, 0.01), bootstrap=0).write_json(tmp_path / "run" / "results.json")
    code, out, _ = call("a.csv", "b.json", "run", "bootstrap=100")
    assert code == 0 and out.startswith("A: a.csv\nB: b.json\nC: run/results.json\n")
    assert "J: B better by " in out and "J: A better by " in out
    Report(many()[10:], bootstrap=0).write_json(tmp_path / "fewer" / "results.json")
    code, _, err = call("a.csv", "fewer")
    assert code == 1 and "the runs are of other episodes: 10 queries are in a.csv alone" in err
    code, out, _ = call("a.csv", "fewer", "episodes=shared", "bootstrap=100")
    assert code == 0 and out.startswith("30 queries in both runs; left out: 10 only in A, 0 only in B")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a.csv"], "2 to 26 reports are compared, got 1"),
        (["a.csv", "c.csv"], "c.csv is not a file"),
        (["a.csv", "b.json", "protocl=cma"], "Did you mean 'protocol'?"),
        (["a.csv", "b.json", "protocol=davs"], "unknown protocol 'davs'. Did you mean 'davis'?"),
        (["a.csv", "b.json", "bootstrap=few"], "bootstrap=few: give a whole number from 1 to 100,000"),
        (["a.csv", "broken.json"], "broken.json is no JSON file"),
    ],
)
def test_wrong_words(call, words: list[str], message: str) -> None:
    Path("broken.json").write_text("{")
    code, out, err = call(*words)
    assert (code, out) == (1, "") and err.startswith("error: ") and message in err
    assert err.count("\n") == 1


def broken(change) -> str:
    """The report `b.json` with its table of queries changed."""
    report = json.loads(Path("b.json").read_text())
    change(report)
    return json.dumps(report)


def first_value(column: str, value: object):
    def change(report) -> None:
        report["queries"]["rows"][0][report["queries"]["columns"].index(column)] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r.update(queries=[1]), "holds no query scores: missing columns"),
        (lambda r: r["queries"].update(columns=3), "holds no query scores: missing columns"),
        (lambda r: r["queries"].update(rows="abc"), "holds no query scores, only the names of columns"),
        (lambda r: r["queries"].update(rows=[]), "holds no query scores, only the names of columns"),
        (lambda r: r["queries"].update(rows=[1]), "query 1 has no list of values"),
        (first_value("seed", [1]), "query 1 is broken ([1] is no whole number)"),
        (first_value("seed", 0.5), "query 1 is broken (0.5 is no whole number)"),
        (first_value("j_cma", None), "query 1 is broken (None is no number)"),
        (first_value("video", 3), "query 1 is broken (3 is no text)"),
        (first_value("frames", 0), "query 1 is broken (episode 0, video 'v00': 0 frames scored"),
        (lambda r: r["queries"]["rows"].append(r["queries"]["rows"][0]), "query 41 is there twice"),
        (lambda r: r.update(protocol=3), "names the protocol 3, which is no name"),
        (lambda r: r.update(protocol="gone"), "is of an unknown protocol 'gone'"),
    ],
)
def test_a_broken_report_is_named_in_one_line(call, change, message: str) -> None:
    Path("c.json").write_text(broken(change))
    for words in (["a.csv", "c.json"], ["c.json", "b.json"]):
        code, out, err = call(*words)
        assert (code, out) == (1, "") and err.startswith("error: c.json") and message in err
        assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("c.csv", b"\xff\xfes\0", "is not text in UTF-8 (UTF-16)"),
        ("c.json", b"\x80", "is not text in UTF-8 (byte 0 is 0x80)"),
        ("c.json", b"[" * 100000, "is no JSON file (maximum recursion depth"),
        ("c.csv", b"seed," + b"x" * 200000, "is no CSV file (field larger than field limit"),
    ],
)
def test_a_file_that_is_no_report_is_named_in_one_line(call, name: str, content: bytes, message: str) -> None:
    Path(name).write_bytes(content)
    code, out, err = call("a.csv", name)
    assert (code, out) == (1, "") and err.startswith(f"error: {name} ") and message in err and err.count("\n") == 1


def test_help(call) -> None:
    code, out, _ = call("--help")
    assert code == 0 and "bootstrap" in out
