"""Training stages: their configurations, and each task learning on small generated data."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image
from torch import Tensor

from episodes.batch import EpisodeBatch
from episodes.collation import collate
from episodes.transforms.clips import TrainTransform
from episodes.transforms.colour import GENTLE
from fewshot.cli.arguments import refuse_unknown_keys
from fewshot.cli.checks import check
from fewshot.cli.composition import composed, register_schemas
from fewshot.cli.program import Command, checked
from fewshot.cli.recipes import expand_words_alone
from fewshot.cli.runs import StageConfig, parts_in_use
from fewshot.config.task_sections import KINDS, PartConfig
from fewshot.inference.loading import stored_stage, stored_system
from fewshot.run.folder import run_name
from fewshot.systems.base import System
from fewshot.systems.registry import make_system, spec_of
from fewshot.systems.uniref.config import UniRefConfig
from fewshot.train_stage import run
from fewshot.training.stages import dataset_of, mixture_of, steps_of, trainings
from fewshot.training.step import TrainingStep
from fewshot.weights.checkpoint import CheckpointError
from fewshot.weights.load import start_from
from fewshot.weights.trained_on import TrainedOn, read_trained_on
from tests.episodes.image_tree import write_folder
from tests.episodes.sentence_trees import write_a2d
from tests.episodes.tree import TinyVideo
from tests.episodes.videos import write_videos
from tests.fewshot.evaluation.tasks.trees import write_ref_davis, write_refcoco

TINY = ("system=uniref_tiny", "system.value_encoder=tiny", "optim.lr=1e-3", "train.batch=2", "device=cpu")
STEPS = 10
STAGES = ("uniref_pretrain", "uniref_image", "uniref_image_fss", "uniref_video")


@pytest.fixture(autouse=True)
def schemas() -> None:
    register_schemas()
    torch.set_num_threads(1)  # these networks are too small for more


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A COCO file with two images of bright squares, two videos of two objects, and RefCOCO."""
    images = tmp_path / "images"
    images.mkdir()
    entries, objects = [], []
    for k in (1, 2):
        picture = np.full((64, 80, 3), 60, np.uint8)
        picture[8:40, 8 * k : 8 * k + 32] = (220, 40, 40)
        picture[44:60, 50:76] = (40, 200, 220)
        Image.fromarray(picture).save(images / f"{k}.png")
        entries.append(dict(id=k, file_name=f"{k}.png", height=64, width=80))
        for box, category in (([8 * k, 8, 32, 32], 1), ([50, 44, 26, 16], 2)):
            x, y, w, h = box
            polygon = [x, y, x + w, y, x + w, y + h, x, y + h]
            row = dict(id=len(objects) + 1, image_id=k, category_id=category, bbox=box, iscrowd=0, area=w * h)
            objects.append(row | dict(segmentation=[polygon]))
    content = dict(images=entries, annotations=objects, categories=[dict(id=1, name="a"), dict(id=2, name="b")])
    (tmp_path / "objects.json").write_text(json.dumps(content))
    write_videos(tmp_path / "videos", {k: TinyVideo({1: "dog", 2: "cat"}, []) for k in ("v", "w")})
    write_refcoco(tmp_path / "refcoco")
    write_ref_davis(tmp_path / "said", {"v": TinyVideo({1: "dog", 2: "cat"}, [])})
    write_folder(tmp_path / "classes", {"cup": 4, "pan": 4, "pot": 4})
    return tmp_path


def part(data: Path, kind: str) -> PartConfig:
    """A part of each kind, with its small data."""
    small = dict(sizes=[32], max_size=64, crop_sizes=[], crop_range=[48, 64])
    files = dict(benchmark="things", root=str(data), annotations="objects.json", images="images")
    places = {
        "detection": files,
        "still_vos": files,
        "vos": dict(benchmark="vos_folder", split="all", root=str(data / "videos")),
        "ris": dict(benchmark="refcoco", split="val", root=str(data / "refcoco")),
        "rvos": dict(benchmark="ref_davis17", split="valid", root=str(data / "said"), mask_fraction=1.0),
        "clips": dict(benchmark="ref_davis17", split="valid", root=str(data / "said"), frames=2, expressions=2),
        "fss": dict(benchmark="folder", root=str(data / "classes")),
        "objects": dict(benchmark="vos_folder", split="all", root=str(data / "videos"), frames=2),
    }
    return PartConfig(kind=kind, **places[kind], **small)


