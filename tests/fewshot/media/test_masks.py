"""Own masks from whatever holds them, and what is said of those that are none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.masks.png import write_labels, write_mask
from fewshot.media.masks import read_masks
from tests.shared import require_shared

MASK = np.zeros((6, 8), bool)
MASK[2:5, 1:4] = True
IDS = np.where(MASK, 2, 0).astype(np.uint8)
IDS[0, :3] = 7


def test_a_mask_is_the_same_in_every_form(tmp_path: Path) -> None:
    write_mask(tmp_path / "grey.png", MASK)
    write_labels(tmp_path / "ids.png", np.where(MASK, 4, 0))
    Image.fromarray(MASK).save(tmp_path / "bits.png")
    grey = Image.fromarray(np.where(MASK, 255, 0).astype(np.uint8))
    grey.convert("RGB").save(tmp_path / "colours.png")
    arrays = (MASK, MASK.astype(np.float32), MASK[None], 255 * MASK.astype(np.uint8), torch.from_numpy(MASK), grey)
    paths = tuple(tmp_path / f"{name}.png" for name in ("grey", "ids", "bits", "colours"))
    for source in (*arrays, *paths, str(paths[0])):
        found = read_masks(source, "the mask")
        assert found.masks.dtype == torch.bool and torch.equal(found.masks, torch.from_numpy(MASK)[None])
        assert found.ignore is None


def test_one_of_several_objects(tmp_path: Path) -> None:
    write_labels(tmp_path / "ids.png", IDS)
    for source in (IDS, tmp_path / "ids.png"):
        assert torch.equal(read_masks(source, "the mask", object_id=2).masks[0], torch.from_numpy(MASK))
        with pytest.raises(ValueError, match="no pixel of id 3: it holds the values 0, 2, 7"):
            read_masks(source, "the mask", object_id=3)
    with pytest.raises(ValueError, match=r"my mask holds several objects, the ids 2, 7: say which .*object_id"):
        read_masks(tmp_path / "ids.png", "my mask")


def test_void_is_not_known_in_a_palette_image_alone(tmp_path: Path) -> None:
    labels = np.where(MASK, 15, 0)
    labels[5] = 255
    write_labels(tmp_path / "voc.png", labels)
    found = read_masks(tmp_path / "voc.png", "the mask")
    assert torch.equal(found.masks[0], torch.from_numpy(MASK))
    assert found.ignore is not None and torch.equal(found.ignore[0], torch.from_numpy(labels == 255))


def test_the_masks_of_a_clip_are_a_folder(tmp_path: Path) -> None:
    for k in (0, 1, 2):
        write_mask(tmp_path / f"{k}.png", np.roll(MASK, k, 1))
    assert read_masks(tmp_path, "the masks").masks.shape == (3, 6, 8)
    write_mask(tmp_path / "1.png", MASK[:4])
    with pytest.raises(ValueError, match="1.png is 8x4, 0.png is 8x6: the masks of a clip have one size"):
        read_masks(tmp_path, "the masks")


@pytest.mark.parametrize(
    "source, message",
    [
        (IDS, r"holds the values 0, 2, 7: a mask is bool.*object_id"),
        (np.arange(48).reshape(6, 8), "the values 0, 1, 2, 3, 4, 5, 6, 7 and 40 others"),
        (MASK * 0.5, r"the values 0, 0.5: .*Soft edges: cut it"),
        (np.where(MASK, np.nan, 0), "the values 0, nan"),
        (np.zeros((6, 8, 3, 1)), r"the shape \(6, 8, 3, 1\): a mask is \(H, W\)"),
        (np.zeros((0, 8)), r"the shape \(0, 8\)"),
        (Image.new("RGB", (8, 6), (255, 0, 0)), "has colours: save the mask as greyscale"),
        (Image.new("F", (8, 6)), "mode 'F': a mask is a greyscale"),
    ],
)
def test_unexpected_values_are_refused_with_what_was_found(source: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^my mask .*{message}"):
        read_masks(source, "my mask")


def test_what_is_no_mask_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="my mask is a list"):
        read_masks([[0, 1]], "my mask")
    with pytest.raises(FileNotFoundError, match="no mask at .*nowhere.png"):
        read_masks(tmp_path / "nowhere.png", "my mask")


def test_real_masks_are_read() -> None:
    masks = require_shared("data", "cutie-demo", "masks")
    with pytest.raises(ValueError, match="holds several objects, the ids 1, 2"):
        read_masks(masks / "bike" / "00000.png", "the mask")
    one, two = (read_masks(masks / "bike" / "00000.png", "the mask", k).masks for k in (1, 2))
    assert one.any() and two.any() and not (one & two).any()
