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


def _videos(name: str, benchmark: str, splits: Mapping[str, int]) -> list[Variant]:
    return [Variant(name, (benchmark,), split, {"videos": number}) for split, number in splits.items()]


def _expressions(name: str, benchmark: str, splits: Mapping[str, int]) -> list[Variant]:
    return [Variant(name, (benchmark,), split, {"expressions": number}) for split, number in splits.items()]


_PASCAL, _COCO = ("pascal5i", "coco2pascal"), ("coco20i", "coco20i_contiguous")
# Above each row is where its numbers are stated.
VARIANTS = (
    # VOC 2012 (Everingham et al.); with SBD (Hariharan et al., ICCV 2011) the list `trainaug` of its users
    _images("PASCAL VOC 2012 with the masks of SBD (SegmentationClassAug)", _PASCAL, 10582, 1449),
    _images("PASCAL VOC 2012 without SBD (SegmentationClass)", _PASCAL, 1464, 1449),
    # papers of weakly supervised segmentation: of 82,783 and 40,504 images
    _images("COCO 2014, its images with an instance", _COCO, 82081, 40137),
    # Detectron2 leaves out 1,021 of 118,287 images; 48 of the 5,000 of val2017 have no annotation
    _images("COCO 2017, its images with an instance", _COCO, 117266, 4952),
    # Li et al., CVPR 2020
    Variant("FSS-1000", ("fss1000", "fss1000_val"), "", {"classes": 1000, "training images": 10000}),
    # the later data repository of the authors of CMA
    Variant("Mini-Ref-YouTube-VOS", ("mini_ref_ytvos",), "", {"videos": 1668, "classes": 48}),
    # Zhou et al., "A Survey on Deep Learning Technique for Video Segmentation" (TPAMI 2022), table 6
    *_videos("DAVIS-2016", "davis16", {"val": 20, "train": 30}),
    *_videos("DAVIS-2017", "davis17", {"val": 30, "train": 60, "test-dev": 30, "test-challenge": 30}),
    *_videos("Ref-DAVIS17", "ref_davis17", {"valid": 30, "train": 60}),
    # youtube-vos.org/dataset/vos
    *_videos("YouTube-VOS 2018", "youtube_vos", {"valid": 474, "test": 508}),
    *_videos("YouTube-VOS 2019", "youtube_vos", {"valid": 507, "test": 541}),
    *_videos("YouTube-VOS 2018 and 2019", "youtube_vos", {"train": 3471}),
    # youtube-vos.org/dataset/rvos
    *_videos("Ref-YouTube-VOS, less its test videos", "ref_youtube_vos", {"valid": 202}),
    *_videos("Ref-YouTube-VOS", "ref_youtube_vos", {"train": 3471, "test": 305}),
    # the README of MeViS
    *_videos("MeViS", "mevis", {"valid_u": 50, "train": 1662, "valid": 140, "test": 154}),
    # Ding et al., ICCV 2023
    *_videos("MOSE", "mose", {"valid": 311, "train": 1507, "test": 331}),
    # the README of LVOS
    *_videos("LVOS v1", "lvos", {"valid": 50, "train": 120, "test": 50}),
    *_videos("LVOS v2", "lvos", {"valid": 140, "train": 420, "test": 160}),
    # youtube-vos.org/dataset/vis
    *_videos("YouTube-VIS 2019", "youtube_vis19", {"valid": 302, "train": 2238, "test": 343}),
    *_videos("YouTube-VIS 2021", "youtube_vis21", {"valid": 421, "train": 2985, "test": 453}),
    # the survey's table 6; VIPSeg (Miao et al., CVPR 2022) has the 3,536 videos of VSPW
    *_videos("OVIS", "ovis", {"valid": 140, "train": 607, "test": 154}),
    *_videos("VSPW", "vspw", {"val": 343, "train": 2806, "test": 387}),
    *_videos("VIPSeg", "vipseg", {"val": 343, "train": 2806, "test": 387}),
    # cocodataset.org
    *_videos("COCO 2017 panoptic", "coco_panoptic", {"val2017": 5000, "train2017": 118287}),
    # papers of referring segmentation; splits of UNC (Yu et al., ECCV 2016), UMD (Nagaraja et al., ECCV 2016)
    # and Google (Mao et al., CVPR 2016)
    *_expressions("RefCOCO (UNC)", "refcoco", {"val": 10834, "testA": 5657, "testB": 5095, "train": 120624}),
    *_expressions("RefCOCO+ (UNC)", "refcoco_plus", {"val": 10758, "testA": 5726, "testB": 4889}),
    *_expressions("RefCOCOg (UMD)", "refcocog", {"val": 4896, "test": 9602, "train": 80512}),
    *_expressions("RefCOCOg (Google)", "refcocog", {"val": 9536, "train": 85474}),
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