def configured(data: Path, kinds: Sequence[str], *overrides: str) -> StageConfig:
    """The image stage with a tiny system and parts of these kinds."""
    typed = ["stage=uniref_image_fss", *TINY, "logging=disabled", f"out={data / 'runs'}", *overrides]
    refuse_unknown_keys(typed, StageConfig, {"system": UniRefConfig})
    config = OmegaConf.to_object(composed("train_stage", typed))
    config.parts = {kind: part(data, kind) for kind in kinds}
    check(config)
    return config


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


def learnt(system: System, batch: EpisodeBatch, term: str) -> dict[str, Tensor]:
    """The terms of the last of `STEPS` steps on one batch, in which the loss `term` must have fallen."""
    step, values = TrainingStep(system, "fp32"), []
    optimizer = torch.optim.AdamW(system.parameter_groups(3e-3))
    for _ in range(STEPS):
        total, terms = step(batch, num_frames=2.0)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        values.append({"total": total, **terms}[term].item())
    assert np.mean(values[-3:]) < 0.8 * np.mean(values[:3]), values
    return terms


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
    parts = {config.parts[kind].benchmark for kind in kinds}
    assert set(read_trained_on(folder) or ()) == {TrainedOn(part) for part in parts}
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
    assert trainings(config, datasets) == (TrainedOn("folder", 0, shown), TrainedOn("refcoco")) and shown


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


# ------------------------------------------------------------------------------------------- ReferFormer and SgMg

SCHEDULES = {  # stage -> system -> epochs, epochs after which the rate falls, rate, clips a step, as released
    "refer_pretrain": {"sgmg": (11, (8, 10), 2.5e-5, 4), "referformer": (12, (8, 10), 1e-4, 16)},
    "refer_youtube_vos": {"sgmg": (6, (3, 5), 2.5e-5, 2), "referformer": (6, (3, 5), 1e-4, 8)},
    "refer_scratch": {"sgmg": (10, (6, 8), 5e-5, 2)},
    "refer_a2d": {"sgmg": (6, (3, 5), 2.5e-5, 4), "referformer": (6, (3, 5), 1e-4, 16)},
    "refer_joint": {"referformer": (12, (8, 10), 1e-4, 8)},
}


def referring(stage: str, *typed: str) -> StageConfig:
    """The configuration of a stage of ReferFormer and SgMg, its data somewhere."""
    words = [f"stage={stage}", *typed]
    words += [f"parts.{name}.root=somewhere" for name in composed("train_stage", words).parts]
    return checked(composed("train_stage", words), Command(tuple(words), {}))


@pytest.mark.parametrize(("stage", "system"), [(stage, system) for stage, of in SCHEDULES.items() for system in of])
def test_the_released_schedules_are_one_word(stage: str, system: str) -> None:
    epochs, drops, rate, clips = SCHEDULES[stage][system]
    config = referring(stage, f"system={system}", "recipe=official")
    assert config.epochs == epochs and config.optim.lr == rate
    assert [epochs * share for share in config.optim.drop_at] == pytest.approx(drops)
    assert config.train.batch * config.train.accumulate == clips
    assert config.system.freeze_text == (stage != "refer_pretrain") and config.system.fresh_scores
    for part in config.parts.values():
        assert part.wrap_colours and part.flip_inside_words
        on_videos = system == "sgmg" and stage in ("refer_youtube_vos", "refer_scratch")
        assert part.reverse == (0.3 if on_videos else 0.0) and part.resize_first == on_videos and part.crop_anywhere
        assert part.gentle_colours == (on_videos or (system == "sgmg" and stage == "refer_a2d"))
    typed = referring(stage, f"system={system}", "recipe=official", "epochs=2", "optim.lr=1e-3")
    assert (typed.epochs, typed.optim.lr) == (2, 1e-3)
    own = next(iter(config.parts))
    typed = referring(stage, f"system={system}", "recipe=official", f"parts.{own}.wrap_colours=false", "train.steps=7")
    assert not typed.parts[own].wrap_colours and typed.parts[own].flip_inside_words
    assert typed.epochs is None and typed.train.steps == 7


def test_what_every_system_trains_on_is_the_same_and_faults_are_off() -> None:
    for stage in SCHEDULES:
        config = referring(stage)
        assert config.system.name == "sgmg" and config.optim.lr == 1e-4 and config.optim.clip_norm == 0.1
        assert all(part.kind == "clips" and part.ratio is None for part in config.parts.values())
        assert not any(part.wrap_colours or part.flip_inside_words or part.reverse for part in config.parts.values())
        assert not any(part.crop_anywhere or part.gentle_colours or part.resize_first for part in config.parts.values())
        images = [part for part in config.parts.values() if part.benchmark.startswith("refcoco")]
        assert all(part.frames == (1 if stage == "refer_pretrain" else 5) for part in images)
        assert len(images) == (3 if stage in ("refer_pretrain", "refer_joint") else 0)


