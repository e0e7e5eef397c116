"""RefCOCO in both of its forms, over real COCO images and masks."""

from __future__ import annotations

import json
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools.coco import COCO

from episodes.episode import ClipSpec
from episodes.sources.plain_pickle import load_plain
from episodes.sources.refcoco import RefCOCOSource
from episodes.sources.segmentations import decode
from episodes.sources.tasks import open_task_source
from episodes.task_items import RISItem
from tests.shared import require_shared

SQUARE = [[2, 1, 6, 1, 6, 5, 2, 5]]  # 4x4 pixels of an image of 8x10


def tiny_list(split: str = "val") -> dict:
    images = [
        {"id": 10, "file_name": "a.jpg", "height": 8, "width": 10, "expressions": ["The left  one", "it"]},
        {"id": 9, "file_name": "train2014/a.jpg", "height": 8, "width": 10, "expressions": ["right"]},
    ]
    runs = {"size": [8, 10], "counts": [0, 8, 72]}  # the first column
    annotations = [{"image_id": 10, "segmentation": SQUARE}, {"image_id": 9, "segmentation": runs}]
    return {"images": images, "annotations": annotations}


@pytest.fixture
def root(tmp_path) -> Path:
    (tmp_path / "train2014").mkdir()
    (tmp_path / "annotations").mkdir()
    Image.new("RGB", (10, 8), (9, 90, 200)).save(tmp_path / "train2014" / "a.jpg", quality=100)
    return tmp_path


def source_of(root: Path, content: object, benchmark: str = "refcoco", name: str = "refcoco-unc_val.json"):
    (root / "annotations" / name).write_text(json.dumps(content))
    return open_task_source(benchmark, root)


def test_every_expression_is_an_item_and_every_object_an_entry(root) -> None:
    source = source_of(root, tiny_list())
    assert list(source.items()) == [
        RISItem("9", "0", "right"),
        RISItem("10", "0", "The left  one"),
        RISItem("10", "1", "it"),
    ]
    assert source.videos() == ("9", "10") and source.frames("9") == ("0",) and source.problems() == []
    clip = source.read(ClipSpec("10", 1, ("0",), "The left  one", "0"))
    assert clip.frames.shape == (1, 3, 8, 10) and clip.expression == "the left one"
    assert clip.masks.sum() == 16 and clip.masks[0, 1:5, 2:6].all() and clip.boxes.tolist() == [[2, 1, 5, 4]]
    assert source.read_masks("9", ("0",), 1)[0].nonzero()[:, 1].unique().tolist() == [0]
    assert torch.equal(source.read_frames("9", ("0",)), clip.frames), "two entries share the image"
    twice = source.read_frames("9", ("0", "0")), source.read_masks("9", ("0", "0"), 1)
    assert [len(x) for x in twice] == [2, 2], "a still image can stand for a clip"


@pytest.mark.parametrize(
    ("benchmark", "name", "split"),
    [
        ("refcoco", "instances_refcoco_testA.json", "testA"),
        ("refcoco_plus", "refcocoplus-unc_val.json", "val"),
        ("refcoco_plus", "refcoco+_testB.json", "testB"),
        ("refcocog", "refcocog-umd_test.json", "test"),
    ],
)
def test_names_of_the_lists(root, benchmark, name, split) -> None:
    (root / "annotations" / name).write_text(json.dumps(tiny_list()))
    assert len(open_task_source(benchmark, root, split).names()) == 2
    with pytest.raises(
        FileNotFoundError, match=f"no {benchmark} under .*: expected .*_train.json, or .*instances.json"
    ):
        open_task_source(benchmark, root, "train")


