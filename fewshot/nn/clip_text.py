"""Text tower of CLIP (Radford et al., ICML 2021), as transformers has it.

Legend: N texts, L tokens (77), D width of the common space.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModelWithProjection

START, END, CONTEXT, PAD = 49406, 49407, 77, 0


class CLIPText(nn.Module):
    """Token ids to projected states. The defaults are the sizes of CLIP RN50x4.

    Args:
        dim: D; layers, heads: of the tower; vocabulary: number of tokens.
    """

    def __init__(self, dim: int = 640, layers: int = 12, heads: int = 10, vocabulary: int = END + 1) -> None:
        super().__init__()
        config = CLIPTextConfig(
            vocab_size=vocabulary,
            hidden_size=dim,
            intermediate_size=4 * dim,
            projection_dim=dim,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            max_position_embeddings=CONTEXT,
            hidden_act="quick_gelu",
            bos_token_id=vocabulary - 2,
            eos_token_id=vocabulary - 1,
            pad_token_id=PAD,
        )
        self.dim = dim
        self.encoder = CLIPTextModelWithProjection(config)

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Token ids `(N, L)` to projected states of all tokens `(N, L, D)` and of the end `(N, D)`.

        The end is the largest id, which a text that was cut no longer has: then it is its rarest token.
        """
        states = self.encoder.text_model(input_ids=ids).last_hidden_state
        projected = self.encoder.text_projection(states)
        rows = torch.arange(len(ids), device=ids.device)
        return projected, projected[rows, ids.argmax(1)]


def rows_of(tokens: list[list[int]]) -> Tensor:
    """Token ids of texts as rows `(N, 77)`: start, ids, end, zeros; longer ones are cut and lose their end."""
    rows = [[START, *ids, END][:CONTEXT] for ids in tokens]
    return torch.tensor([row + [PAD] * (CONTEXT - len(row)) for row in rows])
