"""The configuration of `python -m fewshot.task_test`: referring and mask-guided segmentation, without held-out classes.

As in `fewshot.config`, each key is declared once with its meaning and its valid values.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Optional

from omegaconf import MISSING

from episodes.sources.tasks import TASKS
from fewshot.config import SystemConfig, TrackingConfig, key

SCORES = ("none", "ris", "davis", "davis_unsupervised")


@dataclass
class TaskConfig:
    """A task on a data set, and the numbers of its inference. `experiments/task/*.yaml` fill it."""

    benchmark: str = key(MISSING, "the data set", choices=tuple(TASKS))
    split: Optional[str] = key(None, "part of the data set; null: the one that papers test on")
    resolution: str = key("480p", "of DAVIS", choices=("480p", "Full-Resolution"))
    short: Optional[int] = key(None, "short side of the network input, in pixels; null: the long side alone", minimum=1)
    long: int = key(1333, "largest long side of the network input, in pixels", minimum=1)
    threshold: Optional[float] = key(
        None, "videos: an object is seen where its score, 0 to 1, is above this; null: always", minimum=0
    )
    use_memory: bool = key(True, "expressions in videos: remember the first and the last frame that showed the object")
    score: str = key(
        "none",
        "numbers computed here: none (a server does), those of referring image segmentation, or those of DAVIS with "
        "given or with free object ids",
        choices=SCORES,
    )
    official: bool = key(
        False,
        "as the released code does: given masks enter the result at network size; uniref_sam compares logits",
    )


@dataclass
class TaskDataConfig:
    """Where the data lie."""

    root: Optional[str] = key(None, "folder of the data set")


@dataclass
class TaskTestConfig:
    """`python -m fewshot.task_test`"""

    weights: Optional[str] = key(None, "run folder, converted folder or official checkpoint")
    untrained: bool = key(False, "true: without weights, as the system is built (to try things out)")
    seed: int = key(0, "fixes the weights of an untrained system", minimum=0)
    limit: Optional[int] = key(None, "videos or images that are tested, from the first on; null: all", minimum=1)
    pictures: int = key(4, "videos or images drawn as overlay pictures", minimum=0)
    zip: bool = key(False, "pack the result folder, as servers want it")
    processes: int = key(1, "processes that compute J and F. No effect on the numbers", minimum=1)
    task: TaskConfig = field(default_factory=TaskConfig)
    system: SystemConfig = field(default_factory=SystemConfig)
    data: TaskDataConfig = field(default_factory=TaskDataConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    device: str = key("auto", "auto (a GPU where there is one), cpu, cuda or cuda:N")
    threads: Optional[int] = key(None, "CPU threads; null: as torch chooses", minimum=1)
    out: str = key("runs", "folder of the run folders")
    name: Optional[str] = key(None, "name of the run folder; null: from the content of the run")
    resume: bool = key(False, "go on where the run of this name stopped: what is finished is kept")
