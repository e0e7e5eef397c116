"""Mask-guided and referring video data: what is given, what is asked, and what is broken."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from episodes.episode import ClipSpec
from episodes.sources.ref_video import RefVideoSource
from episodes.sources.tasks import TASKS, open_task_source
from episodes.sources.video_files import in_time
from episodes.sources.vos_layouts import VOSSource
from episodes.task_items import RVOSItem, VOSItem
from tests.episodes.tree import TinyVideo, write_frames
from tests.shared import require_shared

FRAMES = ["00000", "00005", "00010", "00015"]
LATE = TinyVideo({1: "dog", 2: "cat"}, [], hidden={(0, 2), (1, 2)})  # object 2 enters at the third frame


def write_videos(base: Path, videos: dict[str, TinyVideo], images="JPEGImages", masks="Annotations") -> None:
    for name, video in videos.items():
        write_frames(base / images / name, base / masks / name, FRAMES[: video.frames], video)


def keep_masks(base: Path, video: str, frames: list[str]) -> None:
    for path in (base / "Annotations" / video).glob("*.png"):
        if path.stem not in frames:
            path.unlink()


@pytest.fixture
def davis(tmp_path) -> Path:
    base = tmp_path / "DAVIS"
    videos = {"b": TinyVideo({1: "dog", 2: "cat"}, []), "a": LATE, "unlisted": LATE}
    write_videos(base, videos, "JPEGImages/480p", "Annotations/480p")
    for year, names in ((2017, "b\na\n"), (2016, "b\n")):
        (base / f"ImageSets/{year}").mkdir(parents=True)
        (base / f"ImageSets/{year}/val.txt").write_text(names)
    return base


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
    for benchmark in TASKS:
        with pytest.raises(FileNotFoundError, match="nowhere is not a folder|nowhere must hold|nowhere.*is missing"):
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


def refer(base: Path, split: str, videos: dict[str, dict], frames: list[str] = FRAMES) -> None:
    path = base / "meta_expressions" / split / "meta_expressions.json"
    path.parent.mkdir(parents=True)
    rows = {name: {"frames": frames, "expressions": said} for name, said in videos.items()}
    path.write_text(json.dumps({"videos": rows}))


def said(*rows: tuple[str, int | None]) -> dict:
    return {str(k): {"exp": t} | ({} if o is None else {"obj_id": str(o)}) for k, (t, o) in enumerate(rows)}


def test_ref_youtube_vos_train_has_objects_and_valid_has_none(tmp_path) -> None:
    write_videos(tmp_path / "train", {"v": LATE})
    refer(tmp_path, "train", {"v": said(("The  dog", 1), ("a cat", 2))})
    refer(tmp_path, "valid", {"w": said(("a bird", None)), "t": said(("a fish", None))})
    refer(tmp_path, "test", {"t": said(("a fish", None))})
    train = open_task_source("ref_youtube_vos", tmp_path, "train")
    assert train.problems() == []
    assert [(e.id, e.text, e.object_id) for e in train.expressions("v")] == [("0", "The  dog", 1), ("1", "a cat", 2)]
    clip = train.read(ClipSpec("v", 2, ("00005", "00010"), "A  cat", "1"))
    assert clip.valid.tolist() == [False, True] and clip.expression == "a cat"
    valid = open_task_source("ref_youtube_vos", tmp_path)
    assert list(valid.items()) == [RVOSItem("w", tuple(FRAMES), "0", "a bird")], "videos of the test list are left out"
    assert valid.expressions("w") == ()
    with pytest.raises(FileNotFoundError, match="valid/JPEGImages/w/00000.jpg is missing"):
        valid.read_frames("w", FRAMES)
    assert valid.problems() == [
        f"folder {tmp_path}/valid/JPEGImages is missing: it must hold the frames of 1 videos; restore it"
    ]


def test_ref_youtube_vos_says_when_the_test_list_is_missing(tmp_path, caplog) -> None:
    refer(tmp_path / "ref-youtube-vos", "valid", {"w": said(("a bird", None))})
    source = open_task_source("ref_youtube_vos", tmp_path)
    assert source.names() == ("w",)
    assert "all 1 videos of split valid are used" in source.problems()[0] and "all 1 videos" in caplog.text


@pytest.fixture
def ref_davis(tmp_path) -> Path:
    """Two objects, four annotators each."""
    write_videos(tmp_path / "valid", {"v": TinyVideo({1: "dog", 2: "cat"}, [])})
    refer(tmp_path, "valid", {"v": said(*((f"object {k // 4 + 1} by {k % 4}", k // 4 + 1) for k in range(8)))})
    meta = {"v": {"objects": {"1": {"category": "dog"}, "2": {"category": "cat"}}}}
    (tmp_path / "valid" / "meta.json").write_text(json.dumps({"videos": meta}))
    return tmp_path


def change(root: Path, edit) -> RefVideoSource:
    path = root / "meta_expressions/valid/meta_expressions.json"
    content = json.loads(path.read_text())
    edit(content["videos"])
    path.write_text(json.dumps(content))
    return open_task_source("ref_davis17", root)


def test_ref_davis_has_four_annotators(ref_davis) -> None:
    source = open_task_source("ref_davis17", ref_davis)
    items = list(source.items())
    assert [(i.object_id, i.annotator) for i in items] == [(o, a) for o in (1, 2) for a in range(4)]
    assert all(i.text == f"object {i.object_id} by {i.annotator}" for i in items)
    assert source.problems() == []


def test_ref_davis_objects_follow_from_the_number(ref_davis) -> None:
    source = change(ref_davis, lambda videos: [row.pop("obj_id") for row in videos["v"]["expressions"].values()])
    assert [i.object_id for i in source.items()] == [1] * 4 + [2] * 4


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda videos: videos["v"].update(frames=[]), "'v' lists no frames"),
        (lambda videos: videos["v"].pop("frames"), "'v': its entry in .* malformed"),
        (lambda videos: videos["v"].update(expressions={}), "'v' has no expression"),
        (lambda videos: videos["v"]["expressions"]["5"].update(exp=" "), "expression '5' is empty: write the words"),
        (lambda videos: videos["v"]["expressions"]["5"].update(obj_id=1), "'5' refers to object 1, but by its number"),
        (
            lambda videos: videos["v"]["expressions"].update({"8": {"exp": "x", "obj_id": 3}}),
            r"expression '8' refers to object 3, which meta.json does not have \(objects there: 1, 2\)",
        ),
    ],
)
def test_broken_entries_are_named_and_not_skipped(ref_davis, edit, message) -> None:
    source = change(ref_davis, edit)
    assert any(re.search(message, problem) for problem in source.problems())
    with pytest.raises(ValueError, match=message):
        list(source.items())
    with pytest.raises(ValueError, match=message):
        source.expressions("v")


def test_an_annotator_without_words_is_named(ref_davis) -> None:
    source = change(ref_davis, lambda videos: videos["v"]["expressions"].pop("6"))
    assert source.problems() == [
        "video 'v': annotator 2 has no expression for object 2: it stays empty in that run",
    ]
    assert len(list(source.items())) == 7


def test_missing_frames_and_masks_are_named(ref_davis) -> None:
    (ref_davis / "valid/JPEGImages/v/00005.jpg").unlink()
    (ref_davis / "valid/Annotations/v/00010.png").unlink()
    frame, mask = open_task_source("ref_davis17", ref_davis).problems()
    assert "frame 00005.jpg missing in" in frame and "mask 00010.png missing in" in mask


def test_a_link_unpacked_as_text_is_followed(ref_davis) -> None:
    (ref_davis / "valid/JPEGImages").rename(ref_davis / "frames")
    (ref_davis / "valid/JPEGImages").write_text("../frames")
    assert open_task_source("ref_davis17", ref_davis).problems() == []


def text_files(folder: Path, lines: dict[str, str], encoding: str = "utf-8") -> None:
    folder.mkdir()
    for name, content in lines.items():
        (folder / f"Davis17_{name}.txt").write_bytes(content.encode(encoding))


TEXTS = {
    "annot1": 'b 1 "a dog"\nb 2 "a cat"\na 1 "x"\n',
    "annot1_full_video": 'b 2 "a cat that runs"\nb 1 "the dog"\na 1 "x"\n\n',
    "annot2": 'b 1 "caf\xe9 dog"\nb 2 "cat"\na 1 "x"\nelsewhere 1 "not in this split"\n',
    "annot2_full_video": 'b 1 "the "big" dog"\nb 2 "z"\na 1 "x"\n',
}


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_original_text_files(davis, encoding) -> None:
    text_files(davis.parent / "davis_text_annotations", TEXTS, encoding)
    source = open_task_source("ref_davis17", davis.parent)
    assert source.names() == ("a", "b") and source.problems() == []
    rows = {i.expression_id: (i.text, i.object_id, i.annotator) for i in source.items() if i.video == "b"}
    assert list(rows) == [str(k) for k in range(8)]
    assert rows["1"] == ("the dog", 1, 1) and rows["2"] == ("caf\xe9 dog", 1, 2) and rows["3"][0] == 'the "big" dog'
    assert rows["5"] == ("a cat that runs", 2, 1)
    assert source.read(ClipSpec("b", 2, ("00000",), "a cat")).masks.sum() == 12


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("annot2", 'b one "a dog"\n', "annot2.txt, line 1: expected `video object"),
        ("annot2", 'b 1 "a dog"\nb 1 "the dog"\n', "annot2.txt: object 1 of b occurs twice"),
        ("annot1_full_video", None, "annot1_full_video.txt is missing: Ref-DAVIS17 has the expressions of four"),
    ],
)
def test_broken_text_files(davis, name, content, message) -> None:
    text_files(davis / "davis_text_annotations", {k: v for k, v in (TEXTS | {name: content}).items() if v is not None})
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        open_task_source("ref_davis17", davis)


def test_real_davis() -> None:
    root = require_shared("data", "davis-240p")
    videos = open_task_source("davis17", root)
    said = open_task_source("ref_davis17", root)
    assert len(open_task_source("davis16", root).names()) == 10 and videos.names() == said.names()
    assert videos.problems() == [] and said.problems() == []
    items = list(said.items())
    assert len(items) == 36 and {i.annotator for i in items} == {0, 1, 2, 3}
    assert all(videos.all_frames(i.video) == i.frames for i in items)
    frames = said.frames("blackswan")[:2]
    assert torch.equal(said.read_frames("blackswan", frames), videos.read_frames("blackswan", frames))
    assert torch.equal(said.read_masks("blackswan", frames, 1), videos.read_masks("blackswan", frames, 1))


def test_both_layouts_of_the_real_ref_davis_agree(tmp_path) -> None:
    texts, davis = require_shared("data", "text", "ref-davis17"), require_shared("data", "davis-240p")
    (tmp_path / "davis_text_annotations").symlink_to(texts / "davis_text_annotations")
    (tmp_path / "DAVIS").symlink_to(davis / "DAVIS")
    original = open_task_source("ref_davis17", tmp_path)
    assert list(original.items()) == list(open_task_source("ref_davis17", davis).items())
    whole = list(open_task_source("ref_davis17", texts).items())
    assert (
        len(whole) == 244 and len({i.video for i in whole}) == 30 and len({(i.video, i.object_id) for i in whole}) == 61
    )


def test_real_ref_youtube_vos_lists(tmp_path) -> None:
    lists = require_shared("data", "text", "ref-youtube-vos")
    official = {row[0] for row in json.loads((lists / "soc" / "valid_samples_metadata.json").read_text())}
    whole = open_task_source("ref_youtube_vos", lists)
    assert len(whole.names()) == 507 and "507 videos" in whole.problems()[0]
    (tmp_path / "meta_expressions").mkdir()
    (tmp_path / "meta_expressions/valid").symlink_to(lists / "meta_expressions/valid")
    refer(tmp_path, "test", {name: {} for name in set(whole.names()) - official})
    valid = open_task_source("ref_youtube_vos", tmp_path)
    assert len(valid.names()) == 202 and set(valid.names()) == official
    assert len(list(valid.items())) == 834, "the expressions of the samples that others test on"


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
