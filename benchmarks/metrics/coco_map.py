"""mAP of A2D-Sentences, JHMDB-Sentences and RefCOCO: COCO's average precision of all scored candidates.

Gavrilyuk et al., "Actor and Action Video Segmentation from a Sentence", CVPR 2018, as MTTR and ReferFormer compute it:
one class, thresholds .50:.05:.95, 101 recall points, at most 100 candidates per image. The arithmetic is pycocotools'.
`benchmarks.metrics.sentences` puts the other numbers of these data sets beside it.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

Row = Mapping[str, Any]
NAMES: tuple[str, ...] = (
    *("mAP", "AP50", "AP75", "AP small", "AP medium", "AP large"),
    *("AR1", "AR10", "AR100", "AR small", "AR medium", "AR large"),
)


def sentence_map(truth: Row, predictions: Sequence[Row], area_from_bbox: bool = False) -> dict[str, float]:
    """Average precision and recall in 0..1 (-1 where no true mask is of that size).

    Args:
        truth: `images`, `annotations` (RLE masks, with `area`) and `categories` in the form of a COCO file.
        predictions: `image_id`, `category_id`, `segmentation` (RLE) and `score`; several per image.
        area_from_bbox: keep a `bbox` of the predictions. pycocotools then takes their area from it as width x height;
            where the field holds corners, as ReferFormer writes for RefCOCO, the AP and AR by size mean nothing. By
            default the box is dropped and the area is that of the mask.

    Raises:
        ValueError: there is no prediction, or one of an image that the truth does not list.
    """
    unknown = {row["image_id"] for row in predictions} - {image["id"] for image in truth["images"]}
    if unknown or not predictions:
        what = (
            f"predictions for images {sorted(unknown)[:5]} that the truth does not list" if unknown else "no prediction"
        )
        raise ValueError(f"{what}: average precision cannot be computed")
    rows = [{key: value for key, value in row.items() if area_from_bbox or key != "bbox"} for row in predictions]
    with contextlib.redirect_stdout(io.StringIO()):  # it reports progress there
        evaluation = COCOeval(coco_index(truth), coco_index(truth).loadRes(rows), iouType="segm")
        evaluation.params.useCats = 0
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return dict(zip(NAMES, map(float, evaluation.stats), strict=True))


class SentenceMapAccumulator:
    """Collects scored candidates image by image, from any process. Arguments as in `sentence_map`."""

    def __init__(self, truth: Row, area_from_bbox: bool = False) -> None:
        self.truth, self.area_from_bbox = truth, area_from_bbox
        self._images: dict[int, list[Row]] = {}

    def update(self, image_id: int, candidates: Iterable[Row]) -> None:
        """Add the candidates of an image: rows as in `sentence_map`. Raises ValueError if it is there already."""
        if image_id in self._images:
            raise ValueError(f"image {image_id} was already added")
        self._images[image_id] = [{**row, "image_id": image_id} for row in candidates]

    def merge(self, other: SentenceMapAccumulator) -> None:
        """Add everything that `other` holds; it must be of the same truth."""
        if self.truth != other.truth or self.area_from_bbox != other.area_from_bbox:
            raise ValueError("accumulators of another truth or other areas cannot be merged")
        for image_id, candidates in other._images.items():
            self.update(image_id, candidates)

    def compute(self) -> dict[str, float]:
        """Average precision and recall so far; images in the order of their ids. Errors as `sentence_map`."""
        rows = [row for _, candidates in sorted(self._images.items()) for row in candidates]
        return sentence_map(self.truth, rows, self.area_from_bbox)


def coco_index(content: Row) -> COCO:
    """The index of pycocotools over the content of a COCO file, without a word printed."""
    coco = COCO()
    coco.dataset = dict(content)
    with contextlib.redirect_stdout(io.StringIO()):  # it reports progress there
        coco.createIndex()
    return coco
