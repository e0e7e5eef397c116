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
from benchmarks.protocols.readings import READINGS
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
TASK_BENCHMARKS = names("vos", "rvos", "ris", "rfs", *READINGS)


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


KINDS = ("fss", "ris", "vos", "rvos", "clips", "objects", "still_vos", "detection")


@dataclass
class PartConfig:
    """A task on a data set, and its fraction of the batches."""

    kind: str = key(
        MISSING,
        "the task: few-shot images, expressions in images, given masks in videos, expressions in videos frame "
        "by frame, expressions in clips (of videos or images), clips with all of their objects (of videos or images), "
        "given masks in an image that is seen twice, or all objects of an image without a reference",
        choices=KINDS,
    )
    ratio: Optional[float] = key(
        1.0,
        "fraction of the batches, relative to the other parts; 0: not used; null (clips): as many as it has samples",
        minimum=0,
        maximum=1e9,
    )
    benchmark: str = key(MISSING, "the data set; detection and still_vos: any name, their files are named below")
    root: Optional[str] = key(None, "folder of the data set; null: generated into the cache (synthetic_*)")
    split: str = key("train", "part of the data set")
    annotations: Optional[str] = key(None, "detection and still_vos: file in COCO's form, under root")
    images: Optional[str] = key(None, "detection and still_vos: folder of the images, under root")
    boxes_only: bool = key(False, "detection: do not read masks (with system.box_supervision)")
    one_class: bool = key(True, "detection: every object is of the one class; false: the classes of the file")
    mask_fraction: float = key(
        0.6, "rvos: fraction of the batches that also have the mask of an earlier frame", minimum=0, maximum=1
    )
    frames: int = key(5, "clips and objects: frames of a clip", minimum=1, maximum=MOST_FRAMES)
    reach: int = key(
        40, "objects: frames to each side of one from which the others are drawn", minimum=1, maximum=1_000_000
    )
    frames_again: bool = key(False, "objects: a frame may be drawn more than once, as in the released code of UniVS")
    expressions: int = key(
        1,
        "clips: expressions of a clip, each of which is a query; those of other objects come first",
        minimum=1,
        maximum=100,
    )
    reverse: float = key(0.0, "clips: probability of one that runs backwards", minimum=0, maximum=1)
    repeat_frames: bool = key(False, "clips: a frame may come twice in one, as in released training code")
    sizes: list[int] = key([480, 800], "short sides drawn from, in pixels", minimum=SHORTEST_SIDE, maximum=LONGEST_SIDE)
    max_size: int = key(1333, "largest long side, in pixels", minimum=SHORTEST_SIDE, maximum=LONGEST_SIDE)
    colour: bool = key(False, "photometric distortion")
    wrap_colours: bool = key(False, "distorted colours wrap around at 0 and 255, as in released training code")
    flip_inside_words: bool = key(
        False,
        "mirrored clips: 'left' and 'right' are exchanged inside longer words too, as in released training code",
    )
    crop: bool = key(True, "crop half of the clips before they are resized")
    crop_sizes: list[int] = key(
        [400, 500, 600], "short sides before a crop; []: as on disk", minimum=SHORTEST_SIDE, maximum=LONGEST_SIDE
    )
    crop_range: list[int] = key(
        [384, 600], "least and largest side of a crop, in pixels", minimum=SHORTEST_SIDE, maximum=LONGEST_SIDE
    )
    cropped_sizes: list[int] = key(
        [], "short sides drawn from after a crop; []: as without one", minimum=SHORTEST_SIDE, maximum=LONGEST_SIDE
    )
    cropped_max_size: Optional[int] = key(
        None,
        "largest long side after a crop, in pixels; null: as without one",
        minimum=SHORTEST_SIDE,
        maximum=LONGEST_SIDE,
    )


FAULTS = ("start_at_once", "padded_quality", "first_wins")  # of released tests
SCORES = ("none", "ris", "davis", "davis_unsupervised", "expressions", "if_there", "sentences", "protocol")
LONGEST_WINDOW = 1000  # frames


@dataclass
class TaskConfig:
    """A task on a data set, and the numbers of its inference. `experiments/task/*.yaml` fill it."""

    benchmark: str = key(MISSING, "the data set", choices=TASK_BENCHMARKS)
    split: Optional[str] = key(None, "part of the data set; null: the one that papers test on")
    resolution: str = key("480p", "of DAVIS", choices=("480p", "Full-Resolution"))
    short: Optional[int] = key(
        None,
        "short side of the network input, in pixels; null: the long side alone",
        minimum=SHORTEST_SIDE,
        maximum=LONGEST_SIDE,
    )
    long: int = key(
        1333, "largest long side of the network input, in pixels", minimum=SHORTEST_SIDE, maximum=LONGEST_SIDE
    )
    rule: str = key(
        "fit",
        "how sides are rounded: fit as Detectron2 does, short as DETR does; square: frames are squashed",
        choices=("fit", "short", "square"),
    )
    window: int = key(
        5,
        "expressions about one frame: so many frames are shown, that one in their middle",
        minimum=1,
        maximum=LONGEST_WINDOW,
    )
    frames_at_once: int = key(
        36,
        "expressions in videos: frames of a clip, for a system that keeps no memory of a video; each clip has a best "
        "candidate of its own",
        minimum=1,
        maximum=LONGEST_WINDOW,
    )
    clip_frames: int = key(
        5,
        "videos, of a system that goes through them in clips with a memory: frames of a clip, the last ones of a video "
        "or all of a shorter one",
        minimum=1,
        maximum=MOST_FRAMES,
    )
    masks_by_nearest: bool = key(
        False,
        "expressions about one image or frame: masks are cut at network size and resized by the nearest pixel, as in "
        "the released code of ReferFormer and UniRef++, which are tested so; false: logits are resized, then cut",
    )
    keep_case: bool = key(
        False,
        "expressions in videos, of a system that keeps no memory of a video: capitals are read as they stand, as in "
        "the released tests; false: in lower case, as in training",
    )
    threshold: Optional[float] = key(
        None, "videos: an object is seen where its score is above this; null: always", minimum=0, maximum=1
    )
    use_memory: bool = key(True, "expressions in videos: remember the first and the last frame that showed the object")
    score: str = key(
        "none",
        "numbers computed here: none (a server does), those of referring image segmentation, those of DAVIS with "
        "given or with free object ids, J and F of each expression on its own object, those of A2D- and "
        "JHMDB-Sentences, or those of task.protocol; if_there: of expressions where the truth is on disk, else none",
        choices=SCORES,
    )
    protocol: Optional[str] = key(
        None,
        "score=protocol: the reading of the headline numbers, beside which those of the others stand; null: the "
        "corrected one",
        choices=tuple(name for of_kind in READINGS.values() for name in of_kind),
    )
    probes: list[str] = key(
        [], "score=expressions: the same test with this information taken away", choices=("shuffled_text",)
    )
    resize_given_masks: bool = key(
        False, "given masks enter the result at network size, as in the released code of UniRef++"
    )
    compare_logits: bool = key(
        False, "systems on Segment Anything: logits stand for probabilities, as in the released code of UniRef++"
    )
    faults: list[str] = key(
        [],
        "faults of the released tests of UniVS that are brought back; start_at_once: a video whose first clip shows "
        "nothing stays empty, padded_quality: candidates are judged with the padding, first_wins: where objects "
        "overlap the first one has the pixel",
        choices=FAULTS,
    )


@dataclass
class TaskDataConfig:
    """Places of the data."""

    root: Optional[str] = key(None, "folder of the data set; null: generated into the cache (synthetic_*)")
