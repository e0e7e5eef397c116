"""The contract of a system, as tests that each system passes, in this package or outside.

A package with a system of its own puts this into a test file and runs pytest on it:

    from fewshot.testing import SystemContract

    class TestMine(SystemContract):
        settings = MineConfig(width=8)

`VideoContract` holds what a way through whole videos (`SystemSpec.video_task`) must do.
"""

from fewshot.testing.clips import noise_clips
from fewshot.testing.system import SystemContract
from fewshot.testing.video import VideoContract

__all__ = ["SystemContract", "VideoContract", "noise_clips"]
