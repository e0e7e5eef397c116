from __future__ import annotations

import logging
import pickle
from pathlib import Path

import pytest

from episodes.catalogue import folds_of
from episodes.sampling.images import image_test_episodes
from episodes.sampling.lists import PFENET_AREA, cut_lists, read_lists, read_names
from episodes.sources import open_source
from episodes.sources.fss1000 import read_fss_classes
from tests.episodes.image_tree import MemoryImages
from tests.shared import require_shared

VOC, COCO = folds_of("pascal5i"), folds_of("coco20i")
GROUPS = (0, 1, 2, 3)


@pytest.fixture(scope="module")
def subset():
    return open_source("pascal5i", require_shared("data", "voc2012-subset"))


def lists_of(*parts: str) -> Path:
    return require_shared("data", "lists", *parts)


def wanted(group: int, split: str) -> tuple[int, ...]:
    return VOC.train_classes(group) if split == "train" else VOC.test_classes(group)


def cut(lists, source):
    logging.disable(logging.WARNING)  # most of the listed images are not in the subset
    try:
        return cut_lists(lists, source)
    finally:
        logging.disable(logging.NOTSET)


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("split", ["train", "test"])
def test_hsnet_lists_are_the_folds_of_the_images_less_small_objects(subset, group, split) -> None:
    """The lists leave out 87 of 1113 pairs, all of them small or thin (at most 5916 pixels, 3.2 % of the image)."""
    real = read_lists(lists_of("hsnet"), "pascal5i", group, split)
    assert tuple(real) == wanted(group, split)
    listed = cut(real, subset)
    for class_id, names in listed.items():
        here = set(subset.images_of(class_id, split))
        assert set(names) <= here, "no listed image is of another split or does not show the class"
        left_out = here - set(names)
        assert all(subset.area(x, class_id) < 6000 for x in left_out)
        assert {x for x in here if subset.area(x, class_id) >= 6000} <= set(names)
    given = read_lists(require_shared("data", "voc2012-subset", "lists-filtered", "hsnet"), "pascal5i", group, split)
    assert given == listed


@pytest.mark.parametrize("group", GROUPS)
def test_pfenet_and_bam_lists_equal_the_folds_of_the_images(subset, group) -> None:
    """Both list an image for a class from 2 * 32 * 32 pixels on: BAM's files hold what PFENet counts."""
    from_images = {
        c: tuple(x for x in subset.images_of(c, "test") if subset.area(x, c) >= 2048) for c in VOC.test_classes(group)
    }
    folder = require_shared("data", "voc2012-subset", "lists-filtered", "pfenet")
    assert PFENET_AREA == 2048
    assert read_lists(folder, "pascal5i", group, "test", subset) == from_images
    assert cut(read_lists(lists_of("bam-fss_list"), "pascal5i", group, "test"), subset) == from_images


@pytest.mark.parametrize("group", GROUPS)
def test_pfenet_training_lists_are_a_part_of_the_images(subset, group) -> None:
    """PFENet trains on 5953 images of VOC and SBD; the data set holds more with a mask."""
    folder = require_shared("data", "voc2012-subset", "lists-filtered", "pfenet")
    named = set(read_names(folder / "pascal" / "voc_sbd_merge_noduplicate.txt"))
    assert not any(subset.in_split(x, "test") for x in named)
    from_images = {
        c: tuple(x for x in subset.images_of(c, "train") if subset.area(x, c) >= 2048 and x in named)
        for c in VOC.train_classes(group)
    }
    assert read_lists(folder, "pascal5i", group, "train", subset) == from_images


@pytest.mark.parametrize("group", GROUPS)
def test_queries_come_in_the_order_of_the_hsnet_list(subset, group) -> None:
    file = require_shared("data", "voc2012-subset", "lists-filtered", "hsnet", "pascal", "val", f"fold{group}.txt")
    images = read_lists(file.parents[2], "pascal5i", group, "test")
    short = {c for c, names in images.items() if len(names) < 2}
    expected = [tuple(line.split("__")) for line in file.read_text().split()]
    specs = image_test_episodes(subset, VOC, group, shots=1, seed=0, count=None, queries="list", images=images)
    assert [(s.queries[0].video, f"{s.class_id:02d}") for s in specs] == [
        (name, c) for name, c in expected if int(c) not in short
    ]
    if group == 2:
        assert len(specs) == 209


def test_the_whole_lists_of_pascal_and_coco() -> None:
    pairs = [sum(map(len, read_lists(lists_of("hsnet"), "pascal5i", g, "test").values())) for g in GROUPS]
    assert pairs == [346, 451, 725, 346]
    everything = sum(pairs_of("hsnet", "pascal5i", g, "train") for g in GROUPS)
    assert everything == 3 * (2286 + 3425 + 5883 + 2086), "each training pair is of three of the four folds"
    for group in GROUPS:
        coco = read_lists(lists_of("hsnet"), "coco20i", group, "test")
        assert tuple(coco) == COCO.test_classes(group) and min(map(len, coco.values())) > 30
        assert all(name.startswith("COCO_val2014_") for names in coco.values() for name in names)
    persons = read_lists(lists_of("hsnet"), "coco20i", 0, "test")[1]
    assert len(persons) == 19217


