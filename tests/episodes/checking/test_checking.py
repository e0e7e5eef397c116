"""Variants, leaks, whole files and feasibility of data sets on disk."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from episodes.catalogue import folds_of
from episodes.checking.feasibility import feasibility
from episodes.checking.leaks import class_leaks, same_pictures, split_remarks
from episodes.checking.pixels import look_at_all, names_of
from episodes.checking.variants import VARIANTS, census, known_variant
from episodes.folds import folder_folds
from episodes.sampling.images import ImageEpisodes, image_test_episodes
from episodes.sampling.pools import NotFeasible
from episodes.sampling.videos import TrainEpisodes, test_episodes
from episodes.sources import MiniRefSource, open_source
from episodes.sources.images import ImageSource
from episodes.sources.tasks import open_task_source
from tests.episodes.expression_trees import write_expressions
from tests.episodes.image_tree import write_folder, write_voc
from tests.episodes.tree import TinyVideo
from tests.episodes.videos import write_videos

IMAGES = {"a": [1], "b": [1, 2], "c": [2, 15], "d": [15], "e": [1, 15], "f": [15], "g": [1]}


@pytest.fixture
def voc(tmp_path: Path) -> ImageSource:
    write_voc(tmp_path, IMAGES, val=["e", "f"])
    source = open_source("pascal5i", tmp_path)
    assert isinstance(source, ImageSource)
    return source


def cut_short(path: Path) -> None:
    """A picture whose head is whole and whose pixels are not."""
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (12, 16, 3), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:-40])


def test_a_variant_is_told_by_its_numbers() -> None:
    whole = {"training images": 10582, "test images": 1449}
    assert known_variant("pascal5i", "", whole) == "PASCAL VOC 2012 with the masks of SBD (SegmentationClassAug)"
    told = known_variant("coco2pascal", "", {"training images": 1400, "test images": 1449})
    assert told.startswith("no known one; PASCAL VOC 2012 without SBD") and told.endswith(
        "1,400 of 1,464 training images"
    )
    assert known_variant("youtube_vos", "valid", {"videos": 507}) == "YouTube-VOS 2019"
    assert known_variant("folder", "", {"classes": 3}) == ""


def test_variants_name_data_sets_and_splits_of_the_catalogue() -> None:
    from episodes.catalogue import data_set

    for variant in VARIANTS:
        for name in variant.benchmarks:
            splits = data_set(name).splits
            assert variant.split in splits if splits else variant.split == ""


def test_census_of_images_and_videos(voc: ImageSource, tiny: MiniRefSource, tmp_path: Path) -> None:
    assert census(voc) == {"training images": 5, "test images": 2, "classes": 3}
    found = census(tiny)
    assert (found["videos"], found["classes"]) == (48 * 6, 48)
    write_videos(tmp_path / "own", {"one": TinyVideo({1: "dog"}, [])})
    assert census(open_task_source("vos_folder", tmp_path / "own"))["videos"] == 1


def test_damage_inside_a_picture_is_found(voc: ImageSource) -> None:
    picture = voc.files["b"][0]
    cut_short(picture)
    assert voc.broken() == []  # its head is whole
    looked = look_at_all(voc, names_of(voc))
    assert list(looked) == list(IMAGES)
    (line,) = [line for found in looked.values() for line in found.broken]
    assert str(picture) in line and "cannot be read" in line


def test_videos_are_read_frame_by_frame(tmp_path: Path) -> None:
    write_videos(tmp_path, {name: TinyVideo({1: "dog", 2: "cat"}, []) for name in ("one", "two", "sound")})
    frame = sorted((tmp_path / "JPEGImages" / "one").iterdir())[1]
    cut_short(frame)
    mask = sorted((tmp_path / "Annotations" / "two").iterdir())[1]
    Image.fromarray(np.zeros((5, 5), np.uint8)).save(mask)
    source = open_task_source("vos_folder", tmp_path)
    looked = look_at_all(source, names_of(source))
    assert [str(frame) in line for line in looked["one"].broken] == [True]
    assert looked["two"].broken == (f"{mask} is 5x5, but its frame is 12x16: they must be of one size",)
    assert looked["sound"].broken == () and looked["sound"].digest


def test_missing_files_are_told_once_by_the_source(tiny_root: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_root, tmp_path / "copy")
    source = MiniRefSource(tmp_path / "copy", folds_of("mini_ref_ytvos"))
    video = names_of(source)[0]
    shutil.rmtree(source.layout.images / video)
    assert [str(source.layout.images / video) in line for line in source.broken()] == [True]
    assert look_at_all(source, [video])[video].broken == ()


def test_many_broken_files_of_a_video_are_counted(tmp_path: Path) -> None:
    write_videos(tmp_path, {"one": TinyVideo({1: "dog"}, [])})
    for k in range(9):
        (tmp_path / "JPEGImages" / "one" / f"1{k:04d}.jpg").write_bytes(b"no picture")
    source = open_task_source("vos_folder", tmp_path)
    broken = look_at_all(source, ["one"])["one"].broken
    assert len(broken) == 6 and broken[-1] == "and 4 more like the one before"


def test_values_of_no_object_are_odd(tiny: MiniRefSource) -> None:
    video = names_of(tiny)[0]
    assert look_at_all(tiny, [video])[video].odd == ()
    listed = tiny.listed_objects(video)
    assert listed is not None
    tiny.index[video].objects.clear()
    try:
        assert f"value {min(listed)} of masks" in look_at_all(tiny, [video])[video].odd[0]
    finally:
        tiny.index[video].objects.update(dict.fromkeys(listed, "hat"))


@pytest.mark.parametrize("name", ["synthetic_vis", "synthetic_vps", "synthetic_vss", "synthetic_pvos"])
def test_layouts_without_a_file_for_each_mask_are_read_too(name: str) -> None:
    source = open_task_source(name, None)
    (found,) = look_at_all(source, names_of(source)[:1]).values()
    assert found.broken == () and found.digest


def test_run_lengths_are_compared_with_their_frames(tmp_path: Path) -> None:
    source = open_task_source(*write_expressions(tmp_path, "mevis", {"v": (np.ones((2, 6, 8), np.uint8), [1])}))
    for frame, size in (("00000", (8, 6)), ("00001", (8, 7))):
        path = tmp_path / "valid_u" / "JPEGImages" / "v" / f"{frame}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size).save(path)
    (line,) = look_at_all(source, ["v"])["v"].broken
    assert "is 6x8, but its frame is 7x8" in line


def test_one_class_under_two_names_leaks() -> None:
    leaks = class_leaks(folder_folds(["Dog", "cat", "dog"]))
    assert len(leaks) == 2 and "group 0 holds out class 'Dog' and trains 'dog'" in leaks[0]
    assert class_leaks(folds_of("pascal5i")) == [] and class_leaks(folds_of("mini_ref_ytvos")) == []


def test_one_picture_in_training_and_test_leaks(voc: ImageSource) -> None:
    for k, (picture, _) in enumerate(voc.files.values()):
        Image.fromarray(np.full((12, 16, 3), 20 * k, np.uint8)).save(picture)
    assert same_pictures(voc, look_at_all(voc, names_of(voc))) == ([], [])
    voc.files["e"][0].write_bytes(voc.files["a"][0].read_bytes())
    voc.files["d"][0].write_bytes(voc.files["c"][0].read_bytes())
    leaks, others = same_pictures(voc, look_at_all(voc, names_of(voc)))
    assert leaks == ["a, e are one picture, in training and in test: remove one of them"]
    assert others == ["c, d are one picture: where one is the support of the other, it shows the answer"]


def test_images_that_no_list_divides_are_told(voc: ImageSource, tmp_path: Path) -> None:
    assert split_remarks(voc) == []
    own = open_source("folder", write_folder(tmp_path / "own", {"cat": 2, "dog": 2}))
    assert isinstance(own, ImageSource)
    assert split_remarks(own) == ["4 of 4 images serve training and test: only the classes of a fold part them"]


@pytest.mark.parametrize("shots", [1, 2, 3])
def test_feasibility_of_images_is_that_of_the_sampler(voc: ImageSource, shots: int) -> None:
    for row in feasibility(voc, voc.folds, [shots], min_area=1):
        where = (voc, voc.folds, row.group)
        try:
            specs = image_test_episodes(*where, shots=shots, seed=0, count=None, queries="each", min_area=1)
        except NotFeasible:
            specs = []
        assert (row.test[0], row.queries) == (len({spec.class_id for spec in specs}), len(specs))
        try:
            trained = ImageEpisodes(*where, "train", shots=shots, seed=0).classes
        except NotFeasible:
            trained = ()
        assert row.train == (len(trained), 15) and row.test[1] == 5
    assert feasibility(voc, voc.folds, [1])[0].held_out == 1  # of the training images with a class of its own, `b`


def test_feasibility_of_videos_is_that_of_the_sampler(tiny: MiniRefSource) -> None:
    rows = feasibility(tiny, tiny.folds, [1, 5, 100])
    assert [(row.group, row.shots) for row in rows][:4] == [(1, 1), (1, 5), (1, 100), (2, 1)]
    specs = test_episodes(tiny, tiny.folds, 1, shots=1, seed=0, support_frames=2)
    assert rows[0].test == (len({spec.class_id for spec in specs}), 12)
    trained = TrainEpisodes(tiny, tiny.folds, 1, "train", shots=1, seed=0, query_frames=2, support_frames=2)
    assert rows[0].train == (len(trained.classes), 36)
    assert rows[2].test[0] == rows[2].train[0] == rows[2].queries == 0
