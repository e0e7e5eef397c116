"""`python -m episodes.freeze benchmark=… group=1 shots=1 seed=0 out=…` writes an episode list to a file."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from episodes.cli import did_you_mean
from episodes.episode import EpisodeSpec
from episodes.folds import FOLDS
from episodes.manifest import write_manifest
from episodes.sampler import TrainEpisodes, test_episodes
from episodes.sources import Source, open_source


@dataclass(frozen=True)
class Key:
    """A `key=value` argument. `default` None means: not given (an error if `required`)."""

    name: str
    kind: type
    default: Any
    help: str
    required: bool = False


KEYS = (
    Key("benchmark", str, "invented", f"data set: {', '.join(FOLDS)}"),
    Key("group", int, 1, "the fold, counted from 1"),
    Key("split", str, "test", "test (held-out classes), train, or val (videos of training classes set apart)"),
    Key("shots", int, 1, "support videos per episode"),
    Key("seed", int, 0, "of all draws"),
    Key("count", int, None, "number of episodes; needed for train and val; test: all queries of the fold if not given"),
    Key("query_frames", int, None, "frames of a train or val query clip; default 5, invented 2; test: all frames"),
    Key("support_frames", int, None, "frames of a support clip; default 5, invented 2"),
    Key("data.root", str, None, "folder of the data set; not needed for invented"),
    Key("data.cache", str, None, "where the invented world is written; default $FEWSHOT_CACHE or ~/.cache/fewshot"),
    Key("world_seed", int, 0, "seed of the invented world"),
    Key("world_videos", int, 24, "videos per class of the invented world"),
    Key("out", str, None, "the file to write", required=True),
)

EXAMPLES = """Examples:
  python -m episodes.freeze group=1 out=episodes/group1.jsonl
  python -m episodes.freeze benchmark=mini_ref_ytvos data.root=/data/mini group=2 shots=5 seed=3 out=group2_5shot.jsonl
  python -m episodes.freeze group=1 split=val count=48 out=val1.jsonl
"""


def usage() -> str:
    """Every key with its type, default and meaning, and three examples."""
    rows = []
    for key in KEYS:
        default = "" if key.default is None else f" (default {key.default})"
        default = " (required)" if key.required else default
        rows.append(f"  {key.name + '=' + key.kind.__name__:<20} {key.help}{default}")
    return "\n".join([__doc__ or "", "", "Keys:", *rows, "", EXAMPLES])


def parse(arguments: Sequence[str]) -> dict[str, Any]:
    """`key=value` words as a table of typed values, defaults filled in. Raises ValueError with the remedy."""
    keys = {key.name: key for key in KEYS}
    values = {key.name: key.default for key in KEYS}
    for word in arguments:
        name, equals, text = word.partition("=")
        if not equals:
            raise ValueError(f"expected key=value, got {word!r}; --help lists the keys")
        if name not in keys:
            raise ValueError(f"unknown key {name!r}.{did_you_mean(name, keys)} --help lists the keys")
        values[name] = _typed(keys[name], text)
    missing = [key.name for key in KEYS if key.required and values[key.name] is None]
    if missing:
        raise ValueError(f"missing: {', '.join(f'{name}=…' for name in missing)}; --help lists the keys")
    for name in ("query_frames", "support_frames"):
        if values[name] is None:
            values[name] = 2 if values["benchmark"] == "invented" else 5
    return values


def _typed(key: Key, text: str) -> Any:
    if text == "":
        raise ValueError(f"{key.name} is empty: give a value, or leave the key out")
    try:
        return key.kind(text)
    except ValueError as error:
        raise ValueError(f"{key.name} must be of type {key.kind.__name__}, got {text!r}") from error


def draw(source: Source, values: dict[str, Any]) -> list[EpisodeSpec]:
    """The episodes that the arguments ask for. Raises ValueError."""
    folds = FOLDS[values["benchmark"]]
    common = {"shots": values["shots"], "seed": values["seed"], "support_frames": values["support_frames"]}
    if values["split"] == "test":
        return test_episodes(source, folds, values["group"], **common, limit=values["count"])
    if values["count"] is None or values["count"] < 1:
        raise ValueError(f"split={values['split']} is endless: say how many episodes with count=…, at least 1")
    endless = TrainEpisodes(
        source, folds, values["group"], values["split"], **common, query_frames=values["query_frames"]
    )
    return [endless[i] for i in range(values["count"])]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0 on success, 2 for a wrong argument or broken data."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if any(word in ("-h", "--help", "help") for word in words):
        print(usage())
        return 0
    try:
        values = parse(words)
        source = open_source(
            values["benchmark"],
            values["data.root"],
            values["data.cache"],
            values["world_seed"],
            values["world_videos"],
        )
        specs = draw(source, values)
        recorded = {k: v for k, v in values.items() if k not in ("out", "data.root", "data.cache")}
        write_manifest(values["out"], specs, source, recorded)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{len(specs)} episodes of {source.name}, group {values['group']}, split {values['split']}: {values['out']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
