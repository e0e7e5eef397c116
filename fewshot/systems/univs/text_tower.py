"""What reads names of classes and expressions for UniVS: CLIP's text tower, or a small one without files.

Legend: N texts, M templates, L tokens, D width.
"""

from __future__ import annotations

import hashlib
import warnings
from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fewshot.nn.clip_text import CLIPText
from fewshot.nn.text import SPECIAL, TextEncoder, Tokenizer, WordHashTokenizer, mean_of_words, small_text_encoder
from fewshot.systems.univs.templates import TEMPLATES, clean_name
from fewshot.systems.univs.text_prompts import words_and_sentence

SMALL_CONTEXT = 24  # tokens of a text, with start and end, to which every one is padded
REMEMBERED = 128  # expressions, each of which costs a look at all templates
BATCH = 256  # texts that are read at once


class TextTower(nn.Module):
    """Texts to features of their words and of themselves.

    Attributes:
        dim: D.
        fingerprint: of what the features depend on; empty where they change in training.
    """

    dim: int
    fingerprint: str = ""

    @abstractmethod
    def forward(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Words `(N, L, D)` and sentences `(N, D)` of `N` texts; L is always the same."""

    def embed_names(self, names: Sequence[str]) -> Tensor:
        """Embeddings `(N, D)` of names of classes."""
        return self(names)[1]


class SmallTextTower(TextTower):
    """A small RoBERTa on hashed words: nothing is downloaded."""

    def __init__(self, dim: int, layers: int, dropout: float) -> None:
        super().__init__()
        small = small_text_encoder(dim, layers, dropout)
        self.dim, self.encoder = dim, TextEncoder(small.encoder, WordHashTokenizer(), SMALL_CONTEXT)

    def forward(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Words, zeros where there are none, and their mean."""
        states, _, padding = self.encoder(list(texts))
        words = torch.masked_fill(states, padding[..., None], 0.0)
        return F.pad(words, (0, 0, 0, SMALL_CONTEXT - words.shape[1])), mean_of_words(states, padding)

    def embed_names(self, names: Sequence[str]) -> Tensor:
        """Embeddings `(N, D)` of names of classes: the mean row of the words in the table of the tower, before a layer.

        What the layers make of single words, between the same start and end, differs by a tenth at first, and a network
        that tells classes apart by cosines finds that too little to learn from.
        """
        ids, _ = self.encoder.tokens(list(names))
        words = (ids >= SPECIAL)[..., None]
        rows = self.encoder.encoder.get_input_embeddings()(ids) * words
        return rows.sum(1) / words.sum(1).clamp(min=1)


class CLIPTextTower(TextTower):
    """CLIP's text tower, which does not learn.

    Its weights are no part of the system's, as released: they stay in files of their own.

    Args:
        clip: the tower, in evaluation mode.
        read: the tokenizer of a CLIP.
        templates: sentences around every text.

    Raises:
        ValueError: the tokenizer is that of another tower.
    """

    def __init__(self, clip: CLIPText, read: Tokenizer, templates: Sequence[str] = TEMPLATES) -> None:
        super().__init__()
        self._tower = (clip.requires_grad_(False),)  # in a tuple, so that it is no part of the module's state
        self.dim: int = clip.dim
        self.read, self.templates = read, tuple(templates)
        self._remembered: OrderedDict[str, tuple[Tensor, Tensor]] = OrderedDict()
        around = read([""])["input_ids"][0]
        if list(around) != [clip.start, clip.end]:
            raise ValueError(
                f"the tokenizer puts the tokens {list(around)} around a text, where this CLIP text tower knows "
                f"{[clip.start, clip.end]}: give it the tokenizer of its own vocabulary"
            )

    @property
    def clip(self) -> CLIPText:
        """The tower itself."""
        return self._tower[0]

    @property
    def tokenizer(self) -> CLIPTextTower:
        """What is stored beside a system's weights, which do not hold the tower: the tower and its tokenizer."""
        return self

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the folder that `fewshot.systems.univs.clip_files.read_tower` reads."""
        for part in (self.read, self.clip.encoder):
            part.save_pretrained(folder)  # type: ignore[union-attr]

    @property
    def fingerprint(self) -> str:  # type: ignore[override]
        """Hash of the weights and of the templates."""
        digest = hashlib.sha256("\n".join(self.templates).encode())
        for name, tensor in sorted(self.clip.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> CLIPTextTower:
        """Move the tower with the system."""
        self.clip._apply(fn, recurse)
        self._remembered.clear()
        super()._apply(fn, recurse)
        return self

    @torch.no_grad()
    def forward(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Words of the first template, padding included as released, and the mean of the ends of all templates."""
        read = [self._expression(text) for text in texts]
        words, sentences = zip(*read, strict=True)
        return torch.stack(words), torch.stack(sentences)

    def _expression(self, text: str) -> tuple[Tensor, Tensor]:
        """Words `(L, D)` and sentence `(D,)` of one text, which is read once."""
        if text not in self._remembered:
            rows = self._rows([template.format(text) for template in self.templates])
            self._remembered[text] = words_and_sentence(*self.clip(rows))
        self._remembered.move_to_end(text)
        if len(self._remembered) > REMEMBERED:
            self._remembered.popitem(last=False)
        return self._remembered[text]

    @torch.no_grad()
    def embed_names(self, names: Sequence[str]) -> Tensor:
        """Mean over the templates of the ends, which are not normalised: `(N, D)`.

        Raises:
            ValueError: nothing of a name is left to read.
        """
        empty = [name for name in names if not clean_name(name)]
        if empty:
            raise ValueError(f"names of classes without a letter: {', '.join(map(repr, empty))}")
        rows = self._rows([template.format(clean_name(name)) for name in names for template in self.templates])
        length = int(rows.argmax(1).max()) + 1  # padding behind the end changes nothing
        ends = torch.cat([self.clip(part[:, :length])[1] for part in rows.split(BATCH)])
        return ends.unflatten(0, (len(names), -1)).mean(1)

    def _rows(self, texts: Sequence[str]) -> Tensor:
        """Token ids `(N, L)`, with a warning that names a text that is cut."""
        tokens = self._tokens(texts)
        most = self.clip.context - 2
        longest = max(range(len(tokens)), key=lambda n: len(tokens[n]))
        if len(tokens[longest]) > most:
            warnings.warn(
                f"a text has {len(tokens[longest])} tokens and CLIP reads {most}, its end is cut: {texts[longest]!r}",
                stacklevel=4,
            )
        return self.clip.rows(tokens).to(next(self.clip.parameters()).device)

    def _tokens(self, texts: Sequence[str]) -> list[list[int]]:
        options: dict[str, Any] = dict(add_special_tokens=False)
        found: list[list[int]] = self.read(list(texts), **options)["input_ids"]
        return found
