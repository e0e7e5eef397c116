"""Label maps as PNG files, whole and broken."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.masks.png import LabelFiles, read_labels, write_labels, write_mask

LABELS = (np.arange(256 * 3) % 256).astype(np.uint8).reshape(16, 48)


def test_every_id_survives(tmp_path: Path) -> None:
    write_labels(tmp_path / "deep" / "a.png", LABELS)
    assert np.array_equal(read_labels(tmp_path / "deep" / "a.png"), LABELS)


def test_masks_are_0_and_255_and_single_bits_are_0_and_1(tmp_path: Path) -> None:
    mask = LABELS > 100
    write_mask(tmp_path / "a.png", mask)
    assert np.array_equal(read_labels(tmp_path / "a.png"), np.where(mask, 255, 0))
    Image.fromarray(mask).save(tmp_path / "b.png")
    assert np.array_equal(read_labels(tmp_path / "b.png"), mask.astype(np.uint8))


def test_missing_broken_truncated_and_coloured_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a\.png is missing"):
        read_labels(tmp_path / "a.png")
    write_labels(tmp_path / "cut.png", LABELS)
    content = (tmp_path / "cut.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(content[: len(content) - 60])
    (tmp_path / "text.png").write_text("not an image")
    for name in ("cut", "text"):
        with pytest.raises(ValueError, match=rf"{name}\.png cannot be read"):
            read_labels(tmp_path / f"{name}.png")
    Image.new("RGB", (4, 4)).save(tmp_path / "colour.png")
    with pytest.raises(ValueError, match=r"colour\.png is a RGB image"):
        read_labels(tmp_path / "colour.png")


def test_sequences_have_one_size(tmp_path: Path) -> None:
    write_labels(tmp_path / "0.png", LABELS)
    write_labels(tmp_path / "1.png", LABELS)
    maps = LabelFiles(tmp_path, ["0", "1"])
    assert len(maps) == 2 and all(np.array_equal(labels, LABELS) for labels in maps)
    assert set(np.unique(LabelFiles(tmp_path, ["0"], binary=True)[0])) == {0, 1} and list(maps[1:].names) == ["1"]
    write_labels(tmp_path / "1.png", LABELS[:8])
    with pytest.raises(ValueError, match=r"1\.png has the size \(8, 48\), but 0.png has \(16, 48\)"):
        list(LabelFiles(tmp_path, ["0", "1"]))


def test_a_mask_is_a_plane(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\(H, W\)"):
        write_mask(tmp_path / "a.png", LABELS[None])
