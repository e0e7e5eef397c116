"""Training stages of ReferFormer and SgMg: released schedules, and samples of the real layouts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from episodes.collation import collate
from episodes.transforms.clips import TrainTransform
from episodes.transforms.colour import GENTLE
from fewshot.cli.composition import composed
from fewshot.cli.program import Command, checked
from fewshot.cli.runs import StageConfig, parts_in_use
from fewshot.systems.registry import make_system
from fewshot.train_stage import run
from fewshot.training.stages import dataset_of, mixture_of, steps_of
from tests.episodes.sentence_trees import write_a2d
from tests.fewshot.training.stages import learnt

pytestmark = pytest.mark.usefixtures("schemas")

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
    assert config.system.absent_boxes and config.system.masks_per_clip
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
        assert not config.system.absent_boxes and not config.system.masks_per_clip
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


def test_images_of_the_joint_stage_drift_along_their_clips_and_videos_do_not(data: Path) -> None:
    config = on_small_data(data, "refer_joint", "referformer_tiny", "parts.ref_youtube_vos.colour=false")
    for name, drifts in (("refcoco", True), ("ref_youtube_vos", False)):
        part = config.parts[name]
        assert (part.still_turn, part.still_shift, part.still_zoom) == ((10, 0.1, 0.1) if drifts else (0, 0, 0))
        part.crop = False
    (query,) = dataset_of(config.parts["refcoco"], config, 1)[0].queries
    assert query.masks is not None and len(query.frames) == 5
    assert query.masks.any((1, 2)).all() and not torch.equal(query.frames[0], query.frames[4])
    config.parts["refcoco"].still_turn = config.parts["refcoco"].still_shift = config.parts["refcoco"].still_zoom = 0
    (query,) = dataset_of(config.parts["refcoco"], config, 1)[0].queries
    assert torch.equal(query.frames[0], query.frames[4])
