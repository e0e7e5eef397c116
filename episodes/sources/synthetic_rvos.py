"""A generated data set of referring video segmentation: things that only words tell apart, with no download.

Clips of 64x64 pixels with two or three plain things over textured grounds. The classes are shapes, the same in training
and test; the videos differ. Each thing has a colour, a place and a motion that do not depend on its shape, and often a
twin: a thing of the same shape, from which colour, place or motion tell it. An expression says what is true of its
thing and of no other thing of its shape: "the red disc", "the upper ring that stands still".

Written once to a cache folder in the layout of Ref-YouTube-VOS, and read as that is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from episodes.sources.files import cache_folder
from episodes.sources.generated import write_video, written_once
from episodes.sources.ref_index import ref_youtube_vos_layout
from episodes.sources.ref_video import RefVideoSource
from episodes.sources.synthetic import FRAMES, SIZE, draw_ground, rgb

if TYPE_CHECKING:
    from episodes.catalogue import DataSet, Opening

FORMAT = 1  # raise it when other files are written
VIDEOS = {"test": 120, "train": 600}  # by split
TWINS = 0.6  # share of the videos in which the first thing has a twin
SHAPES = ("disc", "square", "triangle", "ring", "cross", "bar")
NOVEL_SHAPES = ("star", "moon")  # in no split that is trained on
SPLITS = (*VIDEOS, "unseen")
GROUND, STRIPED = 200, "striped ground"  # the object that stands for the ground, and a kind of it in no trained split
HUES = {"red": 0.0, "orange": 0.085, "yellow": 0.16, "green": 0.36, "blue": 0.62, "purple": 0.79}
MOTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1), "still": (0, 0)}
APART = 6.0  # pixels between two places that words tell apart, in every frame

Facts = dict[str, str]  # kind of a fact (colour, place, motion) -> its words


@dataclass(frozen=True)
class Thing:
    """One object of a video. Lengths are in pixels, angles in radians, `path` is its centre `(FRAMES, 2)` as x, y."""

    shape: str
    colour: str
    motion: str
    path: NDArray[np.float64]
    radius: float
    angle: float
    spin: float
    light: float
    hue: float


def open_videos(row: DataSet, opening: Opening) -> RefVideoSource:
    """Reader of the catalogue; the videos are written first where no root is given."""
    root = videos_folder(opening)
    layout = ref_youtube_vos_layout(root, opening.split)
    return RefVideoSource(row.name, root, opening.split, layout, cache_frames=opening.cache_frames)


def videos_folder(opening: Opening) -> Path:
    """The root that is given, or else the folder of the videos, see `ensure_videos`."""
    if opening.root is not None:
        return opening.folder
    return ensure_videos(None if opening.cache is None else Path(opening.cache))


def ensure_videos(cache: Path | None = None) -> Path:
    """The folder of the data set; written if it is not there. `cache`: see `episodes.sources.files.cache_folder`."""
    what = f"the synthetic referring videos ({sum(VIDEOS.values())})"
    return written_once(cache_folder(cache), f"synthetic-rvos-v{FORMAT}", what, write_splits)


def write_splits(folder: Path) -> None:
    """Write all splits under `folder`. Deterministic."""
    for split, count in VIDEOS.items():
        write_split(folder, split, count)


def write_split(
    folder: Path,
    split: str,
    count: int,
    things_of: Callable[[np.random.Generator], list[Thing]] | None = None,
    grounds: Sequence[str] = (),
) -> None:
    """Write `count` videos of a split under `folder` in the layout of Ref-YouTube-VOS.

    Args:
        things_of: draws the things of a video; None: `cast`.
        grounds: kinds of ground that the videos have in turn, listed as object `GROUND` of the video; none: a ground
            of the one kind, which is not listed.
    """
    names = [f"{5 * t:05d}" for t in range(FRAMES)]
    meta, sayings = {}, {}
    for number in range(count):
        rng = np.random.default_rng([SPLITS.index(split), number])
        things = (things_of or cast)(rng)
        video, ground = f"{split}_{number:04d}", draw_ground(rng)
        classes = {str(k): thing.shape for k, thing in enumerate(things, start=1)}
        if grounds:
            kind = classes[str(GROUND)] = grounds[number % len(grounds)]
            ground = striped(rng, ground) if kind == STRIPED else ground
        write_video(folder / split, video, names, (render(ground, things, t) for t in range(FRAMES)))
        meta[video] = {"objects": {k: {"category": name, "frames": names} for k, name in classes.items()}}
        sayings[video] = {"frames": names, "expressions": expressions(rng, things)}
    lists = folder / "meta_expressions" / split
    lists.mkdir(parents=True)
    (folder / split / "meta.json").write_text(json.dumps({"videos": meta}))
    (lists / "meta_expressions.json").write_text(json.dumps({"videos": sayings}))


def cast(rng: np.random.Generator) -> list[Thing]:
    """Two or three things: the first one, perhaps a twin of it, and another shape, half the time of its colour."""
    first = draw_thing(rng, str(rng.choice(SHAPES)), None, [])
    things = [first]
    if rng.random() < TWINS:
        things.append(_twin(rng, first))
    if len(things) == 1 or rng.random() < 0.6:
        shape = str(rng.choice([shape for shape in SHAPES if shape != first.shape]))
        things.append(draw_thing(rng, shape, first.colour if rng.random() < 0.5 else None, things))
    order = rng.permutation(len(things))  # later things hide earlier ones
    return [things[k] for k in order]


def _twin(rng: np.random.Generator, first: Thing) -> Thing:
    """A thing of the same shape, a third of the time of the same colour, from which words tell the first one."""
    colour = first.colour if rng.random() < 1 / 3 else None
    while True:
        twin = draw_thing(rng, first.shape, colour, [first])
        if telling(first, [twin]) and telling(twin, [first]):
            return twin


def draw_thing(rng: np.random.Generator, shape: str, colour: str | None, others: Sequence[Thing]) -> Thing:
    """A thing whose path keeps away from those of the others as well as the best of sixteen draws."""
    radius = rng.uniform(8, 12)
    motion = str(rng.choice(list(MOTIONS), p=[0.17, 0.17, 0.17, 0.17, 0.32]))
    drawn = colour or str(rng.choice(list(HUES)))
    paths = [_path(rng, motion, radius) for _ in range(16)]

    def gap(path: NDArray[np.float64]) -> float:
        return min((float(np.hypot(*(path - x.path).T).min()) for x in others), default=0.0)

    return Thing(
        shape=shape,
        colour=drawn,
        motion=motion,
        path=max(paths, key=gap),
        radius=radius,
        angle=rng.uniform(0, 2 * np.pi),
        spin=rng.uniform(-0.1, 0.1),
        light=rng.uniform(0.75, 1.0),
        hue=HUES[drawn] + rng.uniform(-0.015, 0.015),
    )


def _path(rng: np.random.Generator, motion: str, radius: float) -> NDArray[np.float64]:
    """Centres `(FRAMES, 2)` on a straight line in about the direction of the motion, inside the frame all the time."""
    turn, speed = rng.uniform(-0.3, 0.3), rng.uniform(1.2, 2.2)
    x, y = MOTIONS[motion]
    step = speed * np.array([x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)])
    way = np.arange(FRAMES)[:, None] * step
    least, most = radius - way.min(0), SIZE - 1 - radius - way.max(0)
    return rng.uniform(least, most) + way


# -------------------------------------------------------------------------------------------------------------- pixels


def render(ground: NDArray[np.float64], things: Sequence[Thing], t: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Frame `t`: uint8 RGB `(SIZE, SIZE, 3)` and uint8 object ids `(SIZE, SIZE)`; later things hide earlier ones."""
    y, x = np.mgrid[0:SIZE, 0:SIZE].astype(np.float64)
    frame, mask = ground.copy(), np.zeros((SIZE, SIZE), dtype=np.uint8)
    for number, thing in enumerate(things, start=1):
        angle, (cx, cy) = thing.angle + thing.spin * t, thing.path[t]
        dx, dy = (x - cx) / thing.radius, (y - cy) / thing.radius
        u, v = dx * np.cos(angle) + dy * np.sin(angle), dy * np.cos(angle) - dx * np.sin(angle)
        cover = np.clip((1 - extent(thing.shape, u, v)) * thing.radius + 0.5, 0, 1)[..., None]
        frame = frame * (1 - cover) + thing.light * rgb(thing.hue) * cover
        mask[cover[..., 0] > 0.5] = number
    return (255 * frame.clip(0, 1)).round().astype(np.uint8), mask


