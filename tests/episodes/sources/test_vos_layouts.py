"""Mask-guided video data: which objects enter where, and what is broken."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from episodes.catalogue import names
from episodes.episode import ClipSpec
from episodes.sources.tasks import open_task_source
from episodes.sources.video_files import in_time
from episodes.sources.vos_layouts import VOSSource
from episodes.task_items import VOSItem
from tests.episodes.tree import TinyVideo
from tests.episodes.videos import FRAMES, LATE, write_davis, write_videos
from tests.shared import require_shared


def keep_masks(base: Path, video: str, frames: list[str]) -> None:
    for path in (base / "Annotations" / video).glob("*.png"):
        if path.stem not in frames:
            path.unlink()


@pytest.fixture
def davis(tmp_path) -> Path:
    return write_davis(tmp_path / "DAVIS")


@pytest.fixture
def youtube(tmp_path) -> Path:
    """`valid` as the server gives it: masks where an object enters; object 1 is drawn again when object 2 enters."""
    write_videos(tmp_path / "valid", {"v": LATE})
    keep_masks(tmp_path / "valid", "v", ["00000", "00010"])
    meta = {"v": {"objects": {"1": {"category": "dog", "frames": FRAMES}, "2": {"frames": FRAMES[2:]}}}}
    (tmp_path / "valid" / "meta.json").write_text(json.dumps({"videos": meta}))
    return tmp_path


def given_of(root: Path, benchmark: str) -> dict:
    (item,) = open_task_source(benchmark, root).items()
    return dict(item.given)


@pytest.mark.parametrize("outer", [False, True])
def test_davis_gives_the_objects_of_the_first_mask(davis, outer) -> None:
    source = open_task_source("davis17", davis.parent if outer else davis)
    assert list(source.items()) == [
        VOSItem("a", tuple(FRAMES), {"00000": (1,)}),
        VOSItem("b", tuple(FRAMES), {"00000": (1, 2)}),
    ]
    assert source.videos() == ("a", "b") and source.videos(2) == () and source.problems() == []
    assert [(e.id, e.text, e.object_id) for e in source.expressions("b")] == [("1", "", 1), ("2", "", 2)]
    clip = source.read(ClipSpec("b", 2, ("00000", "00015")))
    assert clip.masks.flatten(1).sum(1).tolist() == [12, 12] and clip.expression is None


def test_davis_2016_is_one_object_and_its_255_is_it(davis) -> None:
    path = davis / "Annotations/480p/b/00005.png"
    Image.fromarray(255 * (np.asarray(Image.open(path)) > 0).astype(np.uint8)).save(path)
    source = open_task_source("davis16", davis)
    (item,) = source.items()
    assert item.given == {"00000": (1,)} and item.objects == (1,)
    assert source.read_given(item, "00000")[1].sum() == 24
    assert source.read_masks("b", ("00005",), 1).sum() == 24 and source.visible("b", "00005", 1)


def test_davis_2016_lists_of_files(davis) -> None:
    (davis / "ImageSets/2016/val.txt").unlink()
    (davis / "ImageSets/480p").mkdir()
    pair = "/JPEGImages/480p/a/{0}.jpg /Annotations/480p/a/{0}.png\n"
    (davis / "ImageSets/480p/val.txt").write_text("".join(pair.format(frame) for frame in FRAMES))
    assert open_task_source("davis16", davis).names() == ("a",)


def test_void_is_no_object(davis) -> None:
    path = davis / "Annotations/480p/a/00000.png"
    mask = np.asarray(Image.open(path)).copy()
    mask[0] = 255
    Image.fromarray(mask).save(path)
    source = open_task_source("davis17", davis)
    item = source.item("a")
    assert item.objects == (1,) and source.read_given(item, "00000")[1].sum() == 12


def test_resolution_of_davis(davis) -> None:
    with pytest.raises(FileNotFoundError, match="JPEGImages/Full-Resolution"):
        open_task_source("davis17", davis, resolution="Full-Resolution")
    with pytest.raises(ValueError, match="unknown resolution '1080p' of DAVIS; there are: 480p, Full-Resolution"):
        open_task_source("davis17", davis, resolution="1080p")


def test_youtube_vos_gives_each_object_once(youtube) -> None:
    source = open_task_source("youtube_vos", youtube)
    item = source.item("v")
    assert item == VOSItem("v", tuple(FRAMES), {"00000": (1,), "00010": (2,)}) and item.objects == (1, 2)
    assert source.frames("v") == ("00000", "00010") and source.all_frames("v") == tuple(FRAMES)
    assert {k: m.sum().item() for k, m in source.read_given(item, "00010").items()} == {2: 12}
    assert source.read_given(item, "00005") == {}
    assert source.problems() == []


def test_youtube_vos_without_its_list(youtube) -> None:
    (youtube / "valid" / "meta.json").unlink()
    assert given_of(youtube, "youtube_vos") == {"00000": (1,), "00010": (2,)}


@pytest.mark.parametrize("benchmark", ["lvos", "mose"])
def test_lvos_and_mose(youtube, benchmark) -> None:
    assert given_of(youtube, benchmark) == {"00000": (1,), "00010": (2,)}


@pytest.mark.parametrize("names", [("images", "masks"), ("JPEGImages", "Annotations")])
def test_own_folders(tmp_path, names) -> None:
    write_videos(tmp_path, {"mine": LATE}, *names)
    assert given_of(tmp_path, "vos_folder") == {"00000": (1,), "00010": (2,)}


def test_a_video_of_one_frame(tmp_path) -> None:
    write_videos(tmp_path, {"v": TinyVideo({1: "dog"}, [], frames=1)})
    source = open_task_source("vos_folder", tmp_path)
    assert list(source.items()) == [VOSItem("v", ("00000",), {"00000": (1,)})] and source.problems() == []


def test_objects_of_the_list_and_of_the_masks_must_agree(youtube) -> None:
    meta = {"v": {"objects": {"1": {}, "7": {}}}}
    (youtube / "valid" / "meta.json").write_text(json.dumps({"videos": meta}))
    source = open_task_source("youtube_vos", youtube)
    assert source.item("v").objects == (1,)
    assert source.problems() == ["video 'v' of youtube_vos: object 7 of meta.json is in no mask: restore it"]
    meta["v"]["objects"] = {"2": {}}
    (youtube / "valid" / "meta.json").write_text(json.dumps({"videos": meta}))
    assert open_task_source("youtube_vos", youtube).problems() == [
        "video 'v' of youtube_vos: object 1 of a mask is not in meta.json: it is left out"
    ]


def test_frames_are_in_time_order_and_of_any_image_kind(tmp_path) -> None:
    write_videos(tmp_path, {"v": LATE})
    images, masks = tmp_path / "JPEGImages/v", tmp_path / "Annotations/v"
    for old, new in zip(FRAMES, ("f2", "f9", "f10", "f100"), strict=True):
        (images / f"{old}.jpg").rename(images / f"{new}.JPG")
        (masks / f"{old}.png").rename(masks / f"{new}.png")
    source = open_task_source("vos_folder", tmp_path)
    assert source.item("v") == VOSItem("v", ("f2", "f9", "f10", "f100"), {"f2": (1,), "f10": (2,)})
    assert source.read_frames("v", ("f10",))[0, 1].float().mean() == pytest.approx(40, abs=2), "the third frame"
    assert sorted(["b1", "a10", "a9", "a", "10", "9"], key=in_time) == ["9", "10", "a", "a9", "a10", "b1"]


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("JPEGImages/v/00010.jpg", r"Annotations/v/00010.png has no frame in .*JPEGImages/v: restore the frame"),
        ("JPEGImages/v", r"folder .*JPEGImages/v is missing: restore it"),
        ("Annotations/v", r"folder .*Annotations/v is missing: restore it"),
    ],
)
def test_missing_files_are_named(youtube, file, message) -> None:
    (youtube / "valid" / file).rename(youtube / "away")
    source = open_task_source("youtube_vos", youtube)
    (problem,) = source.problems()
    assert re.search(message, problem)
    with pytest.raises((FileNotFoundError, ValueError), match=message):
        list(source.items())


def test_a_video_without_an_object_is_named(youtube) -> None:
    for frame in ("00000", "00010"):
        Image.new("L", (16, 12)).save(youtube / f"valid/Annotations/v/{frame}.png")
    source = open_task_source("lvos", youtube)
    with pytest.raises(ValueError, match="Annotations/v shows an object: a video needs one to start from"):
        list(source.items())
    assert any("shows an object" in p for p in source.problems())


def test_a_given_mask_of_another_size_is_refused(youtube) -> None:
    Image.fromarray(np.full((12, 15), 2, np.uint8)).save(youtube / "valid/Annotations/v/00010.png")
    source = open_task_source("youtube_vos", youtube)
    message = "00010.png is 12x15, but its frame .*00010.jpg is 12x16"
    with pytest.raises(ValueError, match=message):
        source.read_given(source.item("v"), "00010")
    assert re.search(message, source.problems()[0])


def test_broken_lists_are_named(youtube, davis) -> None:
    (youtube / "valid" / "meta.json").write_text('{"videos": {"v": {}}}')
    with pytest.raises(ValueError, match="meta.json: a video has no table 'objects' of ids"):
        open_task_source("youtube_vos", youtube)
    (davis / "ImageSets/2017/val.txt").unlink()
    with pytest.raises(FileNotFoundError, match="2017/val.txt is missing: it lists the videos of split 'val'"):
        open_task_source("davis17", davis)


def test_names_splits_and_roots_are_checked(tmp_path) -> None:
    with pytest.raises(ValueError, match="unknown benchmark 'davis'; there are: davis16, davis17, youtube_vos"):
        open_task_source("davis", tmp_path)
    with pytest.raises(ValueError, match="unknown split 'val' of mose; there are: valid, train, test"):
        open_task_source("mose", tmp_path, "val")
    with pytest.raises(ValueError, match="mose needs data.root"):
        open_task_source("mose", None)
    for benchmark in names("vos", "rvos", "ris", "rfs"):
        with pytest.raises(
            FileNotFoundError, match="nowhere is not a folder|nowhere must hold|nowhere.*is missing|no MeViS under"
        ):
            open_task_source(benchmark, tmp_path / "nowhere")
        with pytest.raises(FileNotFoundError, match=re.escape(str(tmp_path))):
            open_task_source(benchmark, tmp_path)


def test_unknown_video(youtube) -> None:
    with pytest.raises(KeyError, match="has no video 'other'"):
        open_task_source("youtube_vos", youtube).frames("other")


def test_fingerprint_follows_the_content(youtube, tmp_path) -> None:
    source = open_task_source("youtube_vos", youtube)
    first = source.fingerprint()
    assert open_task_source("youtube_vos", youtube).fingerprint() == first
    (youtube / "valid/JPEGImages/v/00015.jpg").unlink()
    assert open_task_source("youtube_vos", youtube).fingerprint() != first


def test_real_davis17_frames_with_void_and_several_objects() -> None:
    source = open_task_source("davis17", require_shared("data", "davis17-tiny"))
    assert isinstance(source, VOSSource) and source.problems() == []
    assert {item.video: item.objects for item in source.items()} == {"bear": (1,), "blackswan": (1,), "tennis": (1, 2)}


def test_real_objects_enter_late() -> None:
    source = open_task_source("vos_folder", require_shared("data", "cutie-demo"))
    judo = source.item("judo")
    assert judo.given == {"00000": (1,), "00005": (2,), "00008": (3,), "00013": (4,)} and len(judo.frames) == 16
    (problem,) = source.problems()
    assert "masks/judo/00005.png is 480x853, but its frame" in problem
