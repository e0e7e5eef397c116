"""Overlays, stills and animations of what was found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence

from fewshot.inference import previews
from fewshot.inference.previews import Animation, colour_of, inner_border, label_overlay, still, with_legend
from fewshot.inference.segmenter import Referent, Result

IMAGE = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
LABELS = np.zeros((60, 80), np.uint8)
LABELS[10:30, 10:30], LABELS[40:60, 50:80] = 1, 2


def result(frames: int = 1) -> Result:
    masks = torch.from_numpy(np.stack([LABELS == 1, LABELS == 2]))[:, None].expand(-1, frames, -1, -1)
    scores = torch.tensor([[0.9], [0.2]]).expand(-1, frames)
    return Result(("cat", "dog"), masks, scores, torch.from_numpy(LABELS)[None].expand(frames, -1, -1))


def test_things_keep_their_colours_and_get_a_border_of_their_own() -> None:
    shown = label_overlay(IMAGE, LABELS)
    assert np.array_equal(shown[12:28, 12:28], IMAGE[12:28, 12:28]) and np.array_equal(shown[45:, 55:], IMAGE[45:, 55:])
    assert tuple(shown[10, 20]) == colour_of(1) and tuple(shown[40, 60]) == colour_of(2) != colour_of(1)
    assert tuple(shown[59, 60]) == tuple(IMAGE[59, 60])  # a thing that is cut by the edge has no border there
    assert shown[35:38, :40].std(-1).mean() < 0.3 * IMAGE[35:38, :40].std(-1).mean()  # grey
    assert np.array_equal(label_overlay(IMAGE, np.ones((60, 80))), IMAGE)


def test_borders_lie_inside_and_have_a_width() -> None:
    mask = LABELS == 1
    for width in (1, 3):
        border = inner_border(mask, width)
        assert border.sum() == 20**2 - (20 - 2 * width) ** 2 and not (border & ~mask).any()


def test_the_legend_names_the_classes_below_the_picture() -> None:
    page = np.asarray(with_legend(IMAGE, ("cat", "dog"), (0.9, 0.2)))
    assert np.array_equal(page[:60], IMAGE) and page.shape[0] > 95
    colours = {tuple(c) for c in page[60:].reshape(-1, 3)}
    assert {colour_of(1), colour_of(2)} <= colours


def test_a_still_has_a_row_for_each_class() -> None:
    one, two = (Referent(name) for name in ("cat", "dog"))
    assert still(IMAGE, result(), [one, two]).height > 1.9 * still(IMAGE, result(), [one]).height


@pytest.mark.parametrize("kind", ["gif", "webp"])
def test_an_animation_keeps_its_speed_and_a_bounded_number_of_frames(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(previews, "MOST_FRAMES", 4)
    animation = Animation(frames_per_second=10.0)
    for t in range(11):
        animation.add(np.full_like(IMAGE, 20 * t), result(11), t)
    assert animation.stride == 4 and len(animation.pictures) == 3
    animation.save(tmp_path / f"a.{kind}")
    found = Image.open(tmp_path / f"a.{kind}")
    assert found.n_frames == 3 and found.info["loop"] == 0
    pixels = [np.asarray(frame.convert("RGB"))[20, 20] for frame in ImageSequence.Iterator(found)]
    assert [int(abs(int(p[0]) - 80 * k) < 12) for k, p in enumerate(pixels)] == [1, 1, 1]  # frames 0, 4 and 8
    durations = []
    for k in range(3):
        found.seek(k)
        found.load()
        durations.append(found.info["duration"])
    assert durations == [400] * 3
