"""Cross-modal affinity: the query clip looks at its own middle frame, then at the masked support (CMA, section 3).

Li et al., Learning Cross-Modal Affinity for Referring Video Object Segmentation Targeting Limited Samples, ICCV 2023.
Legend: N clips, T query frames, S support frames (of all shots), C channels, d = C / 2 affinity width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from fewshot.nn.attention import attention

VARIANTS = ("cma", "base", "self")
INITIALISATIONS = ("default", "similarity")


class QueryKeyValue(nn.Module):
    """Three 3x3 convolutions to the affinity width."""

    def __init__(self, channels: int, dim: int) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Conv2d(channels, dim, 3, padding=1) for _ in range(3))


class CrossModalAffinity(nn.Module):
    """One block for all levels, in three variants.

    - `cma`: self affinity, cross affinity, and a projection of the query, joined along the channels.
    - `base`: query plus masked support, frame by frame; no affinity.
    - `self`: self affinity, and a projection of the masked *support*.

    All variants own all convolutions, as the released checkpoints do; those a variant does not use are frozen.

    Args:
        dim: channels C of the levels; the affinity works on C / 2.
        initialisation: `default` (as released), or `similarity`: queries and keys start as one random orthogonal
            projection of the feature itself, in the first `similar` channels, so that the affinity starts as feature
            similarity. What is retrieved from the support starts in the other channels: added to the query's own
            feature it would point the same way, and the norm would hide whether anything was found.
    """

    def __init__(self, dim: int, dropout: float, variant: str = "cma", initialisation: str = "default") -> None:
        super().__init__()
        if variant not in VARIANTS:
            raise ValueError(f"unknown variant {variant!r} of the affinity: choose one of {', '.join(VARIANTS)}")
        if initialisation not in INITIALISATIONS:
            raise ValueError(f"unknown affinity_init {initialisation!r}: choose one of {', '.join(INITIALISATIONS)}")
        width = dim // 2
        self.variant = variant
        self.similar = 3 * width // 4  # channels that start as similarity; the rest starts with what was found
        self.support, self.query = QueryKeyValue(dim, width), QueryKeyValue(dim, width)
        self.project = nn.Conv2d(dim, width, 1)
        self.norm, self.dropout = nn.LayerNorm(width), nn.Dropout(dropout)
        if initialisation == "similarity":
            self.start_as_similarity()
        self._freeze_unused()

    def _freeze_unused(self) -> None:
        unused: dict[str, list[nn.Module]] = {
            "cma": [self.support.query],  # exists in the checkpoints, never used
            "self": [self.support],
            "base": [self],
        }
        for module in unused[self.variant]:
            module.requires_grad_(False)

    def start_as_similarity(self) -> None:
        """Centre-tap convolutions: queries, keys and the query's values share one projection."""
        width, channels = self.project.weight.shape[:2]
        alike = nn.init.orthogonal_(torch.empty(self.similar, channels))
        found = nn.init.orthogonal_(torch.empty(width - self.similar, channels))
        for conv, rows, weight in (
            (self.query.query, slice(self.similar), alike),
            (self.query.key, slice(self.similar), alike),
            (self.query.value, slice(self.similar), alike),
            (self.support.key, slice(self.similar), alike),
            (self.support.value, slice(self.similar, width), found),
        ):
            nn.init.zeros_(conv.weight)
            assert conv.bias is not None
            nn.init.zeros_(conv.bias)
            with torch.no_grad():
                conv.weight[rows, :, 1, 1] = weight

    def embed(self, query: Tensor, support: Tensor) -> tuple[Tensor, Tensor]:
        """Where queries and keys are compared: `(N, T, C, h, w)` and `(N, S, C, h, w)` to `similar` channels each."""
        return (
            _per_frame(self.query.query, query)[:, :, : self.similar],
            _per_frame(self.support.key, support)[:, :, : self.similar],
        )

    def forward(self, query: Tensor, support: Tensor) -> Tensor:
        """Levels of the query related to the support: `(N, T, C, h, w)`.

        Args:
            query: `(N, T, C, h, w)` fused query level.
            support: `(N, K, S, C, h, w)` fused, masked and resized support level of `K` shots.
        """
        if self.variant == "base":
            return query + frame_by_frame(support, query.shape[1])
        kept = query if self.variant == "cma" else frame_by_frame(support, query.shape[1])
        related = self.self_affinity(query)
        if self.variant == "cma":
            related = self.cross_affinity(related, support)
        t, h, w = query.shape[1], *query.shape[-2:]
        maps = rearrange(related, "n (t h w) d -> n t d h w", t=t, h=h, w=w)
        return torch.cat([maps, _per_frame(self.project, kept)], 2)

    def self_affinity(self, query: Tensor) -> Tensor:
        """All frames attend to the middle frame of their clip: `(N, T, C, h, w) -> (N, T*h*w, d)`."""
        middle = query[:, query.shape[1] // 2]
        asking = rearrange(_per_frame(self.query.query, query), "n t d h w -> n (t h w) d")
        keys, values = (conv(middle).flatten(2).transpose(1, 2) for conv in (self.query.key, self.query.value))
        return self.norm(asking + self.dropout(attend(asking, keys, values)))

    def cross_affinity(self, related: Tensor, support: Tensor) -> Tensor:
        """The result attends to the support, the tokens of all its frames and shots joined: `(N, T*h*w, d)`."""
        frames = support.flatten(1, 2)
        keys, values = (
            rearrange(_per_frame(conv, frames), "n s d h w -> n (s h w) d")
            for conv in (self.support.key, self.support.value)
        )
        return self.norm(related + self.dropout(attend(related, keys, values)))


def attend(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Attention with a single head: `(N, L_q, d), (N, L_k, d), (N, L_k, d) -> (N, L_q, d)`.

    Fused attention works in blocks, so the `L_q x L_k` matrix is never in memory.
    """
    return attention(queries[:, None], keys[:, None], values[:, None])[:, 0]


def signed_log_power(x: Tensor, exponent: float = 1.3) -> Tensor:
    """`f(x) = g(max(x, 0)) - g(max(-x, 0))`, `g(u) = ln(1 / (u + 1e-5) + 1) ** -exponent`: odd, in any shape.

    Always in float32: the slope at 0 is about 470.
    """
    x = x.float()
    positive, negative = (torch.log(1.0 / (u + 1e-5) + 1.0).pow(-exponent) for u in (F.relu(x), F.relu(-x)))
    return positive - negative


def frame_by_frame(support: Tensor, frames: int) -> Tensor:
    """One support frame per query frame, averaged over the shots: `(N, K, S, C, h, w) -> (N, T, C, h, w)`.

    The first `frames` support frames; with fewer of them the last is repeated (the official code fails there).
    """
    index = torch.arange(frames, device=support.device).clamp(max=support.shape[2] - 1)
    return support.mean(1)[:, index]


def _per_frame(conv: nn.Module, x: Tensor) -> Tensor:
    """A convolution on every frame of `(N, T, C, h, w)`."""
    return conv(x.flatten(0, 1)).unflatten(0, x.shape[:2])
