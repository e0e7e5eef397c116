"""Referring video data: who says what of which object, and what is broken."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

from episodes.episode import ClipSpec
from episodes.sources.ref_video import RefVideoSource
from episodes.sources.ref_youtube_vos_test import TEST_VIDEOS
from episodes.sources.tasks import open_task_source
from episodes.task_items import RVOSItem
from tests.episodes.tree import TinyVideo
from tests.episodes.videos import FRAMES, LATE, write_davis, write_videos
from tests.shared import require_shared


@pytest.fixture
def davis(tmp_path) -> Path:
    return write_davis(tmp_path / "DAVIS")


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


def test_test_videos_of_ref_youtube_vos_are_left_out_without_their_list(tmp_path) -> None:
    known = min(TEST_VIDEOS)
    refer(tmp_path / "ref-youtube-vos", "valid", {"w": said(("a bird", None)), known: said(("a fish", None))})
    source = open_task_source("ref_youtube_vos", tmp_path)
    assert source.names() == ("w",)
    refer(tmp_path / "ref-youtube-vos", "test", {"w": said(("a bird", None))})  # the list itself counts, where it is
    assert open_task_source("ref_youtube_vos", tmp_path).names() == (known,)


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


def test_ref_davis_objects_have_the_ids_that_the_list_gives_them(ref_davis) -> None:
    """The lists of ten objects and more go by the ids as text, 1, 10, 2, ..., and ids may be missing."""

    def renumber(videos: dict) -> None:
        for key, row in videos["v"]["expressions"].items():
            row["obj_id"] = ("1", "10")[int(key) // 4]

    (ref_davis / "valid" / "meta.json").unlink()  # which names objects 1 and 2
    source = change(ref_davis, renumber)
    assert [(i.object_id, i.annotator) for i in source.items()] == [(o, a) for o in (1, 10) for a in range(4)]
    twice = change(ref_davis, lambda videos: [row.update(obj_id=1) for row in videos["v"]["expressions"].values()])
    with pytest.raises(ValueError, match="object 1 has the expressions of two places of the list: .* of place 1"):
        list(twice.items())


def test_an_object_with_expressions_that_no_mask_shows_is_named(tmp_path) -> None:
    hidden = {(frame, 2) for frame in range(4)}
    write_videos(tmp_path / "valid", {"v": TinyVideo({1: "dog", 2: "cat"}, [], hidden=hidden), "w": LATE})
    both = said(*((f"object {k // 4 + 1} by {k % 4}", k // 4 + 1) for k in range(8)))
    refer(tmp_path, "valid", {"v": both, "w": both})
    (problem,) = open_task_source("ref_davis17", tmp_path).problems()
    assert problem.startswith("video 'v': object 2 has expressions, but no mask in") and "ids kept" in problem
    (tmp_path / "valid/Annotations/w/00000.png").write_bytes(b"no mask")
    assert "w/00000.png cannot be read" in open_task_source("ref_davis17", tmp_path).problems()[1]


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


def test_original_text_files_are_scored_against_the_unsupervised_masks(davis) -> None:
    text_files(davis / "davis_text_annotations", TEXTS)
    source = open_task_source("ref_davis17", davis)
    with pytest.raises(FileNotFoundError, match="Annotations_unsupervised/480p is missing: ref_davis17 is scored"):
        source.truth_folder("b")
    (davis / "Annotations_unsupervised/480p").mkdir(parents=True)
    assert source.truth_folder("b") == davis / "Annotations_unsupervised/480p"
    assert source.mask_path("b", "00000").parent == davis / "Annotations/480p/b", "object ids are those of Annotations"


def test_lists_as_json_are_scored_against_the_masks_beside_them(ref_davis) -> None:
    assert open_task_source("ref_davis17", ref_davis).truth_folder("v") == ref_davis / "valid/Annotations"


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


def test_real_ref_youtube_vos_lists() -> None:
    lists = require_shared("data", "text", "ref-youtube-vos")
    official = {row[0] for row in json.loads((lists / "soc" / "valid_samples_metadata.json").read_text())}
    whole = json.loads((lists / "meta_expressions/valid/meta_expressions.json").read_text())["videos"]
    assert len(whole) == 507 and set(whole) - official == TEST_VIDEOS
    valid = open_task_source("ref_youtube_vos", lists)
    assert len(valid.names()) == 202 and set(valid.names()) == official
    assert len(list(valid.items())) == 834, "the expressions of the samples that others test on"
