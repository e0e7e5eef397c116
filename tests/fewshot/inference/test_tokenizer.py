"""The tokenizer of a system that is loaded: put in its settings, or refused where no words are read."""

from __future__ import annotations

from pathlib import Path

import pytest

from fewshot.inference.loading import with_tokenizer
from fewshot.systems.cma.config import CMAConfig
from fewshot.systems.prototype.config import PrototypeConfig


def test_the_place_of_the_tokenizer_changes_and_nothing_else() -> None:
    settings = CMAConfig(text_weights="elsewhere", hidden_dim=64)
    assert with_tokenizer(settings, Path("here")) == CMAConfig(text_weights="here", hidden_dim=64)


def test_a_system_without_words_takes_no_tokenizer() -> None:
    with pytest.raises(ValueError, match="text_weights=here: system prototype reads no words; leave text_weights away"):
        with_tokenizer(PrototypeConfig(), "here")