def test_expressions_beside_the_annotation(root) -> None:
    content = tiny_list()
    for image, annotation in zip(content["images"], content["annotations"], strict=True):
        annotation["expressions"] = image.pop("expressions")
    assert len(list(source_of(root, content).items())) == 3


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda c: c["annotations"].pop(), r"refcoco-unc_val.json: image 9 has 0 annotations: it must have one"),
        (lambda c: c["annotations"].append(c["annotations"][1]), r"image 9 has 2 annotations"),
        (lambda c: c["images"][1].update(expressions=[]), r"image 9 has no expression"),
        (lambda c: c["images"][1].update(expressions=["a", " "]), r"image 9 has an empty expression"),
        (lambda c: c["images"][1].pop("height"), r"image 9 has no usable file_name, height and width"),
    ],
)
def test_broken_entries_are_named_and_not_skipped(root, edit, message) -> None:
    content = tiny_list()
    edit(content)
    source = source_of(root, content)
    assert any(re.search(message, problem) for problem in source.problems())
    with pytest.raises(ValueError, match=message):
        list(source.items())


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ([[1, 2, 3, 4]], "cannot be read .*polygons of at least three corners"),
        (None, "cannot be read .*neither run lengths nor polygons"),
        ({"size": [8, 9], "counts": [72]}, r"run lengths of size \[8, 9\] in an image of \[8, 10\]"),
        ({"size": [8, 10], "counts": [79]}, "run lengths of 79 pixels in an image of 80"),
        ({"size": [8, 10]}, "cannot be read .*counts"),
        ({"size": [8, 10], "counts": [80]}, "has an empty mask: correct its segmentation"),
        ([], "has an empty mask"),
    ],
)
def test_broken_and_empty_masks_are_refused(root, segmentation, message) -> None:
    content = tiny_list()
    content["annotations"][0]["segmentation"] = segmentation
    source = source_of(root, content)
    with pytest.raises(ValueError, match=f"image 10.*{message}"):
        source.read(ClipSpec("10", 1, ("0",)))
    assert source.read(ClipSpec("9", 1, ("0",))).masks.any()


def test_an_image_of_another_size_is_refused(root) -> None:
    Image.new("RGB", (11, 8)).save(root / "train2014" / "a.jpg")
    with pytest.raises(ValueError, match="image 10 is 8x10, but its frame is 8x11"):
        source_of(root, tiny_list()).read(ClipSpec("10", 1, ("0",)))


def test_missing_images_are_named(root) -> None:
    (root / "train2014" / "a.jpg").unlink()
    source = source_of(root, tiny_list())
    assert source.problems() == [
        f"image a.jpg missing in {root}/train2014: restore the file, or remove it from the lists"
    ]
    with pytest.raises(FileNotFoundError, match="train2014/a.jpg is missing"):
        source.read_frames("10", ("0",))
    (root / "train2014").rmdir()
    assert "train2014 is missing: it must hold the images" in source_of(root, tiny_list()).problems()[0]


@pytest.mark.parametrize("content", [[], {"images": []}, {"images": {}, "annotations": []}])
def test_a_file_of_another_form_is_refused(root, content) -> None:
    with pytest.raises(ValueError, match="refcoco-unc_val.json has no list 'images'|no list 'annotations'"):
        source_of(root, content)


def test_unknown_names_and_objects(root) -> None:
    source = source_of(root, tiny_list())
    with pytest.raises(KeyError, match="has no video '11'"):
        source.frames("11")
    with pytest.raises(ValueError, match="has the one object 1, not 2"):
        source.read_masks("10", ("0",), 2)
    assert source.visible("10", "0", 1) and not source.visible("10", "0", 2)


def test_fingerprint_follows_the_words(root) -> None:
    content = tiny_list()
    first = source_of(root, content).fingerprint()
    content["images"][0]["expressions"][1] = "that"
    assert source_of(root, content).fingerprint() != first


def refer(root: Path, folder: str, author: str) -> None:
    """The files of REFER for the entries of `tiny_list`, as Python 2 pickled them."""
    (root / folder).mkdir(parents=True)
    content = tiny_list()
    images = [{"id": 1, "file_name": "a.jpg", "height": 8, "width": 10}]
    annotations = [{"id": k, "image_id": 1, **a} for k, a in enumerate(content["annotations"])]
    (root / folder / "instances.json").write_text(json.dumps({"images": images, "annotations": annotations}))
    refs = [
        {
            "ref_id": k,
            "ann_id": k,
            "image_id": 1,
            "split": "val" if k == 0 else "train",
            "sentences": [
                {"sent": text, "raw": text, "tokens": text.split(), "sent_id": 0} for text in i["expressions"]
            ],
        }
        for k, i in enumerate(content["images"])
    ]
    (root / folder / f"refs({author}).p").write_bytes(pickle.dumps(refs, protocol=0))


