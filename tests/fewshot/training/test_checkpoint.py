"""Checkpoint files: atomic, refused if damaged, and a full disk that is no disaster."""

from __future__ import annotations

import errno
import logging
import sys
from pathlib import Path

import pytest
import torch

from fewshot.training.loop import Trainer
from fewshot.weights.checkpoint import FORMAT, CheckpointError, CheckpointFolder, load_checkpoint, save_checkpoint
from tests.fewshot.training.tiny_system import Rows, TinyEpisodes, TinySystem, score, tiny_settings, train


def state(step: int = 1) -> dict:
    return {"format": FORMAT, "system": "tiny", "step": step, "model": {"w": torch.arange(1000.0)}, "fingerprint": {}}


def test_round_trip_leaves_no_temporary_file(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "a.pt", state())
    assert torch.equal(load_checkpoint(tmp_path / "a.pt")["model"]["w"], torch.arange(1000.0))
    assert [p.name for p in tmp_path.iterdir()] == ["a.pt"]


@pytest.mark.parametrize("length", [0, 10, 2000, -1])
def test_half_written_file_is_refused(tmp_path: Path, length: int) -> None:
    path = tmp_path / "a.pt"
    save_checkpoint(path, state())
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(CheckpointError, match="a.pt is half-written or no checkpoint"):
        load_checkpoint(path)


def test_flipped_bits_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    save_checkpoint(path, state())
    content = bytearray(path.read_bytes())
    content[content.index(torch.arange(1000.0).numpy().tobytes()) + 99] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged"):
        load_checkpoint(path)


def test_foreign_files_are_refused(tmp_path: Path) -> None:
    torch.save({"model": {}}, tmp_path / "foreign.pt")
    with pytest.raises(CheckpointError, match="it lacks format, system, step"):
        load_checkpoint(tmp_path / "foreign.pt")
    save_checkpoint(tmp_path / "future.pt", {**state(), "format": 99})
    with pytest.raises(CheckpointError, match="format 99"):
        load_checkpoint(tmp_path / "future.pt")
    with pytest.raises(FileNotFoundError, match="nowhere.pt"):
        load_checkpoint(tmp_path / "nowhere.pt")


def test_only_the_newest_stay(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path, keep=2)
    folder.save_best(state(1))
    for step in (1, 2, 9, 10):
        assert folder.save(state(step))
    assert sorted(p.name for p in folder.folder.iterdir()) == ["best.pt", "step_00000009.pt", "step_00000010.pt"]


def test_damaged_newest_is_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The run goes on from the checkpoint before, says so, and ends where it would have ended."""
    (tmp_path / "whole").mkdir()
    whole = train(tmp_path / "whole")
    (tmp_path / "damaged").mkdir()
    train(tmp_path / "damaged")
    newest = tmp_path / "damaged" / "checkpoints" / "step_00000012.pt"
    newest.write_bytes(newest.read_bytes()[:3000])
    (newest.parent / "step_00000012.pt.part").write_bytes(b"left by a kill")
    with caplog.at_level(logging.INFO):
        resumed = train(tmp_path / "damaged", resume=True)
    assert "step_00000012.pt is half-written" in caplog.text
    assert "going on from" in caplog.text and "step_00000008.pt" in caplog.text
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))
    assert not list(newest.parent.glob("*.part"))


def test_nothing_readable_is_an_error(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path, keep=2)
    assert folder.newest() is None
    for step in (1, 2):
        folder.save(state(step))
        folder.path(step).write_bytes(b"PK")
    with pytest.raises(CheckpointError, match="none of the 2 checkpoints"):
        folder.newest()


def full_disk(folder: Path, name: str) -> None:
    """Writing the temporary file of `name` meets a device that is always full."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.part").symlink_to("/dev/full")


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is Linux's")
def test_full_disk_is_survived(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "whole").mkdir()
    whole = train(tmp_path / "whole")
    folder = tmp_path / "full" / "checkpoints"
    full_disk(folder, "step_00000008.pt")
    system = train(tmp_path / "full")
    assert "No space left on device" in caplog.text and "step_00000004.pt" in caplog.text
    names = sorted(p.name for p in folder.iterdir())
    assert names == ["best.pt", "step_00000004.pt", "step_00000012.pt"]
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), system.parameters(), strict=True))


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is Linux's")
def test_full_disk_at_the_end_is_an_error(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    full_disk(folder, "step_00000012.pt")
    with pytest.raises(OSError) as error:
        train(tmp_path)
    assert error.value.errno == errno.ENOSPC
    assert error.value.filename == str(folder / "step_00000012.pt")  # the message says where
    assert (folder / "step_00000008.pt").exists() and not list(folder.glob("*.part"))


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is Linux's")
def test_best_that_was_not_written_is_not_the_best(tmp_path: Path) -> None:
    scores = {5: 0.9, 10: 0.5, 12: 0.4}
    log = Rows()

    def validate(system: object, step: int) -> dict[str, float]:
        if step == 5:
            full_disk(tmp_path / "checkpoints", "best.pt")
        return {"score": scores[step]}

    result = Trainer(TinySystem(), TinyEpisodes(), tiny_settings(), tmp_path, log=log, validate=validate).run()
    assert result.best_score == 0.5 and load_checkpoint(result.best)["step"] == 10


def test_other_failures_are_not_hidden(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path, keep=2)
    folder.path(3).mkdir(parents=True)  # a folder stands where the file should go
    with pytest.raises(OSError):
        folder.save(state(3))
    assert score(TinySystem(), 0)["score"] < 0
