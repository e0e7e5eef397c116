"""What a system as it is set cannot do is refused before anything is loaded or written."""

from __future__ import annotations

import pytest

from fewshot.cli.composition import composed, register_schemas
from fewshot.cli.program import checked
from fewshot.systems.registry import systems


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (("system=sgmg",), "system sgmg as it is set takes no supports, which benchmark synthetic gives: add "),
        (("system=referformer_tiny", "system.affinity=none"), "gives: add system.affinity=cma"),
        (("system=uniref_tiny", "system.value_encoder=none"), "gives: add system.value_encoder=resnet18"),
    ],
)
def test_a_system_that_takes_no_supports_is_refused_with_the_key_that_changes_it(call, typed, said) -> None:
    code, out, err, calls = call("group=1", *typed)
    assert (code, out, calls) == (1, "", []), err
    assert err.startswith("error: ") and said in err and err.count("\n") == 1
    key = err.strip().rpartition("add ")[2]
    assert call("group=1", typed[0], key)[0] == 0


def test_systems_that_take_supports_name_no_key() -> None:
    takes_none = {name for name, spec in systems().items() if spec.config(name=name).support_key}
    assert takes_none == {"referformer", "sgmg"}


def test_a_part_with_supports_is_refused_in_a_stage_of_such_a_system() -> None:
    register_schemas()
    config = composed("train_stage", ["stage=uniref_image_fss", "system.value_encoder=none"])
    for part in config.parts.values():
        part.root = "."
    with pytest.raises(
        ValueError, match=r"uniref .* which benchmark fss1000 \(parts.fss1000\) gives: add system.value"
    ):
        checked(config)
    config.parts.fss1000.ratio = 0.0
    checked(config)
