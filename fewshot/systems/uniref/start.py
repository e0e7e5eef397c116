"""Start of UniRef++ where it is trained from scratch on few images: as a read-out of the supports' masks.

The published initialisation makes the fusion the identity and the masks random, which a detector can afford that sees
millions of images. The function computed is the same; only where it begins differs. With supports whose value encoder
tells the mask in its first channels (`TinyValueEncoder`), the masks of a query are, before any training, what its
places retrieve from the supports by feature similarity. Attention as mask retrieval: Shi et al., Dense Cross-Query-and-
Support Attention Weighted Mask Aggregation, ECCV 2022, section 3.2.

Legend: B episodes, K shots, S support frames, N query clips, T frames, C channels, (h, w) feature resolution.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from episodes.batch import ClipBatch
from fewshot.losses.masks import clip_mask_loss
from fewshot.losses.warmup import prototype_warmup
from fewshot.nn.fusion import Words
from fewshot.nn.masks import padded_masks
from fewshot.nn.mlp import MLP
from fewshot.nn.outputs import Losses
from fewshot.nn.padding import resize_padding
from fewshot.nn.positions import sine_2d
from fewshot.nn.small_fpn import SmallFPN
from fewshot.nn.unifusion import UniFusion
from fewshot.systems.uniref.fusing import tokens_of_places

QUIET = 0.1  # fraction of a random start that is left beside the pattern
SLOPE = 0.5  # of the first masks: logit per unit of retrieved mask and channel
SURE = 1e-3  # retrieved shares are cut to SURE..1 - SURE before their logit is taken


@torch.no_grad()
def start_as_readout(pixel_decoder: SmallFPN, controller: MLP, channels: int) -> None:
    """Let the first channels of the memory pass to the masks: even ones speak for the object, odd ones against it.

    Args:
        pixel_decoder: begins as the identity on the first `channels` channels of all levels, plus a little noise.
        controller: begins with the same dynamic weights for every query: the even channels minus the odd ones,
            whatever the place (coordinates are in pixels, large numbers that random weights would make a mask of).
        channels: of the mask features.
    """
    for conv in pixel_decoder.inner_convolutions:
        noise = torch.randn_like(conv.weight) * (QUIET / conv.weight[0].numel() ** 0.5)
        nn.init.dirac_(conv.weight)
        conv.weight.add_(noise)
    pixel_decoder.lateral.weight.mul_(QUIET)
    first, second, third = channels * (channels + 2), channels * channels, channels
    last = controller.linears[-1]
    last.weight.mul_(QUIET)
    last.weight[:first].unflatten(0, (channels, -1))[:, :2].zero_()
    last.bias.zero_()
    last.bias[:first].view(channels, -1)[:, 2:] = torch.eye(channels)
    last.bias[first : first + second].view(channels, -1).copy_(torch.eye(channels))
    last.bias[first + second : first + second + third] = SLOPE * (1.0 - 2.0 * (torch.arange(channels) % 2))


def reference_warmup(
    fusion: UniFusion,
    support: Sequence[Tensor],
    query: Sequence[Tensor],
    supports: ClipBatch,
    queries: ClipBatch,
    shots: int,
    num_frames: float | None,
    words: Words | None = None,
) -> Losses:
    """Losses of segmenting the queries by the supports' prototypes and by the masks that the fusion retrieves.

    Both make the projected features good where the fusion compares query and support, the second also its projections.
    With words, a third one: of what the supports leave open, they must say which place is meant, as the fusion asks
    them. Which of two alike is on the left is otherwise learnt late, and with some seeds not at all.

    Args:
        fusion: whose attention retrieves.
        support: levels `(B * K * S, C, h, w)` of the support frames; query: levels `(N / copies * T, C, h, w)` of the
            query frames, once where clips share them (`ClipBatch.copies`): what they read is the same.
        words: of the `N` expressions; None: without.
    """
    prototype, retrieval, saying, distinct = [], [], [], len(queries) // queries.copies
    for keys, tokens in zip(support, query, strict=True):
        clips = keys.unflatten(0, (len(supports), -1)), tokens.unflatten(0, (distinct, -1))
        prototype.append(prototype_warmup(*clips, supports, queries, shots, num_frames).total)
        read = retrieved_masks(fusion, keys, tokens, supports, distinct, shots)
        shown = torch.logit(read.float(), eps=SURE)
        retrieval.append(clip_mask_loss(shown, queries, num_frames))
        if words is not None:
            said = places_meant(fusion, tokens, words, queries)
            left_open = shown.detach().repeat_interleave(queries.copies, 0)
            saying.append(clip_mask_loss(left_open + said, queries, num_frames))
    terms = {"loss_prototype": torch.stack(prototype).mean(), "loss_retrieval": torch.stack(retrieval).mean()}
    if saying:
        terms["loss_words"] = torch.stack(saying).mean()
    return Losses(total=torch.stack(tuple(terms.values())).mean(), terms=terms)


def retrieved_masks(
    fusion: UniFusion, keys: Tensor, tokens: Tensor, supports: ClipBatch, clips: int, shots: int
) -> Tensor:
    """Share of each query place's attention that falls on the supports' object: `(N, T, h, w)` in 0..1.

    Args:
        keys: `(B * K * S, C, h', w')` support frames; tokens: `(N * T, C, h, w)` query frames; `clips` is N.
    """
    size, episodes = (keys.shape[-2], keys.shape[-1]), len(supports) // shots
    fraction = F.adaptive_avg_pool2d(padded_masks(supports).flatten(0, 1)[:, None], size)
    padding = resize_padding(supports.padding, size).repeat_interleave(supports.frames.shape[1], 0)
    held = [rearrange(x, "(b f) c h w -> b (f h w) c", b=episodes) for x in (keys, fraction, padding[:, None])]
    keys, fraction, padding = (x.repeat_interleave(clips // episodes, 0) for x in held)
    read = fusion.retrieve(rearrange(tokens, "(n t) c h w -> n (t h w) c", n=clips), keys, fraction, padding[..., 0])
    return rearrange(read, "n (t h w) 1 -> n t h w", h=tokens.shape[-2], w=tokens.shape[-1])


def places_meant(fusion: UniFusion, tokens: Tensor, words: Words, queries: ClipBatch) -> Tensor:
    """Logits of how well each place of `N` query clips agrees with its words: `(N, T, h, w)`.

    Args:
        tokens: `(N / copies * T, C, h, w)` query frames.
    """
    h, w = tokens.shape[-2:]
    clips, t = len(queries) // queries.copies, queries.frames.shape[1]
    padding = resize_padding(queries.padding[:: queries.copies], (h, w))
    places = tokens_of_places(sine_2d(padding, tokens.shape[1]), t)
    asked = rearrange(tokens, "(n t) c h w -> n (t h w) c", n=clips)
    agreement = fusion.agreement(asked, places, words.features, words.padding)
    return rearrange(agreement, "n (t h w) -> n t h w", t=t, h=h).float()
