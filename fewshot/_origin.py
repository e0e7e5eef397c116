"""Origin of this installation: its configuration folder, and a check that Python imports its own sister packages.

Only the standard library, and no import of the packages in question: this runs at each `import fewshot`.
"""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

VERSION = "0.2.0"
SISTERS = ("episodes", "benchmarks")  # top-level packages that `fewshot` imports
CONFIGURATION = "experiments"
HOME = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # the checkout, or site-packages


def config_folder() -> Path:
    """Folder of the configuration that belongs to this installation, whatever else is called `experiments`.

    Raises:
        FileNotFoundError: it is missing; the installation is not complete.
    """
    from pathlib import Path  # not at the top: it would take longer than the rest of this file

    folder = Path(HOME, CONFIGURATION)
    if not (folder / "meta_train.yaml").is_file():
        raise FileNotFoundError(f"no configuration at {folder}: install fewshot-segmentation again")
    return folder


def refuse_shadowed() -> None:
    """Refuse to go on where `episodes` or `benchmarks` would be something other than the packages beside this one.

    A folder without `__init__.py` is harmless where Python goes on to the real package, and is not refused. Ours is not
    imported by its place instead: workers that are started afresh, and the user's own code, would get the other one.

    Raises:
        ImportError: names the shadowing folder or file, and what to do.
        SystemExit: the same, with status 1, for `python -m fewshot.<command>`.
    """
    for name in SISTERS:
        own = os.path.join(HOME, name)
        found = location(name)
        if found is None or same(found, own):
            continue
        message = (
            f"{found} shadows the package {name!r} of fewshot (at {own}): rename it, or run from another folder, or "
            f"leave {os.path.dirname(found)} out of the module path (the command `fewshot`, or `python -P`)"
        )
        if sys.argv[:1] == ["-m"]:  # Python is still looking for the module to run: nobody can catch the error
            raise SystemExit(f"error: {message}")
        raise ImportError(message, name=name, path=found)


def location(name: str) -> str | None:
    """Folder (or single file) that `import name` gives; None where there is nothing of that name."""
    module = sys.modules.get(name)
    spec = find_spec(name) if module is None else module.__spec__
    if spec is None:  # not found, or a module that was made by hand, which has at most a file
        file = getattr(module, "__file__", None)
        return None if file is None else os.path.abspath(file)
    if spec.submodule_search_locations is not None:
        folders = list(spec.submodule_search_locations)
        return os.path.abspath(folders[0]) if folders else None
    return None if spec.origin is None else os.path.abspath(spec.origin)


def same(one: str, other: str) -> bool:
    """Whether two paths are one file or folder, through links as well."""
    return os.path.realpath(one) == os.path.realpath(other)
