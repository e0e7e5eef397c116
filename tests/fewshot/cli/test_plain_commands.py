"""Commands that are no runs: just their keys, typed as `key=value`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

import pytest
from omegaconf import MISSING

from fewshot import convert, predict
from fewshot.cli.arguments import key_values, refuse_missing
from fewshot.cli.program import Command, Program
from fewshot.config.keys import key


@dataclass
class Recipe:
    """A dish."""

    dish: str = key(MISSING, "what is cooked", choices=("soup", "cake"))
    eggs: int = key(2, "eggs that go in", minimum=1)
    sugar: Optional[float] = key(None, "grams; null: to taste", minimum=0)
    hot: bool = key(False, "true: served hot")
    guests: list[str] = key([], "who comes; again for each")
    left: list[str] = key([], "words without a key")


def nothing(config: Recipe, command: Command) -> None:
    """Cooks nothing."""


COOK = Program("cook", Recipe, "Cooks.", (("dish=soup", "a soup"),), nothing, words="left")


def test_values_have_their_types_and_keys_of_lists_may_come_again() -> None:
    config = COOK.parsed(["dish=cake", "eggs=3", "sugar=1.5", "hot=true", "guests=a=b", "guests=c", "d", "e"])
    assert config == Recipe("cake", 3, 1.5, True, ["a=b", "c"], ["d", "e"])
    assert COOK.parsed(["dish=soup"]) == Recipe("soup") and COOK.parsed(["dish=soup", "sugar=null"]).sugar is None
    assert type(config.guests) is list


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "missing: dish=…; --help lists the keys"),
        (["dsh=soup"], "unknown key 'dsh'. Did you mean 'dish'? --help lists the keys"),
        (["dish=cak"], "dish=cak: valid are soup, cake. Did you mean 'cake'?"),
        (["dish="], "dish is empty: give a value, or leave the key out"),
        (["dish=soup", "dish=cake"], "dish is given twice: soup and cake"),
        (["dish=soup", "eggs=many"], "eggs=many: give a whole number of at least 1"),
        (["dish=soup", "eggs=0"], "eggs=0: the smallest valid value is 1"),
        (["dish=soup", "hot=perhaps"], "hot=perhaps: give true or false"),
        (["dish=soup", "sugar=much"], "sugar=much: give a number of at least 0"),
        (["dish=soup", "sugar=nan"], "sugar=nan: give a finite number"),
    ],
)
def test_what_is_wrong_is_said(arguments: list[str], said: str) -> None:
    with pytest.raises(ValueError) as told:
        COOK.parsed(arguments)
    assert str(told.value).startswith(said) and "\n" not in str(told.value)


def test_words_without_a_key_are_refused_where_there_is_none_for_them() -> None:
    with pytest.raises(ValueError, match="expected key=value, got 'soup'; --help lists the keys"):
        key_values(["soup"], ["dish"])
    assert key_values(["a=1", "b", "c"], ["a", "rest"], ["rest"], "rest") == {"a": ["1"], "rest": ["b", "c"]}


def test_every_missing_key_is_named() -> None:
    refuse_missing(("a",), {"a"})
    with pytest.raises(ValueError, match="missing: a=…, c=…; --help"):
        refuse_missing(("a", "b", "c"), {"b"})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["system=cma", "checkpoint=a"], "missing: out="),
        (["sistem=cma"], "Did you mean 'system'"),
        (["cma"], "key=value"),
    ],
)
def test_wrong_arguments_of_convert(arguments: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        convert.PROGRAM.parsed(arguments)


def test_arguments_of_convert_and_predict_have_their_defaults() -> None:
    config = convert.PROGRAM.parsed(["system=cma", "checkpoint=a.pth", "out=b"])
    assert config == convert.ConvertConfig("cma", "a.pth", "b", None)
    typed = predict.PROGRAM.parsed(["weights=w", "input=i", "out=o", "support=cat=a.jpg:a.png", "support=b.jpg:b.png"])
    assert typed.support == ["cat=a.jpg:a.png", "b.jpg:b.png"] and typed.text == []
    assert (typed.chunk, typed.size, typed.preview, typed.overwrite) == (10, None, "gif", False)
