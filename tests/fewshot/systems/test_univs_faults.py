"""UniVS: faults of the released code that are corrected, and the switches that bring each of them back."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from fewshot.evaluation.tasks.build import check_faults
from fewshot.systems.registry import find_system, make_system
from fewshot.systems.univs.answers import Candidates
from fewshot.systems.univs.config import SMALL, UniVSConfig
from fewshot.systems.univs.criterion import HeadOutput, prompt_terms
from fewshot.systems.univs.draws import Draws
from fewshot.systems.univs.entities import EntityRules, EntityState
from fewshot.systems.univs.objects import ObjectState
from fewshot.systems.univs.outputs import tracked
from fewshot.systems.univs.points import PointSampling
from fewshot.systems.univs.targets import UNKNOWN, Asked
from fewshot.systems.univs.video_tasks import task_of
from fewshot.systems.video_tasks import VideoQuestion, VideoTask, Vocabulary
from tests.fewshot.cli.test_recipes import configured

SIZE = (8, 8)


def way(kind: str, *faults: str) -> VideoTask:
    system = make_system(UniVSConfig(**SMALL), 0).eval()
    return task_of(system, kind, 2, faults)  # type: ignore[arg-type]


def asked(**changes: object) -> VideoQuestion:
    return VideoQuestion(size=SIZE, vocabulary=Vocabulary(("dax", "toma")), **changes)  # type: ignore[arg-type]


def test_where_objects_overlap_the_likelier_one_has_the_pixel_or_as_released_the_first() -> None:
    state = ObjectState.start((1, 2), SIZE, SIZE, 4)
    logits = torch.full((2, 1, *SIZE), -1.0)
    logits[0, 0, :, :5], logits[1, 0, :, 3:] = 1.0, 2.0
    state = replace(state, logits=logits, masks=logits > 0, seen=1)
    for faults, first_has in (((), 3), (("first_wins",), 5)):
        task = way("vos", *faults)
        masks, _ = task.tracked(state, 0, 1, asked())  # type: ignore[attr-defined]
        assert masks[:, 0].any(1).sum(1).tolist() == [first_has, 8 - first_has]
    apart, _ = tracked(state, 0, 1, asked(), exclusive=False, first_wins=True)
    assert apart[:, 0].any(1).sum(1).tolist() == [5, 5]


def test_a_candidate_is_judged_without_the_padding_or_as_released_with_it() -> None:
    masks = torch.full((1, 1, 8, 8), -3.0)
    masks[:, :, :2] = 3.0  # sure on the frame, unsure on the padding below it
    masks[:, :, 4:] = 0.0
    found = Candidates(masks, torch.zeros(1, 1, 4), torch.full((1, 2), 5.0))
    state, counts = EntityState.start(1, (16, 32), (32, 32), 4, 2), []
    for padded in (False, True):
        rules = EntityRules(stability=0.5, padded_quality=padded)
        counts.append(len(rules.discover(state, found, 0)))
    assert counts == [1, 0]


@pytest.mark.parametrize("kind", ["vis", "vps"])
def test_tests_bring_back_the_rules_of_the_released_ones_by_name(kind: str) -> None:
    for faults, expected in (
        ((), (True, False)),
        (("start_at_once",), (False, False)),
        (("padded_quality",), (True, True)),
    ):
        rules = way(kind, *faults).rules(asked())  # type: ignore[attr-defined]
        assert (rules.start_late, rules.padded_quality) == expected


def test_prompts_for_nothing_count_in_the_losses_only_as_released() -> None:
    generator = torch.Generator().manual_seed(0)
    masks, embeddings = (torch.randn(1, 4, 1, 8, 8, generator=generator), torch.randn(1, 4, 1, 4, generator=generator))
    ids = torch.tensor([0, 1, UNKNOWN, UNKNOWN])
    truth = torch.randn(4, 1, 32, 32, generator=generator) > 0
    own = Asked(ids, ids[:, None], torch.tensor([0, 1, UNKNOWN, UNKNOWN]), truth)

    def terms(count_absent: bool) -> dict[str, Tensor]:
        head = HeadOutput(masks, embeddings, torch.randn(1, 4, 3, generator=torch.Generator().manual_seed(1)))
        return prompt_terms(head, [own], PointSampling(64), Draws.seeded(0), count_absent)

    corrected, released = terms(False), terms(True)
    for name in ("loss_ce", "loss_mask", "loss_dice"):
        torch.testing.assert_close(corrected[name], 2 * released[name])


def test_the_official_recipe_turns_everything_on() -> None:
    official = find_system("univs").official
    test = configured("task_test", "system=univs_tiny", "task=synthetic_vis", "untrained=true", "recipe=official")
    faults = ["start_at_once", "padded_quality", "first_wins", "erased_masks"]
    assert test.task.faults == faults == official["task.faults"]  # type: ignore[attr-defined]
    assert test.task.name_stuff and not test.system.background  # type: ignore[attr-defined]
    training = configured("meta_train", "system=univs_tiny", "recipe=official")
    system, optim = training.system, training.optim  # type: ignore[attr-defined]
    assert (system.prior, system.start, system.mask_stride) == (False, "released", 4)
    assert (optim.lr, optim.weight_decay, optim.clip_norm, optim.schedule) == (5e-5, 0.05, 0.01, "step")
    plain = configured("task_test", "system=univs_tiny", "task=synthetic_vis", "untrained=true")
    assert plain.task.faults == [] and plain.system.start == "scratch"  # type: ignore[attr-defined]


def test_faults_of_another_system_are_refused() -> None:
    check_faults(find_system("univs"), ["first_wins"])
    with pytest.raises(ValueError, match=r"task.faults=\['first_wins'\]: .*cma have no such faults"):
        check_faults(find_system("cma"), ["first_wins"])
