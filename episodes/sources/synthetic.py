"""The synthetic world: a generated data set in which few-shot learning is necessary.

Short clips of moving, textured things over textured grounds. Each class has a made-up noun and a look (two hues and
a pattern); its noun never occurs in training when the class is held out, so the words alone cannot tell what to
segment, and a clip often holds two things of the class, so the supports alone cannot tell which one is meant.
The things in one video all come from one group of classes, so that a held-out class is never even seen in training.

Written once to a cache folder in the Mini-Ref-YouTube-VOS layout and read by the same source as the real data.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from episodes.class_names import SYNTHETIC as CLASS_NAMES
from episodes.sources.files import cache_folder
from episodes.sources.generated import write_video, written_once
from episodes.sources.mini_ref import MiniRefSource

if TYPE_CHECKING:
    from episodes.catalogue import DataSet, Opening

GROUPS = 4
SIZE = 64  # height and width in pixels
FRAMES = 8  # frames of a video
FORMAT = 1  # raise it when the same seed gives other files
HUES = 12
PATTERNS = ("stripes", "dots", "checks", "rings")
COLOUR_WORDS = ("red", "blue", "green", "yellow", "purple", "orange")


@dataclass(frozen=True)
class Look:
    """Look of the things of a class: two hues in 0..1 and a pattern that alternates between them."""

    hues: tuple[float, float]
    pattern: str


@dataclass
class Thing:
    """One object of a video: class, look and path. Lengths are in pixels, angles in radians, `t` in frames."""

    class_id: int
    look: Look
    centre: np.ndarray
    velocity: np.ndarray
    radius: float
    aspect: float
    angle: float
    spin: float
    squareness: float
    growth: float
    phase: float
    light: float

    def at(self, t: int) -> tuple[np.ndarray, float, float]:
        """Centre `(x, y)`, radius and angle in frame `t`; the path is reflected at the image border."""
        margin = 0.6 * self.radius
        span = SIZE - 1 - 2 * margin
        position = np.mod(self.centre - margin + self.velocity * t, 2 * span)
        position = margin + np.where(position > span, 2 * span - position, position)
        return position, self.radius * (1 + self.growth * t / FRAMES), self.angle + self.spin * t


def class_looks() -> tuple[Look, ...]:
    """The looks of the 48 classes, the same for every seed: hue pairs at least two steps apart on a wheel of twelve."""
    pairs = [(a, b) for a in range(HUES) for b in range(a + 1, HUES) if 2 <= b - a <= HUES - 2]
    order = np.random.default_rng(20231).permutation(len(pairs))[: len(CLASS_NAMES)]
    return tuple(
        Look((pairs[p][0] / HUES, pairs[p][1] / HUES), PATTERNS[(k // GROUPS) % len(PATTERNS)])
        for k, p in enumerate(order)
    )


def open_videos(row: DataSet, opening: Opening) -> MiniRefSource:
    """Reader of the catalogue; the world is written first where no root is given."""
    return MiniRefSource.open(row, replace(opening, root=world_folder(opening)))


def world_folder(opening: Opening) -> Path:
    """The root that is given, or else the folder of the world of its seed, see `ensure_world`."""
    if opening.root is not None:
        return opening.folder
    cache = None if opening.cache is None else Path(opening.cache)
    return ensure_world(cache, opening.world_seed, opening.world_videos)


def ensure_world(cache: Path | None = None, seed: int = 0, videos: int = 24) -> Path:
    """The folder of the world of `seed` with `videos` videos for each of the 48 classes; written if it is not there.

    `cache` defaults to `$FEWSHOT_CACHE` or `~/.cache/fewshot`. A half-written world is never left under the final name.
    """
    if videos < 2:
        raise ValueError(f"the synthetic world needs at least 2 videos per class (a support and a query), got {videos}")
    if seed < 0:
        raise ValueError(f"the seed of the synthetic world must be at least 0, got {seed}")
    return written_once(
        cache_folder(cache),
        f"synthetic-v{FORMAT}-seed{seed}-videos{videos}",
        f"the synthetic world ({videos * len(CLASS_NAMES)} videos)",
        lambda folder: write_world(folder, seed, videos),
    )


def write_world(folder: Path, seed: int = 0, videos: int = 24) -> None:
    """Write `videos` videos per class under `folder` in the Mini-Ref-YouTube-VOS layout. Deterministic in `seed`."""
    train = folder / "data" / "mini-ref-youtube-vos" / "train"
    expressions = folder / "data" / "mini-ref-youtube-vos" / "meta_expressions" / "train"
    expressions.mkdir(parents=True)
    looks, meta, sayings = class_looks(), {}, {}
    names = [f"{5 * t:05d}" for t in range(FRAMES)]
    for class_index, name in enumerate(CLASS_NAMES):
        for number in range(videos):
            video = f"{name}_{number:03d}"
            rng = np.random.default_rng([seed, class_index, number])
            things = _cast(rng, class_index, looks)
            ground = draw_ground(rng)
            write_video(train, video, names, (render(ground, things, t) for t in range(FRAMES)))
            meta[video] = {
                "objects": {
                    str(k + 1): {"category": CLASS_NAMES[x.class_id], "frames": names} for k, x in enumerate(things)
                }
            }
            sayings[video] = {"frames": names, "expressions": _expressions(rng, things)}
    (train / "meta.json").write_text(json.dumps({"videos": meta}))
    (expressions / "meta_expressions.json").write_text(json.dumps({"videos": sayings}))


def _cast(rng: np.random.Generator, class_index: int, looks: tuple[Look, ...]) -> list[Thing]:
    """Two or three things: one of the class, one of another class of its group, and perhaps a twin of the first."""
    group = [k for k in range(len(looks)) if k % GROUPS == class_index % GROUPS and k != class_index]
    alike = [k for k in group if set(looks[k].hues) & set(looks[class_index].hues)]
    other = int(rng.choice(alike if alike and rng.random() < 0.5 else group))
    classes = [class_index, other] + ([class_index] if rng.random() < 0.4 else [])
    things: list[Thing] = []
    for class_id in classes:
        things.append(_place(rng, class_id, looks[class_id], things))
    return things


def _place(rng: np.random.Generator, class_id: int, look: Look, others: list[Thing]) -> Thing:
    """A thing whose start lies as far from the others as the best of eight draws."""

    def gap(centre: np.ndarray) -> float:
        return min((float(np.hypot(*(centre - x.centre))) for x in others), default=0.0)

    draws = [rng.uniform(12, SIZE - 12, 2) for _ in range(8)]
    heading, speed = rng.uniform(0, 2 * np.pi), rng.uniform(0.3, 2.2)
    return Thing(
        class_id=class_id,
        look=look,
        centre=max(draws, key=gap),
        velocity=speed * np.array([np.cos(heading), np.sin(heading)]),
        radius=rng.uniform(9, 14) * (0.85 if len(others) > 1 else 1.0),
        aspect=rng.uniform(0.7, 1.0),
        angle=rng.uniform(0, np.pi),
        spin=rng.uniform(-0.15, 0.15),
        squareness=rng.choice([2.0, 4.0, 1.2]),
        growth=rng.uniform(-0.25, 0.3),
        phase=rng.uniform(0, 2 * np.pi),
        light=rng.uniform(0.75, 1.0),
    )


def draw_ground(rng: np.random.Generator) -> np.ndarray:
    """A ground of low saturation, smooth at several scales: `(SIZE, SIZE, 3)` float in 0..1."""
    ground = np.full((SIZE, SIZE, 3), rng.uniform(0.3, 0.7))
    for cells in (2, 5, 16):
        noise = Image.fromarray(rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
        wave = np.asarray(noise.resize((SIZE, SIZE), Image.Resampling.BICUBIC), dtype=np.float64) / 255 - 0.5
        grey = wave.mean(-1, keepdims=True)
        ground += 0.35 * (grey + 0.35 * (wave - grey))
    return ground.clip(0, 1)


def render(ground: np.ndarray, things: list[Thing], t: int) -> tuple[np.ndarray, np.ndarray]:
    """Frame `t`: uint8 RGB `(SIZE, SIZE, 3)` and uint8 object ids `(SIZE, SIZE)`; later things occlude earlier ones."""
    y, x = np.mgrid[0:SIZE, 0:SIZE].astype(np.float64)
    frame, mask = ground.copy(), np.zeros((SIZE, SIZE), dtype=np.uint8)
    for number, thing in enumerate(things, start=1):
        (cx, cy), radius, angle = thing.at(t)
        box = _box(cx, cy, radius, angle, thing.aspect)
        dx, dy = x[box] - cx, y[box] - cy
        u = (dx * np.cos(angle) + dy * np.sin(angle)) / radius
        v = (-dx * np.sin(angle) + dy * np.cos(angle)) / (radius * thing.aspect)
        distance = (np.abs(u) ** thing.squareness + np.abs(v) ** thing.squareness) ** (1 / thing.squareness)
        cover = np.clip((1 - distance) * radius + 0.5, 0, 1)[..., None]
        frame[box] = frame[box] * (1 - cover) + _paint(thing, u * radius, v * radius) * cover
        mask[box][cover[..., 0] > 0.5] = number
    return (255 * frame.clip(0, 1)).round().astype(np.uint8), mask


def _box(cx: float, cy: float, radius: float, angle: float, aspect: float) -> tuple[slice, slice]:
    """Rows and columns beyond which a thing covers nothing: it lies within the turned rectangle of its two radii."""
    long, short = radius + 0.5, radius * aspect + 0.5  # covers fade out over a pixel
    wide = abs(np.cos(angle)) * long + abs(np.sin(angle)) * short
    high = abs(np.sin(angle)) * long + abs(np.cos(angle)) * short
    rows, columns = ((max(0, int(c - reach)), min(SIZE, int(c + reach) + 2)) for c, reach in ((cy, high), (cx, wide)))
    return slice(*rows), slice(*columns)


def _paint(thing: Thing, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Colours of a thing at its own coordinates `(u, v)` in pixels: its pattern alternates between its two hues."""
    wave = {
        "stripes": np.sin(u * 0.9 + thing.phase),
        "dots": np.sin(u * 0.9 + thing.phase) + np.sin(v * 0.9) - 0.3,
        "checks": np.sin(u * 0.8 + thing.phase) * np.sin(v * 0.8),
        "rings": np.sin(np.hypot(u, v) * 0.9 + thing.phase),
    }[thing.look.pattern]
    first_part = np.clip(0.5 + 2.0 * wave, 0, 1)[..., None]
    first, second = (rgb(h) for h in thing.look.hues)
    return thing.light * (first * first_part + second * (1 - first_part))


