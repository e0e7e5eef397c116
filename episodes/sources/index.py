"""The two JSON files of the Mini-Ref layouts, read into one table of videos. Faults are kept as sentences."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from episodes.plain_files import UnsuitableFile
from episodes.sources.base import Expression
from episodes.sources.entries import load_entries, twice, whole, words
from episodes.sources.video_files import order_faults

if TYPE_CHECKING:
    from episodes.folds import Folds


@dataclass(frozen=True)
class Video:
    """A video by name: annotated frames, objects and expressions.

    Attributes:
        frames: names of the annotated frames in time order.
        objects: object id -> name of its class, as the files say it.
        expressions: the usable ones, in file order.
        errors: faults that make the video unusable, as sentences.
        remarks: parts of the video that are left out, as sentences.
    """

    frames: tuple[str, ...]
    objects: dict[int, str]
    expressions: tuple[Expression, ...]
    errors: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


def load_json(path: Path) -> dict[str, Any]:
    """The `videos` table of a JSON file. Raises FileNotFoundError or ValueError, naming the file."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: data.root must be the folder that holds the data set")
    try:
        videos = load_entries(path)["videos"]
    except UnsuitableFile:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not a JSON file with a table 'videos' ({error}): download it again") from error
    if not isinstance(videos, dict):
        raise ValueError(f"{path}: 'videos' must be a table of video names, got {type(videos).__name__}")
    return videos


def read_index(meta_path: Path, expressions_path: Path, folds: Folds) -> dict[str, Video]:
    """Every video that either file names."""
    meta, sayings = load_json(meta_path), load_json(expressions_path)
    index = {}
    for name in sorted(meta.keys() | sayings.keys()):
        if name not in meta or name not in sayings:
            absent = meta_path if name not in meta else expressions_path
            index[name] = Video((), {}, (), (f"video {name!r} is not in {absent}: add it there, or remove the video",))
        else:
            try:
                index[name] = _video(name, meta[name], sayings[name], folds)
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                reason = f"video {name!r}: its entry in {meta_path} or {expressions_path} is malformed ({error!r})"
                index[name] = Video((), {}, (), (reason,))
    return index


def _video(name: str, meta: dict[str, Any], sayings: dict[str, Any], folds: Folds) -> Video:
    objects = {whole(k): str(v["category"]) for k, v in meta["objects"].items()}
    if found := twice(map(whole, meta["objects"])):
        raise ValueError(f"object {found[0]} stands twice")
    frames = tuple(str(f) for f in sayings["frames"])
    expressions: list[Expression] = []
    errors = order_faults(name, frames)
    unknown: dict[str, None] = {}
    if not frames:
        errors.append(f"video {name!r} lists no frames in the expressions file: list its annotated frames")
    for key, entry in sayings["expressions"].items():
        object_id, text = whole(entry["obj_id"]), words(entry["exp"])
        if not text.strip():
            errors.append(f"video {name!r}: expression {key!r} is empty: write the words, or remove the entry")
        if object_id not in objects:
            known = ", ".join(map(str, sorted(objects))) or "none"
            errors.append(
                f"video {name!r}: expression {key!r} refers to object {object_id}, which meta.json does not have "
                f"(objects there: {known}): correct the object id, or remove the expression"
            )
            continue
        class_id = folds.class_id(objects[object_id])
        if class_id is None:
            unknown[objects[object_id]] = None
            continue
        expressions.append(Expression(str(key), text, object_id, class_id))
    remarks = tuple(
        f"video {name!r}: class {c!r} is not a class of {folds.name}: its expressions are left out; "
        f"correct the category to use them"
        for c in unknown
    )
    return Video(frames, objects, tuple(expressions), tuple(errors), remarks)
