"""Numbers of A2D-Sentences and JHMDB-Sentences: mAP of all scored candidates, and IoU and P@K of the best one.

Gavrilyuk et al., "Actor and Action Video Segmentation from a Sentence", CVPR 2018, as MTTR (Botach et al., CVPR 2022)
and ReferFormer (Wu et al., CVPR 2022) compute them. A sample is one sentence about one frame, with one true mask.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pycocotools import mask as coco_mask

from benchmarks.metrics.coco_map import sentence_map
from benchmarks.metrics.ris import RisAccumulator, best_candidate

Runs = Mapping[str, Any]  # run lengths of a mask as COCO writes them: `size` (height, width) and the string `counts`
CATEGORY = 1  # the one category


@dataclass(frozen=True)
class Candidate:
    """A mask that a system offers for a sentence, with its score."""

    score: float
    mask: Runs


def overlap(a: Runs, b: Runs) -> tuple[int, int]:
    """Pixels in both masks and in either. Raises ValueError for masks of two sizes."""
    if list(a["size"]) != list(b["size"]):
        raise ValueError(
            f"masks must be of one size, got {list(a['size'])} and {list(b['size'])}: resize the prediction"
        )
    inter, union = (int(coco_mask.area(coco_mask.merge([a, b], intersect=both))) for both in (True, False))
    return inter, union


class SentenceAccumulator:
    """Collects samples in any order, from any process."""

    def __init__(self) -> None:
        self._samples: dict[Any, tuple[Runs, tuple[Candidate, ...]]] = {}

    def update(self, sample: Any, truth: Runs, candidates: Sequence[Candidate]) -> None:
        """Add a sample.

        Args:
            sample: its name or number; samples whose candidates have equal scores are ranked in its order.
            truth: the true mask, which may be empty.
            candidates: all that the system offers. Of equal scores the last is the best one.

        Raises:
            ValueError: the sample is there already, or has no candidate.
        """
        if sample in self._samples:
            raise ValueError(f"sample {sample!r} was already added")
        if not candidates:
            raise ValueError(f"sample {sample!r} has no candidate: give at least one mask, it may be empty")
        self._samples[sample] = (truth, tuple(candidates))

    def merge(self, other: SentenceAccumulator) -> None:
        """Add everything that `other` holds."""
        for sample, (truth, candidates) in other._samples.items():
            self.update(sample, truth, candidates)

    def compute(self) -> dict[str, float]:
        """The numbers in 0..1, mAP over the thresholds .50:.05:.95 first.

        Raises:
            ValueError: no sample was added, or a candidate is not of the size of its truth.
        """
        if not self._samples:
            raise ValueError("no sample was added: there is nothing to average")
        samples = sorted(self._samples.items())
        precision = sentence_map(*_coco(samples))
        score = RisAccumulator("referformer", (_best(*pair) for _, pair in samples)).compute()
        at = {f"P@{threshold:g}": value for threshold, value in score.precision.items()}
        averages = {name: precision[name] for name in ("mAP", "AP50", "AP75")}
        return {"mAP": averages.pop("mAP"), "oIoU": score.overall_iou, "mIoU": score.mean_iou, **at, **averages}


def _best(truth: Runs, candidates: Sequence[Candidate]) -> tuple[int, int]:
    return overlap(candidates[best_candidate([candidate.score for candidate in candidates])].mask, truth)


def _coco(samples: Sequence[tuple[Any, tuple[Runs, tuple[Candidate, ...]]]]) -> tuple[dict[str, Any], list[Any]]:
    """Truth and predictions in the form of COCO files; images are numbered in the order of the samples."""
    images, annotations, predictions = [], [], []
    for number, (_, (truth, candidates)) in enumerate(samples, start=1):
        own = {"image_id": number, "category_id": CATEGORY}
        area, box = float(coco_mask.area(truth)), coco_mask.toBbox(truth).tolist()
        images.append({"id": number, "height": truth["size"][0], "width": truth["size"][1]})
        annotations.append({**own, "id": number, "iscrowd": 0, "segmentation": truth, "area": area, "bbox": box})
        predictions += [{**own, "segmentation": dict(c.mask), "score": c.score} for c in candidates]
    categories = [{"id": CATEGORY, "name": "object"}]
    return {"images": images, "annotations": annotations, "categories": categories}, predictions
