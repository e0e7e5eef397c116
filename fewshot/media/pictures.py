"""Pictures of episodes: supports, queries and predictions.

What a mask picks out keeps its colours, the rest turns grey. A blue border is a support, an orange one a prediction, a
white one the ground truth. Small frames are enlarged without smoothing, so that pixels stay pixels; frames that the
network sees squashed are shown in the shape that they have on disk. A caption names the IoU of what was found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import binary_dilation, binary_erosion
from torch import Tensor

from benchmarks.metrics.jf import jaccard
from episodes.clip import Clip
from episodes.episode import Episode
from episodes.transforms.imagenet import MEAN, STD

SUPPORT, PREDICTION, TRUTH = (0, 114, 178), (230, 120, 0), (255, 255, 255)
OBJECTS = {  # borders of several objects, the first as of one; Okabe and Ito, told apart by everybody
    "orange": PREDICTION,
    "light blue": (86, 180, 233),
    "green": (0, 158, 115),
    "pink": (204, 121, 167),
    "yellow": (240, 228, 66),
}
TILE_HEIGHT = 192  # pixels
FRAMES = 4  # of a query that are shown
WIDEST = 6  # most width of a tile, in heights
LEGEND = "blue: support, orange: prediction, white: truth"
GAP, TEXT = 8, 15  # pixels between tiles, font size
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True)
class Tile:
    """One picture of a strip: `(height, width, 3)` uint8 and the words under it."""

    image: np.ndarray
    caption: str = ""


def frame_image(frame: Tensor) -> np.ndarray:
    """One frame `(3, H, W)`, uint8 or float32 normalised, as RGB `(H, W, 3)` uint8."""
    if frame.dtype != torch.uint8:
        mean, std = torch.tensor(MEAN)[:, None, None], torch.tensor(STD)[:, None, None]
        frame = ((frame.float().cpu() * std + mean).clamp(0, 1) * 255).round().to(torch.uint8)
    return frame.permute(1, 2, 0).cpu().numpy()


def overlay(
    image: np.ndarray,
    mask: np.ndarray | None = None,
    truth: np.ndarray | None = None,
    colour: tuple[int, int, int] = PREDICTION,
    objects: Mapping[int, np.ndarray] | None = None,
) -> np.ndarray:
    """`(H, W, 3)` uint8: what is outside `mask` turns pale grey, its border gets `colour`, that of `truth` white.

    What the model found keeps its own colours, because these are what a reader wants to recognise.

    Args:
        objects: id -> mask of what `mask` is made of; borders get the colour of their id, see `colour_of`.
    """
    result = image.astype(np.float32)
    if mask is not None:
        result[~mask] = 0.15 * image[~mask] + 0.35 * image[~mask].mean(-1, keepdims=True) + 95
        for line, own in [(mask, colour)] if objects is None else [(m, colour_of(k)[1]) for k, m in objects.items()]:
            _draw_border(result, line, own)
    if truth is not None:
        _draw_border(result, truth, TRUTH)
    return result.round().astype(np.uint8)


def colour_of(number: int) -> tuple[str, tuple[int, int, int]]:
    """Name and colour of the border of object `number`, counted from 1; 255, a mask of one object, is the first."""
    return list(OBJECTS.items())[0 if number == 255 else (number - 1) % len(OBJECTS)]


def _draw_border(image: np.ndarray, mask: np.ndarray, colour: tuple[int, int, int]) -> None:
    """A line three pixels wide inside the mask, with a dark pixel on either side so that it shows on any ground."""
    line = mask & ~binary_erosion(mask, iterations=3, border_value=0)
    image[binary_dilation(line) & ~line] *= 0.35
    image[line] = colour


def enlarge(image: np.ndarray, height: int = TILE_HEIGHT, shape: tuple[int, int] | None = None) -> np.ndarray:
    """`(H, W, 3)` uint8 or `(H, W)` bool at `height` rows: whole pixels where it at least doubles, else smoothly.

    Masks of any size come out exactly as large as a frame of the same aspect ratio. Very long pictures get fewer rows,
    so that no tile is wider than `WIDEST` times `height`.

    Args:
        shape: height and width of the picture as it is to be seen, for one that was squashed; None: its own.
    """
    picture = Image.fromarray(image)
    tall, wide = shape or image.shape[:2]
    scale = min(height / tall, WIDEST * height / wide)
    size = (max(1, round(wide * scale)), max(1, round(tall * scale)))
    smooth = image.dtype != np.bool_ and size[1] < 2 * image.shape[0]
    return np.asarray(picture.resize(size, Image.Resampling.LANCZOS if smooth else Image.Resampling.NEAREST))


def clip_tile(
    clip: Clip,
    t: int,
    *,
    mask: np.ndarray | None = None,
    truth: bool = False,
    colour: tuple[int, int, int] = PREDICTION,
    caption: str = "",
    height: int = TILE_HEIGHT,
) -> Tile:
    """Frame `t` of a clip with a mask `(h, w)` bool picked out and, with `truth`, the border of the clip's own mask."""
    image = enlarge(frame_image(clip.frames[t]), height, clip.original_size)
    picked = None if mask is None else _fit(mask, image)
    border = _fit(clip.masks[t].cpu().numpy(), image) if truth and clip.masks is not None else None
    return Tile(overlay(image, picked, border, colour), caption)


