"""Frozen episode lists: JSON lines, a header first. Two machines that read one get the same episodes, or an error."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from episodes.episode import EpisodeSpec
from episodes.plain_files import read_text
from episodes.sources.base import Source
from episodes.whole_files import clear_stale, replacing

FORMAT = "fewshot-episodes-1"


def write_manifest(
    path: Path | str,
    specs: Sequence[EpisodeSpec],
    source: Source,
    arguments: Mapping[str, str | int | None] | None = None,
) -> None:
    """Write episodes and what they were drawn from; equal episodes give byte-identical files.

    The header holds the format, the benchmark, the fingerprint of the data set, the number of episodes, the SHA-256 of
    the episode lines, and `arguments` (how the list was made, for the reader). The file appears whole or not at all.

    Raises ValueError for an empty list.
    """
    if not specs:
        raise ValueError("a manifest needs at least one episode")
    lines = _lines(specs)
    header = {
        "format": FORMAT,
        "benchmark": source.name,
        "fingerprint": source.fingerprint(),
        "count": len(specs),
        "sha256": _hash(lines),
        "arguments": dict(arguments or {}),
    }
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    clear_stale(path)
    with replacing(path) as partial:
        partial.write_text(_line(header) + lines, encoding="utf-8")


def episodes_digest(specs: Sequence[EpisodeSpec]) -> str:
    """The SHA-256 that a manifest of these episodes has in its header."""
    return _hash(_lines(specs))


def read_header(path: Path | str) -> dict[str, Any]:
    """The header of a manifest. Raises FileNotFoundError or ValueError."""
    return _read(Path(path))[0]


def read_manifest(path: Path | str, source: Source) -> list[EpisodeSpec]:
    """The episodes of a manifest, after checking that file and data set are what they were when it was written.

    A manifest that names a renamed benchmark as its first release did is read as one of the benchmark of today.

    Raises FileNotFoundError, or ValueError that says what differs.
    """
    path = Path(path)
    header, lines = _read(path)
    if header["benchmark"] not in (source.name, source.draws_as):
        raise ValueError(f"manifest {path} is for benchmark {header['benchmark']!r}, the data set is {source.name!r}")
    count = lines.count("\n")
    if count != header["count"]:
        raise ValueError(f"manifest {path} has {count} episodes, not {header['count']} as its header says: it was cut")
    if _hash(lines) != header["sha256"]:
        raise ValueError(f"manifest {path}: the episodes do not match the hash in its header: the file was edited")
    specs = [replace(EpisodeSpec.from_json(json.loads(line)), benchmark=source.name) for line in lines.splitlines()]
    if header["fingerprint"] != source.fingerprint():
        raise ValueError(
            f"manifest {path} was made from another version of {source.name} than {source.root} "
            f"({_difference(specs, source)}): use the same data, or freeze the episodes again"
        )
    return specs


def _read(path: Path) -> tuple[dict[str, Any], str]:
    if not path.is_file():
        raise FileNotFoundError(f"manifest {path} is missing: make it with python -m fewshot.freeze")
    first, _, lines = read_text(path).partition("\n")
    try:
        header = json.loads(first)
        known = header["format"]
        [header[key] for key in ("benchmark", "fingerprint", "count", "sha256")]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not an episode manifest: its first line is not a header ({error!r})") from error
    if known != FORMAT:
        raise ValueError(f"manifest {path} has format {known!r}, this version reads {FORMAT!r}: freeze it again")
    return header, lines


def _difference(specs: Sequence[EpisodeSpec], source: Source) -> str:
    """The first thing that an episode names and the data set does not have."""
    for spec in specs:
        for clip in (*spec.supports, *spec.queries):
            try:
                frames, expressions = set(source.frames(clip.video)), source.expressions(clip.video)
            except KeyError:
                return f"video {clip.video!r} is not there"
            absent = [f for f in clip.frames if f not in frames]
            if absent:
                return f"video {clip.video!r} has no frame {absent[0]!r}"
            said = {e.id: e for e in expressions}.get(clip.expression_id or "")
            if clip.expression_id is not None and (said is None or said.object_id != clip.object_id):
                return f"video {clip.video!r} has no expression {clip.expression_id!r} for object {clip.object_id}"
    return "the episodes' videos are there, but other videos, words or frames differ"


def _lines(specs: Sequence[EpisodeSpec]) -> str:
    return "".join(_line(spec.to_json()) for spec in specs)


def _line(data: Mapping[str, Any]) -> str:
    return json.dumps(data, sort_keys=True, separators=(",", ":")) + "\n"


def _hash(lines: str) -> str:
    return hashlib.sha256(lines.encode()).hexdigest()
