"""`fewshot <command>`: the one console command."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

import pytest

import fewshot
from fewshot.cli import main as console


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    """Run the console command: (exit code, stdout, stderr)."""

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["fewshot", *words])
        monkeypatch.setattr(sys, "path", list(sys.path))
        code = 0
        try:
            console.main()
        except SystemExit as end:
            code = int(end.code or 0)
        out = capsys.readouterr()
        return code, out.out, out.err

    return run


@pytest.mark.parametrize("words", [(), ("--help",), ("-h",), ("help",)])
def test_the_usage_lists_every_command(call, words: tuple[str, ...]) -> None:
    code, out, err = call(*words)
    assert (code, err) == (0, "")
    assert out.startswith("Usage: fewshot COMMAND [key=value ...]\n")
    for name, about in console.COMMANDS.items():
        assert f"  {name}" in out and about in out


@pytest.mark.parametrize("word", ["--version", "-V", "version"])
def test_the_version_is_that_of_the_package(call, word: str) -> None:
    assert call(word) == (0, f"fewshot {fewshot.__version__}\n", "")


def test_an_unknown_command_ends_with_one_line_that_names_the_meant_one(call) -> None:
    code, out, err = call("meta_trian", "group=1")
    assert (code, out) == (1, "")
    assert err == "error: unknown command 'meta_trian'. Did you mean 'meta_train'? `fewshot` lists them\n"
    code, _, err = call("bake")
    assert code == 1 and err.startswith("error: unknown command 'bake'.") and "Did you mean" not in err


def test_the_words_after_the_command_are_its_own(call) -> None:
    code, out, err = call("convert", "--help")
    assert (code, err) == (0, "") and "Usage: python -m fewshot.convert" in out
    code, out, err = call("meta-train", "--help", "shots=3")  # with a dash as well
    assert (code, err) == (0, "") and "\n  shots=3 " in out
    assert sys.argv[0] == "fewshot meta_train"
    code, out, err = call("convert", "sistem=cma")
    assert (code, out) == (1, "")
    assert err == "error: unknown key 'sistem'. Did you mean 'system'? --help lists the keys\n"


def test_the_module_of_every_command_is_there() -> None:
    assert [name for name in console.COMMANDS if find_spec(f"fewshot.{name}") is None] == []


def test_the_usage_is_quick_and_quiet() -> None:
    code = (
        "import sys; sys.argv = ['fewshot']; from fewshot.cli.main import main; main(); "
        "print([m for m in ('torch', 'hydra', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stderr == ""
    assert done.stdout.splitlines()[-1] == "[]"
