"""Systems from their configuration: every file under experiments/system that needs no download."""

from __future__ import annotations

import pytest

from fewshot.systems.config import SystemConfig
from fewshot.systems.registry import build_system
from fewshot.systems.uniref.sam import UniRefSAM


def test_the_plug_in_of_segment_anything_is_built() -> None:
    small = {"text": "small", "text_dim": 32, "text_layers": 1, "fusion_head_dim": 8}
    config = SystemConfig(name="uniref_sam", sam_size="tiny", **small)
    system = build_system(config)
    assert isinstance(system, UniRefSAM) and system.accepts == {"support", "expression"}
    assert not any(p.requires_grad for p in system.sam.image_encoder.parameters())
    only_words = build_system(SystemConfig(**{**vars(config), "value_encoder": "none"}))
    assert only_words.accepts == {"expression"}


@pytest.mark.parametrize("name", ["nothing", "Uniref"])
def test_an_unknown_system_lists_those_there_are(name: str) -> None:
    with pytest.raises(ValueError, match="choose one of cma, prototype, uniref, uniref_sam"):
        build_system(SystemConfig(name=name))


def test_cma_cannot_do_without_words() -> None:
    with pytest.raises(ValueError, match="cannot do without expressions"):
        build_system(SystemConfig(name="cma", text="none", backbone="tiny"))
