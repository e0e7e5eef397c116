"""Commands as a user types them, called within the test."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module


def typed(command: str, words: Sequence[str]) -> int:
    """Exit status of `python -m fewshot.<command> words`, called in this process; hands the command line back."""
    before = sys.argv
    sys.argv = [f"fewshot {command}", *words]
    try:
        import_module(f"fewshot.{command}").main()
    except SystemExit as ended:
        return int(ended.code or 0)
    finally:
        sys.argv = before
    return 0
