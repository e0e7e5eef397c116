"""The folder that `fewshot.predict` writes: complete or not at all, and nothing is touched that is not its own."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from episodes.whole_files import clear_stale, partial_of

RESULTS, PROGRAM = "results.json", "fewshot.predict"
FOLDERS = {"masks": ".png", "overlays": ".jpg"}  # one file of each for a frame
PREVIEWS = ("preview.png", "preview.gif", "preview.webp")


def earlier_files(out: Path, overwrite: bool) -> frozenset[Path]:
    """Files in `out`, relative to it, that an earlier call wrote and that this one may replace.

    Raises:
        FileExistsError: `out` is a file or a broken link, or holds what must not be written over.
        OSError: the folder cannot be looked into.
    """
    try:
        return _earlier_files(out, overwrite)
    except FileExistsError:
        raise
    except OSError as error:
        raise OSError(f"out={out} cannot be read ({error.strerror}): give another folder") from error


def _earlier_files(out: Path, overwrite: bool) -> frozenset[Path]:
    if out.is_symlink() and not out.exists():
        raise FileExistsError(f"out={out} is a link to {os.readlink(out)}, which does not exist: give another folder")
    if out.exists() and not out.is_dir():
        raise FileExistsError(f"out={out} is a file: give a folder, which is made where it does not exist")
    if not out.is_dir() or not any(out.iterdir()):
        return frozenset()
    if not overwrite:
        raise FileExistsError(f"out={out} is not empty: give another folder, or overwrite=true to write over it")
    if not (out / RESULTS).is_file():
        raise FileExistsError(
            f"out={out} holds files that {PROGRAM} did not write ({RESULTS} is missing): give another folder"
        )
    listed = listed_files(out / RESULTS)
    if foreign := sorted(set(_where_it_writes(out)) - listed):
        raise FileExistsError(
            f"{out / foreign[0]} was not written by {PROGRAM} ({RESULTS} does not list it): move it away, or give "
            "another out=<folder>"
        )
    return listed


def _where_it_writes(out: Path) -> Iterator[Path]:
    """What lies where results are put, relative to `out`; of folders that are links, the link."""
    for name in FOLDERS:
        if (out / name).is_symlink() or (out / name).is_file():
            yield Path(name)
        elif (out / name).is_dir():
            yield from (entry.relative_to(out) for entry in (out / name).iterdir())
    yield from (Path(name) for name in PREVIEWS if os.path.lexists(out / name))


def listed_files(results: Path) -> frozenset[Path]:
    """The files that a `results.json` of this program lists, itself included, relative to its folder.

    Raises:
        FileExistsError: the file is another program's, damaged, or names files elsewhere.
    """
    try:
        content = json.loads(results.read_text(encoding="utf-8"))
        names = _names_in(content)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise FileExistsError(
            f"{results} was not written by {PROGRAM}, or is damaged, so nothing here is written over: give another "
            "out=<folder>"
        ) from error
    files = {Path(folder, name + suffix) for name in names for folder, suffix in FOLDERS.items()}
    preview = [Path(content["preview"])] if content["preview"] is not None else []
    return frozenset({Path(RESULTS), *files, *preview})


def _names_in(content: Any) -> list[str]:
    """The names of the frames. Raises ValueError, KeyError or TypeError where the content cannot be this program's."""
    names = [entry["frame"] for entry in content["frames"]]
    plain = all(isinstance(name, str) and name == Path(name).name and "\0" not in name for name in names)
    if content["program"] != PROGRAM or content["preview"] not in (None, *PREVIEWS) or not plain:
        raise ValueError("not of this program")
    return names


def refuse_inside(out: Path, key: str, path: Path) -> None:
    """Refuse to read a file of the folder that is written. Raises ValueError that names the key."""
    place = out.resolve()
    if place in (path.resolve(), *path.resolve().parents):
        raise ValueError(f"{key}={path} lies inside out={out}, which is written over: give another out=<folder>")


@contextmanager
def written_whole(out: Path, earlier: frozenset[Path]) -> Iterator[Path]:
    """Gives a folder to write into, which becomes `out` at the end; after an error nothing of it is left.

    Args:
        out: where the results are wanted.
        earlier: see `earlier_files`; what is not written again goes.

    Raises:
        OSError: the folder cannot be made.
    """
    there = out.is_dir()
    place = out / "results" if there else out  # beside it, so that renaming is enough
    clear_stale(place)
    part = partial_of(place)
    try:
        part.mkdir(parents=True)
    except OSError as error:
        raise OSError(f"out={out} cannot be written ({error.strerror}): give another folder") from error
    try:
        yield part
        if there:
            _move_in(part, out, earlier)
        else:
            part.rename(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _move_in(part: Path, out: Path, earlier: frozenset[Path]) -> None:
    """Put the new files over the earlier ones. The list comes last: until then every file of both is accounted for."""
    new = {path.relative_to(part) for path in part.rglob("*") if path.is_file()}
    for path in sorted(new, key=lambda path: path == Path(RESULTS)):
        (out / path).parent.mkdir(exist_ok=True)
        os.replace(part / path, out / path)
    for path in earlier - new:
        (out / path).unlink(missing_ok=True)
