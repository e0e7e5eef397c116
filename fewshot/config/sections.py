"""The configuration of the entry points as dataclasses: types and unknown keys are checked before anything starts.

The YAML files under `experiments/` fill these. Each key is declared once, here, with its meaning and, where it has
them, its valid values or its smallest value: `--help`, the checks before a run and their messages all read this.
Only entry points read this module.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from omegaconf import MISSING

from benchmarks.protocols import PROTOCOLS
from episodes.catalogue import WITH_FOLDS, names
from fewshot.config.keys import key
from fewshot.config.limits import (
    LARGEST_SEED,
    LONGEST_SIDE,
    MOST_AT_ONCE,
    MOST_DRAWS,
    MOST_EPISODES,
    MOST_FRAMES,
    MOST_PROCESSES,
    MOST_STEPS,
    SHORTEST_SIDE,
)

BENCHMARKS = names(*WITH_FOLDS)


@dataclass
class BenchmarkConfig:
    """A data set with folds and the way its episodes are read. `experiments/benchmark/*.yaml` fill it."""

    name: str = key(MISSING, "the data set", choices=BENCHMARKS)
    query_frames: int = key(5, "frames of a training query clip", minimum=1, maximum=MOST_FRAMES)
    support_frames: int = key(5, "frames of a support clip", minimum=1, maximum=MOST_FRAMES)
    query_expressions: int = key(
        1,
        "expressions of a training query clip, each of which is a query; those of other objects of its class come "
        "first (videos only)",
        minimum=1,
        maximum=100,
    )
    twin_share: Optional[float] = key(
        None,
        "share of the training episodes, 0 to 1, whose query video shows another object of the class; null: as it "
        "comes (videos only)",
        minimum=0,
        maximum=1,
    )
    absent_share: float = key(
        0.0,
        "share of the training episodes, 0 to 1, whose supports show another class than the query, in which nothing is "
        "to be found",
        minimum=0,
        maximum=1,
    )
    test_chunk: int = key(10, "frames of one forward pass at test time", minimum=1, maximum=MOST_AT_ONCE)
    train_sizes: list[int] = key(
        [288, 320, 352, 392, 416, 448, 480, 512],
        "short sides drawn from in training, in pixels",
        minimum=SHORTEST_SIDE,
        maximum=LONGEST_SIDE,
    )
    train_max_size: int = key(
        640, "largest long side in training, in pixels", minimum=SHORTEST_SIDE, maximum=LONGEST_SIDE
    )
    crop: bool = key(True, "resize-crop-resize half of the training clips")
    flip: bool = key(True, "mirror half of the training clips, with the words left and right")
    colour: bool = key(True, "photometric distortion in training")
    episode_hue: float = key(
        0.0, "largest turn of the hue of a whole training episode, as a fraction of the wheel", minimum=0, maximum=0.5
    )
    test_size: Optional[int] = key(
        360,
        "side at test time, in pixels: the short one, or as the protocol says; null: the protocol's own (images only)",
        minimum=SHORTEST_SIDE,
        maximum=LONGEST_SIDE,
    )
    pad_multiple: int = key(32, "training batches are padded to a multiple of this, in pixels", minimum=1, maximum=1024)
    world_seed: int = key(0, "seed of the generated world (synthetic worlds only)", minimum=0, maximum=LARGEST_SEED)
    world_videos: int = key(
        24, "videos per class of the generated world (synthetic worlds only)", minimum=2, maximum=1000
    )
    test_episodes: Optional[int] = key(
        None,
        "test episodes, drawn by the seed; null: as many as the protocol says, else all",
        minimum=1,
        maximum=MOST_EPISODES,
    )
    val_episodes: int = key(
        48, "validation episodes: training classes, videos kept apart", minimum=1, maximum=MOST_EPISODES
    )
    sampling: str = key(
        "balanced",
        "training episodes: classes equally often, in random turns; blocks (videos): as in the released code of CMA, "
        "class by class, 100 in a row, every video of a training class used, so that none is kept for validation; "
        "pairs, images (images): every image equally often, for each or for one of its classes, as HSNet and PFENet",
        choices=("balanced", "blocks", "pairs", "images"),
    )
    draws: str = key(
        "indexed",
        "test episodes of images: each from its own index; stream: the whole list from one generator seeded by `seed`, "
        "as the code of the protocols hsnet (PASCAL-5i) and pfenet draws it; official: that list as it comes with the "
        "package (PASCAL-5i, 1 and 5 shots, the seed of the protocol)",
        choices=("indexed", "stream", "official"),
    )
    class_of_last_expression: bool = key(
        False, "a video belongs to the class of the object of its last expression, as in the released code of CMA"
    )
    exchange_box_limits: bool = key(
        False, "boxes are cut with height and width exchanged, as in the released code of CMA"
    )
    flip_inside_words: bool = key(
        False,
        "mirrored clips: 'left' and 'right' are exchanged inside longer words too, as in the released code of CMA",
    )
    wrap_colours: bool = key(False, "distorted colours wrap around at 0 and 255, as in the released code of CMA")
    boxes_alone_tell_visible: bool = key(
        False, "an object counts as visible by its box alone, as in the released code of CMA"
    )
    protocol: str = key(
        "clean",
        "protocol of the headline numbers, its test episodes included; cma: the official list of CMA",
        choices=tuple(PROTOCOLS),
    )


@dataclass
class DataConfig:
    """Places of the data, and how they are loaded."""

    root: Optional[str] = key(None, "folder of the data set; null: the synthetic world, generated into the cache")
    cache: Optional[str] = key(None, "folder for generated data; null: $FEWSHOT_CACHE, else ~/.cache/fewshot")
    lists: Optional[str] = key(None, "folder of the field's image lists of the folds; null: the folds from the masks")
    workers: int = key(
        0,
        "processes that load training episodes; 0: the main one. No effect on the numbers",
        minimum=0,
        maximum=MOST_PROCESSES,
    )


@dataclass
class OptimConfig:
    """Optimiser (AdamW) and schedule. `experiments/optim/*.yaml` fill it."""

    lr: float = key(1e-4, "learning rate (the highest of the schedule)", minimum=0, maximum=1000)
    weight_decay: float = key(5e-4, "decoupled weight decay", minimum=0, maximum=1000)
    schedule: str = key("step", "learning rate over the run", choices=("step", "onecycle", "constant"))
    drop_at: list[float] = key(
        [0.125, 0.2083],
        "step only: fractions of the run after which the rate falls tenfold",
        minimum=0,
        maximum=1,
    )
    warmup_fraction: float = key(
        0.1, "onecycle only: fraction of the run in which the rate rises", minimum=0, maximum=0.99
    )
    clip_norm: float = key(0.1, "largest norm of the whole gradient; 0: no clipping", minimum=0, maximum=1e9)


@dataclass
class TrainConfig:
    """Length and mechanics of meta-training."""

    steps: int = key(MISSING, "optimiser steps", minimum=1, maximum=MOST_STEPS)
    batch: int = key(1, "episodes per process and micro-batch", minimum=1, maximum=1024)
    accumulate: int = key(1, "micro-batches per step", minimum=1, maximum=10_000)
    episodes_per_step: Optional[int] = key(
        None,
        "episodes per step over all processes, from which accumulate follows; null: processes x batch x accumulate",
        minimum=1,
        maximum=10_000_000,
    )
    precision: str = key("fp32", "arithmetic of the forward pass; fp16 needs a GPU", choices=("fp32", "bf16", "fp16"))
    sharding: str = key(
        "none",
        "fsdp: weights, gradients and moments are shared out among the processes of torchrun; for large backbones",
        choices=("none", "fsdp"),
    )
    prototype_fraction: float = key(
        0.0,
        "fraction of the run that learns features with a prototype head first (systems that have one)",
        minimum=0,
        maximum=1,
    )
    prototype_weight: float = key(0.0, "weight of the prototype loss afterwards", minimum=0, maximum=1e6)
    teacher_decay: float = key(
        0.0,
        "a moving average of the weights is kept, which holds so much of itself in every step, and written as "
        "checkpoints/teacher.pt beside the best checkpoint; 0: none",
        minimum=0,
        maximum=0.9999999,
    )
    checkpoint_every: int = key(200, "steps between checkpoints", minimum=1, maximum=MOST_STEPS)
    keep_checkpoints: int = key(2, "latest checkpoints kept, besides the best one", minimum=1, maximum=10_000)
    val_every: int = key(200, "steps between validations", minimum=1, maximum=MOST_STEPS)
    log_every: int = key(20, "steps between log lines", minimum=1, maximum=MOST_STEPS)
    select_on: str = key(
        "val",
        "episodes that choose the best checkpoint; test: the held-out classes, as the official code does; "
        "last: no choice",
        choices=("val", "test", "last"),
    )
    init_from: Optional[str] = key(None, "checkpoint or run folder to start from; null: from scratch", place=True)
    broken: str = key(
        "fatal",
        "episodes with a file that cannot be read: fatal ends the run, skip takes another episode, tells and counts",
        choices=("fatal", "skip"),
    )


@dataclass
class TestConfig:
    """Measurements of a test, and the files that it writes."""

    seeds: Optional[int] = key(
        1,
        "number of support draws, from `seed` upwards; null: the protocol's own (images only)",
        minimum=1,
        maximum=1000,
    )
    probes: list[str] = key(
        ["no_support", "wrong_support", "shuffled_text", "name_only"],
        "sanity probes: the same model with this information taken away",
        choices=("no_support", "wrong_support", "everything", "shuffled_text", "name_only"),
    )
    probe_episodes: Optional[int] = key(
        None, "episodes per probe; null: those of the main number", minimum=1, maximum=MOST_EPISODES
    )
    bootstrap: int = key(2000, "bootstrap draws for the 95 % interval; 0: no interval", minimum=0, maximum=MOST_DRAWS)
    bridge: bool = key(
        False,
        "images: count the same predictions also by every other protocol that can count them, in one more pass (of "
        "videos they always are)",
    )
    save_masks: bool = key(False, "write the predicted masks as PNG")
    pictures: int = key(6, "episodes drawn as overlay pictures", minimum=0, maximum=1000)
    workers: int = key(
        0,
        "processes that compute J and F beside the segmentation; 0: the main one. No effect on the numbers",
        minimum=0,
        maximum=MOST_PROCESSES,
    )
    processes: Optional[int] = key(
        None,
        "processes that share the episodes of a test on a CPU; null: for the tiny backbone as many as there are cores, "
        "at most 4, else 1. No effect on the numbers",
        minimum=1,
        maximum=MOST_PROCESSES,
    )


ADAPTATIONS = ("none", "linear_probe", "finetune", "maml", "anil", "metasgd")


@dataclass
class AdaptationConfig:
    """Adaptation to the supports of each episode. `experiments/adaptation/*.yaml` fill it."""

    name: str = key(
        "none",
        "what adapts to the supports: nothing; a linear classifier on the system's features or its own weights, of any "
        "trained system (tests); or its weights as they were trained to adapt, all of them or the head alone, or with "
        "step sizes that are learnt",
        choices=ADAPTATIONS,
    )
    parts: list[str] = key(
        ["all"],
        "what takes gradient steps: all, norms, head, fusion (with CMA's affinity), or beginnings of names of "
        "parameters; frozen ones and the text encoder never do",
    )
    steps: int = key(1, "gradient steps", minimum=1, maximum=10_000)
    rates: list[float] = key(
        [0.01],
        "size of the steps: one number, or one for each of the parts; metasgd starts there",
        minimum=0,
        maximum=1e6,
    )
    second_order: bool = key(
        False, "training goes through the gradients of the steps; false: takes them as constants (first order)"
    )
    decay: float = key(
        0.1, "linear_probe: weight of half the squared norm of the classifier", minimum=1e-12, maximum=1e6
    )


@dataclass
class LoggingConfig:
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
    pictures: int = key(4, "fixed episodes in the W&B table", minimum=0, maximum=1000)
