"""Rows on disk, exact rewinding, and W&B without network, account or question."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fewshot.run.logging import RunLogger
from fewshot.run.logging.curve import DrawnLog, draw_learning_curve, learning_curve
from fewshot.run.logging.files import MetricFiles, strict_json
from fewshot.run.logging.weights_and_biases import has_key, resolve_mode


@pytest.fixture(autouse=True)
def no_account(monkeypatch, tmp_path):
    """Neither the environment nor the home folder of the machine says anything about W&B."""
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL", "WANDB_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path))


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def cells(folder: Path) -> list[dict]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_rows_lie_in_both_files_and_columns_may_come_later(tmp_path):
    with RunLogger(tmp_path, {}, "disabled") as log:
        log.log({"train/loss": 2.0}, 1)
        log.log({"train/loss": 1.5, "note": "a, b"}, 2)
        log.log({"val/J": 40.0}, 2)
    assert lines(tmp_path) == [
        {"step": 1, "train/loss": 2.0},
        {"step": 2, "train/loss": 1.5, "note": "a, b"},
        {"step": 2, "val/J": 40.0},
    ]
    assert cells(tmp_path) == [
        {"step": "1", "train/loss": "2.0", "note": "", "val/J": ""},
        {"step": "2", "train/loss": "1.5", "note": "a, b", "val/J": ""},
        {"step": "2", "train/loss": "", "note": "", "val/J": "40.0"},
    ]


@settings(deadline=None)  # waits for the disk, which other programs may hold
@given(before=st.lists(st.integers(0, 9), max_size=8), step=st.integers(0, 9))
def test_rewind_keeps_exactly_the_rows_up_to_the_step(tmp_path_factory, before, step):
    folder = tmp_path_factory.mktemp("run")
    files = MetricFiles(folder)
    for number, at in enumerate(sorted(before)):
        files.append({"step": at, f"column{number % 3}": number})
    files.rewind(step, step)
    kept = [row for row in sorted(before) if row <= step]
    assert [row["step"] for row in lines(folder)] == kept
    assert [int(row["step"]) for row in cells(folder)] == kept
    assert not list(folder.glob("*.tmp"))


def test_a_validation_that_is_repeated_stands_once(tmp_path):
    """A step may be saved before its validation: what was validated, and was to be saved later, comes again."""
    files = MetricFiles(tmp_path)
    for step in (1, 2):
        files.append({"step": step, "train/loss": 1.0})
        files.append({"step": step, "val/J": 50.0})
    files.rewind(2, 1)
    assert [(row["step"], "val/J" in row) for row in lines(tmp_path)] == [(1, False), (1, True), (2, False)]
    assert [row["step"] for row in cells(tmp_path)] == ["1", "1", "2"]


def test_a_line_cut_off_by_a_kill_is_dropped_and_the_next_row_is_whole(tmp_path):
    with RunLogger(tmp_path, {}, "disabled") as log:
        log.log({"loss": 1.0}, 1)
        log.log({"loss": 0.5}, 2)
    whole = (tmp_path / "metrics.jsonl").read_text()
    (tmp_path / "metrics.jsonl").write_text(whole[:-9])
    with RunLogger(tmp_path, {}, "disabled") as log:
        assert log.rows() == [{"step": 1, "loss": 1.0}]
        log.rewind(1, 1)
        log.log({"loss": 0.5}, 2)
    assert (tmp_path / "metrics.jsonl").read_text() == whole
    assert [row["step"] for row in cells(tmp_path)] == ["1", "2"]


@pytest.mark.parametrize("damage", [b"\0\0\0\0", b"\xff\xfe{", b"[1, 2]", b'{"loss": 1}', b'{"step": 2, "lo'])
def test_a_damaged_row_does_not_block_a_continuation(tmp_path, caplog, damage):
    with RunLogger(tmp_path, {}, "disabled") as log:
        for step in (1, 2, 3):
            log.log({"loss": 1.0}, step)
    content = (tmp_path / "metrics.jsonl").read_bytes().splitlines()
    content[1] = damage
    found = b"\n".join(content) + b"\n"
    (tmp_path / "metrics.jsonl").write_bytes(found)
    with RunLogger(tmp_path, {}, "disabled") as log:
        log.rewind(3, 3)
        log.log({"loss": 1.0}, 4)
        assert [row["step"] for row in log.rows()] == [1, 3, 4]
    assert "1 of 3 rows cannot be read" in caplog.text
    assert [row["step"] for row in cells(tmp_path)] == ["1", "3", "4"]
    assert (tmp_path / "metrics.damaged.jsonl").read_bytes() == found


def test_a_silent_process_writes_nothing(tmp_path):
    with RunLogger(tmp_path / "run", {}, "offline", writes=False) as log:
        log.log({"loss": 1.0}, 1)
        log.rewind(0, 0)
        log.summary({"J": 1.0})
        log.table("t", ["a"], [["b"]])
        assert log.rows() == []
    assert list(tmp_path.iterdir()) == []


def test_disabled_does_not_import_wandb(tmp_path):
    code = (
        "import sys; from pathlib import Path; from fewshot.run.logging import RunLogger\n"
        f"with RunLogger(Path({str(tmp_path)!r}), {{}}, 'disabled') as t: t.log({{'a': 1}}, 1); t.summary({{'a': 1}})\n"
        "assert 'wandb' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def missing(path: Path, known: tuple[bytes, ...], seconds: float = 60.0) -> list[bytes]:
    """Words that a file of W&B does not hold in the end: a process of its own still writes when a run is closed."""
    deadline = time.monotonic() + seconds
    while (lacking := [word for word in known if word not in path.read_bytes()]) and time.monotonic() < deadline:
        time.sleep(0.1)
    return lacking


def test_offline_needs_no_account_and_says_nothing(tmp_path, capfd):
    picture = tmp_path / "picture.png"
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(picture)
    folder = tmp_path / "run"
    with RunLogger(folder, {"group": 1}, "auto", experiment="folds", tags=["tiny"]) as log:
        assert log.mode == "offline"
        log.log({"train/loss": 1.0}, 1)
        log.table("episodes", ["class", "picture"], [["dax", picture]])
        log.summary({"test/J": 55.0})
    assert tuple(capfd.readouterr()) == ("", "")
    recorded = list((folder / "wandb").glob("offline-run-*/run-*.wandb"))
    assert len(recorded) == 1
    pictures = str(folder / "wandb").encode()  # the pictures of the table wait in the run folder
    assert missing(recorded[0], (b"folds", b"tiny", b"train/loss", b"test/J", pictures)) == []
    assert (folder / "episodes.csv").read_text().splitlines()[1] == f"dax,{picture}"
    assert lines(folder) == [{"step": 1, "train/loss": 1.0}]


def test_a_server_that_does_not_answer_costs_nothing_but_a_warning(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setattr("fewshot.run.logging.weights_and_biases.INIT_TIMEOUT", 1.0)
    with RunLogger(tmp_path, {}, "auto") as log:
        log.log({"loss": 1.0}, 1)
        assert log.mode == "offline"
    assert "recorded offline" in caplog.text
    assert list(tmp_path.glob("wandb/offline-run-*/run-*.wandb"))
    assert lines(tmp_path) == [{"step": 1, "loss": 1.0}]


def test_the_end_of_wandbs_process_does_not_end_the_run(tmp_path):
    """It is killed in the middle; nothing is printed at the end of the program but the one warning."""
    code = (
        "import os, signal, subprocess, sys; from pathlib import Path; from fewshot.run.logging import RunLogger\n"
        "with RunLogger(Path(sys.argv[1]), {}, 'offline') as log:\n"
        "    log.log({'loss': 1.0}, 1)\n"
        "    for task in Path('/proc/self/task').glob('*/children'):\n"
        "        for child in task.read_text().split():\n"
        "            os.kill(int(child), signal.SIGKILL); os.waitpid(int(child), 0)\n"
        "    for step in range(2, 200):\n"
        "        log.log({'loss': 1.0}, step)\n"
        "    log.table('t', ['a'], [['b']]); log.summary({'J': 1.0})\n"
        "assert log.mode == 'disabled'\n"
    )
    if sys.platform != "linux":
        pytest.skip("/proc is Linux's")
    own = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}  # not the tests' process
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, env=own, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("W&B fails (") == 1 and "the run goes on without it" in done.stderr
    assert "Traceback" not in done.stderr and len(lines(tmp_path)) == 199


def test_wandb_that_does_not_start_costs_nothing_but_a_warning(tmp_path, monkeypatch, caplog):
    def broken(**_):
        raise OSError("no more processes")

    monkeypatch.setattr("wandb.init", broken)
    with RunLogger(tmp_path, {}, "offline") as log:
        log.log({"loss": 1.0}, 1)
    assert log.mode == "disabled" and lines(tmp_path) == [{"step": 1, "loss": 1.0}]
    assert caplog.text.count("WARNING") == caplog.text.count("W&B fails (no more processes)") == 1


def test_the_key_is_that_of_the_server_which_the_installed_wandb_talks_to(tmp_path, monkeypatch):
    import wandb

    own = wandb.Settings().base_url.removeprefix("https://")
    (tmp_path / "netrc").write_text(f"machine {own} login user password secret\n")
    assert has_key()
    monkeypatch.setattr("wandb.Settings", lambda: SimpleNamespace(base_url="https://api.elsewhere.example"))
    assert not has_key()
    (tmp_path / "netrc").write_text("machine wandb.mine.example login user password secret\n")
    assert not has_key()
    (tmp_path / "settings").write_text("[default]\nbase_url = https://wandb.mine.example\n")
    assert has_key()
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.other.example")
    assert not has_key()


def test_a_continued_run_keeps_its_id(tmp_path):
    ids = set()
    for step in (1, 2):
        with RunLogger(tmp_path, {}, "offline") as log:
            log.log({"loss": 1.0}, step)
        ids |= {path.stem for path in tmp_path.glob("wandb/offline-run-*/run-*.wandb")}
    assert len(ids) == 1
    assert [row["step"] for row in lines(tmp_path)] == [1, 2]


def test_a_sweep_agent_gives_the_id(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_RUN_ID", "fromagent")
    RunLogger(tmp_path, {}, "offline").close()
    assert list(tmp_path.glob("wandb/offline-run-*/run-fromagent.wandb"))


def test_auto_is_online_only_with_a_key(tmp_path, monkeypatch):
    assert not has_key()
    assert resolve_mode("auto") == "offline"
    (tmp_path / "netrc").write_text("machine elsewhere.example login user password secret\n")
    assert resolve_mode("auto") == "offline"
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password secret\n")
    assert resolve_mode("auto") == "online"
    (tmp_path / "netrc").write_text("machine")  # broken: as if it were not there
    assert resolve_mode("auto") == "offline"
    monkeypatch.setenv("WANDB_API_KEY", "secret")
    assert resolve_mode("auto") == "online"


def test_the_environment_decides_where_the_configuration_says_auto(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert resolve_mode("auto") == "disabled"
    assert resolve_mode("offline") == "offline"
    monkeypatch.setenv("WANDB_MODE", "sometimes")
    with pytest.raises(ValueError, match="auto, online, offline, disabled"):
        resolve_mode("auto")


def test_the_learning_curve_shows_right_and_wrong_supports(tmp_path):
    rows = [{"step": s, "train/loss": 1 / s, "val/J": 10.0 * s, "val/J_wrong_support": 5.0 * s} for s in (1, 2, 3)]
    assert draw_learning_curve(tmp_path / "both.png", rows)
    right = [{k: v for k, v in row.items() if k != "val/J_wrong_support"} for row in rows]
    assert draw_learning_curve(tmp_path / "right.png", right)
    both, one = (np.asarray(Image.open(tmp_path / name)) for name in ("both.png", "right.png"))
    assert both.shape == one.shape and (both != one).any()
    assert not draw_learning_curve(tmp_path / "none.png", [{"step": 1, "train/loss": 1.0}])
    assert not (tmp_path / "none.png").exists()


def test_the_losses_of_the_warm_up_have_a_panel_of_their_own_and_its_end_is_marked():
    rows = [{"step": s, "train/loss": float(s)} for s in (10, 20, 30, 40)]
    rows.insert(2, {"step": 20, "val/J": 5.0})
    score, early, loss = learning_curve(rows, "J", warmup=20).axes
    assert early.lines[0].get_xydata().tolist() == [[10, 10], [20, 20]]
    assert loss.lines[0].get_xydata().tolist() == [[30, 30], [40, 40]]
    assert score.lines[-1].get_label() == "end of the warm-up" and set(score.lines[-1].get_xdata()) == {20}
    score, loss = learning_curve(rows, "J", warmup=0).axes
    assert len(loss.lines[0].get_xydata()) == 4 and [line.get_label() for line in score.lines] == ["right supports"]


def test_the_curve_is_drawn_after_each_validation_and_is_always_whole(tmp_path, monkeypatch):
    with RunLogger(tmp_path, {}, "disabled") as kept:
        log, curve, seen = DrawnLog(kept, "J"), tmp_path / "learning_curve.png", []
        for step in (1, 2, 3):
            log.log({"train/loss": 1.0 / step}, step)
            assert curve.exists() == (step > 1)
            log.log({"val/J": 10.0 * step, "val/score": 10.0 * step}, step)
            seen.append(curve.read_bytes())
            Image.open(curve).load()
        assert len(set(seen)) == 3
        log.rewind(1, 1)
        assert lines(tmp_path) == [{"step": 1, "train/loss": 1.0}, {"step": 1, "val/J": 10.0, "val/score": 10.0}]
    assert not [p.name for p in tmp_path.iterdir() if p.name.endswith(".part")]


def test_a_curve_that_cannot_be_written_does_not_end_the_run(tmp_path, caplog):
    with RunLogger(tmp_path, {}, "disabled") as kept:
        (tmp_path / "learning_curve.png").mkdir()  # a folder cannot be replaced by a file, whoever runs this
        DrawnLog(kept, "J").log({"val/J": 10.0}, 1)
    assert "the learning curve is not drawn" in caplog.text and lines(tmp_path) == [{"step": 1, "val/J": 10.0}]


def test_numbers_that_are_none_are_null_for_every_reader() -> None:
    text = strict_json({"measures": {"VC16": float("nan"), "mIoU": 0.5}, "parts": [(1.0, float("inf"))], "samples": 2})
    assert json.loads(text, parse_constant=pytest.fail) == {
        "measures": {"VC16": None, "mIoU": 0.5},
        "parts": [[1.0, None]],
        "samples": 2,
    }
