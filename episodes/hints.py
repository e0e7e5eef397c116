"""Hints in messages: the name that was meant."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(key: str, valid: Iterable[str]) -> str:
    """` Did you mean 'x'?` for the closest of `valid`, or an empty string when nothing is close."""
    close = get_close_matches(key, list(valid), n=1, cutoff=0.6)
    return f" Did you mean {close[0]!r}?" if close else ""
