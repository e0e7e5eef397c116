"""VidEoMT: a plain Vision Transformer for videos, hosted from transformers."""

from fewshot.systems.spec import Later, SystemSpec
from fewshot.systems.videomt.config import SMALL, VidEoMTConfig

_SQUARE = {"task.rule": "square", "task.short": 640}
_GENERATED = {"task.rule": "square"}

SPECS = (
    SystemSpec(
        name="videomt",
        config=VidEoMTConfig,
        build=Later("fewshot.systems.videomt.build:build"),
        plan=Later("fewshot.systems.videomt.build:plan"),
        fit=Later("fewshot.systems.videomt.build:fit"),
        needs=frozenset(),
        references=False,
        input_rule=Later("fewshot.systems.videomt.build:rule"),
        video_task=Later("fewshot.systems.videomt.model:task_of"),
        tests={
            **dict.fromkeys(("youtube_vis19", "youtube_vis21", "ovis", "vspw", "vipseg"), _SQUARE),
            **dict.fromkeys(("synthetic_vis", "synthetic_vss", "synthetic_vps"), _GENERATED),
        },
        small=SMALL,
    ),
)