def striped(rng: np.random.Generator, ground: NDArray[np.float64]) -> NDArray[np.float64]:
    """The ground with stripes of light and dark across it."""
    y, x = np.mgrid[0:SIZE, 0:SIZE]
    angle, phase = rng.uniform(0, np.pi), rng.uniform(0, 2 * np.pi)
    wave = np.sin(0.7 * (x * np.cos(angle) + y * np.sin(angle)) + phase)
    return (ground + 0.25 * wave[..., None]).clip(0, 1)


def extent(shape: str, u: NDArray[np.float64], v: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far out places `(u, v)` lie in a shape of radius 1: below 1 inside, 1 on its border."""
    a, b, r = np.abs(u), np.abs(v), np.hypot(u, v)
    if shape == "disc":
        return r
    if shape == "square":
        return np.maximum(a, b) / 0.8
    if shape == "triangle":
        return np.max([u * np.cos(k) + v * np.sin(k) for k in 2 * np.pi * np.arange(3) / 3], axis=0) / 0.55
    if shape == "ring":
        return np.abs(r - 0.72) / 0.28
    if shape == "cross":
        return np.minimum(np.maximum(a, b / 0.34), np.maximum(a / 0.34, b))
    if shape == "star":
        return r / (0.65 + 0.35 * np.cos(5 * np.arctan2(v, u)))
    if shape == "moon":
        return np.maximum(r, 1.7 - np.hypot(u - 0.55, v))
    return np.maximum(a, b / 0.36)


# --------------------------------------------------------------------------------------------------------------- words


def expressions(rng: np.random.Generator, things: Sequence[Thing]) -> dict[str, dict[str, str]]:
    """Two expressions for each thing, which something else tells from its twin where there are two such facts."""
    sayings: dict[str, dict[str, str]] = {}
    for k, thing in enumerate(things, start=1):
        twins = [x for x in things if x is not thing and x.shape == thing.shape]
        told = telling(thing, twins)
        kinds = [str(kind) for kind in rng.permutation(sorted(told))]
        for n in range(2):
            text = phrase(thing.shape, _chosen(rng, kinds[n % len(kinds)] if kinds else "", told, bool(twins), thing))
            sayings[str(len(sayings))] = {"exp": text, "obj_id": str(k)}
    return sayings


def _chosen(rng: np.random.Generator, kind: str, told: Facts, twin: bool, thing: Thing) -> Facts:
    """The fact that tells, left out now and then where there is no twin; and now and then another true one."""
    facts = {} if not kind or (not twin and rng.random() < 0.3) else {kind: told[kind]}
    others = {**facts_of(thing), **told}
    more = sorted(other for other in others if other not in facts)
    if more and rng.random() < 0.4:
        other = str(rng.choice(more))
        facts[other] = others[other]
    return facts


def facts_of(thing: Thing) -> Facts:
    """Facts that are true of a thing whatever else is there."""
    return {"colour": thing.colour, "motion": thing.motion}


def telling(thing: Thing, twins: Sequence[Thing]) -> Facts:
    """Facts that are true of a thing and of none of its twins, its place among them."""
    facts = {k: word for k, word in facts_of(thing).items() if all(facts_of(x)[k] != word for x in twins)}
    rivals = [x.path for x in twins] or [np.full_like(thing.path, SIZE / 2)]
    for axis, words in ((0, ("left", "right")), (1, ("upper", "lower"))):
        way = np.stack([thing.path[:, axis] - path[:, axis] for path in rivals])
        if (way < -APART).all() or (way > APART).all():
            facts["place" if axis == 0 else "height"] = words[0 if way[0, 0] < 0 else 1]
    return facts


def phrase(shape: str, facts: Facts) -> str:
    """Words for facts about a shape: `the upper red disc on the left that moves up`."""
    before = [facts[kind] for kind in ("height", "colour") if kind in facts]
    words = ["the", *before, shape]
    if "place" in facts:
        words += ["on the", facts["place"]]
    if "motion" in facts:
        motion = facts["motion"]
        side = motion in ("left", "right")
        words += ["that", "stands still" if motion == "still" else f"moves {'to the ' if side else ''}{motion}"]
    return " ".join(words)
