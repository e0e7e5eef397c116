"""Candidates of a prediction: the best one of a clip, and all of a frame at the original size, for a ranking."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from episodes.batch import ClipBatch
from fewshot.inference.postprocess import masks_by_nearest
from fewshot.nn.outputs import Prediction
from fewshot.systems.base import System


def frame_candidates(
    system: System,
    prediction: Prediction,
    queries: ClipBatch,
    asked: int,
    size: tuple[int, int],
    by_nearest: bool = False,
) -> tuple[Tensor, list[float]]:
    """Masks `(Q, *size)` bool and scores 0..1 of the candidates for one frame of one clip, on the CPU.

    Args:
        asked: index of the frame; a prediction with T = 1 answers for it alone.
        by_nearest: masks are cut at network size and resized by the nearest pixel (ReferFormer); else logits are
            resized bilinearly and cut at 0.
    """
    t = 0 if prediction.masks.shape[1] == 1 else asked
    ones = (candidate(prediction, t, q) for q in range(prediction.masks.shape[2]))
    logits = torch.stack([system.logits(one, queries, 0)[0] for one in ones]).float()
    if by_nearest:
        masks = masks_by_nearest(logits.sigmoid(), size)
    else:
        masks = F.interpolate(logits[None], size, mode="bilinear", align_corners=False)[0] > 0
    return masks.cpu(), _scores(prediction, t, logits)


def best_of_clip(system: System, prediction: Prediction, clips: ClipBatch, n: int) -> tuple[Tensor, float]:
    """Mask logits `(T, h, w)` float32 of the candidate that answers for clip `n`, and its mean score 0..1.

    It is the best one, or that of `ClipBatch.answers`; a system without scores has the score 1. The logits stand for
    the unpadded frames, at network size or, see `System.resizes_once`, at their own.
    """
    if clips.answers and prediction.masks.shape[2] > 1:
        chosen = slice(clips.answers[n], clips.answers[n] + 1)
        parts = (prediction.masks, prediction.scores, prediction.boxes)
        masks, scores, boxes = (None if x is None else x[:, :, chosen] for x in parts)
        assert masks is not None
        prediction = Prediction(masks, scores, boxes, prediction.stride)
    score = 1.0
    if prediction.scores is not None:
        best = prediction.scores[n].float().sigmoid().gather(1, prediction.best()[n][:, None])
        score = float(best.mean())
    unpadded = list(clips.frames.shape[-2:]) == clips.sizes[n].tolist()
    if system.resizes_once and unpadded:
        return prediction.best_masks(n), score
    return system.logits(prediction, clips, n), score


def scores_of_clip(prediction: Prediction, n: int) -> Tensor | None:
    """Sum over the frames of the score 0..1 of every candidate of clip `n`, `(Q,)` float32 on the CPU.

    None where there is nothing to choose: no scores, or candidates that are others in every frame.
    """
    scores = prediction.scores if prediction.all_scores is None else prediction.all_scores
    if scores is None or not prediction.tracked:
        return None
    return scores[n].float().sigmoid().sum(0).cpu()


def candidate(prediction: Prediction, t: int, q: int) -> Prediction:
    """Candidate `q` of frame `t` alone, as a prediction with one frame and one candidate."""
    parts = (prediction.masks, prediction.scores, prediction.boxes)
    masks, scores, boxes = (None if x is None else x[:, t : t + 1, q : q + 1] for x in parts)
    assert masks is not None
    return Prediction(masks, scores, boxes, prediction.stride, tracked=prediction.tracked)


def _scores(prediction: Prediction, t: int, logits: Tensor) -> list[float]:
    """Scores 0..1 of frame `t`; where a system has none, the mean probability inside each mask `(Q, h, w)`."""
    if prediction.scores is not None:
        return list(map(float, prediction.scores[0, t].float().sigmoid()))
    inside = (logits > 0).flatten(1)
    means = (logits.sigmoid().flatten(1) * inside).sum(1) / inside.sum(1).clamp(min=1)
    return list(map(float, means))