def rgb(hue: float) -> np.ndarray:
    """RGB in 0..1 of a hue at full value and strong saturation."""
    ramp = np.abs(np.mod(hue * 6 + np.array([0.0, 4.0, 2.0]), 6) - 3) - 1
    return 1 - 0.85 * (1 - ramp.clip(0, 1))


def _expressions(rng: np.random.Generator, things: list[Thing]) -> dict[str, dict[str, str]]:
    """Two expressions for each thing. Where it has a twin, the words say something that is true of it alone."""
    sayings: dict[str, dict[str, str]] = {}
    for k, thing in enumerate(things):
        noun = CLASS_NAMES[thing.class_id]
        twins = [x for j, x in enumerate(things) if j != k and x.class_id == thing.class_id]
        truths = _truths(thing, twins[0] if twins else None, noun)
        if not twins:
            lie = rng.choice(COLOUR_WORDS)
            truths += [f"a {noun}", f"the {noun}", f"the {lie} {noun}"]
        for text in rng.choice(truths, size=2, replace=len(truths) < 2):
            sayings[str(len(sayings))] = {"exp": str(text), "obj_id": str(k + 1)}
    return sayings


def _truths(thing: Thing, twin: Thing | None, noun: str) -> list[str]:
    """True words for a thing; with a twin only those that tell the two apart (by place over the clip, or size)."""
    place = np.mean([thing.at(t)[0] for t in range(FRAMES)], axis=0)
    rival = np.mean([twin.at(t)[0] for t in range(FRAMES)], axis=0) if twin else np.array([SIZE / 2, SIZE / 2])
    (dx, dy), truths = place - rival, []
    if abs(dx) > 6:
        truths += [f"the {noun} on the {'left' if dx < 0 else 'right'}"]
    if abs(dy) > 6:
        truths += [f"the {'upper' if dy < 0 else 'lower'} {noun}"]
    reference = twin.radius if twin else 11.0
    if not truths or abs(thing.radius - reference) > 2:
        truths += [f"the {'big' if thing.radius > reference else 'small'} {noun}"]
    return truths
