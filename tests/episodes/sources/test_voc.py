from __future__ import annotations

import os
import re
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from episodes.catalogue import folds_of
from episodes.episode import ClipSpec
from episodes.sampling.images import ImageEpisodes, image_test_episodes
from episodes.sources import areas as areas_module
from episodes.sources import open_source
from tests.episodes.image_tree import blocks, write_mask, write_picture, write_voc
from tests.shared import require_shared

IMAGES = {"a": [1], "b": [1, 2], "c": [2, 15], "d": [15], "e": [1, 15], "f": [15]}


@pytest.fixture
def voc(tmp_path):
    write_voc(tmp_path, IMAGES, val=["e", "f"])
    return tmp_path


@pytest.mark.parametrize("below", ["", "VOCdevkit", "VOCdevkit/VOC2012"])
def test_the_root_may_be_any_of_the_outer_folders(voc, below) -> None:
    source = open_source("pascal5i", voc / below)
    assert source.videos(1) == ("a", "b", "e")
    assert source.images_of(1, "train") == ("a", "b") and source.images_of(1, "test") == ("e",)
    assert source.area("b", 2) == 12 and source.area("a", 2) == 0
    assert [(e.id, e.text, e.object_id, e.class_id) for e in source.expressions("c")] == [
        ("2", "", 2, 2),
        ("15", "", 15, 15),
    ]
    assert source.frames("a") == ("0",)


def test_a_clip_has_one_frame_and_knows_what_is_unknown(voc) -> None:
    source = open_source("pascal5i", voc)
    episodes = image_test_episodes(source, folds_of("pascal5i"), 2, shots=1, seed=0, count=None, queries="list")
    clip = source.read(episodes[0].queries[0])
    assert clip.frames.shape == (1, 3, 12, 16) and clip.frames.dtype == torch.uint8
    assert torch.equal(clip.masks[0], torch.from_numpy(blocks(IMAGES[clip.video]) == 15))
    assert torch.equal(clip.ignore[0], torch.from_numpy(blocks([], ignore=True) == 255))
    assert clip.expression is None and clip.original_size == (12, 16)
    assert not (clip.masks & clip.ignore).any()


