"""Text encoders: RoBERTa, BERT, and a small one that needs no download."""

from __future__ import annotations

import re
import warnings
import zlib
from bisect import bisect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from transformers import BertConfig, BertModel, RobertaConfig, RobertaModel

from episodes.episode import Verbatim
from fewshot.nn.fusion import Words
from fewshot.nn.positions import sine_1d

START, PAD, END, SPECIAL = 0, 1, 2, 3  # token ids as in RoBERTa; words come after
TOKENIZER_FILES = {  # any of these is enough
    "roberta-base": (("tokenizer.json",), ("vocab.json", "merges.txt")),
    "bert-base-uncased": (("tokenizer.json",), ("vocab.txt",)),
}
BERT_CONTEXT = 77  # most tokens of a text in UniRef, with its start and end


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


def lower_case(text: str) -> str:
    """Lower case unless it is `Verbatim`, white space collapsed."""
    return " ".join((text if isinstance(text, Verbatim) else text.lower()).split())


def without_punctuation(text: str) -> str:
    """Lower case without `. , ' ! ? " ( ) * # : ;`, and blanks for hyphens and slashes, as UniRef reads text."""
    return lower_case(re.sub(r"[-/]", " ", re.sub(r"[.,'!?\"()*#:;]", "", text)))


class TextEncoder(nn.Module):
    """A RoBERTa or BERT model and its tokenizer: texts to word states and a pooled state.

    Texts are padded to the longest of their batch and no further: padding is not attended to, so that more of it would
    change nothing but the time.

    Args:
        encoder: the model, with its pooler.
        tokenizer: what turns texts into token ids for it.
        context: most tokens of a text, with its start and end; None: as many as the model takes.
        clean: what is done to a text before it is read.
    """

    def __init__(
        self,
        encoder: RobertaModel | BertModel,
        tokenizer: Tokenizer,
        context: int | None = None,
        clean: Callable[[str], str] = lower_case,
    ) -> None:
        super().__init__()
        self.encoder, self.tokenizer, self.context, self.clean = encoder, tokenizer, context, clean

    @property
    def dim(self) -> int:
        """Width of the states."""
        return self.encoder.config.hidden_size

    @property
    def pooler(self) -> nn.Module:
        """The layer that makes the pooled state.

        Raises:
            ValueError: the encoder was built without one.
        """
        if self.encoder.pooler is None:
            raise ValueError("the text encoder has no pooler: build it with add_pooling_layer=True")
        return self.encoder.pooler

    @property
    def limit(self) -> int:
        """Largest number of tokens of a text, with its start and end."""
        if self.context is not None:
            return self.context
        return self.encoder.config.max_position_embeddings - PAD - 1  # RoBERTa counts from behind the padding token

    def forward(self, texts: Sequence[str | None]) -> tuple[Tensor, Tensor, Tensor]:
        """Word states `(N, L, D)`, pooled states `(N, D)` and padding `(N, L)` bool of `N` texts.

        Texts are cleaned; None reads as the empty text.
        """
        ids, attention = self.tokens(texts)
        padding = attention != 1
        # a text without any token keeps its first place: attention over nothing is not a number
        first = torch.arange(padding.shape[1], device=padding.device) == 0
        padding = padding & ~(padding.all(1, keepdim=True) & first)
        states = self.encoder(input_ids=ids, attention_mask=(~padding).long())
        return states.last_hidden_state, states.pooler_output, padding

    def tokens(self, texts: Sequence[str | None]) -> tuple[Tensor, Tensor]:
        """Token ids and attention mask `(N, L)` of `N` texts, on the device of the encoder.

        A text that is too long is cut, with a warning that names the words which are not read.
        """
        options = dict(padding="longest", truncation=True, max_length=self.limit, return_tensors="pt")
        tokens = self.tokenizer([self.clean(text or "") for text in texts], **options)
        for text, count in zip(texts, tokens["attention_mask"].sum(1).tolist(), strict=True):
            cut = self.words_cut(text or "") if count == self.limit else []
            if cut:
                warnings.warn(
                    f"an expression is longer than the {self.limit} tokens that are read, these words are cut: "
                    f"{_in_short(' '.join(cut))!r} (of {_in_short(text or '')!r})",
                    stacklevel=3,
                )
        device = self.encoder.embeddings.word_embeddings.weight.device
        return tokens["input_ids"].to(device), tokens["attention_mask"].to(device)

    def words_cut(self, text: str) -> list[str]:
        """The words of a text, cleaned, that are not read to their end because it has more than `limit` tokens."""
        words = self.clean(text).split()

        def too_long(count: int) -> bool:
            options = dict(truncation=True, max_length=self.limit + 1, return_tensors="pt")
            return int(self.tokenizer([" ".join(words[:count])], **options)["attention_mask"].sum()) > self.limit

        return words[bisect(range(1, len(words) + 1), False, key=too_long) :]


def _in_short(text: str) -> str:
    """A text of at most 200 characters: of a longer one its start."""
    return text if len(text) <= 200 else f"{text[:190]} ..."