def _fit(mask: np.ndarray, image: np.ndarray) -> np.ndarray:
    """A mask `(h, w)` at the size of an image, nearest pixel."""
    size = (image.shape[1], image.shape[0])
    return np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))


def support_tiles(
    supports: Sequence[Clip], height: int = TILE_HEIGHT, colour: tuple[int, int, int] = SUPPORT
) -> list[Tile]:
    """The middle frame of each support with its mask picked out."""
    tiles = []
    for k, clip in enumerate(supports):
        t = clip.frames.shape[0] // 2
        mask = None if clip.masks is None else clip.masks[t].cpu().numpy()
        caption = "support" if len(supports) == 1 else f"support {k + 1}"
        tiles.append(clip_tile(clip, t, mask=mask, colour=colour, caption=caption, height=height))
    return tiles


def spread(total: int, frames: int) -> list[int]:
    """Indices of `frames` of `total` frames, evenly spread, the first and the last among them; all where there are
    fewer."""
    return torch.linspace(0, total - 1, min(frames, total)).round().long().tolist()


def query_tiles(
    clip: Clip, masks: Tensor, frames: int, height: int = TILE_HEIGHT, captions: Sequence[str] = ()
) -> list[Tile]:
    """`frames` frames, evenly spread over the clip, with the predicted masks `(T, h, w)` bool and the true outline.

    A clip of one frame is an image, and its caption speaks of none.

    Args:
        captions: of the `T` frames; none: their numbers in the clip.
    """
    total = clip.frames.shape[0]
    if masks.shape[0] != total:
        raise ValueError(f"{masks.shape[0]} predicted masks for the {total} frames of {clip.video!r}")
    tiles = []
    for t in spread(total, frames):
        mask, number = masks[t].cpu().numpy(), "query" if total == 1 else f"frame {t + 1} of {total}"
        name = captions[t] if captions else number
        tiles.append(
            clip_tile(clip, t, mask=mask, truth=True, caption=f"{name}{iou_words(clip, t, mask)}", height=height)
        )
    return tiles


def iou_words(clip: Clip, t: int, mask: np.ndarray) -> str:
    """`, IoU 63 %` of a mask `(h, w)` bool in frame `t`, at the size of the true one; nothing where that is unknown."""
    if clip.masks is None:
        return ""
    truth = clip.masks[t].cpu().numpy()
    void = None if clip.ignore is None else clip.ignore[t].cpu().numpy()
    return f", IoU {100 * jaccard(_fit(mask, truth), truth, void):.0f} %"


def episode_picture(
    episode: Episode,
    probabilities: Sequence[Tensor],
    *,
    frames: int = FRAMES,
    height: int = TILE_HEIGHT,
    captions: Sequence[str] = (),
) -> Image.Image:
    """A strip: the supports on the left; one row per query with its expression as title.

    Args:
        probabilities: per query `(T, h, w)`, float probabilities or bool masks, at any resolution.
        frames: how many query frames are shown.
        captions: of the frames of a query; none: their numbers.
    """
    if len(probabilities) != len(episode.queries):
        raise ValueError(f"{len(probabilities)} predictions for {len(episode.queries)} queries")
    supports = support_tiles(episode.supports, height)
    rows = []
    for clip, probability in zip(episode.queries, probabilities, strict=True):
        rows.append((_title(clip), supports + query_tiles(clip, _masks(probability), frames, height, captions)))
    kind = "image" if len(episode.queries[0].frames) == 1 else "video"
    heading = f"class {episode.spec.class_name}, {kind} {episode.queries[0].video} ({LEGEND})"
    return sheet(rows, heading=heading)


