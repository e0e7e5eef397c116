"""`python -m fewshot.freeze benchmark=… group=1 shots=1 seed=0 out=…`: write a list of episodes to a file."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from omegaconf import MISSING

from episodes.catalogue import WITH_FOLDS, names
from fewshot.cli.program import Command, Program
from fewshot.config.keys import key
from fewshot.config.limits import LARGEST_SEED, MOST_EPISODES, MOST_FRAMES


@dataclass
class FreezeDataConfig:
    """Places of the data."""

    root: Optional[str] = key(None, "folder of the data set; null: the generated world", place=True)
    cache: Optional[str] = key(
        None, "folder for generated data; null: $FEWSHOT_CACHE, else ~/.cache/fewshot", place=True
    )
    lists: Optional[str] = key(
        None, "images: folder of the field's list files; null: what the data set says", place=True
    )


@dataclass
class FreezeConfig:
    """Episodes of a benchmark, and the file that they are written to."""

    out: str = key(MISSING, "the file to write", place=True)
    benchmark: str = key("synthetic", "the data set", choices=names(*WITH_FOLDS))
    group: Optional[int] = key(None, "the fold; null: the first, 1, or 0 of images", minimum=0, maximum=1000)
    split: str = key(
        "test",
        "held-out classes, training classes, or videos of training classes that are set apart",
        choices=("test", "train", "val"),
    )
    shots: int = key(1, "supports of an episode", minimum=1, maximum=1000)
    seed: int = key(0, "of all draws", minimum=0, maximum=LARGEST_SEED)
    count: Optional[int] = key(
        None,
        "number of episodes; needed for train and val; test, null: all queries of the fold",
        minimum=1,
        maximum=MOST_EPISODES,
    )
    query_frames: Optional[int] = key(
        None, "frames of a train or val query clip; null: 5, of the synthetic world 2", minimum=1, maximum=MOST_FRAMES
    )
    support_frames: Optional[int] = key(
        None, "frames of a support clip; null: as above", minimum=1, maximum=MOST_FRAMES
    )
    queries: Optional[str] = key(
        None,
        "test: how queries are drawn; images: list, images, uniform, each, first, null: list; videos: clean, or the "
        "official cma, null: clean",
    )
    supports: Optional[str] = key(
        None, "images, test: supports of an episode, all different (distinct) or not (repeats); null: distinct"
    )
    draws: Optional[str] = key(
        None,
        "images, test: each episode from its own index (indexed), or the whole list from one generator as the code of "
        "HSNet (queries=list supports=repeats) or PFENet (queries=images) draws it (stream), or that list as it comes "
        "with the package (official, PASCAL-5i); null: indexed",
    )
    min_area: Optional[int] = key(
        None, "images: pixels of a class from which on an image shows it; null: any", minimum=0, maximum=2**31
    )
    drop_novel: Optional[bool] = key(
        None, "images, train and val: leave out images that show a held-out class; null: no"
    )
    world_seed: int = key(0, "seed of the synthetic world", minimum=0, maximum=LARGEST_SEED)
    world_videos: int = key(24, "videos per class of the synthetic world", minimum=2, maximum=1000)
    overwrite: bool = key(False, "true: replace the list that is there; a file of something else stays")
    data: FreezeDataConfig = field(default_factory=FreezeDataConfig)


def check_target(out: Path, overwrite: bool) -> None:
    """Refuse to replace a file that is there.

    Raises:
        FileExistsError: there is one, and it is no list of episodes, or `overwrite` is false.
    """
    from episodes.sampling.manifest import read_header

    if not out.exists():
        return
    if not overwrite:
        raise FileExistsError(f"{out} exists already: give another out=<file>, or overwrite=true")
    try:
        read_header(out)
    except (OSError, ValueError) as error:
        raise FileExistsError(
            f"{out} is no list of episodes that this program wrote, and is not replaced: give another out=<file>"
        ) from error


def run(config: FreezeConfig, command: Command) -> None:
    """Draw the episodes, write them, and say how many there are."""
    from episodes.sampling.freeze import Drawing, freeze  # here, so that help does not wait for torch
    from episodes.sampling.manifest import episodes_digest

    out = Path(config.out).expanduser()
    check_target(out, config.overwrite)
    drawing = Drawing(
        group=config.group,
        split=config.split,
        shots=config.shots,
        seed=config.seed,
        count=config.count,
        query_frames=config.query_frames,
        support_frames=config.support_frames,
        queries=config.queries,
        supports=config.supports,
        draws=config.draws,
        min_area=config.min_area,
        drop_novel=config.drop_novel,
        lists=config.data.lists,
    )
    specs = freeze(
        out,
        config.benchmark,
        drawing,
        root=config.data.root,
        cache=config.data.cache,
        world_seed=config.world_seed,
        world_videos=config.world_videos,
    )
    print(f"{len(specs)} episodes of {config.benchmark}, group {specs[0].group}, split {config.split}: {out}")
    print(f"sha256 {episodes_digest(specs)}, which every reader of the file checks, and results of its test record")


PROGRAM = Program(
    name="freeze",
    schema=FreezeConfig,
    about="Draw episodes of a benchmark and write them to a file, for other machines and programs to test the same.",
    examples=(
        ("group=1 out=episodes/group1.jsonl", "all test queries of fold 1 of the synthetic world"),
        (
            "benchmark=mini_ref_ytvos data.root=<folder> group=2 shots=5 seed=3 out=group2_5shot.jsonl",
            "five shots of another data set",
        ),
        ("group=1 split=val count=48 out=val1.jsonl", "validation episodes"),
    ),
    run=run,
)

main = PROGRAM.main

if __name__ == "__main__":
    main()