class TextHead(nn.Module):
    """A linear layer and a norm, from the width of a text encoder to that of the model."""

    def __init__(self, inputs: int, dim: int, dropout: float) -> None:
        super().__init__()
        self.linear, self.norm, self.dropout = nn.Linear(inputs, dim), nn.LayerNorm(dim, eps=1e-12), nn.Dropout(dropout)

    def project(self, states: Tensor) -> Tensor:
        """`(..., D) -> (..., C)`."""
        return self.dropout(self.norm(self.linear(states)))


POOLS = ("state", "mean", "apart")


class TextProjection(TextHead):
    """Word states to the model's width by a linear layer and a norm, and the sentence in one vector.

    Args:
        pool: `state`: the sentence is the pooled state, projected as the words are (ReferFormer); `apart`: the pooled
            state, projected by a head of its own (SgMg); `mean`: the mean of the projected words, start and end
            included (UniRef).
    """

    def __init__(self, inputs: int, dim: int, dropout: float, pool: str = "state") -> None:
        super().__init__(inputs, dim, dropout)
        if pool not in POOLS:
            raise ValueError(f"unknown pool {pool!r}: choose one of {', '.join(POOLS)}")
        self.pool = pool
        self.sentence = TextHead(inputs, dim, dropout) if pool == "apart" else None

    def forward(self, states: Tensor, pooled: Tensor, padding: Tensor) -> Words:
        """`(N, L, D), (N, D), (N, L)` to `Words` of width C."""
        features = self.project(states)
        if self.pool == "mean":
            sentence = mean_of_words(features, padding)
        else:
            sentence = (self.sentence or self).project(pooled)
        return Words(features, padding, sine_1d(padding, features.shape[-1]), sentence)


def mean_of_words(features: Tensor, padding: Tensor) -> Tensor:
    """Mean over the tokens that are not padding: `(N, L, C), (N, L) -> (N, C)`."""
    valid = (~padding).to(features.dtype)[..., None]
    return (features * valid).sum(1) / valid.sum(1)


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


def bert(config: dict[str, Any] | None = None) -> BertModel:
    """A BERT-base (uncased) with random weights; `config` overrides single numbers of its configuration."""
    return BertModel(BertConfig(**(config or {})), add_pooling_layer=True)


def check_tokenizer_files(folder: Path, model: str) -> None:
    """Check that a folder holds the tokenizer of `model`.

    Raises:
        FileNotFoundError: if not, saying which files are needed.
    """
    choices = TOKENIZER_FILES[model]
    if not any(all((folder / name).is_file() for name in names) for names in choices):
        files = ", or ".join(" and ".join(names) for names in choices)
        raise FileNotFoundError(
            f"{folder} holds no {'RoBERTa' if model.startswith('r') else 'BERT'} tokenizer: put {files}, of {model} "
            "there, or use system.text=small, which needs no files"
        )


def roberta_tokenizer(folder: str | Path) -> Tokenizer:
    """The tokenizer in a local folder of roberta-base; nothing is ever downloaded.

    Raises:
        FileNotFoundError: if the folder has no tokenizer files, saying which are needed.
    """
    check_tokenizer_files(Path(folder), "roberta-base")
    from transformers import RobertaTokenizer  # not AutoTokenizer, which needs config.json beside these files

    return RobertaTokenizer.from_pretrained(folder, local_files_only=True)


def bert_tokenizer(folder: str | Path) -> Tokenizer:
    """The tokenizer in a local folder of bert-base-uncased; nothing is ever downloaded.

    Raises:
        FileNotFoundError: if the folder has no tokenizer files, saying which are needed.
    """
    check_tokenizer_files(Path(folder), "bert-base-uncased")
    from transformers import BertTokenizer

    return BertTokenizer.from_pretrained(folder, local_files_only=True)


def has_weights(folder: str | Path) -> bool:
    """Presence of weights in a folder of transformers'."""
    return any((Path(folder) / name).is_file() for name in ("model.safetensors", "pytorch_model.bin"))


def roberta_from_folder(folder: str | Path) -> TextEncoder:
    """RoBERTa and its tokenizer from a local folder; weights stay random where the folder has none.

    A CMA checkpoint brings the weights of the text encoder, so that for testing the tokenizer files are enough.
    """
    tokenizer = roberta_tokenizer(folder)
    if has_weights(folder):
        encoder = RobertaModel.from_pretrained(folder, local_files_only=True, add_pooling_layer=True)
    else:
        encoder = roberta()
    return TextEncoder(encoder, tokenizer)


def bert_from_folder(folder: str | Path) -> TextEncoder:
    """BERT as UniRef reads with it, and its tokenizer, from a local folder; see `roberta_from_folder`."""
    tokenizer = bert_tokenizer(folder)
    if has_weights(folder):
        encoder = BertModel.from_pretrained(folder, local_files_only=True, add_pooling_layer=True)
    else:
        encoder = bert()
    return TextEncoder(encoder, tokenizer, BERT_CONTEXT, without_punctuation)
