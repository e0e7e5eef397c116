"""Protocols of the tasks that ask for everything in a video: classes, tracks and panoptic segments, as data.

A protocol holds the rules that its accumulator follows, and the lines of its card are made of these rules.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from benchmarks.metrics.boundary_iou import SHARE
from benchmarks.metrics.pvos import CROWDED, PvosAccumulator, PvosGroups, PvosRules, PvosScore
from benchmarks.metrics.vis import AREAS, MOST, NO_TRUTH, Row, VisAccumulator, VisScore
from benchmarks.metrics.vps import VpsAccumulator, VpsRules, VpsScore
from benchmarks.metrics.vss import CLASSES, VssAccumulator, VssRules, VssScore
from benchmarks.protocols.protocol import NamedRules
from benchmarks.protocols.readings import READINGS
from benchmarks.tables import card
from episodes.panoptic import PanopticClasses

Score = TypeVar("Score")
STRAY_TEXTS = {
    "wrong": "counts for its true class, as found by no class",
    "spill": "counts in a later class, as in the released code",
}
CROWD_TEXTS = {
    True: "the segment that the truth of a video lists first, if it is a thing, as in the released code",
    False: "those that the lists of the truth call so",
}
REPEAT_TEXTS = {
    True: "an object whose mask is given again counts twice from then on, as in the released code",
    False: "an object whose mask is given again counts once",
}
VOID_TEXTS = {
    "left out": "pixels that are void in a frame of the clip are left out",
    "one label": "void is a label that may stay the same (0 and 255 are one)",
    "two labels": "void is a label that may stay the same (0 and 255 are two)",
}


@dataclass(frozen=True)
class TaskProtocol(NamedRules, ABC, Generic[Score]):
    """Rules by which the numbers of a task are computed. Its name is a key in `TASK_PROTOCOLS`."""

    @abstractmethod
    def numbers(self, score: Score) -> dict[str, float]:
        """What papers report, in 0..1 (but for a decay), by the names of their columns, the headline first."""

    @abstractmethod
    def lines(self) -> Mapping[str, str]:
        """The choices that move a number, in words."""

    def too_long(self, longest: int) -> dict[str, str]:
        """Numbers that need a longer video than the longest of a test, in frames, and why they are not there."""
        return {}

    def gaps(self, score: Score) -> Iterator[str]:
        """Sentences on what a number could not count, or why it is not there, but for `too_long`."""
        yield from ()

    def card(self) -> str:
        """The text printed beside the numbers: one `key: value` line per choice."""
        return card({"protocol": self.heading, **self.lines()})


@dataclass(frozen=True)
class VisProtocol(TaskProtocol[VisScore]):
    """Video instance segmentation; there is one reading."""

    def accumulator(self, truth: Row) -> VisAccumulator:
        """An accumulator over the content of a YouTube-VIS file."""
        return VisAccumulator(truth)

    def numbers(self, score: VisScore) -> dict[str, float]:
        """AP over all thresholds and at two of them, and AR with the best 1 and 10 tracks."""
        known = {name: score.stats[name] for name in ("AP", "AP50", "AP75", "AR1", "AR10")}
        return {name: math.nan if value == NO_TRUTH else value for name, value in known.items()}

    def gaps(self, score: VisScore) -> Iterator[str]:
        """Without a true track there is nothing to find."""
        if score.stats["AP"] == NO_TRUTH:
            yield "AP and AR: the videos of the test have no true track"

    def lines(self) -> Mapping[str, str]:
        """Overlap, averaging and sizes."""
        small, large = (int(math.sqrt(limit)) for limit in AREAS[" medium"])
        return {
            "overlap": "of two tracks, the sum of the common pixels over the sum of the pixels in either, all frames",
            "averaging": "AP and AR over IoU .50:.05:.95, then over the categories that have a true track; at most "
            f"{MOST[-1]} tracks per video and category (AR1, AR10: the best 1 and 10)",
            "sizes": f"small below {small}^2, large above {large}^2 pixels: the mean over the frames that show it",
            "crowds": "a track that meets a crowd counts neither as right nor as wrong",
        }


@dataclass(frozen=True)
class VssProtocol(TaskProtocol[VssScore]):
    """Video semantic segmentation."""

    rules: VssRules = field(default_factory=VssRules)

    def accumulator(self, classes: int = CLASSES) -> VssAccumulator:
        """An accumulator of these rules."""
        return VssAccumulator(self.rules, classes)

    def numbers(self, score: VssScore) -> dict[str, float]:
        """mIoU, IoU weighted by the pixels of the classes, and VC of each length."""
        steady = {f"VC{length}": value for length, value in score.vc.items()}
        return {"mIoU": score.miou, "WIoU": score.weighted_iou, **steady}

    def lines(self) -> Mapping[str, str]:
        """Averaging, predictions of no class, and the clips of VC."""
        rules = self.rules
        clips = "every clip of C frames" if rules.last_clip else "every clip of C frames but the last of each video"
        lengths = " and ".join(map(str, rules.lengths))
        return {
            "IoU": "one confusion matrix over all frames and videos, void left out; mean over the classes of the truth",
            "no class": f"a prediction that is no class {STRAY_TEXTS[rules.stray]}",
            "VC": f"C = {lengths}: share of the pixels with one true label whose predicted label is one too, right or "
            f"wrong; mean over {clips}",
            "void in VC": VOID_TEXTS[rules.void],
        }

    def too_long(self, longest: int) -> dict[str, str]:
        """VC of clips that no video has."""
        needed = {length: length + (not self.rules.last_clip) for length in self.rules.lengths}
        return {f"VC{length}": no_video_of(frames) for length, frames in needed.items() if frames > longest}

    def gaps(self, score: VssScore) -> Iterator[str]:
        """Clips without a pixel that keeps its true label."""
        for length, videos in score.clips.items():
            shares = [share for own in videos.values() for share in own]
            if left_out := sum(map(math.isnan, shares)):
                yield f"VC{length}: no pixel keeps its true label in {left_out} of {len(shares)} clips: left out"


@dataclass(frozen=True)
class VpsProtocol(TaskProtocol[VpsScore]):
    """Video panoptic segmentation."""

    rules: VpsRules = field(default_factory=VpsRules)

    def accumulator(self, classes: PanopticClasses) -> VpsAccumulator:
        """An accumulator of these rules for the categories of a data set."""
        return VpsAccumulator(self.rules, classes)

    def numbers(self, score: VpsScore) -> dict[str, float]:
        """VPQ of all categories, things and stuff, and of each window; STQ and its factors."""
        windows = {f"VPQ{frames}": window.all.pq for frames, window in score.windows.items()}
        means = {"VPQ": score.vpq, "VPQ-Th": score.vpq_things, "VPQ-St": score.vpq_stuff}
        return {**means, **windows, "STQ": score.tracking.stq, "SQ": score.tracking.sq, "AQ": score.tracking.aq}

    def lines(self) -> Mapping[str, str]:
        """Windows of VPQ and their mean, crowds and averaging of STQ."""
        lengths, averaged = (", ".join(map(str, of)) for of in (self.rules.windows, self.rules.averaged))
        return {
            "VPQ": f"every window of {lengths} frames, stride 1; counts of a category added over all windows and "
            f"videos, mean over the categories that occur; VPQ is the mean over windows of {averaged} frames",
            "STQ": "geometric mean of SQ (IoU of the categories, one confusion matrix) and AQ (all true thing tracks)",
            "crowds in STQ": CROWD_TEXTS[self.rules.crowd_by_order],
            "void": "VPQ: left out of overlaps, and a predicted tube that is more than half void is no mistake; AQ: "
            "counts in the size of a predicted track; SQ: left out, but void on known pixels is a category of IoU 0",
        }

    def too_long(self, longest: int) -> dict[str, str]:
        """VPQ of windows that no video has, and the means over them."""
        missing = {f"VPQ{frames}": no_video_of(frames) for frames in self.rules.windows if frames > longest}
        if averaged := [frames for frames in self.rules.averaged if frames > longest]:
            why = f"a mean over windows of {averaged[0]} frames too: {no_video_of(averaged[0])}"
            missing = {**dict.fromkeys(("VPQ", "VPQ-Th", "VPQ-St"), why), **missing}
        return missing

    def gaps(self, score: VpsScore) -> Iterator[str]:
        """Things or stuff that are neither in the truth nor in the results."""
        windows = [window for window in score.windows.values() if window.all.categories]
        for name, kind in (("VPQ-Th", "things"), ("VPQ-St", "stuff")):
            if windows and not any(getattr(window, kind).categories for window in windows):
                yield f"{name}: neither the truth nor the results have {kind}"


@dataclass(frozen=True)
class PvosProtocol(TaskProtocol[PvosScore]):
    """Panoptic VOS."""

    rules: PvosRules = field(default_factory=PvosRules)

    def accumulator(self, groups: PvosGroups) -> PvosAccumulator:
        """An accumulator of these rules for the groups of the classes."""
        return PvosAccumulator(self.rules, groups)

    def numbers(self, score: PvosScore) -> dict[str, float]:
        """The overall number and those of the four groups, and the decay."""
        groups = {name.replace("_", " "): group.iou for name, group in score.groups.items()}
        return {"G": score.overall, **groups, "decay": score.decay}

    def lines(self) -> Mapping[str, str]:
        """Frames, averaging, boundary and objects that are given twice."""
        return {
            "frames": "all after the one that gives the mask of an object, the last one included",
            "averaging": "pairs of object and frame pooled over all videos in four groups (things and stuff of seen "
            "and unseen classes); mean of mask and boundary IoU; overall: mean of the four",
            "boundary": f"{SHARE:.0%} of the diagonal, rounded, at least 1 pixel; the border of the image is one too",
            "given twice": REPEAT_TEXTS[self.rules.repeats],
            "decay": f"d of the fit of exp(-d N / 100) to the mean IoU of frames with N objects, N below {CROWDED}; no "
            "percentage",
        }

    def gaps(self, score: PvosScore) -> Iterator[str]:
        """Groups without a pair, objects of no group, and a decay that has no fit."""
        for name, group in score.groups.items():
            if not group.pairs:
                yield f"G, {name.replace('_', ' ')}: the videos of the test have no object of this group"
        if score.left_out:
            named = "; ".join(f"{video}: {', '.join(map(str, ids))}" for video, ids in score.left_out.items())
            yield f"objects whose class is in no group count in no number ({named})"
        if math.isinf(score.decay):
            yield "decay: nothing is found in any frame with a certain number of objects: there is no fit"


def no_video_of(frames: int) -> str:
    """Why a number over so many frames is not there."""
    return f"no video of {frames} frames or more"


_VSPW = "Miao et al., CVPR 2021"
_PUBLISHED = VssRules(stray="spill", last_clip=False, void="one label")
VSS_PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        VssProtocol("vspw", f"{_VSPW}, as UniVS (Li et al., CVPR 2024) computes it", _PUBLISHED),
        VssProtocol("vspw_baseline", f"{_VSPW}, its own code", VssRules("spill", False, "two labels")),
        VssProtocol("vspw_corrected", f"{_VSPW}, every clip, void left out"),
    )
}
_VIPSEG = "VPQ: Kim et al., CVPR 2020; STQ: Weber et al., NeurIPS 2021"
VPS_PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        VpsProtocol(
            "vipseg",
            f"{_VIPSEG}; as the programs of VIPSeg and UniVS compute them",
            VpsRules(averaged=(1, 2, 4, 6, 8), crowd_by_order=True),
        ),
        VpsProtocol("vipseg_corrected", f"{_VIPSEG}; windows as papers report them"),
    )
}
_VIPOSEG = "Xu et al., IJCAI 2023"
PVOS_PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        PvosProtocol("viposeg", f"{_VIPOSEG}, as UniVS (Li et al., CVPR 2024) computes it", PvosRules(repeats=True)),
        PvosProtocol("viposeg_corrected", f"{_VIPOSEG}, every object once"),
    )
}
VIS = VisProtocol("youtube_vis", "Yang et al., ICCV 2019; OVIS: Qi et al., IJCV 2022")
TASK_PROTOCOLS: dict[str, TaskProtocol[Any]] = {VIS.name: VIS, **VSS_PROTOCOLS, **VPS_PROTOCOLS, **PVOS_PROTOCOLS}
# kind of task -> its protocols by name, the usual one first
PROTOCOLS_OF_KIND = {kind: {name: TASK_PROTOCOLS[name] for name in names} for kind, names in READINGS.items()}


def reading_of(kind: str, name: str | None) -> TaskProtocol[Any]:
    """The protocol of the headline numbers; None: the usual one of the kind."""
    protocols = PROTOCOLS_OF_KIND[kind]
    return protocols[name] if name is not None else next(iter(protocols.values()))
