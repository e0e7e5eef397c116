"""Mask files: names, values and size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.submission import write_masks


def test_one_grey_png_per_frame(tmp_path: Path) -> None:
    masks = np.zeros((2, 5, 7), dtype=bool)
    masks[1, 2:, 3] = True
    paths = write_masks(tmp_path, "video", "3", ("00000", "00005"), masks)
    assert [str(p.relative_to(tmp_path)) for p in paths] == ["video/3/00000.png", "video/3/00005.png"]
    for path, mask in zip(paths, masks, strict=True):
        with Image.open(path) as picture:
            assert picture.mode == "L" and picture.size == (7, 5)
            assert np.array_equal(np.asarray(picture), 255 * mask.astype(np.uint8))


def test_names_and_masks_must_agree(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'video': 1 frame names for 2 masks"):
        write_masks(tmp_path, "video", "0", ("00000",), np.zeros((2, 4, 4), dtype=bool))
    assert not any(tmp_path.iterdir())