def save_episode_picture(
    path: Path | str,
    episode: Episode,
    probabilities: Sequence[Tensor],
    *,
    frames: int = FRAMES,
    height: int = TILE_HEIGHT,
    captions: Sequence[str] = (),
) -> Path:
    """Write `episode_picture` to `path` (the format follows its suffix) and return the path."""
    return _save(path, episode_picture(episode, probabilities, frames=frames, height=height, captions=captions))


def contact_sheet(
    path: Path | str,
    episodes: Sequence[Episode],
    probabilities: Sequence[Tensor],
    *,
    columns: int = 1,
    height: int = TILE_HEIGHT,
) -> Path:
    """The first query of each episode: supports, a query frame with the true outline, and with the prediction.

    Args:
        probabilities: per episode `(T, h, w)` for its first query.
        columns: episodes side by side.
    """
    sheets = []
    for episode, probability in zip(episodes, probabilities, strict=True):
        clip, masks = episode.queries[0], _masks(probability)
        t = _fullest(clip)
        mask = masks[t].cpu().numpy()
        tiles = [
            *support_tiles(episode.supports, height),
            clip_tile(clip, t, truth=True, caption="query, truth outlined", height=height),
            clip_tile(clip, t, mask=mask, caption=f"prediction{iou_words(clip, t, mask)}", height=height),
        ]
        title = _title(clip) if clip.expression else f"{episode.spec.class_name}, {clip.video}"
        sheets.append(sheet([(title, tiles)]))
    return _save(path, grid(sheets, columns))


def grid(pictures: Sequence[Image.Image], columns: int) -> Image.Image:
    """Pictures in rows of `columns`, on white, all cells as large as the largest picture."""
    width, height = max(p.width for p in pictures), max(p.height for p in pictures)
    columns = min(columns, len(pictures))
    page = Image.new("RGB", (columns * width, -(-len(pictures) // columns) * height), "white")
    for k, picture in enumerate(pictures):
        page.paste(picture, (k % columns * width, k // columns * height))
    return page


def _title(clip: Clip) -> str:
    return f"“{clip.expression}”" if clip.expression else clip.video


def _masks(probability: Tensor) -> Tensor:
    return probability if probability.dtype == torch.bool else probability > 0.5


def _fullest(clip: Clip) -> int:
    """The frame that shows most of the object (the middle one if the mask is unknown)."""
    if clip.masks is None:
        return clip.frames.shape[0] // 2
    return int(clip.masks.flatten(1).sum(1).argmax())


def sheet(rows: Sequence[tuple[str, Sequence[Tile]]], heading: str = "") -> Image.Image:
    """Rows of tiles on white, each with a title above (wrapped to the width) and captions below its tiles."""
    font = ImageFont.load_default(TEXT)
    width = max(sum(tile.image.shape[1] + GAP for tile in tiles) for _, tiles in rows) + GAP
    blocks = [_text_block(heading, width, font)] if heading else []
    for title, tiles in rows:
        blocks += [_text_block(title, width, font), _tile_block(tiles, width, font)]
    page = Image.new("RGB", (width, sum(block.height for block in blocks) + GAP), "white")
    top = 0
    for block in blocks:
        page.paste(block, (0, top))
        top += block.height
    return page


def _text_block(text: str, width: int, font: Font) -> Image.Image:
    lines = _wrap(text, width - 2 * GAP, font)
    block = Image.new("RGB", (width, GAP + (TEXT + 5) * len(lines)), "white")
    ImageDraw.Draw(block).multiline_text((GAP, GAP), "\n".join(lines), fill="black", font=font, spacing=5)
    return block


def _tile_block(tiles: Sequence[Tile], width: int, font: Font) -> Image.Image:
    height = max(tile.image.shape[0] for tile in tiles)
    block = Image.new("RGB", (width, height + TEXT + 12), "white")
    draw, left = ImageDraw.Draw(block), GAP
    for tile in tiles:
        block.paste(Image.fromarray(tile.image), (left, 4))
        caption = _wrap(tile.caption, tile.image.shape[1], font)[0]
        draw.text((left, height + 6), caption, fill="dimgray", font=font)
        left += tile.image.shape[1] + GAP
    return block


def _wrap(text: str, width: float, font: Font) -> list[str]:
    """Lines of whole words no wider than `width` pixels (a longer word keeps a line of its own)."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _save(path: Path | str, picture: Image.Image) -> Path:
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)
    return path
