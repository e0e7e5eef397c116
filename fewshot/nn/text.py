"""Text encoders: RoBERTa, and a small one of the same class that needs no download."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from transformers import RobertaConfig, RobertaModel

from fewshot.nn.fusion import Words
from fewshot.nn.positions import sine_1d

START, PAD, END, SPECIAL = 0, 1, 2, 3  # token ids as in RoBERTa; words come after
TOKENIZER_FILES = (("tokenizer.json",), ("vocab.json", "merges.txt"))  # any of these is enough


class Tokenizer(Protocol):
    """The part of a transformers tokenizer that is used here."""

    def __call__(self, texts: list[str], **options: Any) -> Any:
        """A mapping with `input_ids` and `attention_mask`, both `(N, L)` int64."""


class WordHashTokenizer:
    """One token per word: the crc32 of the word, folded into a fixed vocabulary. No files, the same everywhere.

    Two words may share a token; with 4,096 tokens and the few hundred words of a data set that is rare.
    """

    def __init__(self, vocabulary: int = 4096) -> None:
        if vocabulary <= SPECIAL:
            raise ValueError(f"the vocabulary must hold more than {SPECIAL} tokens, got {vocabulary}")
        self.vocabulary = vocabulary

    def __call__(self, texts: list[str], max_length: int = 64, **options: Any) -> dict[str, Tensor]:
        """Token ids with start and end, cut at `max_length` and padded to the longest text of the batch."""
        rows = [[START, *self.encode(text)[: max_length - 2], END] for text in texts]
        longest = max(map(len, rows))
        ids = torch.tensor([row + [PAD] * (longest - len(row)) for row in rows])
        return {"input_ids": ids, "attention_mask": (ids != PAD).long()}

    def encode(self, text: str) -> list[int]:
        """Tokens of the words, punctuation dropped."""
        words = re.findall(r"\w+", text.lower())
        return [SPECIAL + zlib.crc32(word.encode()) % (self.vocabulary - SPECIAL) for word in words]


class TextEncoder(nn.Module):
    """A RoBERTa model and its tokenizer: texts to word states and a pooled state.

    Args:
        encoder: a `RobertaModel` with its pooler.
        tokenizer: what turns texts into token ids for it.
    """

    def __init__(self, encoder: RobertaModel, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.encoder, self.tokenizer = encoder, tokenizer

    @property
    def dim(self) -> int:
        """Width of the states."""
        return self.encoder.config.hidden_size

    def forward(self, texts: Sequence[str | None]) -> tuple[Tensor, Tensor, Tensor]:
        """Word states `(N, L, D)`, pooled states `(N, D)` and padding `(N, L)` bool of `N` texts.

        Texts are lower-cased and their white space collapsed; None reads as the empty text.
        """
        clean = [" ".join((text or "").lower().split()) for text in texts]
        limit = self.encoder.config.max_position_embeddings - PAD - 1
        tokens = self.tokenizer(clean, padding="longest", truncation=True, max_length=limit, return_tensors="pt")
        device = self.encoder.embeddings.word_embeddings.weight.device
        ids, attention = tokens["input_ids"].to(device), tokens["attention_mask"].to(device)
        padding = attention != 1
        # a text without any token keeps its first place: attention over nothing is not a number
        padding = padding & ~(padding.all(1, keepdim=True) & (torch.arange(padding.shape[1], device=device) == 0))
        states = self.encoder(input_ids=ids, attention_mask=(~padding).long())
        return states.last_hidden_state, states.pooler_output, padding


class TextProjection(nn.Module):
    """Word states and the pooled state to the model's width, by one shared linear layer and norm."""

    def __init__(self, inputs: int, dim: int, dropout: float) -> None:
        super().__init__()
        self.linear, self.norm, self.dropout = nn.Linear(inputs, dim), nn.LayerNorm(dim, eps=1e-12), nn.Dropout(dropout)

    def forward(self, states: Tensor, pooled: Tensor, padding: Tensor) -> Words:
        """`(N, L, D), (N, D), (N, L)` to `Words` of width C."""
        features, sentence = (self.dropout(self.norm(self.linear(x))) for x in (states, pooled))
        return Words(features, padding, sine_1d(padding, features.shape[-1]), sentence)


def roberta(config: dict[str, Any] | None = None) -> RobertaModel:
    """A RoBERTa-base with random weights; `config` overrides single numbers of its configuration."""
    base = dict(vocab_size=50265, max_position_embeddings=514, type_vocab_size=1, layer_norm_eps=1e-5)
    return RobertaModel(RobertaConfig(**{**base, **(config or {})}), add_pooling_layer=True)


def small_text_encoder(dim: int = 64, layers: int = 1, dropout: float = 0.1, vocabulary: int = 4096) -> TextEncoder:
    """A RoBERTa of `layers` layers of width `dim` on hashed words: nothing is downloaded."""
    if dim % 16:
        raise ValueError(f"the width of the small text encoder must be a multiple of 16, got {dim}")
    sizes = dict(
        vocab_size=vocabulary,
        hidden_size=dim,
        num_hidden_layers=layers,
        num_attention_heads=dim // 16,
        intermediate_size=2 * dim,
        max_position_embeddings=66,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )
    return TextEncoder(roberta(sizes), WordHashTokenizer(vocabulary))


def roberta_tokenizer(folder: str | Path) -> Tokenizer:
    """The tokenizer in a local folder of roberta-base; nothing is ever downloaded.

    Raises:
        FileNotFoundError: if the folder has no tokenizer files, saying which are needed.
    """
    folder = Path(folder)
    if not any(all((folder / name).is_file() for name in names) for names in TOKENIZER_FILES):
        raise FileNotFoundError(
            f"{folder} holds no RoBERTa tokenizer: put tokenizer.json, or vocab.json and merges.txt, of roberta-base "
            "there, or use system.text=small, which needs no files"
        )
    from transformers import RobertaTokenizer  # not AutoTokenizer, which needs config.json beside these files

    return RobertaTokenizer.from_pretrained(folder, local_files_only=True)


def roberta_from_folder(folder: str | Path) -> TextEncoder:
    """RoBERTa and its tokenizer from a local folder; weights stay random where the folder has none.

    A CMA checkpoint brings the weights of the text encoder, so that for testing the tokenizer files are enough.
    """
    tokenizer = roberta_tokenizer(folder)
    if any((Path(folder) / name).is_file() for name in ("model.safetensors", "pytorch_model.bin")):
        encoder = RobertaModel.from_pretrained(folder, local_files_only=True, add_pooling_layer=True)
    else:
        encoder = roberta()
    return TextEncoder(encoder, tokenizer)
