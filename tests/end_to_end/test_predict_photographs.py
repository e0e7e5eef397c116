"""Several photographs in one call: each as it is, one forward pass each, and the broken ones told of."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import fewshot
from benchmarks.masks.png import read_labels
from tests.fewshot.inference.squares import BOTH

pytestmark = pytest.mark.end_to_end
SUPPORT = "support=red.jpg:red.png"


@pytest.fixture
def photos(here: Path) -> Path:
    """Three photographs of three sizes."""
    folder = here / "photos"
    folder.mkdir()
    for name, image in {"p2": BOTH, "p10": BOTH[:, :64], "p1": BOTH.repeat(2, 0).repeat(2, 1)}.items():
        Image.fromarray(image).save(folder / f"{name}.png")
    (folder / "notes.txt").write_text("no picture")
    return folder


@pytest.mark.parametrize("source", ["photos", "photos/*.png", "photos/*"])
def test_a_folder_or_a_pattern_is_photographs_of_any_sizes(call, photos: Path, weights: Path, source: str) -> None:
    code, out, err = call(f"input={source}", SUPPORT, "out=found")
    assert code == 0, err
    said = json.loads(Path("found/results.json").read_text())
    assert [(f["frame"], f["size"]) for f in said["frames"]] == [
        ("p1", [128, 192]),
        ("p2", [64, 96]),
        ("p10", [64, 64]),
    ]
    assert said["preview"] == "preview.png" and said["unreadable"] == []
    find = fewshot.load(weights / "prototype").segmenter([("red.jpg", "red.png")])
    for name in ("p1", "p2", "p10"):
        expected = find.segment(photos / f"{name}.png").masks[0, 0]
        assert torch.equal(torch.from_numpy(read_labels(f"found/masks/{name}.png") > 0), expected)
        assert Image.open(f"found/overlays/{name}.jpg").size == expected.shape[::-1]


def test_the_frames_of_a_video_are_told_by_a_key(call, photos: Path) -> None:
    code, _, err = call("input=frames", "video=true", SUPPORT, "out=film")
    assert code == 0 and Path("film/preview.gif").is_file(), err
    code, _, err = call("input=photos", "video=true", SUPPORT, "out=found")
    assert code == 1 and "all frames of a video have one size" in err and not Path("found").exists()
    code, _, err = call("input=photo.jpg", "video=true", SUPPORT, "out=found")
    assert code == 1 and "video=true, and input=photo.jpg is one image" in err
    code, _, err = call("input=frames/frame_*.png", "video=true", SUPPORT, "out=again")
    assert code == 0 and Path("again/preview.gif").read_bytes() == Path("film/preview.gif").read_bytes()


def test_broken_photographs_are_told_and_the_others_segmented(call, photos: Path) -> None:
    whole = (photos / "p2.png").read_bytes()
    (photos / "p2.png").write_bytes(whole[: len(whole) // 2])
    code, out, err = call("input=photos", SUPPORT, "out=found")
    assert code == 1 and "found in" in out
    assert (
        err.strip().splitlines()[-1].startswith("error: 1 of 3 photographs: photos/p2.png cannot be read as an image")
    )
    assert sorted(p.name for p in Path("found/masks").iterdir()) == ["p1.png", "p10.png"]
    said = json.loads(Path("found/results.json").read_text())
    assert len(said["unreadable"]) == 1 and len(said["frames"]) == 2
    for k in range(5):
        (photos / f"broken{k}.png").write_bytes(b"no picture")
    code, _, err = call("input=photos", SUPPORT, "out=more")
    assert "error: 6 of 8 photographs" in err and "broken2.png" in err and "broken3.png" not in err
    assert "all of them are in more/results.json" in err
    assert len(json.loads(Path("more/results.json").read_text())["unreadable"]) == 6
    for path in photos.glob("*.png"):
        path.write_bytes(b"no picture")
    code, _, err = call("input=photos", SUPPORT, "out=none")
    assert code == 1 and "none of the photographs can be read" in err and not Path("none").exists()


def test_patterns_without_pictures_and_names_that_come_twice_are_refused(call, photos: Path) -> None:
    for source, said in (
        ("photos/*.txt", "but 1 other files"),
        ("nothing/*", "but nothing"),
        ("nothing", "no file"),
    ):
        code, _, err = call(f"input={source}", SUPPORT, "out=found")
        assert code == 1 and said in err and len(err.strip().splitlines()) == 1
    (photos / "more").mkdir()
    Image.fromarray(BOTH).save(photos / "more" / "p1.png")
    code, _, err = call("input=photos/**/*.png", SUPPORT, "out=found")
    assert code == 1 and "holds photos/more/p1.png and photos/p1.png: which of them" in err


def test_a_name_that_looks_like_a_pattern_is_one_file(call, here: Path) -> None:
    Image.fromarray(BOTH).save("photo[1].png")
    code, _, err = call("input=photo[1].png", SUPPORT, "out=found")
    assert code == 0 and Path("found/masks/photo[1].png").is_file(), err


def test_many_photographs_are_shown_in_part(call, here: Path) -> None:
    (here / "many").mkdir()
    for k in range(30):
        Image.fromarray(np.full((16, 24, 3), 8 * k, np.uint8)).save(here / "many" / f"{k}.png")
    code, _, err = call("input=many", SUPPORT, "out=found")
    assert code == 0, err
    with Image.open("found/preview.png") as page:
        assert 8 * 256 < page.height < 14 * 310  # between 8 and 13 rows
