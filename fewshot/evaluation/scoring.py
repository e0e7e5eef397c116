"""J and F of a segmented query under two protocols: CMA's at network size, DAVIS' at the original size.

Both see the same probabilities; resolution, thresholds and boundary tolerance differ (Li et al., ICCV 2023; Perazzi et
al., CVPR 2016). All frames count, first and last included.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.metrics.cma import frame_scores
from benchmarks.metrics.iou import pair_counts
from benchmarks.protocols import VIDEO_PROTOCOLS
from benchmarks.protocols.images import ImageProtocol
from benchmarks.scores.scores import ImageScore, QueryScore
from episodes.episode import EpisodeSpec
from fewshot.evaluation.query import QueryResult, votes
from fewshot.inference.chunks import masks_at, nearest, resize


@dataclass(frozen=True)
class MaskPairs:
    """Prediction and truth of a query, `(T, h, w)` bool each, at network and at original resolution."""

    network: tuple[NDArray[np.bool_], NDArray[np.bool_]]
    original: tuple[NDArray[np.bool_], NDArray[np.bool_]]


def mask_pairs(probabilities: Tensor, truth: Tensor) -> MaskPairs:
    """Masks that the two protocols compare: probabilities `(T, H, W)` against the true masks `(T, Ho, Wo)` bool.

    At network size the probability must exceed 0.5 and so must the truth, resized bilinearly as float; at the
    original size the resized probability must reach 0.5 (CMA as it is tested and as it saves masks).
    """
    small = resize(truth, (probabilities.shape[-2], probabilities.shape[-1])) > 0.5
    large = masks_at(probabilities, (truth.shape[-2], truth.shape[-1]))
    network = ((probabilities > 0.5).numpy(), small.numpy())
    return MaskPairs(network=network, original=(large.numpy(), truth.numpy()))


def score_frames(pairs: MaskPairs) -> NDArray[np.float64]:
    """`j_cma, f_cma, j_davis, f_davis` of each frame, `(T, 4)` in 0..1."""
    cma = frame_scores(*pairs.network, VIDEO_PROTOCOLS["cma"].bound_th)
    davis = frame_scores(*pairs.original, VIDEO_PROTOCOLS["davis"].bound_th)
    return np.stack([*cma, *davis], 1)


def clip_scoring(result: QueryResult) -> Callable[[], NDArray[np.float64]]:
    """The scoring of some frames of a query (`score_frames`), for this process or another one.

    Raises:
        ValueError: the clip has no true masks.
    """
    if result.clip.masks is None:
        raise ValueError(f"query video {result.clip.video!r} has no true masks to score against")
    return partial(score_frames, mask_pairs(result.probabilities, result.clip.masks))


def query_score(spec: EpisodeSpec, n: int, probe: str, parts: Sequence[NDArray[np.float64]], twin: bool) -> QueryScore:
    """The score of query `n` of an episode: means over all its frames, first and last included.

    Args:
        parts: scores `(T, 4)` of its frames in chunks, as of `score_frames`.
        twin: as in `QueryScore`.
    """
    query = spec.queries[n]
    j_cma, f_cma, j_davis, f_davis = np.concatenate(parts).mean(0).tolist()  # adds frame by frame
    return QueryScore(
        seed=spec.seed,
        group=spec.group,
        probe=probe,
        episode=spec.index,
        class_id=spec.class_id,
        class_name=spec.class_name,
        video=query.video,
        expression_id=query.expression_id or str(n),
        expression=query.expression or "",
        frames=len(query.frames),
        j_cma=j_cma,
        f_cma=f_cma,
        j_davis=j_davis,
        f_davis=f_davis,
        twin=twin,
    )


def image_score(result: QueryResult, protocol: ImageProtocol, side: int | None = None) -> ImageScore:
    """Intersections and unions of background and object over the pixels whose truth is known.

    `side` is that of the padded square, in network pixels, for protocols that have one; None: the longer side of the
    image in network pixels.

    Raises:
        ValueError: the query image has no true mask.
    """
    clip, spec = result.clip, result.spec
    if clip.masks is None:
        raise ValueError(f"query image {clip.video!r} has no true mask to score against")
    network = (result.logits[0].shape[-2], result.logits[0].shape[-1])
    original = (clip.masks.shape[-2], clip.masks.shape[-1])
    ignore = clip.ignore if clip.ignore is not None and protocol.ignore == "left out" else torch.zeros_like(clip.masks)
    truth = clip.masks
    if protocol.resolution == "network":
        masks = [found > 0.5 for found in result.maps]
        truth, ignore = nearest(truth, network), nearest(ignore, network)
    elif protocol.resolution == "square":
        masks = [_in_square(logits, original, side) for logits in result.logits]
    else:
        masks = [nearest(found > 0.5, original) for found in result.maps]
    mask = masks[0] if len(masks) == 1 else votes(masks) >= 0.5
    counts = pair_counts(mask[0].numpy(), truth[0].numpy(), ignore[0].numpy())
    return ImageScore(
        seed=spec.seed,
        group=spec.group,
        probe=result.probe,
        episode=spec.index,
        class_id=spec.class_id,
        class_name=spec.class_name,
        image=spec.queries[result.query].video,
        inter_bg=int(counts.inter_bg),
        inter_fg=int(counts.inter_fg),
        union_bg=int(counts.union_bg),
        union_fg=int(counts.union_fg),
    )


def _in_square(logits: Tensor, size: tuple[int, int], side: int | None) -> Tensor:
    """Mask `(T, *size)` of logits `(T, H, W)`, which are the top left corner of a padded square of `side`.

    The square is enlarged to the longer side of `size`, corners aligned, and cropped (PFENet, Tian et al., TPAMI 2020).
    The padding, which is no longer there, has the values of the last row and column.
    """
    height, width = logits.shape[-2:]
    side, longer = max(height, width, side or 0), max(size)
    square = F.pad(logits[:, None], (0, side - width, 0, side - height), mode="replicate")
    enlarged = F.interpolate(square, size=(longer, longer), mode="bilinear", align_corners=True)
    return enlarged[:, 0, : size[0], : size[1]] > 0
