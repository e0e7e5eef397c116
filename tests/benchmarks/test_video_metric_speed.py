"""The timings of the video metrics run, and compare equal numbers."""

from __future__ import annotations

import pytest

from experiments.speed.video_metrics import main


def test_ours_and_the_plain_way_give_the_same_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    main(["frames=9", "objects=4", "height=36"])
    rows = capsys.readouterr().out.splitlines()
    assert rows[0] == "9 frames of 36x64, 4 things"
    assert all(any(row.startswith(name) for row in rows) for name in ("tracks", "classes", "segments", "boundaries"))
