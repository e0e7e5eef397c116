"""Files that appear whole or not at all, whatever other processes and kills do."""

from __future__ import annotations

import errno
import os
import sys
import time
from pathlib import Path

import pytest

from episodes.sources.synthetic import ensure_world
from episodes.whole_files import STALE, clear_stale, partial_of, replacing
from fewshot.run.logging.files import replace_file


def test_a_file_is_replaced_as_a_whole_and_readable_for_all(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("old")
    with replacing(path) as partial:
        partial.write_text("new")
        assert path.read_text() == "old" and partial.parent == tmp_path
    assert path.read_text() == "new" and [p.name for p in tmp_path.iterdir()] == ["a.json"]
    (tmp_path / "plain").write_text("")
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode
    with pytest.raises(RuntimeError), replacing(path) as partial:
        partial.write_text("half")
        raise RuntimeError
    assert path.read_text() == "new" and not list(tmp_path.glob(".*"))


def test_equal_process_ids_do_not_meet_in_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in two containers, where the first process has the same number."""
    monkeypatch.setattr(os, "getpid", lambda: 7)
    path = tmp_path / "a"
    with replacing(path) as one, replacing(path) as other:
        one.write_text("one")
        other.write_text("the other")
    assert path.read_text() == "one"
    assert len({partial_of(tmp_path / ("n" * 250)).name for _ in range(9)}) == 9
    assert len(partial_of(tmp_path / ("n" * 250)).name) < 255


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is Linux's")
def test_a_full_disk_names_the_file_and_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("old")
    with pytest.raises(OSError) as error, replacing(path) as partial:
        partial.symlink_to("/dev/full")
        partial.write_text("new")
    assert (error.value.errno, error.value.filename) == (errno.ENOSPC, str(path))
    assert path.read_text() == "old" and not list(tmp_path.glob(".*"))


def test_a_replaced_file_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    sync, replace = os.fsync, os.replace

    def synced(handle: int) -> None:
        sync(handle)
        events.append("folder" if os.path.isdir(f"/proc/self/fd/{handle}") else "file")

    def replaced(source: Path, target: Path) -> None:
        replace(source, target)
        events.append("rename")

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    replace_file(tmp_path / "config.yaml", "a: 1\n")
    assert events == ["file", "rename", "folder"]


def test_what_a_kill_left_behind_goes_after_a_day_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    stale, young, folder = (partial_of(path) for _ in range(3))
    mine = [tmp_path / name for name in (".a.json.part", ".a.json.old.part", ".a.json.20240101", "b.part")]
    for file in (stale, young, *mine):
        file.write_text("")
    (folder / "data").mkdir(parents=True)
    for old in (stale, folder, *mine):
        os.utime(old, (time.time() - STALE - 9,) * 2)
    clear_stale(path)
    assert set(tmp_path.iterdir()) == {young, *mine}


def test_a_world_clears_what_an_earlier_writing_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("episodes.sources.synthetic.write_world", lambda folder, *_: folder.mkdir())
    left = partial_of(ensure_world(tmp_path, seed=9, videos=2))
    left.mkdir()
    os.utime(left, (0, 0))
    ensure_world(tmp_path, seed=9, videos=2).rmdir()
    assert ensure_world(tmp_path, seed=9, videos=2).is_dir() and not left.exists()
