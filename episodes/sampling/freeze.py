"""Draws a list of episodes of a benchmark and writes it to a file, for other machines and programs to read."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path

from episodes.catalogue import data_set, folds_of
from episodes.episode import EpisodeSpec
from episodes.sampling.cma_official import TEST_LISTS
from episodes.sampling.images import ImageEpisodes, image_test_episodes
from episodes.sampling.lists import read_lists
from episodes.sampling.manifest import write_manifest
from episodes.sampling.videos import TrainEpisodes
from episodes.sources import ImageSource, Source, open_source

FRAMES, FRAMES_GENERATED = 5, 2  # of a clip: as in CMA's training; of the short videos of a generated world
OF_VIDEOS = ("query_frames", "support_frames")
OF_TESTS = ("queries", "supports", "draws")
OF_IMAGES = ("supports", "draws", "min_area", "drop_novel", "lists")


@dataclass(frozen=True)
class Drawing:
    """Arguments by which a list of episodes is drawn. None stands for the default of the benchmark.

    Attributes:
        group: the fold; default the first.
        split: `test` (held-out classes), `train`, or `val` (videos or images of training classes set apart).
        shots: support clips or images of an episode.
        seed: of all draws.
        count: number of episodes; needed for `train` and `val`. Test: default all queries of the fold.
        query_frames: frames of a `train` or `val` query clip; default 5, of a generated world 2. Videos only.
        support_frames: frames of a support clip; default as above. Videos only.
        queries: queries of a test, see `image_test_episodes`; default `list`. Videos: `clean` (default) or `cma`, the
            official list.
        supports: `distinct` or `repeats`, see `image_test_episodes`; default `distinct`. Images only.
        draws: `indexed`, `stream` or `official`, see `image_test_episodes`; default `indexed`. Images only.
        min_area: pixels of a class from which on an image shows it; default 0, any. Images only.
        drop_novel: leave out training images that show a held-out class; default no. Images only.
        lists: folder of the field's list files; default what the data set itself says. Images only.
    """

    group: int | None = None
    split: str = "test"
    shots: int = 1
    seed: int = 0
    count: int | None = None
    query_frames: int | None = None
    support_frames: int | None = None
    queries: str | None = None
    supports: str | None = None
    draws: str | None = None
    min_area: int | None = None
    drop_novel: bool | None = None
    lists: Path | str | None = None

    def of(self, source: Source) -> Drawing:
        """The same with the defaults of a benchmark. Raises ValueError for arguments that do not concern it."""
        images = isinstance(source, ImageSource)
        for name in OF_VIDEOS if images else OF_IMAGES:
            if getattr(self, name) is not None:
                word, kind = "data.lists" if name == "lists" else name, "videos" if images else "images"
                raise ValueError(f"{word} is for benchmarks of {kind}, and {source.name} is not one: leave it out")
        folds = source.folds if isinstance(source, ImageSource) else folds_of(source.name)
        named = replace(self, group=folds.groups[0] if self.group is None else self.group)
        if self.split != "test" and (of_tests := [name for name in OF_TESTS if getattr(self, name) is not None]):
            raise ValueError(f"{of_tests[0]} is for split=test, not for split={self.split}: leave it out")
        if images:
            tested = self.split == "test"
            return replace(
                named,
                queries=self.queries or ("list" if tested else None),
                supports=self.supports or ("distinct" if tested else None),
                draws=self.draws or ("indexed" if tested else None),
                min_area=self.min_area or 0,
                drop_novel=bool(self.drop_novel),
            )
        if self.queries is not None and self.queries not in TEST_LISTS:
            raise ValueError(f"queries of videos must be one of {', '.join(TEST_LISTS)}, got {self.queries!r}")
        frames = FRAMES_GENERATED if data_set(source.name).generated else FRAMES
        return replace(
            named,
            query_frames=frames if self.query_frames is None else self.query_frames,
            support_frames=frames if self.support_frames is None else self.support_frames,
        )

    def number(self) -> int:
        """Number of endless episodes. Raises ValueError where it is missing."""
        if self.count is None or self.count < 1:
            raise ValueError(f"split={self.split} is endless: say how many episodes with count=…, at least 1")
        return self.count


def freeze(
    path: Path | str,
    benchmark: str,
    drawing: Drawing,
    *,
    root: Path | str | None = None,
    cache: Path | str | None = None,
    world_seed: int = 0,
    world_videos: int = 24,
) -> list[EpisodeSpec]:
    """Open a benchmark, draw episodes of it, and write them to `path`, see `write_manifest`.

    The arguments are written into the header, paths of the machine left out. Equal arguments and data give equal bytes.

    Args:
        path: the file to write.
        benchmark: a data set of the catalogue, of the kind `videos` or `images`.
        drawing: the arguments of the list; of FSS-1000 `lists` is the folder of the class lists.
        root: folder of the data set; None for generated ones only.
        cache: folder for generated files; None is the default of `cache_folder`.
        world_seed: seed of the generated world.
        world_videos: videos per class of the generated world.

    Returns:
        The episodes.

    Raises:
        ValueError: an argument that is wrong or does not concern the benchmark, or broken data.
        OSError: missing files.
    """
    source = open_source(benchmark, root, cache, world_seed, world_videos, lists=drawing.lists)
    complete = drawing.of(source)
    specs = draw(source, complete)
    recorded = {name: value for name, value in asdict(complete).items() if name != "lists"}
    world = {"world_seed": world_seed, "world_videos": world_videos}
    write_manifest(path, specs, source, {"benchmark": benchmark, **recorded, **world})
    return specs


def draw(source: Source, drawing: Drawing) -> list[EpisodeSpec]:
    """Draw a list of episodes of an opened benchmark.

    Raises:
        ValueError: an argument that is wrong or does not concern the benchmark.
        FileNotFoundError: missing list files.
    """
    complete = drawing.of(source)
    return _of_images(source, complete) if isinstance(source, ImageSource) else _of_videos(source, complete)


def _of_videos(source: Source, drawing: Drawing) -> list[EpisodeSpec]:
    group, of_query, of_support = drawing.group, drawing.query_frames, drawing.support_frames
    assert group is not None and of_query is not None and of_support is not None  # `of` fills them in
    folds, shots, seed = folds_of(source.name), drawing.shots, drawing.seed
    if drawing.split == "test":
        limit = drawing.count
        listed = TEST_LISTS[drawing.queries or "clean"]
        return listed(source, folds, group, shots=shots, seed=seed, support_frames=of_support, limit=limit)
    endless = TrainEpisodes(
        source, folds, group, drawing.split, shots=shots, seed=seed, query_frames=of_query, support_frames=of_support
    )
    return [endless[i] for i in range(drawing.number())]


def _of_images(source: ImageSource, drawing: Drawing) -> list[EpisodeSpec]:
    group, area = drawing.group, drawing.min_area
    assert group is not None and area is not None  # `of` fills them in
    folds, shots, seed, split = source.folds, drawing.shots, drawing.seed, drawing.split
    listed = None
    if drawing.lists is not None:
        listed = read_lists(drawing.lists, source.name, group, "test" if split == "test" else "train", source)
    if split == "test":
        queries, supports, draws = drawing.queries, drawing.supports, drawing.draws
        assert queries is not None and supports is not None and draws is not None  # likewise
        return image_test_episodes(
            source,
            folds,
            group,
            shots=shots,
            seed=seed,
            count=drawing.count,
            queries=queries,
            supports=supports,
            draws=draws,
            min_area=area,
            images=listed,
        )
    number, novel = drawing.number(), bool(drawing.drop_novel)
    endless = ImageEpisodes(
        source, folds, group, split, shots=shots, seed=seed, min_area=area, drop_novel=novel, lists=listed
    )
    return [endless[i] for i in range(number)]
