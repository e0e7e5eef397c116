"""UniVS (Li et al., CVPR 2024)."""

from episodes.transforms.input_rule import InputRule
from fewshot.systems.spec import Later, SystemSpec
from fewshot.systems.univs.config import SMALL, UniVSConfig

# As released: all tests at one size; those of other data sets are in `experiments/task`.
_SIZES = {"task.short": 640, "task.long": 1333, "task.threshold": None}
TESTS = dict.fromkeys(("davis16", "davis17", "youtube_vos", "mose", "ref_davis17", "ref_youtube_vos"), _SIZES)

# What `recipe=official` turns on: faults of the released code, and the numbers of its training on videos.
FAULTS = ("start_at_once", "padded_quality", "first_wins", "erased_masks")
OFFICIAL = {
    "task.faults": list(FAULTS),
    "task.name_stuff": True,
    "system.prior": False,
    "system.start": "released",
    "system.mask_stride": 4,
    "system.background": False,
    "system.shuffled_looks": True,
    "system.visual_share": 0.3085,  # a normal draw above 0.5, where a fair coin was meant
    "system.permute_frames": True,
    "system.count_absent": True,
    "system.decay_norms": False,
    "parts.*.frames_again": True,
    "optim.lr": 5e-5,
    "optim.weight_decay": 0.05,
    "optim.schedule": "step",
    "optim.drop_at": [342 / 354],
    "optim.warmup_fraction": 0.0,
    "optim.clip_norm": 0.01,
    "train.prototype_fraction": 0.0,
    "train.prototype_weight": 0.0,
}

STAGES = {"univs_long": {"optim.lr": 2.5e-5, "optim.drop_at": [81 / 89]}}

SPECS = (
    SystemSpec(
        name="univs",
        config=UniVSConfig,
        build=Later("fewshot.systems.univs.build:build"),
        plan=Later("fewshot.systems.univs.checkpoint:plan"),
        fit=Later("fewshot.systems.univs.build:fit"),
        needs=frozenset(),
        input_rule=InputRule("short", 640, 1333),  # as in the released tests
        video_task=Later("fewshot.systems.univs.video_tasks:task_of"),
        tests=TESTS,
        faults=FAULTS,
        official=OFFICIAL,
        stages=STAGES,
        learns_objects=True,
        small=SMALL,
    ),
)
