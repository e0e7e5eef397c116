"""Average precision and recall of object tracks: video instance segmentation on YouTube-VIS and OVIS.

Yang et al., "Video Instance Segmentation", ICCV 2019, as its released evaluation computes them: the overlap of two
tracks is the sum of their common pixels over all frames over the sum of the pixels in either; matching and averages are
those of COCO per category, thresholds .50:.05:.95, 101 recall points, at most 100 tracks per video and category. Small
tracks are below 128^2 pixels in the mean over the frames that show them, large ones above 256^2.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from benchmarks.metrics.coco_map import coco_index
from benchmarks.metrics.ratios import Floats, ratio
from episodes.sources.segmentations import as_runs

Row = Mapping[str, Any]
Track = Sequence[Mapping[str, Any] | None]  # run lengths of each frame, None where there is no mask
AREAS = {"": (0.0, 1e10), " small": (0.0, 128.0**2), " medium": (128.0**2, 256.0**2), " large": (256.0**2, 1e10)}
MOST = (1, 10, 100)  # tracks per video and category
NO_TRUTH = -1.0  # in place of a mean over true tracks where there is none


@dataclass(frozen=True)
class VisScore:
    """Average precision and recall in 0..1.

    Attributes:
        stats: `AP`, `AP50`, `AP75`, `AP small`, `AP medium`, `AP large`, `AR1`, `AR10`, `AR100`, `AR small`,
            `AR medium` and `AR large`; -1 where no true track is of that size.
        categories: AP by category id; NaN for a category without a true track, which counts in no mean.
        recall: by category id, recall at each of the ten thresholds with 100 tracks; -1 for such a category.
    """

    stats: dict[str, float]
    categories: dict[int, float]
    recall: dict[int, tuple[float, ...]]


@dataclass(frozen=True)
class _Pairing:
    """Tracks of one category in one video, best score first, and their overlap `(tracks, true tracks)`."""

    scores: tuple[float, ...]
    areas: tuple[float, ...]
    ious: Floats


def video_ious(tracks: Sequence[Track], truths: Sequence[Track]) -> Floats:
    """Overlap `(tracks, truths)` in 0..1 of every pair; 0 for two that are empty in all frames.

    Tracks have as many frames as one another, and masks of one size.
    """
    areas, true_areas = _areas(tracks), _areas(truths)
    common = np.zeros((len(tracks), len(truths)))
    for frame in range(areas.shape[1] if common.size else 0):
        rows, columns = np.flatnonzero(areas[:, frame]), np.flatnonzero(true_areas[:, frame])
        if rows.size and columns.size:
            pair = [tracks[k][frame] for k in rows.tolist()], [truths[k][frame] for k in columns.tolist()]
            # of "crowds" the overlap is the share of the first area that is common, a quotient of whole numbers
            share = coco_mask.iou(*pair, [1] * columns.size)
            common[np.ix_(rows, columns)] += np.rint(share * areas[rows, frame, None])
    return ratio(common, areas.sum(1)[:, None] + true_areas.sum(1) - common)


def mean_area(areas: Iterable[float | None]) -> float:
    """Mean of the areas of a track over the frames that show it; 0 if none does."""
    shown = [area for area in areas if area]
    return float(np.mean(shown)) if shown else 0.0


class VisAccumulator:
    """Collects tracks video by video, in any order and from any process; their masks are not kept.

    Args:
        truth: content of a YouTube-VIS file: `videos` (`id`, `height`, `width`, `length`), `categories` (`id`) and
            `annotations` (`video_id`, `category_id`, `segmentations`, `iscrowd`, and `areas` where it has them).
    """

    def __init__(self, truth: Row) -> None:
        self.truth = truth
        self._sizes = {video["id"]: video for video in truth["videos"]}
        self._categories = sorted(category["id"] for category in truth["categories"])
        self._objects: dict[tuple[int, int], list[Row]] = {}
        for row in truth["annotations"]:
            self._objects.setdefault((row["video_id"], row["category_id"]), []).append(row)
        self._found: dict[int, dict[int, _Pairing]] = {}

    def update(self, video_id: int, tracks: Iterable[Row]) -> None:
        """Add the tracks of a video, none if nothing was found; a video that is not added counts as one without any.

        Args:
            tracks: rows of a result file, with `category_id`, `score` and `segmentations`: run lengths for each frame,
                or None. The field `video_id` is not looked at.

        Raises:
            ValueError: a video that the truth does not list or that is there already, an unknown category, a score that
                is no number, or masks of another number or size than the frames of the video.
        """
        if video_id not in self._sizes or video_id in self._found:
            what = "was already added" if video_id in self._found else "is not in the truth"
            raise ValueError(f"video {video_id} {what}")
        by_category: dict[int, list[Row]] = {}
        for row in tracks:
            by_category.setdefault(row["category_id"], []).append(row)
        self._check_categories(video_id, by_category)
        self._found[video_id] = {key: self._paired(video_id, key, rows) for key, rows in by_category.items()}

    def merge(self, other: VisAccumulator) -> None:
        """Add everything that `other` holds; it must be of the same truth."""
        if self.truth != other.truth:
            raise ValueError("accumulators of another truth cannot be merged")
        if again := sorted(self._found.keys() & other._found.keys()):
            raise ValueError(f"video {again[0]} was already added")
        self._found |= other._found

    def compute(self) -> VisScore:
        """Numbers so far; of equal scores the track of the smaller video id is ranked first.

        Where no track was found in any video, all are 0. Raises ValueError if no video was added.
        """
        if not self._found:
            raise ValueError("no video was added: average precision cannot be computed")
        lists = {
            "images": [{"id": video_id} for video_id in self._sizes],
            "categories": [{"id": category} for category in self._categories],
        }
        ious = {(v, c): pairing.ious for v, found in self._found.items() for c, pairing in found.items()}
        evaluation = _VideoEval(
            coco_index({**lists, "annotations": self._known()}),
            coco_index({**lists, "annotations": self._offered()}),
            ious,
        )
        with contextlib.redirect_stdout(io.StringIO()):  # it reports progress there
            evaluation.evaluate()
            evaluation.accumulate()
        return _score(self._categories, evaluation.eval["precision"], evaluation.eval["recall"])

    def _check_categories(self, video_id: int, found: Iterable[int]) -> None:
        if odd := sorted(set(found) - set(self._categories)):
            raise ValueError(
                f"video {video_id}: tracks of category {odd[0]}, but the truth has the categories "
                f"{self._categories[0]} to {self._categories[-1]}: are they of another data set?"
            )

    def _paired(self, video_id: int, category: int, rows: Sequence[Row]) -> _Pairing:
        if odd := [row["score"] for row in rows if not np.isfinite(row["score"])]:
            raise ValueError(f"video {video_id}: score {odd[0]} is no finite number")
        order = np.argsort([-row["score"] for row in rows], kind="stable")[: MOST[-1]]
        best = [rows[k] for k in order]
        tracks = [self._track(video_id, row) for row in best]
        truths = [self._track(video_id, row) for row in self._objects.get((video_id, category), ())]
        areas = tuple(mean_area(row) for row in _areas(tracks))
        return _Pairing(tuple(float(row["score"]) for row in best), areas, video_ious(tracks, truths))

    def _track(self, video_id: int, row: Row) -> Track:
        video, masks = self._sizes[video_id], row["segmentations"]
        if len(masks) != video["length"]:
            raise ValueError(f"video {video_id} has {video['length']} frames, but a track has {len(masks)} masks")
        try:
            return [None if mask is None else as_runs(mask, video["height"], video["width"]) for mask in masks]
        except ValueError as error:
            raise ValueError(f"video {video_id}: {error}; give masks at the size of the frames on disk") from error

    def _known(self) -> list[dict[str, Any]]:
        """True tracks as pycocotools wants them; numbered from 1, since it takes the number 0 for "not matched"."""
        return [
            {
                "image_id": video_id,
                "category_id": category,
                "id": number,
                "iscrowd": row.get("iscrowd", 0),
                "area": mean_area(row["areas"])
                if "areas" in row
                else mean_area(_areas([self._track(video_id, row)])[0]),
            }
            for number, (video_id, category, row) in enumerate(
                ((*key, row) for key, rows in self._objects.items() for row in rows), start=1
            )
        ]

    def _offered(self) -> list[dict[str, Any]]:
        rows = (
            {"image_id": video_id, "category_id": category, "score": score, "area": area}
            for video_id, pairings in sorted(self._found.items())
            for category, pairing in pairings.items()
            for score, area in zip(pairing.scores, pairing.areas, strict=True)
        )
        return [{**row, "id": number} for number, row in enumerate(rows, start=1)]


class _VideoEval(COCOeval):
    """COCO's evaluation with a video in the place of an image and overlaps that are there already."""

    def __init__(self, truth: COCO, found: COCO, ious: Mapping[tuple[int, int], Floats]) -> None:
        super().__init__(truth, found, "bbox")  # of which nothing is read, as the overlaps are given
        self._known_ious = ious
        self.params.areaRng, self.params.areaRngLbl = list(AREAS.values()), list(AREAS)
        self.params.maxDets = list(MOST)

    def computeIoU(self, imgId: int, catId: int) -> Floats:
        """Overlaps of a video and a category."""
        return self._known_ious.get((imgId, catId), np.zeros((0, 0)))


