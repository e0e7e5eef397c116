"""Variants of the data sets that are in circulation, told apart by how much is in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from episodes.sources.base import Source
from episodes.sources.images import ImageSource
from episodes.sources.task_source import TaskSource

Census = dict[str, int]


@dataclass(frozen=True)
class Variant:
    """A variant of a data set and its numbers, as papers and downloads state them; `split` is '' where folds divide."""

    name: str
    benchmarks: tuple[str, ...]
    split: str
    numbers: Mapping[str, int]


def _images(name: str, benchmarks: tuple[str, ...], train: int, test: int) -> Variant:
    return Variant(name, benchmarks, "", {"training images": train, "test images": test})


def _videos(name: str, benchmark: str, split: str, videos: int) -> Variant:
    return Variant(name, (benchmark,), split, {"videos": videos})


def _expressions(name: str, benchmark: str, split: str, expressions: int) -> Variant:
    return Variant(name, (benchmark,), split, {"expressions": expressions})


_PASCAL, _COCO = ("pascal5i", "coco2pascal"), ("coco20i", "coco20i_contiguous")
VARIANTS = (
    _images("PASCAL VOC 2012 with the masks of SBD (SegmentationClassAug)", _PASCAL, 10582, 1449),
    _images("PASCAL VOC 2012 without SBD (SegmentationClass)", _PASCAL, 1464, 1449),
    _images("COCO 2014, its images with an instance", _COCO, 82081, 40137),
    _images("COCO 2017, its images with an instance", _COCO, 117266, 4952),
    Variant("FSS-1000", ("fss1000", "fss1000_val"), "", {"classes": 1000, "training images": 10000}),
    Variant("Mini-Ref-YouTube-VOS", ("mini_ref_ytvos",), "", {"videos": 1668, "classes": 48}),
    _videos("DAVIS-2016", "davis16", "val", 20),
    _videos("DAVIS-2016", "davis16", "train", 30),
    *(_videos("DAVIS-2017", "davis17", split, 60 if split == "train" else 30) for split in ("val", "train")),
    *(_videos("DAVIS-2017", "davis17", split, 30) for split in ("test-dev", "test-challenge")),
    _videos("Ref-DAVIS17", "ref_davis17", "valid", 30),
    _videos("Ref-DAVIS17", "ref_davis17", "train", 60),
    _videos("YouTube-VOS 2018", "youtube_vos", "valid", 474),
    _videos("YouTube-VOS 2019", "youtube_vos", "valid", 507),
    _videos("YouTube-VOS 2018 and 2019", "youtube_vos", "train", 3471),
    _videos("Ref-YouTube-VOS, less its test videos", "ref_youtube_vos", "valid", 202),
    _videos("Ref-YouTube-VOS", "ref_youtube_vos", "train", 3471),
    *(_videos("MeViS", "mevis", split, n) for split, n in (("valid_u", 50), ("train", 1662), ("valid", 140))),
    _videos("MOSE", "mose", "valid", 311),
    _videos("MOSE", "mose", "train", 1507),
    _videos("LVOS v1", "lvos", "valid", 50),
    _videos("LVOS v1", "lvos", "train", 120),
    _videos("LVOS v2", "lvos", "valid", 140),
    _videos("LVOS v2", "lvos", "train", 420),
    _videos("YouTube-VIS 2019", "youtube_vis19", "valid", 302),
    _videos("YouTube-VIS 2019", "youtube_vis19", "train", 2238),
    _videos("YouTube-VIS 2021", "youtube_vis21", "valid", 421),
    _videos("YouTube-VIS 2021", "youtube_vis21", "train", 2985),
    _videos("OVIS", "ovis", "valid", 140),
    _videos("OVIS", "ovis", "train", 607),
    *(_videos("VSPW", "vspw", split, number) for split, number in (("val", 343), ("train", 2806), ("test", 387))),
    *(_videos("VIPSeg", "vipseg", split, number) for split, number in (("val", 343), ("train", 2806), ("test", 387))),
    _videos("COCO 2017 panoptic", "coco_panoptic", "val2017", 5000),
    _videos("COCO 2017 panoptic", "coco_panoptic", "train2017", 118287),
    *(
        _expressions(name, benchmark, split, number)
        for name, benchmark, numbers in (
            ("RefCOCO (UNC)", "refcoco", (10834, 5657, 5095)),
            ("RefCOCO+ (UNC)", "refcoco_plus", (10758, 5726, 4889)),
        )
        for split, number in zip(("val", "testA", "testB"), numbers, strict=True)
    ),
    _expressions("RefCOCOg (UMD)", "refcocog", "val", 4896),
    _expressions("RefCOCOg (UMD)", "refcocog", "test", 9602),
    _expressions("RefCOCOg (Google)", "refcocog", "val", 9536),
)


def census(source: Source) -> Census:
    """How much a data set holds, in numbers that tell its variants apart. Counts the masks of images once."""
    if isinstance(source, TaskSource):
        return {
            "videos": len(source.names()),
            "frames": sum(len(source.frames(video)) for video in source.names()),
            "expressions": sum(1 for _ in source.items()) if source.task in ("ris", "rvos", "rfs") else 0,
        }
    classes = range(1, len(source.folds.classes) + 1) if hasattr(source, "folds") else ()
    if isinstance(source, ImageSource):
        shown = [image for image in source.files if source.classes_in(image)]
        splits = {word: [i for i in shown if source.in_split(i, split)] for word, split in _SPLITS.items()}
        found = {word: len(images) for word, images in splits.items()}
        return {**found, "classes": sum(1 for c in classes if source.videos(c))}
    videos = {video for c in classes for video in source.videos(c)}
    frames = sum(len(source.frames(video)) for video in videos)
    return {"videos": len(videos), "frames": frames, "classes": sum(1 for c in classes if source.videos(c))}


_SPLITS = {"training images": "train", "test images": "test"}


def known_variant(benchmark: str, split: str, found: Census) -> str:
    """The variant that a data set is, or how it differs from the nearest one; empty where none is known."""
    known = [v for v in VARIANTS if benchmark in v.benchmarks and split == v.split]
    if not known:
        return ""
    nearest = min(known, key=lambda v: sum(abs(found[what] - number) / number for what, number in v.numbers.items()))
    differing = [
        f"{found[what]:,} of {number:,} {what}" for what, number in nearest.numbers.items() if found[what] != number
    ]
    return f"no known one; {nearest.name} is nearest: {', '.join(differing)}" if differing else nearest.name
