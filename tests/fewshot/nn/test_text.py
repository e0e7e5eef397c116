"""Text encoders: hashed words, padding, texts without words."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import RobertaConfig, RobertaModel, RobertaTokenizer

from episodes.episode import Verbatim
from fewshot.nn.text import (
    TextEncoder,
    TextProjection,
    WordHashTokenizer,
    bert,
    bert_from_folder,
    bert_tokenizer,
    mean_of_words,
    roberta,
    roberta_from_folder,
    roberta_tokenizer,
    without_punctuation,
)
from fewshot.nn.text import small_text_encoder as small
from fewshot.systems.config import TextConfig
from fewshot.systems.parts import build_text_encoder
from fewshot.weights.checkpoint import CheckpointError


def test_words_are_hashed_the_same_everywhere() -> None:
    tokens = WordHashTokenizer(4096)(["The red dax!", "dax"])
    assert tokens["input_ids"].tolist() == [[0, 3338, 2721, 3460, 2], [0, 3460, 2, 1, 1]]
    assert tokens["attention_mask"].tolist() == [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]


def test_long_texts_are_cut() -> None:
    assert WordHashTokenizer()(["word " * 200], max_length=10)["input_ids"].shape == (1, 10)
    with torch.no_grad(), pytest.warns(UserWarning, match="longer than the 64 tokens that are read"):
        states, _, _ = small(dim=16, layers=1).eval()(["word " * 200])
    assert states.shape == (1, 64, 16)


def test_the_words_that_are_cut_are_named() -> None:
    encoder, words = small(dim=16), [f"word{k}" for k in range(65)]
    assert encoder.words_cut(" ".join(words)) == ["word62", "word63", "word64"]
    with pytest.warns(UserWarning, match="these words are cut: 'word62 word63 word64'"):
        encoder.tokens(["short", " ".join(words)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encoder.tokens(["short", " ".join(words[:62])])  # exactly as long as is read


def test_case_and_white_space_do_not_matter() -> None:
    encoder = small(dim=16).eval()
    with torch.no_grad():
        assert torch.equal(encoder(["  The RED\n dax "])[0], encoder(["the red dax"])[0])


def test_capitals_of_a_verbatim_text_reach_the_tokenizer() -> None:
    seen: list[str] = []

    def tokenizer(texts: list[str], **options: Any) -> dict[str, Tensor]:
        seen.extend(texts)
        return WordHashTokenizer()(texts)

    TextEncoder(small(dim=16).encoder, tokenizer).tokens(["The  Dog", Verbatim("The  Dog")])
    assert seen == ["the dog", "The Dog"]


def test_a_text_reads_the_same_beside_a_longer_one() -> None:
    encoder = small(dim=32, layers=2).eval()
    with torch.no_grad():
        alone, pooled_alone, _ = encoder(["a dax"])
        states, pooled, padding = encoder(["a dax", "the big blue dax on the left"])
    assert padding.tolist()[0] == [False] * 4 + [True] * 5
    torch.testing.assert_close(states[:1, :4], alone, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(pooled[:1], pooled_alone, rtol=1e-4, atol=1e-5)


class NoTokens:
    """A tokenizer that finds nothing in the second text."""

    def __call__(self, texts: list[str], **options: Any) -> dict[str, Tensor]:
        return {"input_ids": torch.tensor([[0, 5, 2], [1, 1, 1]]), "attention_mask": torch.tensor([[1] * 3, [0] * 3])}


def test_a_fully_padded_text_gives_numbers() -> None:
    base = small(dim=16)
    encoder = TextEncoder(base.encoder, NoTokens()).eval()
    with torch.no_grad():
        states, pooled, padding = encoder(["x", "y"])
        words = TextProjection(16, 8, 0.0)(states, pooled, padding)
    assert padding.tolist() == [[False] * 3, [False, True, True]]
    assert all(x.isfinite().all() for x in (words.features, words.positions, words.sentence))


def test_missing_text_is_the_empty_text() -> None:
    encoder = small(dim=16).eval()
    with torch.no_grad():
        assert torch.equal(encoder([None])[0], encoder([""])[0])


def test_roberta_keeps_official_names() -> None:
    with torch.device("meta"):
        names = set(roberta().state_dict())
    assert "embeddings.word_embeddings.weight" in names and "encoder.layer.11.output.dense.bias" in names
    assert "pooler.dense.weight" in names and len(names) == 199


def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="merges.txt.*system.text=small"):
        roberta_from_folder(tmp_path)


def roberta_tokenizer_files(folder: Path) -> Path:
    """A RoBERTa tokenizer that knows two letters, in every kind of file."""
    vocabulary = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "a": 4, "b": 5}
    RobertaTokenizer(vocab=vocabulary, merges=[]).save_pretrained(folder)
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return folder


def test_a_folder_with_a_tokenizer(tmp_path: Path) -> None:
    """Tokenizer files alone are enough: a checkpoint brings the weights."""
    with torch.device("meta"):
        encoder = roberta_from_folder(roberta_tokenizer_files(tmp_path))
    ids = encoder.tokenizer(["ab", "a"], padding="longest", return_tensors="pt")["input_ids"]
    assert ids.tolist() == [[0, 4, 5, 2], [0, 4, 2, 1]]


def test_weights_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    sizes = dict(vocab_size=6, hidden_size=16, num_hidden_layers=1, num_attention_heads=1, intermediate_size=16)
    encoder = RobertaModel(RobertaConfig(**sizes, max_position_embeddings=16))
    torch.nn.init.constant_(encoder.pooler.dense.bias, torch.nan)
    encoder.save_pretrained(roberta_tokenizer_files(tmp_path))
    with pytest.raises(CheckpointError, match=f"{tmp_path} is of no use: tensor encoder.pooler.dense.bias holds NaN"):
        build_text_encoder(TextConfig(text="roberta", text_weights=str(tmp_path)))


@pytest.mark.parametrize("files", [("tokenizer.json",), ("vocab.json", "merges.txt")])
def test_bare_tokenizer_files_are_enough(tmp_path: Path, files: tuple[str, ...]) -> None:
    """Without config.json and tokenizer_config.json, special tokens and padding are those of RoBERTa."""
    whole = roberta_tokenizer_files(tmp_path / "whole")
    for name in files:
        (tmp_path / name).write_bytes((whole / name).read_bytes())
    tokens = roberta_tokenizer(tmp_path)(["ab", "a"], padding="longest", return_tensors="pt")
    assert tokens["input_ids"].tolist() == [[0, 4, 5, 2], [0, 4, 2, 1]]
    assert tokens["attention_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 1, 0]]


def test_half_a_tokenizer_is_refused(tmp_path: Path) -> None:
    (tmp_path / "vocab.json").write_text("{}")
    with pytest.raises(FileNotFoundError, match="merges.txt"):
        roberta_tokenizer(tmp_path)


# ------------------------------------------------------------------------------------------------ BERT, as UniRef reads


def test_punctuation_goes_and_hyphens_part_words() -> None:
    assert without_punctuation('  The man\'s T-shirt, (left/right): "yes"!? *#; ') == "the mans t shirt left right yes"
    assert without_punctuation("a_b 3 é") == "a_b 3 é"


def test_the_sentence_is_the_mean_of_the_words_that_are_there() -> None:
    features = torch.arange(12.0).view(1, 4, 3)
    padding = torch.tensor([[False, False, True, True]])
    assert mean_of_words(features, padding).tolist() == [[1.5, 2.5, 3.5]]
    projection = TextProjection(16, 8, 0.0, pool="mean")
    words = projection(torch.randn(1, 4, 16), torch.randn(1, 16), padding)
    torch.testing.assert_close(words.sentence, words.features[:, :2].mean(1))
    with pytest.raises(ValueError, match="choose one of state, mean"):
        TextProjection(16, 8, 0.0, pool="max")


def bert_vocabulary(folder: Path) -> Path:
    """A BERT vocabulary of four words."""
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red", "dax", "##es"]))
    return folder


TINY_BERT = dict(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, vocab_size=8)


def test_texts_are_padded_to_the_longest_and_cut_at_the_context(tmp_path: Path) -> None:
    tokenizer = bert_tokenizer(bert_vocabulary(tmp_path))
    encoder = TextEncoder(bert(TINY_BERT), tokenizer, 77, without_punctuation).eval()
    ids, attention = encoder.tokens(["Red daxes!", "a red dax-dax"])
    assert ids.tolist() == [[2, 5, 6, 7, 3, 0], [2, 1, 5, 6, 6, 3]]
    assert attention.tolist() == [[1, 1, 1, 1, 1, 0], [1, 1, 1, 1, 1, 1]]
    with torch.no_grad(), pytest.warns(UserWarning, match="longer than the 77 tokens"):
        states, _, padding = encoder(["red " * 100])
    assert states.shape == (1, 77, 16) and not padding.any()


@torch.no_grad()
def test_padding_to_the_context_would_change_nothing_but_the_time(tmp_path: Path) -> None:
    tokenizer = bert_tokenizer(bert_vocabulary(tmp_path))

    def to_the_context(texts: list[str], **options: Any) -> Any:
        return tokenizer(texts, **{**options, "padding": "max_length"})

    encoder = TextEncoder(bert(TINY_BERT), tokenizer, 77, without_punctuation).eval()
    texts = ["Red daxes!", "a red dax-dax"]
    states, pooled, padding = encoder(texts)
    wanted, pooled_wanted, _ = TextEncoder(encoder.encoder, to_the_context, 77, without_punctuation)(texts)
    assert states.shape == (2, 6, 16) and wanted.shape == (2, 77, 16)
    torch.testing.assert_close(states[~padding], wanted[:, :6][~padding], rtol=0, atol=1e-6)
    torch.testing.assert_close(pooled, pooled_wanted, rtol=0, atol=1e-6)


def test_a_bert_folder_may_hold_the_vocabulary_alone(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"BERT tokenizer.*vocab.txt.*bert-base-uncased.*system.text=small"):
        bert_from_folder(tmp_path)
    with torch.device("meta"):
        encoder = bert_from_folder(bert_vocabulary(tmp_path))
    assert encoder.limit == 77 and encoder.dim == 768 and len(encoder.encoder.state_dict()) == 199


def test_a_text_of_many_words_is_not_told_whole() -> None:
    with pytest.warns(UserWarning, match="these words are cut: 'word62 .* ...' ") as told:
        small(dim=16).tokens([" ".join(f"word{k}" for k in range(2000))])
    assert len(str(told[0].message)) < 520