SMALL_PART = {"sizes": "[32]", "max_size": 64, "cropped_sizes": "[]", "cropped_max_size": "null"}
SMALL_PART |= {"crop_sizes": "[]", "crop_range": "[16,24]"}


def on_small_data(data: Path, stage: str, system: str, *typed: str) -> StageConfig:
    """A stage of the real layouts with tiny data, a tiny system and one process."""
    roots = {"ref_youtube_vos": data / "said", "refcoco": data / "refcoco", "a2d": data / "a2d"}
    splits = {"ref_youtube_vos": "valid", "refcoco": "val", "a2d": "train"}
    words = [f"stage={stage}", f"system={system}", "logging=disabled", "device=cpu", f"out={data / 'runs'}"]
    for name in composed("train_stage", words).parts:
        if name not in roots:
            words.append(f"parts.{name}.ratio=0")
            continue
        values = {**SMALL_PART, "root": roots[name], "split": splits[name]}
        words += [f"parts.{name}.{key}={value}" for key, value in values.items()]
    return checked(composed("train_stage", [*words, *typed]), Command((*words, *typed), {"system": system}))


@pytest.mark.parametrize(
    ("stage", "system", "samples"),
    [
        ("refer_pretrain", "sgmg_tiny", 3),  # the expressions of RefCOCO
        ("refer_youtube_vos", "referformer_tiny", 8),  # those of a video of four frames
        ("refer_joint", "sgmg_tiny", 11),
        ("refer_a2d", "referformer_tiny", 4),
    ],
)
def test_a_round_has_every_sample_of_the_real_layouts(data: Path, stage: str, system: str, samples: int) -> None:
    if stage == "refer_a2d":
        write_a2d(data / "a2d", split="train")
    typed = ("epochs=1", "train.batch=2", "train.accumulate=1", "name=one")
    config = on_small_data(data, stage, system, *typed)
    datasets = {name: dataset_of(part, config, 1) for name, part in parts_in_use(config).items()}
    mixture = mixture_of(config, datasets)
    assert sum(part.ratio for part in mixture.parts) == samples
    assert steps_of(config, datasets) == -(-samples // 2)
    run(config, Command((), {}))
    rows = [json.loads(line) for line in (data / "runs" / "one" / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["step"] == -(-samples // 2) and rows[-1]["train/loss"] > 0


@pytest.mark.parametrize("system", ["sgmg_tiny", "referformer_tiny"])
def test_of_a_clip_of_a2d_the_frame_that_is_asked_for_is_learnt(data: Path, system: str) -> None:
    write_a2d(data / "a2d", split="train")
    config = on_small_data(data, "refer_a2d", system, "parts.a2d.crop=false", "parts.a2d.colour=false")
    dataset = dataset_of(config.parts["a2d"], config, 1)
    batch = collate([dataset[0], dataset[1]], 32)
    for clip, spec, asked in zip(batch.queries.masks, batch.specs, batch.queries.asked, strict=True):
        assert clip is not None and len(clip) == 5 and spec.queries[0].asked == asked
        assert [t for t in range(5) if clip[t].any()] == [asked]
    assert batch.queries.valid is not None and batch.queries.valid.sum(1).tolist() == [1, 1]
    learnt(make_system(config.system, 0).train(), batch, "total")


def test_the_switches_of_a_part_reach_its_transform(data: Path) -> None:
    words = ("crop_anywhere", "gentle_colours", "one_distortion", "resize_first")
    for on in (False, True):
        typed = [f"parts.ref_youtube_vos.{word}={str(on).lower()}" for word in words]
        config = on_small_data(data, "refer_youtube_vos", "sgmg_tiny", *typed)
        transform = dataset_of(config.parts["ref_youtube_vos"], config, 1).transform
        assert isinstance(transform, TrainTransform)
        assert (transform.keep_object, transform.keep_order, transform.visible_by_box) == (not on, not on, on)
        assert (transform.ranges is GENTLE, transform.alike, transform.resize_first) == (on, on, on)


def test_rounds_are_of_clips_alone(data: Path) -> None:
    config = configured(data, ["ris", "clips"], "epochs=2")
    datasets = {name: dataset_of(part, config, 1) for name, part in parts_in_use(config).items()}
    with pytest.raises(ValueError, match="epochs=2: refcoco is drawn without end"):
        steps_of(config, datasets)
    with pytest.raises(ValueError, match=r"parts\.ris\.ratio=null: ris is drawn without end; give a number"):
        config.parts["ris"].ratio = None
        check(config)
