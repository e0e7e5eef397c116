"""What a system as it is set cannot do is refused before anything is loaded or written."""

from __future__ import annotations

import pytest

from fewshot import meta_train
from fewshot.cli.checks import READ, check_adaptation_reads
from fewshot.cli.composition import composed, register_schemas
from fewshot.cli.program import Command, checked
from fewshot.cli.runs import MetaTrainConfig
from fewshot.config.sections import ADAPTATIONS, AdaptationConfig
from fewshot.systems.prototype.config import PrototypeConfig
from fewshot.systems.registry import systems


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (
            ("system=sgmg",),
            "as it is set takes no supports, which benchmark synthetic gives: take system=sgmg_tiny ",
        ),
        (
            ("system=referformer_tiny", "system.affinity=none"),
            "take system=referformer_tiny as it is, or add system.",
        ),
        (("system=uniref_tiny", "system.value_encoder=none"), " as it is, or add system.value_encoder=resnet18"),
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


@pytest.mark.parametrize(
    ("name", "typed", "said"),
    [
        ("none", "adaptation.steps", "with adaptation=none: add adaptation=<name>, or leave adaptation.steps away"),
        ("linear_probe", "adaptation.rates", "with adaptation=linear_probe: its keys are decay, or leave"),
        ("finetune", "adaptation.second_order", "with adaptation=finetune: its keys are parts, steps, rates, or leave"),
        ("metasgd", "adaptation.decay", "with adaptation=metasgd: its keys are parts, steps, rates, second_order, or"),
    ],
)
def test_keys_that_an_adaptation_does_not_read_are_refused(name: str, typed: str, said: str) -> None:
    config, command = MetaTrainConfig(system=PrototypeConfig()), Command((f"{typed}=3", "seed=1"), {})
    config.adaptation.name = name
    with pytest.raises(ValueError, match=f"^{typed} has no effect {said}"):
        meta_train.run(config, command)


def test_keys_that_an_adaptation_reads_are_not_refused() -> None:
    check_adaptation_reads(AdaptationConfig("anil"), ("adaptation.second_order", "adaptation", "system.levels"))
    assert set(READ) == set(ADAPTATIONS)
