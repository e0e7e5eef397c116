"""Training stages: their configurations, and each task learning on small generated data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from episodes.collation import collate
from fewshot.cli.arguments import refuse_unknown_keys
from fewshot.cli.checks import check
from fewshot.cli.composition import composed
from fewshot.cli.program import Command, checked
from fewshot.cli.recipes import expand_words_alone
from fewshot.cli.runs import StageConfig, parts_in_use
from fewshot.config.task_sections import KINDS
from fewshot.inference.loading import stored_stage, stored_system
from fewshot.run.folder import run_name
from fewshot.systems.registry import make_system, spec_of
from fewshot.train_stage import run
from fewshot.training.stages import dataset_of, mixture_of, steps_of, trainings
from fewshot.training.step import TrainingStep
from fewshot.weights.checkpoint import CheckpointError
from fewshot.weights.load import start_from
from fewshot.weights.trained_on import TrainedOn, read_trained_on
from tests.fewshot.training.stages import STEPS, configured, learnt

STAGES = ("uniref_pretrain", "uniref_image", "uniref_image_fss", "uniref_video")
pytestmark = pytest.mark.usefixtures("schemas")


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_is_a_valid_configuration(stage: str) -> None:
    config = composed("train_stage", [f"stage={stage}"])
    for part in config.parts.values():
        part.root = "somewhere"
    assert checked(config).stage == stage
    rates = {"uniref_pretrain": 2e-4, "uniref_image": 2e-4, "uniref_image_fss": 2e-5, "uniref_video": 1e-4}
    assert config.optim.lr == rates[stage] and config.optim.weight_decay == 0.05 and config.optim.clip_norm == 0.1


@pytest.mark.parametrize(
    ("stage", "lr", "drop", "step"),
    [("univs_image", 5e-5, 342, 2), ("univs_video", 5e-5, 342, 8), ("univs_long", 2.5e-5, 81, 4)],
)
def test_the_stages_of_univs_have_the_released_schedules(stage: str, lr: float, drop: int, step: int) -> None:
    typed = [f"stage={stage}", "recipe=official"]
    config = composed("train_stage", typed)
    for part in config.parts.values():
        part.root = "somewhere"
    config = checked(config, Command(tuple(typed), {}))
    train, optim = config.train, config.optim
    assert (optim.lr, optim.weight_decay, optim.clip_norm) == (lr, 0.05, 0.01) and not config.system.decay_norms
    assert round(optim.drop_at[0] * train.steps) == drop * 1000 and train.batch * train.accumulate == step
    assert config.system.shuffled_looks and all(part.frames_again for part in config.parts.values())
    long = stage == "univs_long"
    assert (train.teacher_decay, config.system.clip_frames) == ((0.9999, 5) if long else (0.0, 0))
    assert {part.frames for part in config.parts.values()} == {{"univs_image": 1, "univs_video": 3}.get(stage, 7)}


def test_the_stage_of_the_generated_videos_teaches_from_all_of_its_parts() -> None:
    typed = ["stage=synthetic_univs", "train.batch=2", "system.mask_points=64"]
    config = checked(composed("train_stage", typed), Command(tuple(typed), {}))
    system = make_system(config.system, 0).train()
    step, seen = TrainingStep(system, "fp32"), []
    for part in config.parts.values():
        dataset = dataset_of(part, config, system.num_classes)
        total, terms = step(collate([dataset[0], dataset[1]], 32), 4.0)
        total.backward()
        seen.append(set(terms))
    assert seen == [{"loss_ce", "loss_mask", "loss_dice", "loss_reid"}] * len(config.parts)
    assert all(p.grad is not None for p in system.tasks["grounding"].parameters())


def test_clips_with_all_of_their_objects_are_for_systems_that_learn_from_them(data: Path) -> None:
    with pytest.raises(ValueError, match="parts.objects.kind=objects: system 'uniref' does not learn from clips"):
        configured(data, ["objects"])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("parts.coco.root=null", r"parts\.coco\.root is not set"),
        ("parts.refcoco.benchmark=davis17", "for ris valid are refcoco, "),
        ("parts.coco.annotations=null", "give annotations="),
        ("parts.coco.ratio=-1", "the smallest valid value is 0"),
        ("parts.coco.kind=pvos", "valid are fss, ris, "),
        ("train.select_on=val", "a stage has no validation"),
        ("device=tpu", "device=tpu"),
    ],
)
def test_what_cannot_work_is_refused(override: str, message: str) -> None:
    config = composed("train_stage", [f"parts.{n}.root=x" for n in ("coco", "refcoco", "refcoco_plus", "refcocog")])
    checked(config)
    with pytest.raises(ValueError, match=message):
        roots = [f"parts.{n}.root=x" for n in ("coco", "refcoco", "refcoco_plus", "refcocog")]
        checked(composed("train_stage", [*roots, override]))


def test_keys_of_parts_are_free_and_others_are_not() -> None:
    refuse_unknown_keys(["parts.mine.root=x", "+parts.mine.kind=vos"], StageConfig)
    for typed, meant in (("trian.steps=3", "train.steps"), ("parts.mine.ratoi=1", "ratio")):
        with pytest.raises(ValueError, match=f"unknown key .* Did you mean '{meant}'"):
            refuse_unknown_keys([typed], StageConfig)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "objects"])
def test_every_task_learns(data: Path, kind: str) -> None:
    """One batch, again and again: the loss falls."""
    config = configured(data, [kind], "system.mask_aux=true")
    system = make_system(config.system, 0).train()
    dataset = dataset_of(config.parts[kind], config, system.num_classes)
    batch = collate([dataset[0], dataset[1]], 32)
    terms = learnt(system, batch, "total")
    assert {"loss_mask", "loss_mask_iou_0", "loss_ce_enc"} <= set(terms)
    given = {"supports": batch.supports is not None, "words": batch.queries.expressions[0] is not None}
    assert given == {"supports": kind in ("fss", "vos", "rvos", "still_vos"), "words": kind in ("ris", "rvos", "clips")}
    assert len(batch.queries) == (4 if kind == "clips" else 2)


@pytest.mark.parametrize("system", ["sgmg_tiny", "referformer_tiny"])
def test_a_stage_of_words_alone_asks_a_system_for_both_for_no_supports(system: str) -> None:
    typed = ["stage=synthetic_rvos", f"system={system}"]
    config = checked(composed("train_stage", typed), Command(tuple(typed), {}))
    assert config.system.affinity == "none" and composed("train_stage", typed).system.affinity == "cma"
    insists = [*typed, "system.affinity=cma"]
    assert checked(composed("train_stage", insists), Command(tuple(insists), {})).system.affinity == "cma"
    config.parts["synthetic_rvos"].kind = "rvos"  # which gives masks as well
    assert expand_words_alone(config, set()) == []


def test_masks_are_learnt_from_boxes(data: Path) -> None:
    config = configured(
        data, ["detection"], "system.box_supervision=true", "system.num_classes=2", "system.num_queries=20"
    )
    config.parts["detection"].boxes_only, config.parts["detection"].one_class = True, False
    check(config)
    system = make_system(config.system, 0).train()
    dataset = dataset_of(config.parts["detection"], config, system.num_classes)
    batch = collate([dataset[0], dataset[1]], 32)
    assert {label for x in batch.queries.objects for label in x.labels.tolist()} == {0, 1}
    terms = learnt(system, batch, "loss_prj")
    assert int(system.mask_calls) == STEPS * 2 and "loss_mask" not in terms


def test_classes_of_the_data_must_have_their_scores(data: Path) -> None:
    config = configured(data, ["detection"])
    config.parts["detection"].one_class = False
    with pytest.raises(ValueError, match=r"has 2 classes and the system scores 1: give system\.num_classes=2"):
        dataset_of(config.parts["detection"], config, num_classes=1)


def test_a_stage_runs_goes_on_and_starts_the_next(data: Path) -> None:
    kinds = ["detection", "vos", "ris"]
    config = configured(data, kinds, "train.steps=6", "train.checkpoint_every=2", "name=first")
    command = Command((), {})
    run(config, command)
    folder = data / "runs" / "first"
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["step"] == 6 and rows[-1]["train/loss"] > 0
    assert stored_system(folder) == config.system and stored_stage(folder).stage == "uniref_image_fss"
    shown = {"detection": TrainedOn("things", None, ("a", "b"), config.parts["detection"].split)}
    plain = {kind: TrainedOn(config.parts[kind].benchmark, None, None, config.parts[kind].split) for kind in kinds}
    assert set(read_trained_on(folder) or ()) == set((plain | shown).values())
    (folder / "checkpoints" / "step_00000006.pt").unlink()
    last = torch.load(folder / "checkpoints" / "best.pt", weights_only=True)["model"]
    (folder / "checkpoints" / "best.pt").unlink()
    config.resume = True
    run(config, command)  # from step 4
    again = torch.load(folder / "checkpoints" / "best.pt", weights_only=True)["model"]
    assert all(torch.equal(again[name], tensor) for name, tensor in last.items())
    following = configured(data, ["detection"], "system.num_classes=3", "system.value_encoder=none")
    system = make_system(following.system, 1)
    report = start_from(system, folder, spec_of(following.system).plan)
    assert set(report.ignored.values()) == {"of another shape here", "this system has no such part"}
    assert all("score_head" in name for name in report.fresh) and report.used + len(report.ignored) == report.total
    assert torch.equal(
        system.state_dict()["level_projection.levels.0.0.weight"], last["level_projection.levels.0.0.weight"]
    )


def test_a_stage_knows_the_classes_that_it_shows(data: Path) -> None:
    config = configured(data, ["fss", "ris"])
    datasets = {kind: dataset_of(config.parts[kind], config, 1) for kind in config.parts}
    folds = datasets["fss"].source.folds
    shown = tuple(name for name in folds.classes if folds.class_id(name) not in folds.test_classes(0))
    assert trainings(config, datasets) == (
        TrainedOn("folder", 0, shown),
        TrainedOn("refcoco", split="val"),
    )
    assert shown


def test_a_file_that_does_not_fit_at_all_is_no_start(data: Path, tmp_path: Path) -> None:
    config = configured(data, ["ris"])
    system = make_system(config.system, 0)
    state = {"format": 1, "system": "uniref", "step": 1, "model": {"other": torch.zeros(1)}}
    torch.save(state, tmp_path / "odd.pt")
    with pytest.raises(CheckpointError, match="has no tensor that fits this uniref"):
        start_from(system, tmp_path / "odd.pt", spec_of(config.system).plan)


def test_a_mixture_draws_its_parts_batch_by_batch(data: Path) -> None:
    config = configured(data, ["detection", "ris"], "train.batch=3")
    datasets = {name: dataset_of(part, config, 1) for name, part in parts_in_use(config).items()}
    mixture = mixture_of(config, datasets)
    names = [mixture.part(i).name for i in range(60)]
    assert set(names) == {"detection", "ris"} and all(len(set(names[k : k + 3])) == 1 for k in range(0, 60, 3))
    for first in (0, 3, 6, 9, 12):
        batch = collate([mixture[i] for i in range(first, first + 3)], 32)
        assert len(batch) == 3 and batch.supports is None


def test_the_name_of_a_run_says_what_it_is(data: Path) -> None:
    config = configured(data, ["ris"])
    plain = run_name(config, Command(("stage=uniref_image", "out=x"), {"system": "uniref_tiny"}))
    assert plain == "uniref_image_fss-uniref_tiny-s0"
    other = run_name(config, Command(("stage=uniref_image", "optim.lr=1"), {"system": "uniref_tiny"}))
    assert other.startswith(f"{plain}-")


def test_rounds_are_of_clips_alone(data: Path) -> None:
    config = configured(data, ["ris", "clips"], "epochs=2")
    datasets = {name: dataset_of(part, config, 1) for name, part in parts_in_use(config).items()}
    with pytest.raises(ValueError, match="epochs=2: refcoco is drawn without end"):
        steps_of(config, datasets)
    with pytest.raises(ValueError, match=r"parts\.ris\.ratio=null: ris is drawn without end; give a number"):
        config.parts["ris"].ratio = None
        check(config)
