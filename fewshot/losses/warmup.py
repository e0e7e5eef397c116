"""A start for training from scratch: features by which a prototype of the supports segments the queries.

Wang et al., PANet: Few-Shot Image Semantic Segmentation with Prototype Alignment, ICCV 2019, section 3.3.
"""

from __future__ import annotations

from einops import rearrange
from torch import Tensor

from episodes.batch import ClipBatch
from fewshot.losses.masks import clip_mask_loss
from fewshot.nn.outputs import Losses
from fewshot.nn.prototype import mask_weights, prototype_logits, prototypes


def prototype_warmup(
    support: Tensor,
    query: Tensor,
    supports: ClipBatch,
    queries: ClipBatch,
    shots: int,
    num_frames: float | None,
    said: Tensor | None = None,
) -> Losses:
    """Loss of segmenting the queries by cosine to the supports' prototypes.

    Attention to the support does not learn anything before the features are good; this makes them good where a system
    compares them. With words, a second loss: of what the prototypes leave open, they must say which place is meant.

    Args:
        support: `(B * K, S, c, h, w)` embedded support clips, not masked; query: `(N, T, c, h', w')`, or once for clips
            of one episode that show the same frames.
        said: `(N, T, h', w')` logits of how well each place agrees with the words of its clip; None: without.
    """
    pairs = prototypes(support, mask_weights(supports, (support.shape[-2], support.shape[-1])))
    pairs = rearrange(pairs, "(b k) s c -> b k s c", k=shots).mean(1)
    logits = prototype_logits(query, pairs.repeat_interleave(len(query) // len(pairs), 0))
    loss = clip_mask_loss(logits, queries, num_frames)
    if said is None:
        return Losses(total=loss, terms={"loss_mask": loss})
    words = clip_mask_loss(logits.detach() + said, queries, num_frames)
    return Losses(total=loss + words, terms={"loss_mask": loss, "loss_words": words})
