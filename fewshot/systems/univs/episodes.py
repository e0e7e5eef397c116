"""UniVS on episodes: the masks of support clips are one prompt, for other videos.

Legend: B episodes, N query clips, E queries of an episode, K tokens, L words, T frames, C width, D width of the text.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from episodes.batch import ClipBatch
from fewshot.losses.masks import clip_mask_loss, target_masks, visible_frames
from fewshot.losses.segmentation import dice_loss
from fewshot.nn.outputs import Losses, Prediction
from fewshot.systems.univs.prior import Shown

MASK_WEIGHT, DICE_WEIGHT = 5.0, 5.0  # of UniVS' mask losses


@dataclass(frozen=True)
class UniVSState:
    """Looks of the supports of `B` episodes: tokens `(B, K, C)`, each for so many query clips in a row.

    Attributes:
        shown: their cells, with which query frames are compared; None: without (`PriorMaps`).
    """

    tokens: Tensor
    repeats: int = 1
    shown: Shown | None = None

    def repeat(self, expressions: int) -> UniVSState:
        """Each episode's state for its `expressions` query clips."""
        return replace(self, repeats=self.repeats * expressions)

    def for_clips(self) -> Tensor:
        """Tokens of each query clip: `(N, K, C)`."""
        return self.tokens.repeat_interleave(self.repeats, 0)


@dataclass(frozen=True)
class UniVSWords:
    """Expressions of `N` query clips: words `(N, L, D)` and sentences `(N, D)`."""

    words: Tensor
    sentences: Tensor

    def __getitem__(self, rows: slice) -> UniVSWords:
        """Some of the expressions."""
        return UniVSWords(self.words[rows], self.sentences[rows])


def episode_losses(prediction: Prediction, queries: ClipBatch, num_frames: float | None) -> Losses:
    """Cross entropy of every pixel and dice of every frame, for each head; the mean over the heads is learnt.

    Args:
        num_frames: normaliser of the step; None counts the visible target frames of this batch.
    """
    count = visible_frames(queries) if num_frames is None else num_frames
    answers = (*prediction.layers, prediction)
    terms = {"loss_mask": torch.stack([clip_mask_loss(a.masks[:, :, 0], queries, count) for a in answers]).mean()}
    terms["loss_dice"] = torch.stack([_dice(a.masks[:, :, 0], queries, count) for a in answers]).mean()
    return Losses(MASK_WEIGHT * terms["loss_mask"] + DICE_WEIGHT * terms["loss_dice"], terms)


def warmup(maps: Tensor, said: bool, queries: ClipBatch, num_frames: float | None) -> Losses:
    """Cross entropy of prior maps `(N, T, 3, H, W)`; words must say what the supports' cells leave open.

    Args:
        said: whether there are words.
    """
    retrieved, near, meant = maps.unbind(2)
    terms = {
        "loss_retrieval": clip_mask_loss(retrieved, queries, num_frames),
        "loss_prototype": clip_mask_loss(near, queries, num_frames),
    }
    if said:
        terms["loss_words"] = clip_mask_loss(retrieved.detach() + meant, queries, num_frames)
    return Losses(torch.stack(tuple(terms.values())).mean(), terms)


def _dice(logits: Tensor, queries: ClipBatch, count: float) -> Tensor:
    """Dice loss `(N, T, h, w)` at the size of the logits, summed over the frames that show the object."""
    size, (height, width) = logits.shape[-2:], queries.frames.shape[-2:]
    truth = []
    for mask in target_masks(queries):
        padded = F.pad(mask, (0, width - mask.shape[-1], 0, height - mask.shape[-2])).float()
        truth.append(F.interpolate(padded[:, None], size, mode="area")[:, 0])
    losses = dice_loss(logits.float().flatten(2), torch.stack(truth).flatten(2))
    return losses.sum() / count