def test_masks_of_the_smaller_folder_fill_the_gaps(voc) -> None:
    base = voc / "VOCdevkit" / "VOC2012"
    write_picture(base / "JPEGImages" / "g.jpg")
    for name, class_id in (("a", 9), ("g", 9)):
        palette = Image.fromarray(blocks([class_id], ignore=True), mode="P")
        palette.putpalette([v for k in range(256) for v in (k, 255 - k, k // 2)])
        (base / "SegmentationClass").mkdir(exist_ok=True)
        palette.save(base / "SegmentationClass" / f"{name}.png")
    source = open_source("pascal5i", voc)
    assert source.videos(9) == ("g",), "of image a SegmentationClassAug is read"


def test_without_a_list_all_images_are_for_both(tmp_path) -> None:
    write_voc(tmp_path, IMAGES, val=None)
    source = open_source("pascal5i", tmp_path)
    assert source.images_of(1, "train") == source.images_of(1, "test") == ("a", "b", "e")
    assert any("all images are used for training and for testing" in p for p in source.problems())


def test_a_folder_without_voc_says_what_was_expected(tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match="no PASCAL VOC under data.root=.*JPEGImages and Seg"):
        open_source("pascal5i", tmp_path)


def broken(voc, what: str) -> None:
    base = voc / "VOCdevkit" / "VOC2012"
    image, mask = base / "JPEGImages" / "a.jpg", base / "SegmentationClassAug" / "a.png"
    if what == "value":
        write_mask(mask, np.where(blocks([1]) > 0, 77, 0).astype(np.uint8))
    elif what == "colours":
        Image.new("RGB", (16, 12)).save(mask)
    elif what == "cut":
        mask.write_bytes(mask.read_bytes()[:40])
    elif what == "no image":
        image.unlink()
    elif what == "empty":
        write_mask(mask, blocks([], ignore=True))
    elif what == "size":
        write_mask(mask, blocks([1])[:8])


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        ("value", r"mask .*a\.png has the value 77, but labels are 0 to 20 and 255: correct the mask"),
        ("colours", r"mask .*a\.png cannot be used: .*mode RGB instead of a palette or grey levels"),
        ("cut", r"mask .*a\.png cannot be used: .*cannot be read"),
        ("no image", r"image .*a\.jpg is missing"),
    ],
)
def test_broken_files_are_named_before_an_episode_is_drawn(voc, what, sentence) -> None:
    broken(voc, what)
    source = open_source("pascal5i", voc)
    assert len([p for p in source.problems() if re.search(sentence, p)]) == 1
    with pytest.raises(ValueError, match=sentence):
        source.expressions("a")


def test_an_empty_mask_is_a_problem_and_never_drawn(voc) -> None:
    broken(voc, "empty")
    source = open_source("pascal5i", voc)
    assert any("a.png is empty: its image is not used" in p for p in source.problems())
    assert source.videos(1) == ("b", "e")


def test_a_mask_of_another_size_is_named(voc) -> None:
    broken(voc, "size")
    source = open_source("pascal5i", voc)
    assert any("a.png is 8x16, but its image is 12x16: they must be of one size" in p for p in source.problems())
    with pytest.raises(ValueError, match="a.png is 8x16, but its image is 12x16"):
        ImageEpisodes(source, folds_of("pascal5i"), 1, "train", shots=1, seed=0)
    spec = ClipSpec("a", 1, ("0",))
    with pytest.raises(ValueError, match="a.png is 8x16, but its frame is 12x16"):
        source.read(spec)


def test_classes_that_are_too_small_are_problems(voc) -> None:
    problems = open_source("pascal5i", voc).problems()
    assert "class 'bird' has no image: it is left out of every episode; add at least two to use it" in problems
    assert sum("has no image" in p for p in problems) == 17


def test_reading_a_class_that_an_image_does_not_show_is_refused(voc) -> None:
    source = open_source("pascal5i", voc)
    with pytest.raises(ValueError, match=r"image 'a': mask .*a\.png has no pixel with the label 2"):
        source.read_masks("a", ("0",), 2)
    with pytest.raises(KeyError, match="no image 'z'"):
        source.frames("z")


def test_counts_are_kept_and_counted_again_when_a_mask_changes(voc, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(areas_module, "KEEP", 3)
    cache = tmp_path / "cache"
    first = open_source("pascal5i", voc, cache)
    assert first.area("a", 1) == 12
    assert len(list(cache.iterdir())) == 1

    monkeypatch.setattr(type(first), "read_label_map", lambda *_: pytest.fail("the masks are not read again"))
    again = open_source("pascal5i", voc, cache)
    assert again.counts == first.counts and again.fingerprint() == first.fingerprint()

    monkeypatch.undo()
    monkeypatch.setattr(areas_module, "KEEP", 3)
    mask = voc / "VOCdevkit" / "VOC2012" / "SegmentationClassAug" / "a.png"
    age = mask.stat()
    write_mask(mask, blocks([3]))
    os.utime(mask, ns=(age.st_atime_ns, age.st_mtime_ns + 10**9))
    changed = open_source("pascal5i", voc, cache)
    assert changed.area("a", 1) == 0 and changed.area("a", 3) == 12
    assert changed.fingerprint() != first.fingerprint()


def test_a_damaged_file_of_counts_is_made_anew(voc, tmp_path, monkeypatch, caplog) -> None:
    monkeypatch.setattr(areas_module, "KEEP", 3)
    cache = tmp_path / "cache"
    expected = open_source("pascal5i", voc, cache).counts
    next(cache.iterdir()).write_text('{"a": [[12')
    assert open_source("pascal5i", voc, cache).counts == expected
    assert "is damaged" in caplog.text


def test_the_fingerprint_does_not_depend_on_the_place(voc, tmp_path) -> None:
    shutil.copytree(voc / "VOCdevkit", tmp_path / "copy" / "VOCdevkit")
    assert open_source("pascal5i", voc).fingerprint() == open_source("pascal5i", tmp_path / "copy").fingerprint()


@pytest.fixture(scope="module")
def real():
    return open_source("pascal5i", require_shared("data", "voc2012-subset"))


def test_the_real_subset(real) -> None:
    assert len(real.files) == 561
    assert sum(real.in_split(x, "test") for x in real.files) == 295
    assert not any(found.error or found.remark for found in real.counts.values())
    assert [p for p in real.problems() if "class" not in p] == []


@pytest.mark.parametrize("group", [0, 1, 2, 3])
def test_episodes_of_the_real_subset_can_be_read(real, group) -> None:
    folds = folds_of("pascal5i")
    specs = image_test_episodes(real, folds, group, shots=1, seed=0, count=4, queries="uniform")
    train = ImageEpisodes(real, folds, group, "train", shots=1, seed=0, drop_novel=True)
    for spec in [*specs, *(train[i] for i in range(3))]:
        for clip in (*spec.supports, *spec.queries):
            read = real.read(clip)
            assert read.masks.shape[-2:] == read.frames.shape[-2:] == read.ignore.shape[-2:]
            assert int(read.masks.sum()) == real.area(clip.video, spec.class_id) > 0


def test_the_domain_shift_reads_the_same_images(real) -> None:
    shift = open_source("coco2pascal", require_shared("data", "voc2012-subset"))
    assert shift.files.keys() == real.files.keys()
    specs = image_test_episodes(shift, shift.folds, 0, shots=1, seed=0, count=20, queries="uniform")
    assert {s.class_name for s in specs} <= {"aeroplane", "boat", "chair", "diningtable", "dog", "person"}
