"""Mask files: names, values and size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.png import read_labels
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


def test_palette_pngs_hold_the_ids_under_the_names_of_the_frames(tmp_path: Path) -> None:
    ids = np.arange(12, dtype=np.uint8).reshape(1, 3, 4)
    (path,) = write_masks(tmp_path / "Annotations", "video", "7", ("frame.10.jpg",), ids, palette=True)
    assert path == tmp_path / "Annotations" / "video" / "7" / "frame.10.png"
    assert np.array_equal(read_labels(path), ids[0])
    with Image.open(path) as picture:
        assert picture.mode == "P" and picture.getpalette()[:9] == [0, 0, 0, 128, 0, 0, 0, 128, 0]


@pytest.mark.parametrize("name", ["", "..", "a/b", "a\\b"])
def test_names_stay_in_their_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="name of a mask file"):
        write_masks(tmp_path, "video", name, ("0",), np.zeros((1, 4, 4), dtype=bool))
    assert not any(tmp_path.iterdir())
