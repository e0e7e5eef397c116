from __future__ import annotations

import pytest

from episodes.hints import did_you_mean
from fewshot.cli.arguments import key_values, refuse_missing


def test_the_closest_key_is_proposed() -> None:
    assert did_you_mean("shot", ["group", "shots", "seed"]) == " Did you mean 'shots'?"
    assert did_you_mean("zzz", iter(["group", "shots"])) == ""


def test_words_become_a_table() -> None:
    assert key_values([], ["out"]) == {}
    words = ["support=a=b:c", "out=here", "support=d:e"]
    assert key_values(words, ["support", "out"], ["support"]) == {"support": ["a=b:c", "d:e"], "out": ["here"]}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["out"], "expected key=value, got 'out'"),
        (["uot=x"], "unknown key 'uot'. Did you mean 'out'? --help"),
        (["out="], "out is empty: give a value, or leave the key out"),
        (["out=x", "out=y"], "out is given twice: x and y"),
    ],
)
def test_words_that_are_no_keys_with_values_are_refused(words: list[str], message: str) -> None:
    with pytest.raises(ValueError) as error:
        key_values(words, ["support", "out"], ["support"])
    assert message in str(error.value)


def test_every_missing_key_is_named() -> None:
    refuse_missing(["out"], {"out": ["x"], "more": []})
    with pytest.raises(ValueError, match="missing: weights=…, out=…; --help lists the keys"):
        refuse_missing(["weights", "input", "out"], {"input": ["x"]})
