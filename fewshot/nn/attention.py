"""Attention over padded keys: one function for the whole package.

Vaswani et al., Attention Is All You Need, 2017, section 3.2. On a GPU, in half precision and with the `flash` extra
installed, the variable-length kernel of FlashAttention-2 (Dao, 2023) works on the keys that are there; everywhere else
PyTorch's own fused attention gets them as a mask.

Legend: N rows, L queries, S keys, d width of a head, C = heads * d.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from fewshot.nn.portions import rows_at_once

FLASH_WIDTH = 256  # the widest head that the kernel takes
WEIGHTS_AT_ONCE = 1 << 22  # of a head, 16 MB


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    padding: Tensor | None = None,
    *,
    scale: float | None = None,
    dropout: float = 0.0,
    bf16: bool = False,
) -> Tensor:
    """`softmax(q k * scale) v` over the keys that are there: `(N, heads, L, dv)`, in the precision of `query`.

    A row without any key gives zeros, and zero gradients.

    Args:
        query: `(N, heads, L, d)`; key: `(N, heads, S, d)`; value: `(N, heads, S, dv)`. One row of queries and keys may
            stand for all `N` of values, on a CPU: its weights are then computed once.
        padding: `(N, S)` bool, True where a key is not there; None if all are.
        scale: `d ** -0.5` by default.
        dropout: fraction of the attention weights that are dropped; the caller passes 0 outside training.
        bf16: attend in bfloat16 and give the result back in the precision of `query`. A CPU rounds inputs and result
            to bfloat16 and attends in float32.
    """
    if key.shape[-2] == 0:
        return query.new_zeros(*query.shape[:-1], value.shape[-1])
    dtype = query.dtype
    if bf16:
        query, key, value = (x.to(torch.bfloat16) for x in (query, key, value))
        if not query.is_cuda:
            query, key, value = (x.float() for x in (query, key, value))
    empty = None
    if padding is not None:
        empty = padding.all(1)
        padding = padding & ~empty[:, None]  # softmax over nothing is not a number: such a row attends, in vain
    shared = _for_all_values if len(query) < len(value) else _fused
    attend = packed_attention if _takes_flash(query, value) else shared
    out = attend(query, key, value, padding, scale, dropout)
    if empty is not None:
        out = out.masked_fill(empty[:, None, None, None], 0.0)
    return out.to(torch.bfloat16).to(dtype) if bf16 else out.to(dtype)


def _fused(
    query: Tensor, key: Tensor, value: Tensor, padding: Tensor | None, scale: float | None, dropout: float
) -> Tensor:
    there = None if padding is None else ~padding[:, None, None]
    return F.scaled_dot_product_attention(query, key, value, attn_mask=there, dropout_p=dropout, scale=scale)


def _for_all_values(
    query: Tensor, key: Tensor, values: Tensor, padding: Tensor | None, scale: float | None, dropout: float
) -> Tensor:
    """Attention of one row of queries and keys to the values of several, which lie side by side, head by head."""
    query = query[0] * (query.shape[-1] ** -0.5 if scale is None else scale)
    rows = rows_at_once(key.shape[-2], query.device, cpu=WEIGHTS_AT_ONCE)
    read = []
    for asking, keys, value in zip(query, key[0].transpose(-1, -2), values.unbind(1), strict=True):
        side_by_side = rearrange(value, "n s d -> s (n d)")
        for some in asking.split(rows):
            scores = some @ keys
            weights = (scores if padding is None else scores.masked_fill_(padding, -torch.inf)).softmax(-1)
            read.append(F.dropout(weights, dropout) @ side_by_side)
    return rearrange(torch.cat(read), "(h l) (n d) -> n h l d", h=len(query), n=len(values))


def _takes_flash(query: Tensor, value: Tensor) -> bool:
    half = query.is_cuda and query.dtype in (torch.float16, torch.bfloat16)
    width = query.shape[-1]
    return half and width == value.shape[-1] and width <= FLASH_WIDTH and flash_kernel() is not None


@lru_cache
def flash_kernel() -> Callable[..., Tensor] | None:
    """The variable-length kernel of flash-attn; None where the `flash` extra is not installed."""
    if find_spec("flash_attn") is None:
        return None
    return import_module("flash_attn").flash_attn_varlen_func


def packed_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    padding: Tensor | None,
    scale: float | None,
    dropout: float,
    kernel: Callable[..., Tensor] | None = None,
) -> Tensor:
    """Attention by a kernel for sequences of different lengths that lie one after the other.

    Shapes as in `attention`; every row has at least one key. `kernel` is flash-attn's by default.
    """
    rows, _, length, _ = query.shape
    there = query.new_ones(rows, key.shape[-2], dtype=torch.bool) if padding is None else ~padding
    keys = there.sum(1, dtype=torch.int32)
    kernel = kernel or flash_kernel()
    if kernel is None:
        raise ModuleNotFoundError("packed attention needs a kernel: install the extra `flash`, or give one")
    out = kernel(
        rearrange(query, "n h l d -> (n l) h d"),
        rearrange(key, "n h s d -> n s h d")[there],
        rearrange(value, "n h s d -> n s h d")[there],
        cu_seqlens_q=torch.arange(0, (rows + 1) * length, length, dtype=torch.int32, device=query.device),
        cu_seqlens_k=F.pad(keys.cumsum(0, dtype=torch.int32), (1, 0)),
        max_seqlen_q=length,
        max_seqlen_k=int(keys.max()),
        dropout_p=dropout,
        softmax_scale=scale,
    )
    return rearrange(out, "(n l) h d -> n h l d", n=rows)


def attention_to_some(query: Tensor, key: Tensor, value: Tensor, blocked: Tensor, dropout: float) -> Tensor:
    """Attention of `(N, heads, L, d)` to the keys `(N, heads, S, d)` that are not `blocked`, `(..., L, S)` bool.

    Without gradients the steps are those of torch's module, in its order: where masks decide what is looked at, a logit
    within rounding of 0 flips a cell.
    """
    if torch.is_grad_enabled():
        return F.scaled_dot_product_attention(query, key, value, attn_mask=~blocked, dropout_p=dropout)
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    return scores.masked_fill_(blocked, -torch.inf).softmax(-1) @ value


class MultiheadAttention(nn.Module):
    """Projections around `attention`; tensors are named, and start, as those of `torch.nn.MultiheadAttention`."""

    def __init__(self, dim: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"the width of an attention must be a multiple of its heads, got {dim} and {heads}")
        self.heads, self.dropout = heads, dropout
        self.out_proj = nn.Linear(dim, dim)
        nn.init.zeros_(self.out_proj.bias)
        self.in_proj_weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(3 * dim, dim)))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * dim))

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        padding: Tensor | None = None,
        blocked: Tensor | None = None,
    ) -> Tensor:
        """`(N, L, C), (N, S, C), (N, S, C)` to `(N, L, C)`.

        Args:
            padding: `(N, S)` bool, True where a key is not there.
            blocked: `(N, L, S)` or `(L, S)` bool, True where a query must not look at a key; no row may be all True,
                and there is no padding beside it.
        """
        weights, biases = self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3)
        order = "n l"
        if torch.is_grad_enabled():
            # Contiguous and sequence first: gradients are summed in the order of torch's module, to the last bit.
            query, key, value = (x.transpose(0, 1).contiguous() for x in (query, key, value))
            order = "l n"
        projected = [F.linear(x, w, b) for x, w, b in zip((query, key, value), weights, biases, strict=True)]
        q, k, v = (rearrange(x, f"{order} (h d) -> n h l d", h=self.heads) for x in projected)
        dropout = self.dropout if self.training else 0.0
        if blocked is None:
            read = attention(q, k, v, padding, dropout=dropout)
        else:
            read = attention_to_some(q, k, v, blocked if blocked.ndim == 2 else blocked[:, None], dropout)
        read = self.out_proj(rearrange(read, f"n h l d -> ({order}) (h d)"))
        return rearrange(read, f"({order}) c -> n l c", n=len(q))

    def agreement(self, query: Tensor, key: Tensor, padding: Tensor) -> Tensor:
        """Logits of queries and keys, mean over the keys that are there and over the heads: `(N, L)`.

        Args:
            query: `(N, L, C)`; key: `(N, S, C)`; padding: `(N, S)` bool, True where a key is not there.
        """
        (for_query, for_key, _), (query_bias, key_bias, _) = self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3)
        there = (~padding)[..., None].to(key.dtype)
        mean = (F.linear(key, for_key, key_bias) * there).sum(1) / there.sum(1).clamp(min=1)
        # the product over all channels is the sum over the heads
        products = torch.einsum("nlc,nc->nl", F.linear(query, for_query, query_bias), mean)
        return products / (self.heads * mean.shape[-1]) ** 0.5
