"""Looks at what was found in images and videos of a user's own: overlays, a still, an animation.

What was found keeps its colours and gets a border in the colour of its class, the rest turns pale grey.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import maximum_filter

from fewshot.inference.segmenter import Referent, Result
from fewshot.media.pictures import SUPPORT, Tile, enlarge, overlay, sheet, support_tiles

# of Okabe and Ito, which the colour-blind can tell apart; they come again after the last
COLOURS = ((230, 120, 0), (0, 114, 178), (0, 158, 115), (204, 121, 167), (86, 180, 233), (240, 228, 66), (213, 94, 0))
SUPPORTS_SHOWN = 4
HEIGHT = 256  # pixels of the pictures in a still
WIDTH = 480  # most pixels of a frame of an animation; twice as many rows
MOST_PHOTOGRAPHS = 12  # of a sheet; of more every second, fourth, ... is shown
MOST_FRAMES = 100  # of an animation; of longer videos every second, fourth, ... frame is shown
TEXT = 14  # font size


def colour_of(k: int) -> tuple[int, int, int]:
    """The colour of label `k`, which is 1 or more."""
    return COLOURS[(k - 1) % len(COLOURS)]


def label_overlay(image: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """`(H, W, 3)` uint8 with the things of a label map `(H, W)` picked out; lines grow with the image."""
    nothing = labels == 0
    grey = image.mean(-1, dtype=np.float32, keepdims=True)
    shown = np.where(nothing[..., None], 0.15 * image.astype(np.float32) + 0.35 * grey + 95, image)
    width = max(1, round(min(labels.shape) / 150))
    for k in np.unique(labels[labels > 0]):
        line = inner_border(labels == k, width)
        shown[inner_border(labels != k, 1) & nothing] *= 0.35  # a dark rim, seen on any ground
        shown[line] = colour_of(int(k))
    return shown.round().astype(np.uint8)


def inner_border(mask: np.ndarray, width: int) -> np.ndarray:
    """Pixels `(H, W)` bool of a mask that are less than `width` pixels from its outside (not from the image's edge)."""
    return mask & maximum_filter(~mask, 2 * width + 1, mode="constant", cval=False)


def with_legend(image: np.ndarray, names: Sequence[str], scores: Sequence[float]) -> Image.Image:
    """A picture with a line below it for each class: its colour, name and score."""
    font, row = ImageFont.load_default(TEXT), TEXT + 6
    page = Image.new("RGB", (image.shape[1], image.shape[0] + row * len(names) + 4), "white")
    page.paste(Image.fromarray(image))
    draw = ImageDraw.Draw(page)
    for k, (name, score) in enumerate(zip(names, scores, strict=True), 1):
        top = image.shape[0] + 4 + (k - 1) * row
        draw.rectangle((4, top + 2, 4 + TEXT - 3, top + TEXT - 1), fill=colour_of(k))
        draw.text((TEXT + 10, top), f"{score:.2f}  {name}", fill="black", font=font)
    return page


def still(image: np.ndarray, result: Result, referents: Sequence[Referent]) -> Image.Image:
    """A sheet for an image `(H, W, 3)`: a row for each class with its supports, and what was found of it."""
    picture, rows = enlarge(image, HEIGHT), []
    for k, referent in enumerate(referents):
        mask = enlarge(result.masks[k, 0].numpy(), HEIGHT)
        caption = "found" if mask.any() else "nothing found"
        tiles = [
            *support_tiles(referent.supports[:SUPPORTS_SHOWN], HEIGHT, SUPPORT),
            Tile(picture, "input"),
            Tile(overlay(picture, mask, colour=COLOURS[0]), caption),
        ]
        words = "" if referent.expression in (None, referent.name) else f": {referent.expression}"
        rows.append((f"{referent.name}{words} (score {result.scores[k, 0]:.2f})", tiles))
    return sheet(rows)


class Album:
    """Collects looks at photographs of any sizes, and keeps at most `MOST_PHOTOGRAPHS` of them, evenly spread."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, list[Tile]]] = []
        self.stride, self.seen = 1, 0

    def add(self, image: np.ndarray, result: Result) -> None:
        """A photograph `(H, W, 3)` uint8 with the result of it alone."""
        if self.seen % self.stride == 0:
            if len(self.rows) == MOST_PHOTOGRAPHS:
                self.rows, self.stride = self.rows[::2], 2 * self.stride
            if self.seen % self.stride == 0:
                self.rows.append((result.frame_names[0], self._tiles(image, result)))
        self.seen += 1

    def _tiles(self, image: np.ndarray, result: Result) -> list[Tile]:
        picture, tiles = enlarge(image, HEIGHT), [Tile(enlarge(image, HEIGHT), "input")]
        for k, (name, mask) in enumerate(zip(result.names, result.masks[:, 0].numpy(), strict=True), 1):
            shown = np.asarray(Image.fromarray(mask).resize(picture.shape[1::-1], Image.Resampling.NEAREST))
            caption = f"{name} {result.scores[k - 1, 0]:.2f}" if mask.any() else f"{name}: nothing found"
            tiles.append(Tile(overlay(picture, shown, colour=colour_of(k)), caption))
        return tiles

    def page(self, referents: Sequence[Referent]) -> Image.Image:
        """One sheet: the supports of each class, then a row for each photograph."""
        supports = [
            (f"supports of {referent.name}", support_tiles(referent.supports[:SUPPORTS_SHOWN], HEIGHT // 2, SUPPORT))
            for referent in referents
            if referent.supports
        ]
        return sheet([*supports, *self.rows])


class Animation:
    """Collects frames of a video of any length, and keeps at most `MOST_FRAMES` of them, evenly spread."""

    def __init__(self, frames_per_second: float) -> None:
        self.frames_per_second = frames_per_second
        self.pictures: list[Image.Image] = []
        self.stride, self.seen = 1, 0

    def add(self, image: np.ndarray, result: Result, t: int) -> None:
        """Frame `t` of a result, with its image `(H, W, 3)` uint8."""
        if self.seen % self.stride == 0:
            if len(self.pictures) == MOST_FRAMES:
                self.pictures, self.stride = self.pictures[::2], 2 * self.stride
            if self.seen % self.stride == 0:
                self.pictures.append(self._draw(image, result, t))
        self.seen += 1

    def _draw(self, image: np.ndarray, result: Result, t: int) -> Image.Image:
        scale = min(1.0, WIDTH / image.shape[1], 2 * WIDTH / image.shape[0])
        height, width = (max(1, round(scale * side)) for side in image.shape[:2])
        small = np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))
        labels = Image.fromarray(result.labels[t].numpy()).resize((width, height), Image.Resampling.NEAREST)
        return with_legend(label_overlay(small, np.asarray(labels)), result.names, result.scores[:, t].tolist())

    def save(self, path: Path) -> None:
        """Write a GIF or a WebP, which loops for ever. Raises OSError where the folder cannot be written."""
        milliseconds = max(20, round(1000 * self.stride / self.frames_per_second))
        first, *rest = self.pictures
        first.save(path, save_all=True, append_images=rest, duration=milliseconds, loop=0)
