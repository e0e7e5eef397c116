"""The configuration of the entry points as dataclasses: types and unknown keys are checked before anything starts.

The YAML files under `experiments/` fill these. Each key is declared once, here, with its meaning and, where it has
them, its valid values or its smallest value: `--help`, the checks before a run and their messages all read this.
Only entry points read this module.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any, Optional, Union

from omegaconf import MISSING


def key(default: Any, meaning: str, *, choices: tuple[str, ...] = (), minimum: float | None = None) -> Any:
    """A dataclass field with its meaning (shown by `--help`), valid values and smallest value (checked)."""
    metadata = {"meaning": meaning, "choices": choices, "minimum": minimum}
    if isinstance(default, (list, dict)):
        return field(default_factory=lambda: copy.copy(default), metadata=metadata)
    return field(default=default, metadata=metadata)


BACKBONES = ("resnet50", "resnet101", "swin_tiny", "swin_small", "swin_base", "swin_large", "mobilenet_v2", "tiny")
TEXTS = ("roberta", "bert", "small", "none")
BENCHMARKS = (
    "invented",
    "mini_ref_ytvos",
    "mini_ref_sailvos",
    "invented_images",
    "pascal5i",
    "coco20i",
    "coco20i_contiguous",
    "coco2pascal",
    "fss1000",
    "fss1000_val",
    "folder",
)
PROTOCOLS = ("cma", "cma_per_class", "davis", "hsnet", "pfenet", "bam", "uniref")


@dataclass
class SystemConfig:
    """A system and its sizes. `experiments/system/*.yaml` fill it."""

    name: str = key(MISSING, "the system", choices=("cma", "prototype", "uniref", "uniref_sam"))
    variant: str = key(
        "cma",
        "cma only: affinity: that of the CMA paper, its baseline without any, or self affinity alone",
        choices=("cma", "base", "self"),
    )
    backbone: str = key("resnet50", "image encoder", choices=BACKBONES)
    backbone_weights: Optional[str] = key(None, "file with backbone weights (torchvision state dict); null: random")
    freeze_backbone: bool = key(True, "keep the image encoder as it starts; false in uniref: all but stem and stride 4")
    backbone_width: int = key(32, "channels of the first stage (tiny backbone only)", minimum=1)
    text: str = key("roberta", "text encoder; none (uniref only): no expressions", choices=TEXTS)
    text_weights: Optional[str] = key(
        None, "local folder of roberta-base or bert-base-uncased: config, weights and tokenizer files"
    )
    freeze_text: bool = key(True, "keep the text encoder as it starts")
    text_dim: int = key(768, "width of the text encoder (small only)", minimum=1)
    text_layers: int = key(12, "layers of the text encoder (small only)", minimum=1)
    hidden_dim: int = key(256, "width of the transformer", minimum=1)
    heads: int = key(8, "attention heads; must divide hidden_dim", minimum=1)
    encoder_layers: int = key(4, "layers of the deformable encoder", minimum=1)
    decoder_layers: int = key(4, "layers of the deformable decoder", minimum=1)
    feedforward_dim: int = key(2048, "width of the transformer's feed-forward layers", minimum=1)
    num_queries: int = key(5, "candidate masks per frame", minimum=1)
    points: int = key(4, "sampling points per head and level of the deformable attention", minimum=1)
    dropout: float = key(0.1, "dropout probability, 0 to 1", minimum=0)
    clean_anchors: bool = key(False, "true: first-layer anchors as in DAB-DETR (not for released weights)")
    support_frames: str = key(
        "middle", "frames of each support that the cross affinity sees", choices=("middle", "all")
    )
    affinity_init: str = key(
        "default",
        "start of what relates query and supports (affinity, UniFusion): as released, or as feature similarity",
        choices=("default", "similarity"),
    )
    value_encoder: str = key(
        "resnet18",
        "uniref only: what encodes masked references; none: no supports",
        choices=("resnet18", "tiny", "none"),
    )
    fusion_head_dim: int = key(256, "uniref only: width of each head of UniFusion", minimum=1)
    fusion_dropout: float = key(0.1, "uniref only: dropout of UniFusion's attention, 0 to 1", minimum=0)
    bf16_attention: bool = key(False, "uniref only: bfloat16 in UniFusion's attention, as the released models on a GPU")
    sam_size: str = key("huge", "uniref_sam only: size of Segment Anything", choices=("base", "large", "huge", "tiny"))
    num_classes: int = key(1, "uniref only: classes of the score head; 365 for the Objects365 pre-training", minimum=1)
    mask_stride: int = key(4, "uniref only: pixels per mask cell, 4, or 1 to follow masks in videos", minimum=1)
    mask_aux: bool = key(False, "uniref only: the two auxiliary mask losses of the video stage")
    box_supervision: str = key(
        "none",
        "uniref only: learn masks from boxes; official: with red and blue exchanged where colours are compared",
        choices=("none", "fixed", "official"),
    )
    activation_checkpointing: bool = key(False, "trade time for memory in training")


@dataclass
class BenchmarkConfig:
    """A data set with folds and the way its episodes are read. `experiments/benchmark/*.yaml` fill it."""

    name: str = key(MISSING, "the data set", choices=BENCHMARKS)
    query_frames: int = key(5, "frames of a training query clip", minimum=1)
    support_frames: int = key(5, "frames of a support clip", minimum=1)
    test_chunk: int = key(10, "frames of one forward pass at test time", minimum=1)
    train_sizes: list[int] = key(
        [288, 320, 352, 392, 416, 448, 480, 512], "short sides drawn from in training, in pixels", minimum=1
    )
    train_max_size: int = key(640, "largest long side in training, in pixels", minimum=1)
    crop: bool = key(True, "resize-crop-resize half of the training clips")
    flip: bool = key(True, "mirror half of the training clips, with the words left and right")
    colour: bool = key(True, "photometric distortion in training")
    episode_hue: float = key(
        0.0, "largest turn of the hue of a whole training episode, 0 to 0.5 of the wheel", minimum=0
    )
    test_size: int = key(360, "side at test time, in pixels: the short one, or as the protocol says", minimum=1)
    pad_multiple: int = key(32, "training batches are padded to a multiple of this, in pixels", minimum=1)
    world_seed: int = key(0, "seed of the generated world (invented ones only)")
    world_videos: int = key(24, "videos per class of the generated world (invented ones only)", minimum=2)
    test_episodes: Optional[int] = key(
        None, "test episodes, drawn by the seed; null: as many as the protocol says, else all", minimum=1
    )
    val_episodes: int = key(48, "validation episodes: training classes, videos kept apart", minimum=1)
    protocol: str = key("cma", "protocol of the headline numbers", choices=PROTOCOLS)


@dataclass
class DataConfig:
    """Where the data lie and how they are loaded."""

    root: Optional[str] = key(None, "folder of the data set; null: the invented world, generated into the cache")
    cache: Optional[str] = key(None, "folder for generated data; null: $FEWSHOT_CACHE, else ~/.cache/fewshot")
    lists: Optional[str] = key(None, "folder of the field's image lists of the folds; null: the folds from the masks")
    workers: int = key(0, "processes that load training episodes; 0: the main one. No effect on the numbers", minimum=0)


@dataclass
class OptimConfig:
    """Optimiser (AdamW) and schedule. `experiments/optim/*.yaml` fill it."""

    lr: float = key(1e-4, "learning rate (the highest of the schedule)", minimum=0)
    weight_decay: float = key(5e-4, "decoupled weight decay", minimum=0)
    schedule: str = key("step", "learning rate over the run", choices=("step", "onecycle", "constant"))
    drop_at: list[float] = key(
        [0.125, 0.2083], "step only: shares of the run, 0 to 1, after which the rate falls tenfold", minimum=0
    )
    warmup_share: float = key(0.1, "onecycle only: share of the run, 0 to 1, in which the rate rises", minimum=0)
    clip_norm: float = key(0.1, "largest norm of the whole gradient; 0: no clipping", minimum=0)


@dataclass
class TrainConfig:
    """Length and mechanics of meta-training."""

    steps: int = key(MISSING, "optimiser steps", minimum=1)
    batch: int = key(1, "episodes per process and micro-batch", minimum=1)
    accumulate: int = key(1, "micro-batches per step", minimum=1)
    precision: str = key("fp32", "arithmetic of the forward pass; fp16 needs a GPU", choices=("fp32", "bf16", "fp16"))
    warmup: str = key("none", "prototype: learn features with a prototype head first", choices=("none", "prototype"))
    warmup_portion: float = key(0.0, "share of the run that is warm-up, 0 to 1", minimum=0)
    warmup_weight: float = key(0.0, "weight of the prototype loss after the warm-up", minimum=0)
    checkpoint_every: int = key(200, "steps between checkpoints", minimum=1)
    keep_checkpoints: int = key(2, "latest checkpoints kept, besides the best one", minimum=1)
    val_every: int = key(200, "steps between validations", minimum=1)
    log_every: int = key(20, "steps between log lines", minimum=1)
    select_on: str = key(
        "val",
        "episodes that choose the best checkpoint; test: the held-out classes, as the official code does; "
        "last: no choice",
        choices=("val", "test", "last"),
    )
    init_from: Optional[str] = key(None, "ReferFormer or CMA checkpoint to start from; null: from scratch")


@dataclass
class TestConfig:
    """What is measured and written at test time."""

    __test__ = False  # a configuration, not a class of tests

    seeds: int = key(1, "number of support draws, from `seed` upwards", minimum=1)
    probes: list[str] = key(
        ["no_support", "wrong_support", "shuffled_text"],
        "sanity probes: the same model with this information taken away",
        choices=("no_support", "wrong_support", "everything", "shuffled_text"),
    )
    probe_episodes: Optional[int] = key(None, "episodes per probe; null: those of the main number", minimum=1)
    bootstrap: int = key(2000, "bootstrap draws for the 95 % interval; 0: no interval", minimum=0)
    save_masks: bool = key(False, "write the predicted masks as PNG")
    pictures: int = key(6, "episodes drawn as overlay pictures", minimum=0)
    workers: int = key(
        0,
        "processes that compute J and F beside the segmentation; 0: the main one. No effect on the numbers",
        minimum=0,
    )


@dataclass
class TrackingConfig:
    """Weights & Biases. JSON lines and CSV are always written as well."""

    mode: str = key(
        "auto",
        "auto: $WANDB_MODE, else online where an API key is configured, else offline",
        choices=("auto", "online", "offline", "disabled"),
    )
    project: str = key("fewshot", "W&B project")
    entity: Optional[str] = key(None, "W&B user or team; null: the account's default")
    experiment: Optional[str] = key(None, "W&B run group; null: system-benchmark-shots, so that folds sit together")
    tags: list[str] = key([], "W&B tags")
    pictures: int = key(4, "fixed episodes in the W&B table", minimum=0)


@dataclass
class MetaTrainConfig:
    """`python -m fewshot.meta_train`"""

    group: int = key(
        1,
        "evaluation fold: its classes are held out of training and tested; 1 to 4, images 0 to 3",
        minimum=0,
    )
    shots: int = key(1, "support clips per episode", minimum=1)
    seed: int = key(0, "fixes initial weights, episodes and augmentation", minimum=0)
    protocol: Optional[str] = key(None, "protocol of the numbers; null: the benchmark's own", choices=PROTOCOLS)
    recipe: str = key(
        "fixed",
        "official: all of the official training behaviour at once, its faults included (experiments/recipe)",
        choices=("fixed", "official"),
    )
    system: SystemConfig = field(default_factory=SystemConfig)
    benchmark: BenchmarkConfig = field(default_factory=BenchmarkConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    data: DataConfig = field(default_factory=DataConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    test: TestConfig = field(default_factory=TestConfig)
    device: str = key("auto", "auto (a GPU where there is one), cpu, cuda or cuda:N")
    threads: Optional[int] = key(None, "CPU threads; null: as torch chooses", minimum=1)
    out: str = key("runs", "folder of the run folders")
    name: Optional[str] = key(None, "name of the run folder; null: from the content of the run")
    resume: bool = key(False, "continue the run of this name where it stopped")


@dataclass
class MetaTestConfig:
    """`python -m fewshot.meta_test`"""

    group: Union[int, str] = key(
        1, "evaluation fold whose classes are tested: 1 to 4 (images 0 to 3) or `all`", minimum=0
    )
    shots: int = key(1, "support clips per episode", minimum=1)
    seed: int = key(0, "fixes the episodes; with test.seeds=n also seed+1 .. seed+n-1", minimum=0)
    weights: Optional[str] = key(
        None, "run folder, converted folder or official checkpoint; `{group}` is filled in; null: untrained"
    )
    protocol: Optional[str] = key(None, "protocol of the numbers; null: the benchmark's own", choices=PROTOCOLS)
    manifest: Optional[str] = key(None, "episode list written by episodes.freeze; null: drawn by the seed")
    system: SystemConfig = field(default_factory=SystemConfig)
    benchmark: BenchmarkConfig = field(default_factory=BenchmarkConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    data: DataConfig = field(default_factory=DataConfig)
    test: TestConfig = field(default_factory=TestConfig)
    device: str = key("auto", "auto (a GPU where there is one), cpu, cuda or cuda:N")
    threads: Optional[int] = key(None, "CPU threads; null: as torch chooses", minimum=1)
    out: str = key("runs", "folder of the run folders")
    name: Optional[str] = key(None, "name of the run folder; null: from the content of the run")
    resume: bool = key(False, "write into the folder of this name although it is not empty")
