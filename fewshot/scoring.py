"""J and F of one segmented clip under two protocols: CMA's at network size, DAVIS' at the original size.

Both see the same probabilities; resolution, thresholds and boundary tolerance differ (Li et al., ICCV 2023; Perazzi et
al., CVPR 2016). All frames count, first and last included.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.metrics import j_and_f
from benchmarks.protocols import PROTOCOLS
from benchmarks.scores import QueryScore
from episodes.episode import EpisodeSpec
from fewshot.evaluation import QueryResult
from fewshot.segmentation import masks_at, resize


@dataclass(frozen=True)
class MaskPairs:
    """Prediction and truth of a query, `(T, h, w)` bool each, at network and at original resolution."""

    network: tuple[NDArray[np.bool_], NDArray[np.bool_]]
    original: tuple[NDArray[np.bool_], NDArray[np.bool_]]


def mask_pairs(probabilities: Tensor, truth: Tensor) -> MaskPairs:
    """What the two protocols compare: probabilities `(T, H, W)` against the true masks `(T, Ho, Wo)` bool.

    At network size the probability must exceed 0.5 and so must the truth, resized bilinearly as float; at the
    original size the resized probability must reach 0.5 (CMA as it is tested and as it saves masks).
    """
    small = resize(truth, (probabilities.shape[-2], probabilities.shape[-1])) > 0.5
    large = masks_at(probabilities, (truth.shape[-2], truth.shape[-1]))
    network = ((probabilities > 0.5).numpy(), small.numpy())
    return MaskPairs(network=network, original=(large.numpy(), truth.numpy()))


def score_masks(pairs: MaskPairs) -> tuple[float, float, float, float]:
    """`(j_cma, f_cma, j_davis, f_davis)`: means over all frames, first and last included, in 0..1."""
    network = _mean_j_and_f(*pairs.network, PROTOCOLS["cma"].bound_th)
    return (*network, *_mean_j_and_f(*pairs.original, PROTOCOLS["davis"].bound_th))


def _mean_j_and_f(pred: NDArray[np.bool_], truth: NDArray[np.bool_], bound_th: float) -> tuple[float, float]:
    frames = [j_and_f(p, g, bound_th=bound_th) for p, g in zip(pred, truth, strict=True)]
    j, f = np.mean(frames, axis=0)
    return float(j), float(f)


def clip_scoring(result: QueryResult) -> Callable[[], QueryScore]:
    """The scoring of a segmented clip, for this process or another one.

    Raises:
        ValueError: the clip has no true masks.
    """
    if result.clip.masks is None:
        raise ValueError(f"query video {result.clip.video!r} has no true masks to score against")
    return partial(
        query_score, result.spec, result.query, result.probe, mask_pairs(result.probabilities, result.clip.masks)
    )


def query_score(spec: EpisodeSpec, n: int, probe: str, pairs: MaskPairs) -> QueryScore:
    """The score of query `n` of an episode."""
    query = spec.queries[n]
    j_cma, f_cma, j_davis, f_davis = score_masks(pairs)
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
    )
