"""`python -m episodes.freeze benchmark=… group=1 shots=1 seed=0 out=…` writes an episode list to a file."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from episodes.catalogue import WITH_FOLDS, folds_of, names
from episodes.cli import key_values, refuse_missing
from episodes.episode import EpisodeSpec
from episodes.sampling.images import QUERIES, ImageEpisodes, image_test_episodes
from episodes.sampling.lists import read_lists
from episodes.sampling.manifest import write_manifest
from episodes.sampling.videos import TrainEpisodes, test_episodes
from episodes.sources import ImageSource, Source, open_source


@dataclass(frozen=True)
class Key:
    """A `key=value` argument. `default` None means: not given (an error if `required`)."""

    name: str
    kind: type
    default: Any
    help: str
    required: bool = False


KEYS = (
    Key("benchmark", str, "synthetic", f"data set: {', '.join(names(*WITH_FOLDS))}"),
    Key("group", int, None, "the fold; default the first: 1, or 0 of the image benchmarks"),
    Key("split", str, "test", "test (held-out classes), train, or val (videos of training classes set apart)"),
    Key("shots", int, 1, "support videos or images per episode"),
    Key("seed", int, 0, "of all draws"),
    Key("count", int, None, "number of episodes; needed for train and val; test: all queries of the fold if not given"),
    Key("query_frames", int, None, "frames of a train or val query clip; default 5, synthetic 2; test: all frames"),
    Key("support_frames", int, None, "frames of a support clip; default 5, synthetic 2"),
    Key("queries", str, None, f"images, test: which queries, {', '.join(QUERIES)} (see the sampler); default list"),
    Key("min_area", int, None, "images: pixels of a class from which on an image shows it; default 0: any"),
    Key("drop_novel", bool, None, "images, train and val: leave out images that show a held-out class; default false"),
    Key("data.lists", str, None, "images: folder of the field's list files; default: what the data set itself says"),
    Key("data.root", str, None, "folder of the data set; not needed for the synthetic ones"),
    Key("data.cache", str, None, "where generated files are written; default $FEWSHOT_CACHE or ~/.cache/fewshot"),
    Key("world_seed", int, 0, "seed of the synthetic world"),
    Key("world_videos", int, 24, "videos per class of the synthetic world"),
    Key("out", str, None, "the file to write", required=True),
)

VIDEO_DEFAULTS = {"group": 1, "query_frames": None, "support_frames": None}
IMAGE_DEFAULTS = {"group": 0, "queries": "list", "min_area": 0, "drop_novel": False, "data.lists": None}
PATHS = ("out", "data.root", "data.cache", "data.lists")  # not written down: they say nothing about the episodes

EXAMPLES = """Examples:
  python -m episodes.freeze group=1 out=episodes/group1.jsonl
  python -m episodes.freeze benchmark=mini_ref_ytvos data.root=/data/mini group=2 shots=5 seed=3 out=group2_5shot.jsonl
  python -m episodes.freeze group=1 split=val count=48 out=val1.jsonl
  python -m episodes.freeze benchmark=pascal5i data.root=/data/VOCdevkit group=2 queries=list count=1000 out=voc2.jsonl
"""


def usage() -> str:
    """Every key with its type, default and meaning, and examples."""
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
    given = key_values(arguments, keys)
    for name, (text,) in given.items():
        values[name] = _typed(keys[name], text)
    refuse_missing((key.name for key in KEYS if key.required), given)
    if values["benchmark"] in names("images"):
        return _fill(values, IMAGE_DEFAULTS, VIDEO_DEFAULTS, "videos")
    frames = 2 if values["benchmark"] == "synthetic" else 5
    return _fill(values, {key: default or frames for key, default in VIDEO_DEFAULTS.items()}, IMAGE_DEFAULTS, "images")


def _fill(values: dict[str, Any], defaults: dict[str, Any], others: dict[str, Any], kind: str) -> dict[str, Any]:
    """Defaults of one kind of benchmark. Raises ValueError for a key that only the other kind has."""
    for name in others:
        if name not in defaults and values[name] is not None:
            raise ValueError(f"{name} is for benchmarks of {kind}, and {values['benchmark']} is not one: leave it out")
    return {name: defaults.get(name) if value is None else value for name, value in values.items()}


def _typed(key: Key, text: str) -> Any:
    try:
        return {"true": True, "false": False}[text.lower()] if key.kind is bool else key.kind(text)
    except (ValueError, KeyError) as error:
        raise ValueError(f"{key.name} must be of type {key.kind.__name__}, got {text!r}") from error


def draw(source: Source, values: dict[str, Any]) -> list[EpisodeSpec]:
    """The episodes that the arguments ask for. Raises ValueError."""
    if isinstance(source, ImageSource):
        return _draw_images(source, values)
    folds = folds_of(values["benchmark"])
    common = {"shots": values["shots"], "seed": values["seed"], "support_frames": values["support_frames"]}
    if values["split"] == "test":
        return test_episodes(source, folds, values["group"], **common, limit=values["count"])
    endless = TrainEpisodes(
        source, folds, values["group"], values["split"], **common, query_frames=values["query_frames"]
    )
    return [endless[i] for i in range(_count(values))]


def _draw_images(source: ImageSource, values: dict[str, Any]) -> list[EpisodeSpec]:
    group, split, count = values["group"], values["split"], values["count"]
    common = {key: values[key] for key in ("shots", "seed", "min_area")}
    listed = "test" if split == "test" else "train"
    path = values["data.lists"]
    lists = None if path is None else read_lists(path, source.name, group, listed, source)
    if split == "test":
        queries = values["queries"]
        return image_test_episodes(source, source.folds, group, **common, count=count, queries=queries, images=lists)
    number, drop_novel = _count(values), values["drop_novel"]
    endless = ImageEpisodes(source, source.folds, group, split, **common, drop_novel=drop_novel, lists=lists)
    return [endless[i] for i in range(number)]


def _count(values: dict[str, Any]) -> int:
    if values["count"] is None or values["count"] < 1:
        raise ValueError(f"split={values['split']} is endless: say how many episodes with count=…, at least 1")
    return int(values["count"])


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
            lists=values["data.lists"],
        )
        specs = draw(source, values)
        recorded = {k: v for k, v in values.items() if k not in PATHS}
        write_manifest(values["out"], specs, source, recorded)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{len(specs)} episodes of {source.name}, group {values['group']}, split {values['split']}: {values['out']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
