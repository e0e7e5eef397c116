"""Models that adapt to the supports of each call: loaded, saved, and asked without supports."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
import yaml

import fewshot
from episodes.transforms.input_rule import InputRule
from fewshot.adaptation.adapted import RATES, Adapted
from fewshot.adaptation.build import adapting
from fewshot.adaptation.learner import Learn2LearnMissing
from fewshot.adaptation.probe import LinearProbe
from fewshot.cli.system_words import adaptation_settings
from fewshot.config.sections import AdaptationConfig
from fewshot.inference.segmenter import Result
from fewshot.systems.prototype.config import PrototypeConfig
from fewshot.systems.registry import make_system
from tests.fewshot.inference.saved import CONFIGS, write_run
from tests.fewshot.inference.test_model import MASK, PIXELS, answer
from tests.learn2learn import require_learn2learn

METASGD = AdaptationConfig("metasgd", ["all"], 2, [0.05])
SETTINGS = CONFIGS | {"prototype": PrototypeConfig(backbone="tiny", backbone_width=8, freeze_backbone=False)}


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    require_learn2learn()
    torch.set_num_threads(1)


def adapting_model(name: str, settings: AdaptationConfig = METASGD) -> fewshot.Model:
    """A small model that adapts; of learnt step sizes each is another one."""
    model = plain_model(name)
    system = adapting(model.system, settings).eval()
    if isinstance(system, Adapted) and system.rates is not None:
        system.rates.data *= torch.linspace(0.5, 1.5, len(system.rates))
    return fewshot.Model(system, model.rule, model.settings, adaptation=settings)


def plain_model(name: str) -> fewshot.Model:
    """The same weights each time, all of which may learn."""
    return fewshot.Model(make_system(SETTINGS[name], 0).eval(), InputRule("short", 32), SETTINGS[name])


def same(found: Result, expected: Result) -> bool:
    return torch.equal(found.masks, expected.masks) and torch.equal(found.scores, expected.scores)


@pytest.mark.parametrize("name", ["cma", "prototype", "uniref"])
def test_a_saved_model_adapts_as_before(name: str, tmp_path: Path) -> None:
    model, plain = adapting_model(name), answer(plain_model(name))
    expected = answer(model)
    assert not same(expected, plain), "the steps change something"
    model.save_pretrained(tmp_path / "saved")
    for loaded in (fewshot.load(tmp_path / "saved"), fewshot.Model.from_pretrained(tmp_path / "saved")):
        assert isinstance(loaded.system, Adapted) and loaded.adaptation == METASGD and loaded.name == name
        assert torch.equal(loaded.system.rates, model.system.rates)  # type: ignore[arg-type]
        assert same(answer(loaded), expected)
    loaded = fewshot.load(tmp_path / "saved", adaptation="none")
    assert type(loaded.system) is type(plain_model(name).system) and loaded.adaptation is None
    assert same(answer(loaded), plain)
    loaded.save_pretrained(tmp_path / "bare")
    assert same(answer(fewshot.load(tmp_path / "bare")), plain)
    bare = fewshot.Model.from_pretrained(tmp_path / "saved", adaptation="none")
    assert bare.adaptation is None and RATES not in bare.system.state_dict()
    assert "adapts first (adaptation: metasgd of all, 2 steps of 0.05)" in (tmp_path / "saved/README.md").read_text()


def test_a_run_brings_its_adaptation_and_another_one_may_be_asked_for(tmp_path: Path) -> None:
    write_run(tmp_path / "run", settings=SETTINGS["prototype"])
    plain = answer(fewshot.load(tmp_path / "run"))
    stored = yaml.safe_load((tmp_path / "run/config.yaml").read_text())
    stored["adaptation"] = asdict(AdaptationConfig("anil", ["head"], 3, [0.5]))
    (tmp_path / "run/config.yaml").write_text(yaml.safe_dump(stored))
    loaded = fewshot.load(tmp_path / "run")
    assert isinstance(loaded.system, Adapted) and (loaded.adaptation or METASGD).name == "anil"
    assert not same(answer(loaded), plain)
    assert same(answer(fewshot.load(tmp_path / "run", adaptation="none")), plain)
    probe = fewshot.load(tmp_path / "run", adaptation="linear_probe")
    assert isinstance(probe.system, LinearProbe)
    probe.save_pretrained(tmp_path / "probe")
    assert same(answer(fewshot.load(tmp_path / "probe")), answer(probe))
    steps = fewshot.load(tmp_path / "run", adaptation=["adaptation.steps=5"]).adaptation
    assert steps == AdaptationConfig("anil", ["head"], 5, [0.5])


def test_without_supports_there_is_nothing_to_adapt_to() -> None:
    model, plain = adapting_model("uniref"), plain_model("uniref")
    assert same(model.segment(PIXELS[0], text="the dax"), plain.segment(PIXELS[0], text="the dax"))
    first = {"thing": MASK}
    assert same(model.segment(PIXELS, first_masks=first), plain.segment(PIXELS, first_masks=first))
    with pytest.raises(ValueError, match="takes no text"):
        adapting_model("uniref", AdaptationConfig("linear_probe")).segment(PIXELS[0], text="the dax")


def test_words_say_what_they_change() -> None:
    found = adaptation_settings(["adaptation=finetune", "adaptation.steps=7"])
    assert (found.name, found.steps, found.rates) == ("finetune", 7, [0.0001])
    assert adaptation_settings(["adaptation.rates=[0.5]"], METASGD) == AdaptationConfig("metasgd", ["all"], 2, [0.5])
    for words, message in (
        (["adaptation.steps=7"], "the weights were trained without an adaptation; add adaptation=<name>"),
        (["adaptation=fast"], "adaptation=fast: valid are anil"),
        (["adaptation=anil", "adaptation.pace=3"], "unknown key 'adaptation.pace'"),
        (["adaptation=anil", "adaptation.steps=0"], "adaptation.steps=0|steps=0"),
        (["adaptation=anil", "adaptation.rates=[0.1,0.2]"], "give at least one part, and one rate"),
    ):
        with pytest.raises(ValueError, match=message):
            adaptation_settings(words)


def test_without_learn2learn_both_ways_out_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    adapting_model("prototype").save_pretrained(tmp_path / "saved")

    def missing() -> None:
        raise Learn2LearnMissing("adaptation by gradients needs learn2learn, which is not installed: pip install it")

    monkeypatch.setattr("fewshot.adaptation.adapted.learn2learn", missing)
    with pytest.raises(Learn2LearnMissing, match="pip install it. Without it: adaptation=none leaves the steps away"):
        fewshot.load(tmp_path / "saved")
    assert fewshot.load(tmp_path / "saved", adaptation="none").adaptation is None


def test_the_settings_lie_beside_the_weights(tmp_path: Path) -> None:
    adapting_model("prototype").save_pretrained(tmp_path / "saved")
    assert json.loads((tmp_path / "saved/config.json").read_text())["adaptation"] == asdict(METASGD)
    plain_model("prototype").save_pretrained(tmp_path / "plain")
    assert "adaptation" not in json.loads((tmp_path / "plain/config.json").read_text())
