"""Record of what weights were trained on. It lies in every file of weights, so that it travels with them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fewshot.weights.checkpoint import CheckpointError
from fewshot.weights.files import find_weights, read_config, read_pickle

KEY = "trained_on"  # in a checkpoint, and in the config.json of a folder


@dataclass(frozen=True)
class TrainedOn:
    """A training that weights went through.

    Attributes:
        benchmark: name of the data set; of a start from weights without such a record the name of their file.
        group: the fold whose classes were held out; None for data without folds.
        classes: names of the classes that were shown; None where they are not known.
        split: of data without folds; None where it is not known.
    """

    benchmark: str
    group: int | None = None
    classes: tuple[str, ...] | None = None
    split: str | None = None


def to_json(trained: Iterable[TrainedOn]) -> list[dict[str, Any]]:
    """A record as plain types."""
    return [{**asdict(one), "classes": None if one.classes is None else list(one.classes)} for one in trained]


def from_json(stored: Any, path: Path) -> tuple[TrainedOn, ...] | None:
    """A record from plain types, None for none; `path` is named in messages.

    Raises:
        CheckpointError: it is no such record.
    """
    if stored is None:
        return None
    try:
        return tuple(
            TrainedOn(
                str(one["benchmark"]),
                None if one["group"] is None else int(one["group"]),
                None if one["classes"] is None else tuple(map(str, one["classes"])),
                None if one.get("split") is None else str(one["split"]),
            )
            for one in stored
        )
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"{path}: what its weights were trained on ({KEY}) is damaged ({error!r}): fetch or write it again"
        ) from error


def read_trained_on(path: Path) -> tuple[TrainedOn, ...] | None:
    """The trainings of the weights in a file or folder, the last one first; None for weights that do not tell.

    Raises:
        FileNotFoundError: there is nothing at `path`.
        CheckpointError: the file is damaged.
    """
    path = find_weights(path)
    if path.suffix == ".safetensors":
        return from_json(read_config(path.parent).get(KEY), path.parent)
    content = read_pickle(path, only_look=True)
    if not isinstance(content, dict):
        return None
    if KEY in content:
        return from_json(content[KEY], path)
    return _of_fingerprint(content.get("fingerprint"))


def _of_fingerprint(fingerprint: Any) -> tuple[TrainedOn, ...] | None:
    """The record of a checkpoint from before there were records: what must be the same to go on from it."""
    if not isinstance(fingerprint, dict) or not {"benchmark.name", "group"} <= set(fingerprint):
        return None
    start = fingerprint.get("init_from")
    earlier = () if start is None else (TrainedOn(Path(start).name),)
    return (TrainedOn(str(fingerprint["benchmark.name"]), int(fingerprint["group"])), *earlier)


def trainings_before(start: str | Path | None) -> tuple[TrainedOn, ...]:
    """The trainings of the weights that a training starts from; none for a start from scratch.

    Raises as `read_trained_on`.
    """
    if start is None:
        return ()
    path = Path(start).expanduser()
    found = read_trained_on(path)
    return (TrainedOn(path.name),) if found is None else found
