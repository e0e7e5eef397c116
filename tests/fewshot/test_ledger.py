"""`python -m fewshot.ledger`: add, check, table, export."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.ledger import check
from benchmarks.ledger.rows import read_ledger
from fewshot import ledger
from tests.benchmarks.test_ledger import run_folder

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> Call:
    """Runs the command in a folder of its own: exit code, output, errors."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["ledger", *words])
        code = 0
        try:
            ledger.main()
        except SystemExit as end:
            code = int(end.code or 0)
        out = capsys.readouterr()
        return code, out.out, out.err

    return run


def test_a_run_is_added_checked_printed_and_exported(call: Call, tmp_path: Path) -> None:
    run_folder(tmp_path / "run")
    code, out, err = call("add", "run")
    assert (code, err) == (0, "") and out.count("added: cma@1/mini_ref_ytvos/cma/0abababa.json") == 2
    assert call("check", "run") == (0, "ledger: 2 rows, nothing wrong\n", "")
    code, out, _ = call("table", "format=markdown", "benchmark=mini_ref_ytvos")
    assert code == 0 and out.splitlines()[0].startswith("| benchmark | shots | measure | system | paper says |")
    code, out, _ = call("export", "ledger/cma@1/mini_ref_ytvos/cma/0abababa.json", "dataset=me/data")
    assert code == 0 and "id: me/data" in (tmp_path / ".eval_results" / "fewshot.yaml").read_text()
    (tmp_path / "ledger" / "cma@1" / "mini_ref_ytvos" / "cma" / "0abababa.json").unlink()
    assert call("check", "against=nowhere")[2] == "error: there is no ledger in nowhere: give folder=<folder>\n"
    code, out, err = call("check")
    assert code == 1 and out.count("a row was removed or changed") == 2
    assert err == "error: the ledger in ledger has 2 problem(s), listed above\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "say first what is to be done, add, check, table, export"),
        (("remove", "x"), "got 'remove'"),
        (("add",), "add needs files: run folders"),
        (("add", "nothing"), "nothing is not a file"),
        (("check",), "there is no ledger in ledger: give folder=<folder>"),
        (("table", "x"), "table takes keys alone, got x"),
        (("export", "x.json"), "export needs dataset="),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(
    call: Call, tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    code, _, err = call(*words)
    assert code == 1 and message in err and err.startswith("error: ") and err.count("\n") == 1
    assert not list(tmp_path.iterdir()), "nothing is left behind"


def test_two_that_add_at_once_take_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one begins between the look and the writing of the first; it must see what the first has written."""
    config = ledger.LedgerConfig(words=["add", str(run_folder(tmp_path / "run"))], folder=str(tmp_path / "ledger"))
    refused: list[str] = []

    def add() -> None:
        try:
            ledger.run(config, command=None)  # type: ignore[arg-type]
        except ValueError as error:
            refused.append(str(error))

    second, look = threading.Thread(target=add), check.refuse

    def meanwhile(*rows: Any) -> None:
        look(*rows)
        if threading.current_thread() is not second:
            second.start()
            second.join(timeout=0.3)

    monkeypatch.setattr(check, "refuse", meanwhile)
    add()
    second.join()
    assert len(refused) == 1 and "is there already" in refused[0]
    assert len(read_ledger(tmp_path / "ledger")) == 2
    assert check.check_ledger(tmp_path / "ledger") == []