def pairs_of(folder: str, benchmark: str, group: int, split: str) -> int:
    return sum(map(len, read_lists(lists_of(folder), benchmark, group, split).values()))


def test_two_repositories_list_the_same_images_of_coco() -> None:
    assert read_lists(lists_of("fs-sam2"), "coco20i", 3, "test") == read_lists(lists_of("hsnet"), "coco20i", 3, "test")
    names = read_names(lists_of("fs-sam2", "data", "splits", "lists", "coco", "fss_list", "val", "data_list_3.txt"))
    assert len(names) == 12640 and names[0] == "COCO_val2014_000000020925"


def test_the_domain_shift_gathers_its_classes_from_several_folds() -> None:
    folds = folds_of("coco2pascal")
    for group in GROUPS:
        lists = read_lists(lists_of("hsnet"), "coco2pascal", group, "test")
        assert tuple(lists) == folds.test_classes(group)
        for class_id, names in lists.items():
            home = (class_id - 1) // 5
            assert names == read_lists(lists_of("hsnet"), "pascal5i", home, "test")[class_id]


def test_plain_lists_of_names() -> None:
    names = read_names(lists_of("voc2007", "trainval_seg.txt"))
    assert len(names) == 422 and names[:2] == ("000032", "000033")
    assert read_names(lists_of("pfenet", "lists", "pascal", "val.txt"))[0] == "2007_000033"


def test_class_lists_of_fss1000() -> None:
    hsnet = read_fss_classes(lists_of("hsnet"))
    assert [len(names) for names in (hsnet.train, hsnet.val, hsnet.test)] == [520, 240, 240]
    assert hsnet.test[0] == "bus" and hsnet.train[0] == "fountain"
    official = read_fss_classes(lists_of("fss1000-official"), present=("bus", "taxi", "apple"))
    assert official.test == hsnet.test and official.train == ("apple", "taxi") and official.val == ()
    assert read_fss_classes(lists_of("fss1000-official", "fss_test_set.txt")).test == hsnet.test


def test_lists_of_other_folds_are_refused() -> None:
    with pytest.raises(ValueError, match=r"fold0\.pkl lists class 21, which fold 0 of coco20i_contig"):
        read_lists(lists_of("hsnet"), "coco20i_contiguous", 0, "test")


def test_a_list_with_images_that_are_missing_is_refused(subset) -> None:
    with pytest.raises(ValueError, match="val.txt names 1154 images that pascal5i .* does not have"):
        read_lists(lists_of("pfenet"), "pascal5i", 2, "test", subset)
    images = read_lists(lists_of("hsnet"), "pascal5i", 2, "test")
    with pytest.raises(ValueError, match="the lists name 436 images .* complete the data set, or cut the lists"):
        image_test_episodes(subset, VOC, 2, shots=1, seed=0, count=None, queries="list", images=images)


def test_cutting_counts_what_is_lost(caplog) -> None:
    source = MemoryImages({"t1": {1: 4}, "t2": {2: 4}})
    assert cut_lists({1: ["t1", "t7"], 2: ["t8"]}, source) == {1: ("t1",), 2: ()}
    assert "2 of 3 listed images are not in memory" in caplog.text


class Trap:
    """Leaves a trace when it is unpickled."""

    def __reduce__(self):
        return (Path.touch, (Path("trace"),))


def test_a_pickle_that_could_run_code_is_refused(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "val").mkdir()
    (tmp_path / "val" / "fold0.pkl").write_bytes(pickle.dumps({0: [Trap()]}))
    with pytest.raises(ValueError, match="fold0.pkl cannot be read as a list file"):
        read_lists(tmp_path, "coco20i", 0, "test")
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("val/fold0.txt", "2007_000032_01\n", "line 1: expected an image and a class as in 2007_000452__09"),
        ("val/fold0.txt", "2007_000032__16\n", "lists class 16, which fold 0 of pascal5i does not have there"),
        ("val/sub_class_file_list_0.txt", "{1: [", "is not a table of class id -> images"),
        ("val/sub_class_file_list_0.txt", "[1, 2]", "is not a table of class number -> list of images"),
        ("val/sub_class_file_list_1.txt", "{}", "list .*sub_class_file_list_0.txt is missing"),
        ("val.txt", "a.jpg a.png\n", "names images only: their classes are counted in the masks, so the data"),
        ("other.txt", "", "no lists under data.lists=.*: expected val/fold0.txt, val/fold0.pkl"),
    ],
)
def test_broken_lists(tmp_path, file, text, message) -> None:
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(text)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        read_lists(tmp_path, "pascal5i", 0, "test")


def test_benchmarks_without_lists() -> None:
    with pytest.raises(ValueError, match="no image lists for 'folder', only for: pascal5i, coco2pascal"):
        read_lists("x", "folder", 0, "test")
    with pytest.raises(ValueError, match="split of a list must be"):
        read_lists("x", "pascal5i", 0, "val")
    with pytest.raises(FileNotFoundError, match="no class lists of FSS-1000 under nowhere: expected trn.txt"):
        read_fss_classes("nowhere")


def test_a_class_in_two_lists_of_fss1000(tmp_path) -> None:
    for name in ("trn", "val", "test"):
        (tmp_path / f"{name}.txt").write_text(f"{name}\ncat\n")
    with pytest.raises(ValueError, match="name classes twice: cat"):
        read_fss_classes(tmp_path)