@pytest.mark.parametrize(
    ("benchmark", "folder", "author"),
    [("refcoco", "refcoco", "unc"), ("refcoco_plus", "refer/data/refcoco+", "unc"), ("refcocog", "refcocog", "umd")],
)
def test_files_of_refer(root, benchmark, folder, author) -> None:
    refer(root, folder, author)
    val, train = open_task_source(benchmark, root), open_task_source(benchmark, root, "train")
    assert [i.text for i in val.items()] == ["The left  one", "it"] and [i.text for i in train.items()] == ["right"]
    assert val.problems() == [] and val.read(ClipSpec("0", 1, ("0",))).masks.sum() == 16
    with pytest.raises(ValueError, match="has no split 'test.*'; there are: train, val"):
        open_task_source(benchmark, root, "test" if benchmark == "refcocog" else "testA")


def test_the_three_sets_together(root) -> None:
    for folder, author in (("refcoco", "unc"), ("refcoco+", "unc"), ("refcocog", "umd")):
        refer(root, folder, author)
    source = open_task_source("refcoco_mixed", root)
    assert source.names() == ("refcoco-1", "refcoco_plus-1", "refcocog-1") and source.problems() == []
    assert [i.text for i in source.items()] == ["right"] * 3
    assert source.read(ClipSpec("refcocog-1", 1, ("0",), "right")).masks.sum() == 8
    (root / "refcoco+" / "instances.json").unlink()
    with pytest.raises(FileNotFoundError, match="instances.json is missing"):
        open_task_source("refcoco_mixed", root)


def test_a_ref_without_its_annotation_is_named(root) -> None:
    refer(root, "refcoco", "unc")
    path = root / "refcoco" / "instances.json"
    content = json.loads(path.read_text())
    del content["annotations"][0]
    path.write_text(json.dumps(content))
    source = open_task_source("refcoco", root)
    assert "ref 0 names annotation 0, which instances.json does not have" in source.problems()[0]
    path.unlink()
    with pytest.raises(FileNotFoundError, match="refcoco/instances.json is missing"):
        open_task_source("refcoco", root)


class Harmful:
    """Would create a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


def test_a_pickle_that_runs_code_is_refused(tmp_path) -> None:
    path, trace = tmp_path / "refs(unc).p", tmp_path / "trace"
    path.write_bytes(pickle.dumps([{"ref_id": Harmful(trace)}]))
    with pytest.raises(ValueError, match=r"refs\(unc\).p cannot be read as a list file .*only dicts, lists, words"):
        load_plain(path)
    assert not trace.exists()
    path.write_bytes(pickle.dumps([{"a": 1}])[:-3])
    with pytest.raises(ValueError, match="cannot be read as a list file"):
        load_plain(path)


def test_strings_of_python_2_become_words(tmp_path) -> None:
    path = tmp_path / "old.p"
    path.write_bytes(b"(lp0\nS'caf\\xe9'\np1\na.")  # a list of one byte string, protocol 0
    assert load_plain(path) == ["caf\xe9"]


def test_real_masks_equal_those_of_pycocotools(tmp_path) -> None:
    data = require_shared("data", "coco128-instances")
    official = COCO(str(data / "annotations" / "instances_train2017.json"))
    annotations = sorted(official.anns.values(), key=lambda a: a["id"])[::9]
    annotations += [a for a in official.anns.values() if a["iscrowd"]]  # run lengths
    images = [
        {**official.imgs[a["image_id"]], "id": k, "expressions": [f"thing {k}"]} for k, a in enumerate(annotations)
    ]
    content = {"images": images, "annotations": [{**a, "image_id": k} for k, a in enumerate(annotations)]}
    (tmp_path / "train2014").symlink_to(data / "train2017")
    (tmp_path / "refcoco_val.json").write_text(json.dumps(content))
    source = open_task_source("refcoco", tmp_path)
    assert isinstance(source, RefCOCOSource) and source.problems() == [] and len(source.names()) > 100
    for k, annotation in enumerate(annotations):
        mask = decode(annotation["segmentation"], images[k]["height"], images[k]["width"])
        assert np.array_equal(mask, official.annToMask(annotation)), annotation["id"]
    clip = source.read(ClipSpec("0", 1, ("0",), "thing 0"))
    assert np.array_equal(clip.masks[0], official.annToMask(annotations[0]))
    x, y, w, h = annotations[0]["bbox"]
    assert np.allclose(clip.boxes[0], [x, y, x + w, y + h], atol=1.5)
