"""Sections of the settings of `train_stage` and `task_test`: parts of a stage, tasks and their data.

The help of the commands is made from these classes, as of those in `sections`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from omegaconf import MISSING

from benchmarks.protocols.readings import READINGS
from episodes.catalogue import names
from fewshot.config.keys import key
from fewshot.config.limits import (
    LONGEST_SIDE,
    MOST_FRAMES,
    SHORTEST_SIDE,
)

TASK_BENCHMARKS = names("vos", "rvos", "ris", "rfs", *READINGS)


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
    still_turn: float = key(
        0.0,
        "clips and objects: an image drifts along its clip, turned by up to so many degrees from first to last frame",
        minimum=0,
        maximum=180,
    )
    still_shift: float = key(
        0.0,
        "clips and objects: an image drifts along its clip, to the side and down by up to this fraction of its sides",
        minimum=0,
        maximum=1,
    )
    still_zoom: float = key(
        0.0, "clips and objects: an image drifts along its clip, grown by up to this fraction", minimum=0, maximum=1
    )
    sizes: list[int] = key([480, 800], "short sides drawn from, in pixels", minimum=SHORTEST_SIDE, maximum=LONGEST_SIDE)
    max_size: int = key(1333, "largest long side, in pixels", minimum=SHORTEST_SIDE, maximum=LONGEST_SIDE)
    colour: bool = key(False, "photometric distortion")
    wrap_colours: bool = key(False, "distorted colours wrap around at 0 and 255, as in released training code")
    gentle_colours: bool = key(False, "colours are distorted in the narrower ranges of SgMg, without hue")
    one_distortion: bool = key(False, "all frames of a clip get the same colours; false: each its own, as released")
    resize_first: bool = key(
        False, "mirroring and colours come after the resize, as SgMg is trained on Ref-YouTube-VOS; false: before it"
    )
    flip_inside_words: bool = key(
        False,
        "mirrored clips: 'left' and 'right' are exchanged inside longer words too, as in released training code",
    )
    crop: bool = key(True, "crop half of the clips before they are resized")
    crop_anywhere: bool = key(
        False,
        "as in the released code of ReferFormer and SgMg: a crop may cut the object away, clips whose words count "
        "(second from the left) are cropped too, and an object is there while its box has an area; false: a crop "
        "keeps a quarter of the object",
    )
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


FAULTS = ("start_at_once", "padded_quality", "first_wins", "erased_masks")  # of released tests
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
        "expressions in videos: frames of a clip, for a system that keeps no memory of a video",
        minimum=1,
        maximum=LONGEST_WINDOW,
    )
    one_candidate: bool = key(
        True,
        "expressions in videos of several such clips: the best candidate over the whole video answers in all of them; "
        "false: each clip has a best one of its own, and the object may change, as in the released tests",
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
    name_stuff: bool = key(
        False,
        "given stuff is also looked for by the name of its class, as in the released tests of UniVS (kind pvos); needs "
        "the names of the classes and a system that reads them",
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
        "overlap the first one has the pixel, erased_masks: a mask that is thinner than the cells of the network is no "
        "prompt, or, if it is the only one, the whole frame is",
        choices=FAULTS,
    )


@dataclass
class TaskDataConfig:
    """Places of the data."""

    root: Optional[str] = key(None, "folder of the data set; null: generated into the cache (synthetic_*)")
