"""Episodes of a test drawn again: read from the data, segmented by the weights that were tested.

An episode is a pure function of the benchmark, the fold, the split, the seed and its index, so that a run folder needs
no pictures of it. That data and weights are those of the test is compared with what its results record.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace

import torch
from PIL import Image

from episodes.episode import EpisodeSpec
from fewshot.cli.runs import MetaTestConfig, MetaTrainConfig
from fewshot.evaluation.benchmark import Benchmark, open_benchmark
from fewshot.evaluation.evaluate import segmented
from fewshot.evaluation.meta import tested_system
from fewshot.evaluation.page.chosen import Chosen, place_of
from fewshot.evaluation.page.content import Content
from fewshot.evaluation.query import read_supports
from fewshot.evaluation.record import weights_digest
from fewshot.evaluation.shown import Shown
from fewshot.inference.chunks import evaluating
from fewshot.inference.loading import RUN_CONFIG, read_run
from fewshot.media.pictures import Tile, clip_tile, query_tiles, support_tiles
from fewshot.run.processes import choose_device
from fewshot.systems.base import System

QUERIES = 2  # of an episode that are shown
SUPPORTS = 5
QUALITY = 85  # of a JPEG


@dataclass(frozen=True)
class Places:
    """Places that are others than when the run was tested; None: as its configuration says."""

    weights: str | None = None
    root: str | None = None
    cache: str | None = None
    lists: str | None = None


@dataclass(frozen=True)
class Picture:
    """A small picture as a data URI, with its caption."""

    uri: str
    caption: str


@dataclass(frozen=True)
class Row:
    """A query: its expression, its score in 0..1, and the truth and the prediction of some of its frames."""

    title: str
    score: float
    frames: tuple[tuple[Picture, Picture], ...]


@dataclass(frozen=True)
class Drawn:
    """An episode as the page shows it.

    Attributes:
        title: what it asks for.
        score: mean over its queries, in 0..1.
        supports: one picture each.
        rows: some of its queries.
        still: whether its query is an image.
        more: words on supports and queries that are not shown.
    """

    title: str
    score: float
    supports: tuple[Picture, ...]
    rows: tuple[Row, ...]
    still: bool
    more: str = ""

    @property
    def size(self) -> int:
        """Bytes of its pictures."""
        shown = (picture for row in self.rows for frame in row.frames for picture in frame)
        return sum(len(picture.uri) for picture in (*self.supports, *shown))


class Redrawing:
    """The test of a run, opened again to draw its episodes.

    Attributes:
        notes: what is no longer as it was when the run was tested, in sentences.

    Raises:
        ValueError, FileNotFoundError: the data or the configuration cannot be read, or the data are others than those
            of the test.
    """

    def __init__(self, content: Content, places: Places, device: str) -> None:
        self.content, self.config, self.notes = content, test_of(content, places), list[str]()
        self.device = choose_device(device)
        if threads := self.config.threads or self.config.system.threads:
            torch.set_num_threads(threads)
        self.benchmark: Benchmark = open_benchmark(self.config)
        then, now = content.record.get("data"), self.benchmark.source.fingerprint()
        if then is None:
            self.notes.append("The results do not record the data of the test: whether they are the same is not known.")
        elif then != now:
            raise ValueError(f"the data of {self.benchmark.name} are others now than when the run was tested")

    def episodes(self, chosen: Sequence[Chosen]) -> Iterator[Drawn]:
        """Draw episodes, in their order.

        Raises ValueError, FileNotFoundError or CheckpointError where the weights cannot be read, or an episode is not
        one of the test any more.
        """
        groups = {one.place[0] for one in chosen}
        specs = {place_of(spec): spec for g in sorted(groups) for seed in self.benchmark.tests(g) for spec in seed}
        systems = {group: self._system(group) for group in sorted(groups)}
        for one in chosen:
            spec = specs.get(one.place)
            if spec is None or len(spec.queries) != len(one.values):
                raise ValueError(f"episode {one.place[2]} of group {one.place[0]} is drawn in another way now")
            yield self._drawn(one, spec, systems[one.place[0]])

    def _system(self, group: int) -> System:
        system, _ = tested_system(self.config, group)
        then = self.content.record.get("groups", {}).get(str(group), {}).get("weights")
        if then != weights_digest(system):
            state = "others than those of the test" if then else "not recorded by the results"
            self.notes.append(f"The weights of group {group} are {state}: what is drawn may differ from the scores.")
        return system.to(self.device)

    def _drawn(self, one: Chosen, spec: EpisodeSpec, system: System) -> Drawn:
        """Segment and draw some of its queries."""
        kept = one.queries(QUERIES)
        part = replace(spec, queries=tuple(spec.queries[n] for n in kept))
        shown = Shown(part, read_supports(self.benchmark.source, part, self.benchmark.transform))
        with evaluating(system):
            for result in segmented(system, self.benchmark, [shown.spec]):
                shown.add(result)
        episode, masks = shown.strip()
        rows = []
        for n, clip, mask in zip(kept, episode.queries, masks, strict=True):
            names = shown.captions() or ["query"]
            truths = [clip_tile(clip, t, truth=True, caption=f"{name}, truth") for t, name in enumerate(names)]
            answers = query_tiles(clip, mask, len(mask), captions=["prediction"] * len(mask))
            frames = [(picture(truth), picture(answer)) for truth, answer in zip(truths, answers, strict=True)]
            rows.append(Row(spec.queries[n].expression or "", one.values[n], tuple(frames)))
        supports = tuple(map(picture, support_tiles(episode.supports[:SUPPORTS])))
        return Drawn(_title(spec), one.value, supports, tuple(rows), shown.length == 1, _more(spec))


def test_of(content: Content, places: Places) -> MetaTestConfig:
    """The configuration of the test that the results of a run folder are of, with its data where they are now.

    Raises:
        ValueError: the folder's configuration is damaged, or is not that of a test on episodes.
    """
    run = read_run(content.folder / RUN_CONFIG)
    if isinstance(run, MetaTrainConfig):
        own = {entry.name: getattr(run, entry.name) for entry in fields(MetaTestConfig) if hasattr(run, entry.name)}
        run = MetaTestConfig(**{**own, "system": run.system.loaded(), "weights": str(content.folder)})
    if not isinstance(run, MetaTestConfig):
        raise ValueError(f"{content.folder} is no test on episodes")
    run.weights = places.weights or run.weights
    for name in ("root", "cache", "lists"):
        setattr(run.data, name, getattr(places, name) or getattr(run.data, name))
    return run


def picture(tile: Tile) -> Picture:
    """A tile as a data URI: PNG or JPEG, whichever is smaller."""
    image = Image.fromarray(tile.image)
    files = []
    for form, options in (("png", {"optimize": True}), ("jpeg", {"quality": QUALITY})):
        file = io.BytesIO()
        image.save(file, form, **options)
        files.append((len(file.getvalue()), form, file.getvalue()))
    _, form, content = min(files)
    return Picture(f"data:image/{form};base64,{base64.b64encode(content).decode()}", tile.caption)


def _title(spec: EpisodeSpec) -> str:
    kind = "image" if len(spec.queries[0].frames) == 1 else "video"
    where = f"fold {spec.group}, seed {spec.seed}, episode {spec.index}"
    return f"{spec.class_name}, {kind} {spec.queries[0].video} ({where})"


def _more(spec: EpisodeSpec) -> str:
    hidden = {"supports": spec.shots - SUPPORTS, "expressions": len(spec.queries) - QUERIES}
    told = [f"{number} more {what}" for what, number in hidden.items() if number > 0]
    return f"Not shown: {' and '.join(told)}." if told else ""