def _score(categories: Sequence[int], precision: Floats, recall: Floats) -> VisScore:
    """Averages of precision `(T, R, K, A, M)` and recall `(T, K, A, M)`, where -1 stands for "no true track"."""
    most = len(MOST) - 1
    at = {"AP": precision[..., 0, most], "AP50": precision[0, ..., 0, most], "AP75": precision[5, ..., 0, most]}
    at |= {f"AP{size}": precision[..., k, most] for k, size in enumerate(AREAS) if size}
    at |= {f"AR{number}": recall[..., 0, k] for k, number in enumerate(MOST)}
    at |= {f"AR{size}": recall[..., k, most] for k, size in enumerate(AREAS) if size}
    of_category = (precision[:, :, k, 0, most] for k in range(len(categories)))
    return VisScore(
        stats={name: _mean_known(values, NO_TRUTH) for name, values in at.items()},
        categories={key: _mean_known(values, np.nan) for key, values in zip(categories, of_category, strict=True)},
        recall={key: tuple(recall[:, k, 0, most].tolist()) for k, key in enumerate(categories)},
    )


def _mean_known(values: Floats, otherwise: float) -> float:
    known = values[values > -1]
    return float(known.mean()) if known.size else otherwise


def _areas(tracks: Sequence[Track]) -> NDArray[np.int64]:
    """Pixels of every mask: `(tracks, frames)`."""
    rows = [[0 if mask is None else int(coco_mask.area(mask)) for mask in track] for track in tracks]
    return np.array(rows, np.int64).reshape(len(tracks), len(tracks[0]) if tracks else 0)
