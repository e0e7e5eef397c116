"""Reads pickles of plain types only: dicts, lists, words and numbers. Any other pickle could run code of its own."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any, NoReturn


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> NoReturn:
        raise pickle.UnpicklingError(f"it holds {module}.{name}, but only dicts, lists, words and numbers are read")


def load_plain(path: Path) -> Any:
    """Content of a pickle file of plain types; byte strings of Python 2 become words (Latin-1).

    Raises FileNotFoundError for a missing file, ValueError for a damaged one or one with any other type in it.
    """
    try:
        with open(path, "rb") as stream:
            return _PlainUnpickler(stream, encoding="latin1").load()
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path} is missing: restore the file") from error
    except Exception as error:  # damage shows as UnpicklingError, EOFError, ValueError, KeyError and others
        raise ValueError(f"{path} cannot be read as a list file ({error}): download it again") from error
