"""The configuration of the entry points as dataclasses: types and unknown keys are checked before anything starts.

The YAML files under `experiments/` fill these; `--help` prints every key. Only entry points read this module.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Optional, Union

from omegaconf import MISSING


@dataclass
class SystemConfig:
    """A system and its sizes. `experiments/system/*.yaml` fill it."""

    name: str = MISSING  # cma | prototype
    variant: str = "cma"  # cma | base | self: the affinity of the CMA paper, its baseline, self affinity only
    backbone: str = "resnet50"  # resnet50 | resnet101 | mobilenet_v2 | tiny
    backbone_weights: Optional[str] = None  # file with backbone weights (torchvision state dict), or null
    freeze_backbone: bool = True
    backbone_width: int = 32  # first-stage channels of the tiny backbone
    text: str = "roberta"  # roberta | small
    text_weights: Optional[str] = None  # local folder of roberta-base (config, weights, tokenizer files)
    freeze_text: bool = True
    text_dim: int = 768  # width of the text encoder (small only)
    text_layers: int = 12  # layers of the text encoder (small only)
    hidden_dim: int = 256
    heads: int = 8
    encoder_layers: int = 4
    decoder_layers: int = 4
    feedforward_dim: int = 2048
    num_queries: int = 5
    points: int = 4
    dropout: float = 0.1
    clean_anchors: bool = False  # true: anchors of decoder layer 0 as in DAB-DETR (not for released weights)
    support_frames: str = "middle"  # middle | all: which frames of each support the cross affinity sees
    affinity_init: str = "default"  # default | similarity: how the affinity convolutions start
    activation_checkpointing: bool = False


@dataclass
class BenchmarkConfig:
    """A data set with folds and the way its episodes are read. `experiments/benchmark/*.yaml` fill it."""

    name: str = MISSING  # invented | mini_ref_ytvos | mini_ref_sailvos
    query_frames: int = 5  # frames of a training query clip
    support_frames: int = 5  # frames of a support clip
    test_chunk: int = 10  # frames of one forward pass at test time
    train_sizes: list[int] = field(default_factory=lambda: [288, 320, 352, 392, 416, 448, 480, 512])
    train_max_size: int = 640  # long side limit in training
    crop: bool = True  # random resize-crop-resize with probability 0.5 in training
    flip: bool = True
    colour: bool = True  # photometric distortion in training
    test_size: int = 360  # short side at test time
    pad_multiple: int = 32  # training batches are padded to a multiple of this
    world_seed: int = 0  # invented world only
    world_videos: int = 12  # invented world only: videos per class
    test_episodes: Optional[int] = None  # null: every query of the fold, else that many, drawn by the seed
    val_episodes: int = 48
    protocol: str = "cma"  # how test numbers are averaged: cma | davis (both are always computed)


@dataclass
class DataConfig:
    """Where the data lie and how they are loaded."""

    root: Optional[str] = None  # folder of the data set; null: the invented world in its cache folder
    cache: Optional[str] = None  # where generated data are written; null: ~/.cache/fewshot or $FEWSHOT_CACHE
    workers: int = 0


@dataclass
class OptimConfig:
    """Optimiser and schedule. `experiments/optim/*.yaml` fill it."""

    lr: float = 1e-4
    weight_decay: float = 5e-4
    schedule: str = "step"  # step | onecycle | constant
    drop_at: list[float] = field(default_factory=lambda: [0.125, 0.2083])  # step: share of the run where lr drops x0.1
    warmup_share: float = 0.1  # onecycle: share of the run in which lr rises
    clip_norm: float = 0.1


@dataclass
class TrainConfig:
    """Length and mechanics of meta-training."""

    steps: int = MISSING  # optimiser steps
    batch: int = 1  # episodes per process and micro-batch
    accumulate: int = 1  # micro-batches per step
    precision: str = "fp32"  # fp32 | bf16 | fp16 (fp16 needs a GPU)
    warmup: str = "none"  # none | prototype: learn features with a prototype head before the system itself
    warmup_steps: int = 0
    warmup_weight: float = 0.0  # weight of the prototype loss after the warm-up
    checkpoint_every: int = 200
    keep_checkpoints: int = 2
    val_every: int = 200
    log_every: int = 20
    select_on: str = "val"  # val | test | last: on which episodes the best checkpoint is chosen
    recipe: str = "fixed"  # fixed | official: all of the official training behaviour at once
    init_from: Optional[str] = None  # ReferFormer or CMA checkpoint to start from


@dataclass
class TestConfig:
    """What is measured and written at test time."""

    seeds: int = 1  # number of support draws, from `seed` upwards
    probes: list[str] = field(default_factory=lambda: ["no_support", "wrong_support", "shuffled_text"])
    probe_episodes: Optional[int] = None  # null: the same episodes as the main number
    bootstrap: int = 2000
    save_masks: bool = False
    pictures: int = 6
    workers: int = 0


@dataclass
class TrackingConfig:
    """Weights & Biases. JSON lines and CSV are always written as well."""

    mode: str = "auto"  # auto (online with a key, else offline) | online | offline | disabled
    project: str = "fewshot"
    entity: Optional[str] = None
    experiment: Optional[str] = None  # run group; null: named after system and benchmark, so that folds sit together
    tags: list[str] = field(default_factory=list)
    pictures: int = 4  # fixed episodes in the table


@dataclass
class MetaTrainConfig:
    """`python -m fewshot.meta_train`"""

    group: int = 1
    shots: int = 1
    seed: int = 0
    system: SystemConfig = field(default_factory=SystemConfig)
    benchmark: BenchmarkConfig = field(default_factory=BenchmarkConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    data: DataConfig = field(default_factory=DataConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    test: TestConfig = field(default_factory=TestConfig)
    device: str = "auto"
    threads: Optional[int] = None
    out: str = "runs"
    name: Optional[str] = None
    resume: bool = False
    hydra: Any = None


@dataclass
class MetaTestConfig:
    """`python -m fewshot.meta_test`"""

    group: Union[int, str] = 1  # a fold, or `all`
    shots: int = 1
    seed: int = 0
    weights: Optional[str] = None  # run folder, converted folder, official checkpoint; `{group}` is filled in
    manifest: Optional[str] = None
    system: SystemConfig = field(default_factory=SystemConfig)
    benchmark: BenchmarkConfig = field(default_factory=BenchmarkConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    data: DataConfig = field(default_factory=DataConfig)
    test: TestConfig = field(default_factory=TestConfig)
    device: str = "auto"
    threads: Optional[int] = None
    out: str = "runs"
    name: Optional[str] = None
    resume: bool = False
    hydra: Any = None
