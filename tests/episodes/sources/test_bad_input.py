"""What is broken is refused with the file, video and object by name, and with what to do."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from episodes.catalogue import folds_of
from episodes.episode import ClipSpec
from episodes.sampling.videos import TrainEpisodes, test_episodes
from episodes.sources import MiniRefSource, open_source
from episodes.sources.files import read_image, read_labels
from tests.episodes.tree import INNER, TinyVideo, write_tree

YTVOS = folds_of("mini_ref_ytvos")
ALL = ClipSpec("plant1", 1, ("00000", "00005", "00010"), "it", "0")
IMAGE = INNER / "train" / "JPEGImages" / "plant1" / "00005.jpg"
MASK = INNER / "train" / "Annotations" / "plant1" / "00005.png"


@pytest.fixture
def root(tmp_path) -> Path:
    video = TinyVideo({1: "plant"}, [("it", 1)], frames=3)
    return write_tree(tmp_path / "set", {f"plant{n}": video for n in range(3)})


def source_of(root: Path) -> MiniRefSource:
    return MiniRefSource(root, YTVOS)


def edit(root: Path, change) -> None:
    """Apply `change(expressions of plant1, objects of plant1)` to the JSON files."""
    paths = [root / INNER / "meta_expressions/train/meta_expressions.json", root / INNER / "train/meta.json"]
    data = [json.loads(p.read_text()) for p in paths]
    change(*(d["videos"] for d in data))
    for path, content in zip(paths, data, strict=True):
        path.write_text(json.dumps(content))


def train_on(root: Path) -> TrainEpisodes:
    return TrainEpisodes(source_of(root), YTVOS, 1, "train", shots=1, seed=0, query_frames=3, support_frames=3)


def test_missing_folder(tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere is not a folder: give the folder"):
        source_of(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="no data set under .* expected .*mini-ref-youtube-vos"):
        source_of(tmp_path)
    with pytest.raises(ValueError, match="needs data.root"):
        open_source("mini_ref_ytvos")
    with pytest.raises(ValueError, match="unknown benchmark 'mini'; there are: synthetic, mini_ref_ytvos"):
        open_source("mini", tmp_path)


def test_missing_annotations_folder(root) -> None:
    (root / INNER / "train" / "Annotations").rename(root / "away")
    with pytest.raises(FileNotFoundError, match="must hold the folders JPEGImages"):
        source_of(root)


@pytest.mark.parametrize("content", ["", "[1, 2", "[]", '{"videos": []}', '{"other": {}}', "null"])
def test_broken_json(root, content) -> None:
    (root / INNER / "train" / "meta.json").write_text(content)
    with pytest.raises(ValueError, match=r"meta\.json.*'videos'"):
        source_of(root)


@pytest.mark.parametrize(("file", "what"), [(IMAGE, "frame"), (MASK, "mask")])
def test_missing_file(root, file, what) -> None:
    (root / file).unlink()
    with pytest.raises(FileNotFoundError, match=f"{what} .*{re.escape(str(file))} is missing: restore"):
        source_of(root).read(ALL)
    assert [p for p in source_of(root).problems() if f"{what} {file.name} missing in" in p]


def test_missing_video_folder(root) -> None:
    (root / IMAGE).parent.rename(root / "away")
    assert any("JPEGImages/plant1 is missing" in p for p in source_of(root).problems())
    with pytest.raises(ValueError, match="JPEGImages/plant1 is missing: restore it"):
        train_on(root)


@pytest.mark.parametrize("file", [IMAGE, MASK])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.7])
def test_truncated_file(root, file, share) -> None:
    content = (root / file).read_bytes()
    (root / file).write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ValueError, match=f"{re.escape(str(file))} cannot be read .*: restore the file"):
        source_of(root).read(ALL)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), kind=st.sampled_from(["jpg", "png"]))
def test_a_damaged_file_never_raises_anything_else(tmp_path_factory, data, kind) -> None:
    path = tmp_path_factory.mktemp("damage") / f"x.{kind}"
    Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 24)).save(path)
    content = bytearray(path.read_bytes())
    content = content[: data.draw(st.integers(0, len(content)))]
    for _ in range(data.draw(st.integers(0, 2)) if content else 0):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        assert (read_image if kind == "jpg" else read_labels)(path).dtype == np.uint8
    except ValueError as error:
        assert str(path) in str(error)


@pytest.mark.parametrize("every", [False, True])
def test_mask_of_another_size(root, every) -> None:
    frames = ALL.frames if every else ("00005",)
    for frame in frames:
        Image.fromarray(np.ones((6, 8), np.uint8)).save((root / MASK).with_name(f"{frame}.png"))
    where = "00000.png" if every else "00005.png"
    with pytest.raises(ValueError, match=rf"plant1.*{where} is 6x8, but .* 12x16"):
        source_of(root).read(ALL)


def test_colour_mask(root) -> None:
    Image.new("RGB", (16, 12)).save(root / MASK)
    with pytest.raises(ValueError, match="00005.png cannot be read .*mode RGB instead of a palette"):
        source_of(root).read(ALL)


def test_empty_expression(root) -> None:
    edit(root, lambda said, meta: said["plant1"]["expressions"]["0"].update(exp=" \n"))
    message = "video 'plant1': expression '0' is empty: write the words"
    assert any(message in p for p in source_of(root).problems())
    with pytest.raises(ValueError, match=message):
        train_on(root)


def test_expression_for_an_object_that_is_not_annotated(root) -> None:
    edit(root, lambda said, meta: said["plant1"]["expressions"].update({"1": {"exp": "x", "obj_id": "7"}}))
    message = r"'plant1': expression '1' refers to object 7, which meta.json does not have \(objects there: 1\)"
    assert any(re.search(message, p) for p in source_of(root).problems())
    with pytest.raises(ValueError, match=message):
        train_on(root)


def test_object_that_no_mask_shows(root) -> None:
    def change(said, meta):
        said["plant1"]["expressions"]["0"]["obj_id"] = "2"
        meta["plant1"]["objects"]["2"] = {"category": "plant"}

    edit(root, change)
    with pytest.raises(ValueError, match="object 2 of video 'plant1' is in no mask of its 3 listed frames"):
        source_of(root).read(ClipSpec("plant1", 2, ALL.frames))


def test_object_that_is_absent_from_the_chosen_frames_only(tmp_path) -> None:
    video = TinyVideo({1: "plant"}, [("it", 1)], frames=3, hidden={(0, 1), (1, 1)})
    clip = source_of(write_tree(tmp_path, {"v": video})).read(ClipSpec("v", 1, ("00000", "00005")))
    assert not clip.valid.any() and not clip.masks.any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda said, meta: meta.pop("plant1"), "video 'plant1' is not in .*meta.json"),
        (lambda said, meta: said.pop("plant1"), "video 'plant1' is not in .*meta_expressions.json"),
        (lambda said, meta: said["plant1"].update(frames=[]), "'plant1' lists no frames"),
        (lambda said, meta: said["plant1"].pop("frames"), "'plant1': its entry .* malformed"),
        (lambda said, meta: meta["plant1"]["objects"]["1"].pop("category"), "'plant1': its entry .* malformed"),
        (lambda said, meta: meta["plant1"]["objects"]["1"].update(category="goat"), "class 'goat' is not a class of"),
        (lambda said, meta: said["plant1"].update(expressions={}), "'plant1' has no expression: it is left out"),
    ],
)
def test_problems_of_the_lists_are_named_and_the_rest_goes_on(root, change, message) -> None:
    edit(root, change)
    source = source_of(root)
    assert any(re.search(message, p) for p in source.problems()), source.problems()
    videos = set(source.videos(YTVOS.class_id("plant")))
    assert {"plant0", "plant2"} <= videos
    if "plant1" not in videos:
        train_on(root)[0]


def test_empty_and_single_video_classes_are_named(root) -> None:
    problems = source_of(root).problems()
    assert "class 'hat' has no video: it is left out of every episode; add at least two to use it" in problems
    assert len(problems) == 47 and not any("plant" in p for p in problems)
    edit(root, lambda said, meta: (said.pop("plant1"), said.pop("plant2"), meta.pop("plant1"), meta.pop("plant2")))
    assert any("class 'plant' has one video (plant0)" in p for p in source_of(root).problems())


def test_more_shots_than_videos(root) -> None:
    with pytest.raises(ValueError, match=r"3 shots need 4 videos of a class, and no class has them \(3 videos: plant"):
        test_episodes(source_of(root), YTVOS, 2, shots=3, seed=0, support_frames=1)


def test_unknown_video(root) -> None:
    with pytest.raises(KeyError, match="has no video 'other'"):
        source_of(root).frames("other")
