"""`ImageProtocol`: episodes, resizing, ignored pixels and averaging order of an mIoU and FB-IoU number, as data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from benchmarks.metrics.fss import fb_iou, image_ious, miou
from benchmarks.metrics.ratios import Floats, Totals, mean_ratio
from benchmarks.protocols.protocol import NOT_STATED, BaseProtocol, Setting
from benchmarks.scores.scores import ImageScore
from benchmarks.scores.sums import Sums, Units, UnitTotals

Queries = Literal["list", "images", "uniform", "each", "first"]
EPISODE_IOU = "mean episode IoU"
QUERY_TEXTS = {
    "list": "query i of the fold's list of images and classes (from the start again after the last)",
    "images": "image i of the fold's list of images (from the start again after the last), for one of the test classes "
    "that it shows, however small, drawn uniformly",
    "uniform": "class, then query image, drawn uniformly",
    "each": "every image of every test class",
    "first": "every image of every test class, supports are the first other images of the class by name",
}
SUPPORT_TEXTS = {
    "distinct": "drawn for each episode, all different",
    "repeats": "drawn for each episode, one by one, so that one image may come twice",
}
STREAM_TEXT = "; queries and supports of all episodes drawn in turn from one generator, as the released code draws them"
SAMPLING_TEXTS = {
    "balanced": "classes equally often",
    "pairs": "every image equally often for every class that it is listed for",
    "images": "every image equally often, for one of the classes that it is listed for",
}
ORIGINAL_SAMPLING = {"list": "pairs", "images": "images"}  # by the queries of a test; else classes come equally often
INPUT_TEXTS = {
    "square": "squashed to a square",
    "pad8": "long side resized, then both sides cut down to multiples of 8, padded to a square",
    "short": "short side resized, long side limited",
}
RESOLUTION_TEXTS = {
    "network": "truth nearest-resized to the network input, the object where its probability is above 0.5 there",
    "square": "truth as annotated; logits resized bilinearly (corners aligned) to a square of the image's longer side, "
    "padding cut off",
    "original": "truth as annotated; binary prediction nearest-resized to the size of the image",
}
SHOT_TEXTS = {
    "votes": "K one-shot masks are summed and divided by the largest sum in the image (at least 1), >= 0.5",
    "joint": "the network is given the K supports at once",
}
IGNORE_TEXTS = {
    "left out": "pixels whose truth is not known (label 255) are left out of prediction and truth",
    "background": "none: pixels whose truth is not known count as background",
}
# Benchmarks whose masks have unknown pixels; of one that is not stated nothing is known either.
WITH_UNKNOWN = ("pascal5i", "coco2pascal", NOT_STATED)
NOTHING_UNKNOWN = "none: every pixel of the masks of this benchmark is known"
AVERAGING_TEXTS = {
    "classes": "pixel counts added over the episodes of a class; mIoU = mean of the foreground ratios of the classes; "
    "FB-IoU = mean of the background and foreground ratios of all episodes pooled; classes without an episode are left "
    "out",
    "images": "mIoU = mean over query images of the foreground IoU (no ratio of sums, no classes); FB-IoU = mean of "
    "the background and foreground ratios of all episodes pooled",
}


@dataclass(frozen=True)
class EpisodeRule:
    """Choice of the query images of a test.

    Attributes:
        queries: see `episodes.sampling.images.image_test_episodes`.
        count: number of episodes; None: each entry of the list once.
        min_area: where no list files are given, a class is listed for an image that has at least this many pixels of
            it.
    """

    queries: Queries
    count: int | None
    min_area: int = 0

    def told(self, tested: int | None = None, frozen: str | None = None, stream: bool = False) -> str:
        """The rule in words; `tested` is the number of episodes where it is not the official one.

        `frozen` is the file of episodes that were not drawn for this test; the file says how they were. `stream`: they
        were drawn from one generator.
        """
        rule = self._rule(tested, frozen)
        return rule + STREAM_TEXT if stream and frozen is None else rule

    def _rule(self, tested: int | None, frozen: str | None) -> str:
        official = "once through" if self.count is None else f"{self.count} episodes per fold and seed"
        if frozen is not None:
            number = "all of them" if tested is None else f"{tested} per fold and seed"
            return f"frozen in {frozen}, {number} (official: {QUERY_TEXTS[self.queries]}; {official})"
        if tested is not None and tested != self.count:
            fewer = self.queries != "uniform" and (self.count is None or tested < self.count)
            spread = "; fewer than there are: spread evenly over the classes" if fewer else ""
            official = f"{tested} episodes per fold and seed (official: {official}){spread}"
        return f"{QUERY_TEXTS[self.queries]}; {official}"


@dataclass(frozen=True)
class ImageProtocol(BaseProtocol):
    """Rules by which mIoU and FB-IoU of a fold are computed.

    Attributes:
        rules: `EpisodeRule` by name of benchmark; '' is for every other benchmark.
        seeds: of the official episodes.
        supports: of an episode, all different (`distinct`) or drawn one by one, so that one may come twice (`repeats`).
        drop_novel: training images that show a held-out class are not used (else that class is background in them).
        input_rule: `square` (squashed to size x size), `pad8` (long side to size, cut down to multiples of 8, padded to
            a square) or `short` (short side to size, long side limited).
        sizes: of the network input, by name of benchmark; '' is for every other benchmark.
        resolution: of the counts: `network` (size of the input), `square` (original, padded to its longer side) or
            `original`.
        k_shot: `votes` (K one-shot predictions vote) or `joint` (the network sees K supports).
        averaging: `classes` (sums per class) or `images` (mean over query images).
        ignore: pixels whose truth is not known are `left out` or count as `background`.
        empty: IoU where prediction and truth are both empty.
    """

    rules: Mapping[str, EpisodeRule]
    seeds: tuple[int, ...]
    drop_novel: bool
    input_rule: Literal["square", "pad8", "short"]
    sizes: Mapping[str, int]
    resolution: Literal["network", "square", "original"]
    k_shot: Literal["votes", "joint"]
    averaging: Literal["classes", "images"]
    supports: Literal["distinct", "repeats"] = "distinct"
    ignore: Literal["left out", "background"] = "left out"
    empty: float = 0.0
    score_type: ClassVar[type] = ImageScore
    measures: ClassVar[tuple[str, ...]] = ("mIoU", "FB-IoU")
    unit: ClassVar[str] = "query image"
    lists_classes: ClassVar[bool] = True

    @property
    def extras(self) -> tuple[str, ...]:
        """The mean of the IoUs of the episodes, another statistic, for protocols whose mIoU is a ratio of sums."""
        return (EPISODE_IOU,) if self.averaging == "classes" else ()

    @property
    def note(self) -> str:
        """Says what the extra number is not."""
        return f"{EPISODE_IOU} is another statistic than mIoU (a ratio of sums per class)" if self.extras else ""

    def rule(self, benchmark: str) -> EpisodeRule:
        """The episodes of `benchmark` (a name as in `FOLDS`)."""
        return self.rules.get(benchmark, self.rules[""])

    def size(self, benchmark: str) -> int:
        """Size of the network input for `benchmark`, in pixels, where the user gives none."""
        return self.sizes.get(benchmark, self.sizes[""])

    def sums(self, scores: Sequence[ImageScore]) -> Sums:
        """Pixel counts per query image, added up within its class (or all together), and the IoUs of the images."""
        units = Units.of(scores)
        inter, union = (_counts(scores, name) for name in ("inter", "union"))
        number = units.add_up(scores, np.ones((len(scores), 1)))
        iou = units.add_up(scores, image_ious(inter[:, 1], union[:, 1], self.empty)[:, None])
        seen, pooled = number[..., 0], units.pooled()
        images = UnitTotals(iou, number, seen, pooled)
        by_class = self.averaging == "classes"
        strata = units.by_class() if by_class else pooled
        counts = UnitTotals(units.add_up(scores, inter), units.add_up(scores, union), seen, strata)
        return Sums((counts, images), _measures_of_classes if by_class else _measures_of_images, units.names)

    def per_class(self, scores: Sequence[ImageScore]) -> dict[str, float]:
        """Foreground IoU (mean over seeds, as averaged by this protocol) and the numbers of queries and images."""
        sums = self.sums(scores)
        miou = sums.averages(np.ones((1, sums.units)))[0, :, 0].mean()
        return {"IoU": float(miou), "queries": len(scores), "images": len({score.image for score in scores})}

    def serves(self, other: BaseProtocol) -> bool:
        """Counts are at one resolution and of one list of episodes: they give the numbers of this protocol only."""
        return other == self

    def predicts_for(self, other: ImageProtocol, shots: int) -> bool:
        """True if masks that were predicted by these rules can be counted by `other`, on the same episodes.

        A padded square needs input that was padded, and several shots must be given in the same way.
        """
        padded = other.resolution != "square" or self.input_rule == "pad8"
        return padded and (shots == 1 or self.k_shot == other.k_shot)

    def card_lines(self, setting: Setting) -> Mapping[str, str]:
        """Episodes, supports, training images, resizing, ignored pixels, and averaging."""
        rule = self.rule(setting.benchmark)
        drawn = "the same for every seed" if rule.queries == "first" else SUPPORT_TEXTS[self.supports]
        supports = setting.supports_line(drawn if setting.frozen is None else f"frozen in {setting.frozen}")
        votes = "" if setting.shots == 1 else f"; {SHOT_TEXTS[self.k_shot]}"
        training = "dropped if they show" if self.drop_novel else "kept, as background, if they show"
        told = rule.told(setting.episodes, setting.frozen, setting.stream)
        return {
            "episodes": NOT_STATED if setting.benchmark == NOT_STATED else told,
            "images": _images(rule, setting.lists),
            "supports": supports + votes,
            "seeds": self._seeds(setting),
            "training": f"images are {training} a held-out class{_sampling(rule, setting.sampling)}",
            "input": INPUT_TEXTS[self.input_rule] + (f" ({setting.size})" if setting.size else ""),
            "resolution": f"{self.resolution}; {RESOLUTION_TEXTS[self.resolution]}",
            "ignored": self._ignored(setting.benchmark),
            "averaging": f"{AVERAGING_TEXTS[self.averaging]}; 0 / 0 is {self.empty:g}",
        }

    def _ignored(self, benchmark: str) -> str:
        """Treatment of unknown pixels, or the remark that the benchmark has none to leave out."""
        none = self.ignore == "left out" and benchmark not in WITH_UNKNOWN
        return NOTHING_UNKNOWN if none else IGNORE_TEXTS[self.ignore]

    def _seeds(self, setting: Setting) -> str:
        """The seeds, and the official ones where they are others."""
        official = (
            "" if sorted(setting.seeds) == sorted(self.seeds) else f" (official: {', '.join(map(str, self.seeds))})"
        )
        return setting.seeds_line() + (official if setting.seeds else "")


def _sampling(rule: EpisodeRule, sampling: str | None) -> str:
    """The way in which training episodes are drawn, where it is known, and that of the original if it is another."""
    if sampling is None:
        return ""
    original = ORIGINAL_SAMPLING.get(rule.queries, "balanced")
    return f"; drawn: {SAMPLING_TEXTS[sampling]}" + (
        "" if sampling == original else f" (the original: {SAMPLING_TEXTS[original]})"
    )


def _images(rule: EpisodeRule, lists: str | None) -> str:
    """The images that a class has."""
    if lists:
        return f"of the lists {lists}"
    least = f"at least {rule.min_area} pixels of " if rule.min_area else ""
    return f"all that show {least}the class, by their masks"


def _measures_of_classes(classes: Sequence[Totals], images: Sequence[Totals]) -> tuple[Floats, Floats, Floats]:
    """mIoU as a ratio of sums per class, FB-IoU, and the mean IoU of the episodes."""
    return miou(classes), fb_iou(classes), mean_ratio(images)[..., 0]


def _measures_of_images(counts: Sequence[Totals], images: Sequence[Totals]) -> tuple[Floats, Floats]:
    """mIoU as the mean IoU of the query images, and FB-IoU."""
    return mean_ratio(images)[..., 0], fb_iou(counts)


def _counts(scores: Sequence[ImageScore], what: str) -> np.ndarray:
    """Background and foreground counts: `(scores, 2)`."""
    return np.array([[getattr(score, f"{what}_bg"), getattr(score, f"{what}_fg")] for score in scores], np.float64)


def _rules(pascal: EpisodeRule, coco: EpisodeRule, other: EpisodeRule) -> Mapping[str, EpisodeRule]:
    """`coco2pascal` tests on PASCAL images."""
    return {"pascal5i": pascal, "coco2pascal": pascal, "coco20i": coco, "coco20i_contiguous": coco, "": other}


LISTED_AREA = 2 * 32 * 32  # PFENet's; the rule that comes closest to the lists of HSNet, which were cut by hand
_EACH = EpisodeRule("each", None)
_EACH_LARGE = EpisodeRule("each", None, LISTED_AREA)


_PFENET_SIZES = {"coco20i": 641, "coco20i_contiguous": 641, "": 473}


def _of_images(count: int) -> EpisodeRule:
    return EpisodeRule("images", count, LISTED_AREA)


_ALL = (
    ImageProtocol(
        name="hsnet",
        source="Min et al., Hypercorrelation Squeeze, ICCV 2021",
        rules=_rules(EpisodeRule("list", 1000, LISTED_AREA), EpisodeRule("uniform", 1000, LISTED_AREA), _EACH),
        seeds=(0,),
        drop_novel=False,
        input_rule="square",
        sizes={"": 400},
        resolution="network",
        k_shot="votes",
        averaging="classes",
        supports="repeats",
    ),
    ImageProtocol(
        name="pfenet",
        source="Tian et al., Prior Guided Feature Enrichment, TPAMI 2020",
        # its loop stops after one episode more than it is told
        rules=_rules(_of_images(5001), _of_images(20001), _EACH_LARGE),
        seeds=(321,),
        drop_novel=False,
        input_rule="pad8",
        sizes=_PFENET_SIZES,
        resolution="square",
        k_shot="joint",
        averaging="classes",
    ),
    ImageProtocol(
        name="bam",
        source="Lang et al., Learning What Not to Segment, CVPR 2022, which counts as PFENet",
        rules=_rules(_of_images(1000), _of_images(1000), _EACH_LARGE),
        seeds=(510, 365, 382, 322, 988),
        drop_novel=True,
        input_rule="pad8",
        sizes=_PFENET_SIZES,
        resolution="square",
        k_shot="joint",
        averaging="classes",
    ),
    ImageProtocol(
        name="uniref",
        source="Wu et al., UniRef++, 2023, as its FSS-1000 evaluation averages",
        rules={"": EpisodeRule("first", None)},
        seeds=(0,),
        drop_novel=False,
        input_rule="short",
        sizes={"": 480},
        resolution="original",
        k_shot="joint",
        averaging="images",
        ignore="background",
    ),
)
IMAGE_PROTOCOLS: dict[str, ImageProtocol] = {protocol.name: protocol for protocol in _ALL}
