"""Mask files: names, values and size; the layouts of the servers, what is missing in them, and the zip."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.masks.png import read_labels
from benchmarks.masks.submission import (
    RESULT_LAYOUTS,
    answered_frames,
    check_submission,
    result_folder,
    write_masks,
    write_results,
    zip_folder,
)
from episodes.catalogue import names
from episodes.task_items import RVOSItem, VOSItem


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


FRAMES = ("00000", "00005", "00010")
VOS = VOSItem("v", FRAMES, {"00005": (1, 4)})
SAID = RVOSItem("v", FRAMES, "7", "a dog", 1, annotator=2)
IDS = np.array([[[0, 1], [4, 4]]], np.uint8).repeat(3, 0)


@pytest.mark.parametrize(
    ("benchmark", "item", "where"),
    [
        ("davis16", VOS, "v/00005.png"),
        ("davis17", VOS, "v/00005.png"),
        ("lvos", VOS, "Annotations/v/00005.png"),
        ("mose", VOS, "v/00005.png"),
        ("youtube_vos", VOS, "Annotations/v/00005.png"),
        ("ref_davis17", SAID, "anno_2/v/00005.png"),
        ("ref_youtube_vos", SAID, "Annotations/v/7/00005.png"),
    ],
)
def test_layouts_of_the_servers(tmp_path: Path, benchmark: str, item: VOSItem | RVOSItem, where: str) -> None:
    grey = benchmark == "ref_youtube_vos"
    paths = write_results(benchmark, tmp_path, item, FRAMES, IDS == 4 if grey else IDS)
    assert paths[1] == tmp_path / where
    with Image.open(paths[1]) as picture:
        assert picture.mode == ("L" if grey else "P")
    assert read_labels(paths[1]).tolist() == ([[0, 0], [255, 255]] if grey else IDS[0].tolist())


def test_every_video_benchmark_has_a_layout() -> None:
    assert RESULT_LAYOUTS.keys() == set(names("vos", "rvos", "pvos"))


def test_results_that_do_not_fit_their_item_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no result layout for 'davis'; there are: davis16, davis17"):
        result_folder("davis", tmp_path, VOS)
    with pytest.raises(ValueError, match="results of ref_davis17 go to .*, but the item of 'v' has no annotator"):
        result_folder("ref_davis17", tmp_path, VOS)
    with pytest.raises(ValueError, match="cannot be the name"):
        result_folder("davis17", tmp_path, VOSItem("..", FRAMES, {}))
    with pytest.raises(ValueError, match="video 'v' has no frame 00001"):
        write_results("davis17", tmp_path, VOS, ("00001",), IDS[:1])
    with pytest.raises(ValueError, match="'v': 3 frame names for 2 masks"):
        write_results("davis17", tmp_path, VOS, FRAMES, IDS[:2])
    assert not any(tmp_path.iterdir())


def test_frames_before_the_first_mask_need_no_result(tmp_path: Path) -> None:
    assert answered_frames(VOS) == FRAMES[1:] and answered_frames(SAID) == FRAMES
    write_results("mose", tmp_path, VOS, FRAMES[1:], IDS[1:])
    assert check_submission("mose", tmp_path, [VOS], read=True) == []


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    items = [VOS, VOSItem("w", FRAMES, {"00000": (1,)}), VOSItem("x", FRAMES, {"00000": (1,)})]
    write_results("youtube_vos", tmp_path, items[0], FRAMES[:2], IDS[:2])
    write_results("youtube_vos", tmp_path, items[1], FRAMES, IDS > 1)
    assert check_submission("youtube_vos", tmp_path, items) == [
        f"{tmp_path}/Annotations/v has no 00010.png: every frame needs a result",
        f"folder {tmp_path}/Annotations/x is missing: it must hold 3 frames",
    ]
    assert check_submission("youtube_vos", tmp_path / "none", items) == [
        f"folder {tmp_path}/none is missing: write the results first"
    ]


def test_what_belongs_to_no_item_is_named(tmp_path: Path) -> None:
    for video in ("v", "other"):
        write_results("davis17", tmp_path, VOSItem(video, FRAMES, {}), FRAMES, IDS)
    (tmp_path / "notes.txt").touch()
    (problem,) = check_submission("davis17", tmp_path, [VOS])
    assert problem == (
        f"{tmp_path} holds files of no item: notes.txt, other/00000.png, other/00005.png and 1 more: remove them"
    )


def test_reading_finds_strange_values_sizes_and_broken_files(tmp_path: Path) -> None:
    item = VOSItem("v", FRAMES, {"00000": (1, 2)})
    paths = write_results("davis17", tmp_path, item, FRAMES, IDS)
    paths[1].write_bytes(b"no picture")
    Image.fromarray(np.zeros((3, 2), np.uint8)).save(paths[2])
    assert check_submission("davis17", tmp_path, [item]) == []
    values, broken, sizes = check_submission("davis17", tmp_path, [item], read=True)
    assert values == f"{paths[0]} holds the values 4, but only 0, 1, 2 are expected"
    assert "cannot be read as a PNG" in broken
    assert "masks of several sizes (00000.png is 2x2, 00010.png is 3x2)" in sizes


def test_expressions_of_an_annotator_share_a_folder(tmp_path: Path) -> None:
    items = [RVOSItem("v", FRAMES, str(4 * k + 2), "words", k + 1, annotator=2) for k in range(2)]
    write_results("ref_davis17", tmp_path, items[0], FRAMES, IDS.clip(max=2))
    assert check_submission("ref_davis17", tmp_path, items, read=True) == []
    write_results("ref_davis17", tmp_path, items[0], FRAMES, IDS)
    assert len(check_submission("ref_davis17", tmp_path, items, read=True)) == 3


def test_the_same_files_make_the_same_zip(tmp_path: Path) -> None:
    for n, frames in enumerate((FRAMES, FRAMES[::-1])):
        for frame in frames:
            write_results("youtube_vos", tmp_path / f"run{n}", VOS, (frame,), IDS[:1])
    for path in (tmp_path / "run1").rglob("*.png"):
        os.utime(path, (1e9, 1e9))
        path.chmod(0o600)
    one, two = zip_folder(tmp_path / "run0"), zip_folder(tmp_path / "run1", tmp_path / "made" / "two.zip")
    assert one == tmp_path / "run0.zip" and two == tmp_path / "made" / "two.zip"
    assert one.read_bytes() == two.read_bytes() == zip_folder(tmp_path / "run0").read_bytes()
    with zipfile.ZipFile(one) as archive:
        assert archive.namelist() == [f"Annotations/v/{frame}.png" for frame in FRAMES] and archive.testzip() is None
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        archive.extractall(tmp_path / "out")
    assert check_submission("youtube_vos", tmp_path / "out", [VOS], read=True) == []


def test_a_zip_of_nothing_or_inside_itself_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="none holds no file: write the results first"):
        zip_folder(tmp_path / "none")
    write_results("mose", tmp_path / "run", VOS, FRAMES, IDS)
    with pytest.raises(ValueError, match="lies inside .*run, which it is made of"):
        zip_folder(tmp_path / "run", tmp_path / "run" / "v" / "all.zip")
