"""Text tower of CLIP (Radford et al., ICML 2021), as transformers has it.

Legend: N texts, L tokens, D width of the common space.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModelWithProjection

from fewshot.nn.text import Tokenizer

VOCABULARY, CONTEXT, PAD = 49408, 77, 0
HEAD_WIDTH = 64  # of the attention of every CLIP
TOKENIZER_FILES = (("tokenizer.json",), ("vocab.json", "merges.txt"))  # any of these is enough


class CLIPText(nn.Module):
    """Token ids to projected states.

    Args:
        encoder: transformers' model.

    Attributes:
        dim: D.
        start, end: ids of the tokens around a text, the two largest.
        context: most tokens of a text, with its start and end.
    """

    def __init__(self, encoder: CLIPTextModelWithProjection) -> None:
        super().__init__()
        self.encoder = encoder
        config = encoder.config
        self.dim: int = encoder.text_projection.out_features
        self.context: int = config.max_position_embeddings
        self.start, self.end = config.vocab_size - 2, config.vocab_size - 1

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Token ids `(N, L)` to projected states of all tokens `(N, L, D)` and of the end `(N, D)`.

        The end is the largest id, which a text that was cut no longer has: then it is its rarest token. A token sees
        those before it alone, so that what comes after the end changes nothing.
        """
        states = self.encoder.text_model(input_ids=ids).last_hidden_state
        projected = self.encoder.text_projection(states)
        rows = torch.arange(len(ids), device=ids.device)
        return projected, projected[rows, ids.argmax(1)]

    def rows(self, tokens: Sequence[Sequence[int]]) -> Tensor:
        """Token ids of texts as rows `(N, context)`: start, ids, end, zeros; longer ones are cut and lose their end."""
        whole = [[self.start, *ids, self.end][: self.context] for ids in tokens]
        return torch.tensor([row + [PAD] * (self.context - len(row)) for row in whole])


def clip_text(dim: int = 640, layers: int = 12, vocabulary: int = VOCABULARY) -> CLIPText:
    """A text tower with random weights. The defaults are the sizes of CLIP RN50x4.

    Args:
        dim: D, a multiple of 64; layers: of the tower; vocabulary: number of tokens.
    """
    config = CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=dim,
        intermediate_size=4 * dim,
        projection_dim=dim,
        num_hidden_layers=layers,
        num_attention_heads=dim // HEAD_WIDTH,
        max_position_embeddings=CONTEXT,
        hidden_act="quick_gelu",
        bos_token_id=vocabulary - 2,
        eos_token_id=vocabulary - 1,
        pad_token_id=PAD,
    )
    return CLIPText(CLIPTextModelWithProjection(config))


def clip_tokenizer(folder: str | Path) -> Tokenizer:
    """The tokenizer in a local folder of a CLIP; all of them have the same. Nothing is ever downloaded.

    Raises:
        FileNotFoundError: the folder has no tokenizer files; the message says which are needed.
    """
    if not any(all((Path(folder) / name).is_file() for name in names) for names in TOKENIZER_FILES):
        files = ", or ".join(" and ".join(names) for names in TOKENIZER_FILES)
        raise FileNotFoundError(f"{folder} holds no CLIP tokenizer: put {files}, of any CLIP of transformers', there")
    from transformers import CLIPTokenizer  # not AutoTokenizer, which needs config.json beside these files

    return CLIPTokenizer.from_pretrained(folder, local_files_only=True)
