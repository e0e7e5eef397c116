from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from episodes.catalogue import folds_of
from episodes.episode import ClipSpec
from episodes.sources import MiniRefSource, Source, open_source
from episodes.sources.base import boxes_of
from episodes.sources.files import ArrayCache
from tests.episodes.tree import INNER, TinyVideo, write_frames, write_tree

YTVOS = folds_of("mini_ref_ytvos")
TWO = TinyVideo(
    {1: "dog", 2: "train"}, [("The  Big\tDOG", 1), ("the train", 2), ("a dog", 1)], frames=3, hidden={(1, 2)}
)


@pytest.fixture
def two(tmp_path) -> MiniRefSource:
    root = write_tree(tmp_path, {"b": TWO, "a": TinyVideo({1: "dog"}, [("a dog", 1)])})
    return MiniRefSource(root, YTVOS)


def test_a_video_belongs_to_the_class_of_every_expression(two) -> None:
    dog, train = YTVOS.class_id("dog"), YTVOS.class_id("train")
    assert two.videos(dog) == ("a", "b")
    assert two.videos(train) == ("b",)
    assert two.videos(1) == ()
    assert [(e.id, e.object_id, e.class_id) for e in two.expressions("b")] == [
        ("0", 1, dog),
        ("1", 2, train),
        ("2", 1, dog),
    ]
    last = MiniRefSource(two.root, YTVOS, class_of_last_expression=True)
    assert last.videos(dog) == ("a", "b") and last.videos(train) == ()


def test_twins_are_the_other_annotated_objects_of_the_class(tmp_path) -> None:
    objects = {1: "dog", 2: "dog", 3: "train", 4: "dog", 5: "no class of the benchmark"}
    video = TinyVideo(objects, [("a dog", 1), ("the other dog", 2), ("the train", 3)])  # dog 4 has no words
    root = write_tree(tmp_path, {"v": video})
    source = MiniRefSource(root, YTVOS)
    assert [source.twins("v", k) for k in (1, 2, 3)] == [{2, 4}, {1, 4}, frozenset()]
    assert Source.twins(source, "v", 1) == {2}, "a source that lists no objects knows those with an expression"
    assert MiniRefSource(root, YTVOS, merge_objects=True).twins("v", 1) == frozenset()


def test_reading_a_clip(two) -> None:
    clip = two.read(ClipSpec("b", 2, ("00005", "00010"), "The  Big\tDOG", "0"))
    assert clip.frames.shape == (2, 3, 12, 16) and clip.frames.dtype == torch.uint8
    assert clip.expression == "the big dog"
    assert (clip.video, clip.frame_names, clip.original_size) == ("b", ("00005", "00010"), (12, 16))
    assert clip.masks.flatten(1).sum(1).tolist() == [0, 12]
    assert clip.valid.tolist() == [False, True]
    assert clip.boxes.tolist() == [[0, 0, 0, 0], [4, 6, 6, 9]]
    stored = np.asarray(Image.open(two.image_path("b", "00010")).convert("RGB"))
    assert np.array_equal(clip.frames[1].permute(1, 2, 0), stored)


