"""Ways on which trained classes could be reported as held out, each of which is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.commands import typed

pytestmark = pytest.mark.end_to_end

SMALL = (
    "logging=disabled",
    "threads=1",
    "device=cpu",
    "test.probes=[]",
    "test.pictures=0",
    "test.bootstrap=20",
)
TRAINING = (
    "system=prototype",
    "benchmark.world_videos=2",
    "benchmark.test_episodes=1",
    "benchmark.test_size=32",
    "benchmark.query_frames=1",
    "benchmark.support_frames=1",
    "train.select_on=last",
    "train.steps=1",
    "train.batch=1",
    *SMALL,
)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Where the synthetic world is generated once for all tests of this file."""
    return f"data.cache={tmp_path_factory.mktemp('cache')}"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_refused_continuation_does_not_change_what_the_weights_are_known_for(
    place: Path, cache: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed("meta_train", [*TRAINING, cache, "name=a", "group=1"]) == 0
    written = (place / "runs" / "a" / "config.yaml").read_bytes()
    capsys.readouterr()
    assert typed("meta_train", [*TRAINING, cache, "name=a", "group=2", "resume=true"]) == 1
    assert "group: 1 in the checkpoint, 2 now" in capsys.readouterr().err
    assert (place / "runs" / "a" / "config.yaml").read_bytes() == written
    assert typed("meta_test", ["weights=runs/a", "group=2", cache, *SMALL]) == 1
    assert "has seen the classes of group 2" in capsys.readouterr().err
