"""mAP of A2D-Sentences, JHMDB-Sentences and RefCOCO: COCO's average precision of all scored candidates.

Gavrilyuk et al., "Actor and Action Video Segmentation from a Sentence", CVPR 2018, as MTTR and ReferFormer compute it:
one class, thresholds .50:.05:.95, 101 recall points, at most 100 candidates per image. The arithmetic is pycocotools'.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from typing import Any

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

NAMES = ("mAP", "AP50", "AP75", "AP small", "AP medium", "AP large", "AR1", "AR10", "AR100", "AR small")
NAMES += ("AR medium", "AR large")


def sentence_map(
    truth: Mapping[str, Any], predictions: Sequence[Mapping[str, Any]], official: bool = False
) -> dict[str, float]:
    """Average precision and recall in 0..1 (-1 where no true mask is of that size).

    Args:
        truth: `images`, `annotations` (RLE masks, with `area`) and `categories` in the form of a COCO file.
        predictions: `image_id`, `category_id`, `segmentation` (RLE) and `score`; several per image.
        official: keep a `bbox` of the predictions. pycocotools then takes their area from it as width x height; where
            the field holds corners, as ReferFormer writes for RefCOCO, the AP and AR by size mean nothing. By default
            the box is dropped and the area is that of the mask.

    Raises:
        ValueError: there is no prediction, or one of an image that the truth does not list.
    """
    unknown = {row["image_id"] for row in predictions} - {image["id"] for image in truth["images"]}
    if unknown or not predictions:
        what = (
            f"predictions for images {sorted(unknown)[:5]} that the truth does not list" if unknown else "no prediction"
        )
        raise ValueError(f"{what}: average precision cannot be computed")
    rows = [{key: value for key, value in row.items() if official or key != "bbox"} for row in predictions]
    with contextlib.redirect_stdout(io.StringIO()):  # it reports progress there
        evaluation = COCOeval(_coco(truth), _coco(truth).loadRes(rows), iouType="segm")
        evaluation.params.useCats = 0
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return dict(zip(NAMES, map(float, evaluation.stats), strict=True))


def _coco(content: Mapping[str, Any]) -> COCO:
    coco = COCO()
    coco.dataset = dict(content)
    coco.createIndex()
    return coco
