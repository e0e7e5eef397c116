"""Maps of how like the supports each place of a query frame is, from which masks of prompts may start.

A prompt is a few features; whether a place is like them, and unlike what lay around them, a network that starts from
scratch on few images does not find out by itself. Not in UniVS. Attention as mask retrieval: Shi et al., Dense
Cross-Query-and-Support Attention Weighted Mask Aggregation, ECCV 2022, section 3.2; prototypes: Wang et al., PANet,
ICCV 2019, section 3.3; masks that start from such maps: Tian et al., Prior Guided Feature Enrichment Network, TPAMI
2020, section 3.2.

Legend: B episodes, K shots, S support frames, L cells of the support frames of an episode, N query clips, T frames, C
width, D width of the text; (h, w) is the level at stride 8, (H, W) the mask features at stride 4.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from episodes.batch import ClipBatch
from fewshot.nn.attention import attention
from fewshot.nn.masks import pixels_of
from fewshot.nn.positions import sine_in_time
from fewshot.nn.prototype import mask_weights, prototype_logits, prototypes

MAPS = 3  # what is retrieved cell by cell at stride 8, the prototypes' at stride 4, and what words mean at stride 8
SHARPNESS = 10.0  # logit of two equal features
SURE = 1e-3  # retrieved shares are cut to SURE..1 - SURE before their logit is taken
SCALE = 0.25  # of the maps where masks start from them, whose logits are large


@dataclass(frozen=True)
class Shown:
    """What the supports of `B` episodes look like.

    Attributes:
        keys: `(B, L, C)` cells at stride 8, of length 1.
        shares: `(B, L, 1)` how much of each cell is the object, 0..1.
        padding: `(B, L)` bool.
        pairs: `(B, 2, C)` prototypes of object and background at stride 4.
    """

    keys: Tensor
    shares: Tensor
    padding: Tensor
    pairs: Tensor

    def rows(self, clips: int) -> Shown:
        """Those of `clips` query clips, as many in a row for each episode."""
        times = clips // len(self.keys)
        return Shown(*(x.repeat_interleave(times, 0) for x in (self.keys, self.shares, self.padding, self.pairs)))


class PriorMaps(nn.Module):
    """Compare cells of queries and of supports.

    Args:
        dim: C; text_dim: D.
        patches: as of `Backbone`.
    """

    def __init__(self, dim: int, text_dim: int, patches: bool) -> None:
        super().__init__()
        self.patches = patches
        self.norm, self.project = nn.LayerNorm(dim), nn.Linear(dim, dim, bias=False)
        nn.init.orthogonal_(self.project.weight)
        self.norm_text, self.words = nn.LayerNorm(text_dim), nn.Linear(text_dim, dim)
        self.places = nn.Linear(dim, dim)

    def cells(self, level: Tensor) -> Tensor:
        """Cells of a level `(n, C, h, w)` as they are compared: `(n, h * w, C)`, of length 1."""
        return F.normalize(self.project(self.norm(rearrange(level, "n c h w -> n (h w) c"))), dim=-1)

    def show(self, level: Tensor, mask_features: Tensor, supports: ClipBatch, shots: int) -> Shown:
        """What is remembered of the supports.

        Args:
            level: `(B K S, C, h, w)`; mask_features: `(B K S, C, H, W)`, of the frames of the `B * K` supports.
        """
        inside, outside = mask_weights(supports, (level.shape[-2], level.shape[-1]), self.patches).unbind(1)
        known = inside + outside

        def of_episode(x: Tensor) -> Tensor:
            return x.flatten(1).unflatten(0, (-1, shots)).flatten(1)

        keys = self.cells(level).unflatten(0, (len(supports) // shots, -1)).flatten(1, 2)
        shares = of_episode(inside / known.clamp(min=1e-6))[..., None]
        fine = mask_features.unflatten(0, (len(supports), -1))
        weights = mask_weights(supports, (fine.shape[-2], fine.shape[-1]), self.patches)
        pairs = prototypes(fine, weights).unflatten(0, (-1, shots)).mean(1)
        return Shown(keys, shares, of_episode(known) < SURE, pairs)

    def forward(self, shown: Shown, level: Tensor, mask_features: Tensor) -> Tensor:
        """Logits at stride 4 of what the cells retrieve from the supports, and of the prototypes: `(N, T, 2, H, W)`.

        Args:
            shown: of `N` query clips.
            level: `(N T, C, h, w)`; mask_features: `(N T, C, H, W)` of their frames.
        """
        clips = len(shown.keys)
        asking = self.cells(level).unflatten(0, (clips, -1)).flatten(1, 2)
        asking, keys, shares = (x[:, None] for x in (asking, shown.keys, shown.shares.to(asking.dtype)))
        share = attention(asking, keys, shares, shown.padding, scale=SHARPNESS)[:, 0, :, 0]
        retrieved = torch.logit(share.float(), eps=SURE).view(-1, 1, level.shape[-2], level.shape[-1])
        near = prototype_logits(mask_features.unflatten(0, (clips, -1)), shown.pairs)
        return torch.stack([self._fine(retrieved, near), near], 2)

    def meant(self, sentences: Tensor, level: Tensor, mask_features: Tensor) -> Tensor:
        """Logits at stride 4 of how well each place agrees with the words: `(N, T, 1, H, W)`.

        Places have their position, which 'left' and 'upper' need.

        Args:
            sentences: `(N, D)`.
            level: `(N T, C, h, w)`; mask_features: `(N T, C, H, W)`, whose size counts.
        """
        n, (c, h, w) = len(sentences), level.shape[1:]
        codes = sine_in_time(level.new_zeros(1), (h, w), c)[0]
        cells = rearrange(level, "(n t) c h w -> n t h w c", n=n)
        places = self.places(self.norm(cells) + rearrange(codes, "c h w -> h w c"))
        words = self.words(self.norm_text(sentences))
        agreed = torch.einsum("nthwc,nc->nthw", places, words) / words.shape[-1] ** 0.5
        return self._fine(agreed.flatten(0, 1)[:, None], mask_features.unflatten(0, (n, -1)))[:, :, None]

    def _fine(self, maps: Tensor, like: Tensor) -> Tensor:
        """Maps at stride 8 `(n, 1, h, w)` as those at stride 4, of the size of `like` `(N, T, ..., H, W)`."""
        size = (like.shape[-2], like.shape[-1])
        return pixels_of(maps, 2, size, self.patches).view(*like.shape[:2], *size)
