"""`benchmarks` is a library: nothing in it reads a command line, prints, or ends the program."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOM = Path(__file__).resolve().parents[2] / "benchmarks"
FILES = sorted(ROOM.rglob("*.py"))


def names_used(path: Path) -> set[str]:
    """Names and attributes that occur in the code of a file."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    names = {node.id for node in nodes if isinstance(node, ast.Name)}
    return names | {node.attr for node in nodes if isinstance(node, ast.Attribute)}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOM).as_posix())
def test_no_commands(path: Path) -> None:
    assert not names_used(path) & {"argv", "print", "SystemExit", "exit"}
    assert "__main__" not in path.read_text()


def test_the_room_was_found() -> None:
    assert {"compare.py", "davis.py", "report.py"} <= {path.name for path in FILES}