def test_boxes_are_first_and_last_row_and_column() -> None:
    masks = torch.zeros(4, 6, 8, dtype=torch.bool)
    masks[0, 2, 3] = masks[0, 4, 1] = True
    masks[1] = True
    masks[2, 2, 1:5] = True  # one row: no area
    boxes, valid = boxes_of(masks)
    assert boxes.tolist() == [[1, 2, 3, 4], [0, 0, 7, 5], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert valid.tolist() == [True, True, False, False]


def test_box_limits_can_be_exchanged_as_in_the_released_code(two) -> None:
    masks = torch.zeros(2, 10, 20, dtype=torch.bool)
    masks[0, 2:8, 4:16] = True
    released = MiniRefSource(two.root, YTVOS, exchange_box_limits=True)
    boxes, valid = released.boxes(masks)
    assert boxes.tolist() == [[4, 2, 10, 7], [0, 0, 0, 0]]
    assert valid.tolist() == [True, False]


@pytest.mark.parametrize("inner", ["data/Mini-Ref-YouTube-VOS", "mini-ref-youtube-vos", "."])
@pytest.mark.parametrize("readme_names", [False, True])
def test_other_names_of_the_folders(tmp_path, inner, readme_names) -> None:
    root = write_tree(tmp_path / "set", {"b": TWO}, INNER.__class__(inner))
    if readme_names:
        train = root / inner / "train"
        (train / "meta.json").rename(train / "train.json")
    source = MiniRefSource(root, YTVOS)
    assert source.read(ClipSpec("b", 1, ("00000",))).masks.any()


def sail_tree(root, json_at: str) -> None:
    base = root / "data" / "mini-SAIL-VOS"
    videos = {"p": TinyVideo({1: "person", 2: "car"}, [], frames=2), "c": TinyVideo({1: "car"}, [], frames=2)}
    frames = ["00000", "00005"]
    for name, video in videos.items():
        write_frames(base / "Images" / name, base / "Annotations" / name, frames, video, ".bmp")
    meta = {n: {"objects": {str(o): {"category": c} for o, c in v.objects.items()}} for n, v in videos.items()}
    said = {n: {"frames": frames, "expressions": {"0": {"exp": "it", "obj_id": "1"}}} for n in videos}
    (root / json_at / "meta.json").write_text(json.dumps({"videos": meta}))
    (root / json_at / "meta_expressions.json").write_text(json.dumps({"videos": said}))


@pytest.mark.parametrize("json_at", ["data/mini-SAIL-VOS", "."])
def test_sailvos_layout(tmp_path, json_at) -> None:
    (tmp_path / "data" / "mini-SAIL-VOS").mkdir(parents=True)
    sail_tree(tmp_path, json_at)
    source = open_source("mini_ref_sailvos", tmp_path)
    assert source.videos(3) == ("p",) and source.videos(2) == ("c",)
    clip = source.read(ClipSpec("p", 1, ("00000",)))
    assert clip.masks.sum() == 24, "the masks of this set are clipped to 0 and 1"
    raw = np.asarray(Image.open(tmp_path / "data" / "mini-SAIL-VOS" / "Images" / "p" / "00000.bmp"))
    assert np.array_equal(clip.frames[0].permute(1, 2, 0), raw)
    assert any("'p' has 2 objects" in p for p in source.problems())


def test_expression_ids_need_not_be_in_order(tmp_path) -> None:
    root = write_tree(tmp_path, {"b": TWO})
    path = root / INNER / "meta_expressions" / "train" / "meta_expressions.json"
    data = json.loads(path.read_text())
    said = data["videos"]["b"]["expressions"]
    data["videos"]["b"]["expressions"] = {"9": said["1"], "4": said["0"]}
    path.write_text(json.dumps(data))
    assert [(e.id, e.object_id) for e in MiniRefSource(root, YTVOS).expressions("b")] == [("9", 2), ("4", 1)]


def test_fingerprint_follows_the_content_and_not_the_place(two, tmp_path) -> None:
    copy = tmp_path / "elsewhere"
    shutil.copytree(two.root / "data", copy / "data")
    assert MiniRefSource(copy, YTVOS).fingerprint() == two.fingerprint()
    path = copy / INNER / "meta_expressions" / "train" / "meta_expressions.json"
    path.write_text(path.read_text().replace("a dog", "the dog"))
    assert MiniRefSource(copy, YTVOS).fingerprint() != two.fingerprint()


def test_cache_is_bounded_and_keeps_what_was_used_last(tmp_path) -> None:
    reads = []

    def read(path):
        reads.append(path.name)
        return np.zeros(10, np.uint8)

    cache = ArrayCache(25)
    for name in "abacab":
        cache.get(tmp_path / name, read)
        assert cache.used <= 25
    assert reads == ["a", "b", "c", "b"]
    none = ArrayCache(0)
    none.get(tmp_path / "a", read), none.get(tmp_path / "a", read)
    assert reads[4:] == ["a", "a"]
    with pytest.raises(ValueError, match="cache_frames must be"):
        ArrayCache(-1)


def test_cached_frames_are_the_same_and_not_shared(two) -> None:
    spec = ClipSpec("b", 1, ("00000", "00005"))
    cached = MiniRefSource(two.root, YTVOS, cache_frames=1 << 20)
    first = cached.read(spec)
    first.frames.zero_()
    again = cached.read(spec)
    assert torch.equal(again.frames, two.read(spec).frames) and torch.equal(again.masks, two.read(spec).masks)


def test_synthetic_world_opens_by_name(world) -> None:
    assert world.problems() == []
    video = world.videos(1)[0]
    said = next(e for e in world.expressions(video) if e.class_id == 1)
    clip = world.read(ClipSpec(video, said.object_id, world.frames(video)[:2], said.text, said.id))
    assert clip.frames.shape[1] == 3 and clip.masks.any()
    assert open_source("synthetic", world.root).fingerprint() == world.fingerprint()
