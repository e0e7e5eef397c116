"""Cases of UniVS like those at hand, but of other sizes, lengths and names: what runs them must not count on these."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from tests.parity import univs_modules, univs_tracking
from tests.parity.reference import filled
from tests.parity.univs_reference import written
from tests.shared import require_shared

pytestmark = pytest.mark.parity


def case_of(name: str) -> dict[str, Any]:
    case: dict[str, Any] = json.loads(require_shared("parity", "univs", "open", name, "case.json").read_text())
    return case


def test_recipes_are_read_with_their_shapes_and_ranges() -> None:
    feature, other = written("cat(x+array('b:f',[2,3*32/stride,4],-.5,.5), array('b:g',[5],0,1))", stride=16)
    assert feature.shape == (2, 6, 4) and -0.5 <= feature.min() < 0 < feature.max() <= 0.5
    assert other.shape == (5,) and other.min() >= 0


@torch.no_grad()
def test_modules_at_other_sizes() -> None:
    prompts, tracking = case_of("mod_prompt")["args"], case_of("mod_tracking")["args"]
    changed = {key: prompts[key].replace("'pA:", "'pZ:").replace("6,8", "4,9") for key in ("feature", "pos")}
    found = univs_modules.run_prompts({**prompts, **changed, "R (dense points)": 8}, {})
    assert found["mask.feats"].shape == found["box.pe"].shape == (4, 2, 128)
    longer = {
        "t": tracking["t"].replace("[4,5,64]", "[3,6,64]"),
        "c": tracking["c"].replace("[[2,0,3],-3:]", "[[2,0],-2:]").replace("[3,3,64]", "[2,2,64]"),
        "m": tracking["m"].replace("[4,2,9,11]", "[5,2,8,10]"),
    }
    found = univs_modules.run_tracking(longer, {})
    assert found["bi.idx"].shape == (2, 3) and found["cons.sim"].shape == (3,)
    assert found["box2mask"].shape == (5, 2, 8, 10) and found["miou"].shape == (2, 5, 5)


@torch.no_grad()
def test_a_pixel_decoder_at_another_size() -> None:
    path = require_shared("parity", "univs", "open", "mod_pixel", "keys.json")
    args = case_of("mod_pixel")["args"]
    args["features"] = args["features"].replace("xA", "xZ").replace("2*32/stride,3*32", "1*32/stride,2*32")
    found = univs_modules.run_pixel_decoder(args, filled(json.loads(path.read_text())))
    assert found["level0"].shape == (1, 256, 1, 2) and found["mask_features"].shape == (1, 32, 8, 16)


def test_an_unknown_module_is_an_error() -> None:
    with pytest.raises(AssertionError, match="unknown module"):
        univs_modules.runner_of("a module")


@torch.no_grad()
def test_things_that_come_late_in_a_video_of_two_windows() -> None:
    """The first window is written and forgotten; what comes later has no pixel in it."""
    case = case_of("track_vis")
    case["inputs"].update(g="tvislate", frames=20)
    found = univs_tracking.run_entities(case)
    born = found["clip17.first_appear_frame_idxs"].tolist()
    assert born == sorted(born) and {0, 2} <= set(born)
    assert found["clip15.masks.packbits"].shape[1] == 18 and found["clip16.masks.packbits"].shape[1] == 9
    assert found["clip2.logits.s3"][-1, :2].eq(0).all() and found["clip2.logits.s3"][-1, 2].gt(0).any()
    assert found["final.area"].shape == (len(found["final.scores"]), 20)
