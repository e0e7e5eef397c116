"""`python -m fewshot.task_test` with a system that goes through whole videos in a way of its own."""

from __future__ import annotations

import json
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from benchmarks.ledger.check import refuse
from benchmarks.ledger.entry import entries
from benchmarks.masks.panoptic import read_panoptic
from benchmarks.masks.png import read_labels, write_labels
from episodes.sources import synthetic_rvos as world
from episodes.sources.synthetic_vocabulary import GROUND, write_unseen
from fewshot import task_test
from fewshot.evaluation.tasks import clipwise
from fewshot.run.signals import Interrupted
from fewshot.systems.univs.concepts import write_concepts
from fewshot.systems.videomt.config import SMALL
from tests.episodes.panoptic_tree import write_vipseg
from tests.episodes.sources.test_tracks import lists, write_tracks
from tests.episodes.videos import write_davis, write_videos
from tests.fewshot.evaluation.tasks.trees import PAIR

pytestmark = pytest.mark.end_to_end

UNIVS = ("system=univs_tiny", "untrained=true", "logging=disabled", "threads=1", "device=cpu", "name=run")
JF = ["J&F-Mean", "J-Mean", "F-Mean"]
HEADLINES = {"vis": "AP", "vss": "mIoU", "vps": "VPQ", "pvos": "G", "vos": "J&F-Mean"}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two videos of the generated world."""
    folder = tmp_path_factory.mktemp("world")
    world.write_split(folder, "test", 2)
    write_unseen(folder, 2)
    return folder


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run the command in an empty folder: (exit code, stdout, stderr)."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["task_test", *arguments])
        code = 0
        try:
            task_test.main()
        except SystemExit as end:
            code = int(end.code or 0)
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def results(tmp_path: Path) -> dict[str, Any]:
    stored: dict[str, Any] = json.loads((tmp_path / "runs/run/results.json").read_text())
    return stored


@pytest.mark.parametrize("kind", HEADLINES)
def test_every_task_of_the_generated_world_is_written_and_scored(
    kind: str, root: Path, tmp_path: Path, call: Any
) -> None:
    code, out, err = call(f"task=synthetic_{kind}", f"data.root={root}", *UNIVS)
    assert code == 0, err
    stored, masks = results(tmp_path), tmp_path / "runs/run/masks"
    assert next(iter(stored["measures"])) == HEADLINES[kind] and stored["task"] == kind and stored["samples"] == 2
    assert "clips" in out and "of 3 frames" in out
    videos = sorted(path.name for path in (root / ("unseen" if kind == "pvos" else "test") / "JPEGImages").iterdir())
    if kind == "vis":
        assert json.loads((masks / "results.json").read_text()) == [] or stored["rows"] > 0
    elif kind == "vps":
        assert {video: len(list(frames)) for video, frames in read_panoptic(masks).items()} == dict.fromkeys(videos, 8)
    else:
        folder = masks / "Annotations" if kind == "pvos" else masks
        assert sorted(path.name for path in folder.iterdir()) == videos
        assert all(len(list((folder / video).glob("*.png"))) == 8 for video in videos)
    if kind == "pvos":
        assert GROUND in read_labels(folder / videos[0] / "00000.png"), "given masks stay as they are"
    (row,) = entries(tmp_path / "runs/run")
    assert row.rules == stored["protocol_digest"] and list(row.computed_again) == ([] if kind != "vos" else JF)
    refuse([replace(row, commit="")], [])
    assert ("beside it" in out) == (kind in ("vss", "vps", "pvos")), "the other readings stand beside the headline"


def test_a_hosted_system_answers_too(root: Path, tmp_path: Path, call: Any) -> None:
    if not hasattr(transformers, "VideomtForUniversalSegmentation"):
        pytest.skip(f"transformers {transformers.__version__} has no VidEoMT")
    small = [f"system.{name}={value}" for name, value in {**SMALL, "classes": 7}.items()]
    asked = ("task=synthetic_vps", f"data.root={root}", "system=videomt", *UNIVS[1:])
    code, out, err = call(*asked, *small)
    assert code == 0 and "input        : 64x64" in out and results(tmp_path)["system"] == "videomt", err
    code, _, err = call(*asked, *small, "system.classes=3", "name=other")
    assert code == 1 and "tell 3 classes apart and 7 are asked for" in err


def test_a_reading_is_chosen_and_a_wrong_one_is_refused(root: Path, tmp_path: Path, call: Any) -> None:
    code, _, err = call("task=synthetic_vps", f"data.root={root}", "task.protocol=vspw", *UNIVS)
    assert code == 1 and "task.protocol=vspw is not for benchmark synthetic_vps: valid are vipseg_corrected" in err
    code, out, err = call("task=synthetic_vps", f"data.root={root}", "task.protocol=vipseg", "limit=1", *UNIVS)
    assert code == 0 and "protocol     : vipseg@1" in out and "vipseg_corrected" in results(tmp_path)["beside"], err


def test_a_system_that_does_not_answer_is_refused(root: Path, call: Any) -> None:
    code, _, err = call("task=synthetic_vis", f"data.root={root}", "system=uniref_tiny", *UNIVS[1:])
    assert code == 1 and "uniref as it is built does not answer task vis; systems for it: univs, videomt" in err


def test_tracks_for_a_server_are_packed_and_not_scored(tmp_path: Path, call: Any) -> None:
    data = write_tracks(tmp_path / "data", "valid.json", "valid/JPEGImages", {**lists(), "annotations": []})
    code, out, err = call("task=youtube_vis21", f"data.root={data}", "task.short=32", "zip=true", *UNIVS)
    assert code == 0, err
    assert "nothing is scored here" in out and results(tmp_path)["measures"] == {}
    with zipfile.ZipFile(tmp_path / "runs/run/masks.zip") as packed:
        assert packed.namelist() == ["results.json"]


def test_a_test_that_was_stopped_goes_on(
    root: Path, tmp_path: Path, call: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, started = clipwise.PanopticPredictor.predict, []

    def stopped(self: Any, sample: Any) -> Any:
        started.append(sample.video)
        if len(started) == 2:
            raise Interrupted("SIGTERM")
        return whole(self, sample)

    monkeypatch.setattr(clipwise.PanopticPredictor, "predict", stopped)
    asked = ("task=synthetic_vps", f"data.root={root}", *UNIVS)
    assert call(*asked)[0] != 0
    monkeypatch.setattr(clipwise.PanopticPredictor, "predict", whole)
    code, out, err = call(*asked, "resume=true")
    assert code == 0 and "1 of 2 are finished already" in out, err
    assert len(json.loads((tmp_path / "runs/run/masks/pred.json").read_text())["annotations"]) == 2


def refused(call: Any, tmp_path: Path, *arguments: str, predicted: bool = False) -> str:
    """The one line with which a call ends; nothing is predicted before, unless told."""
    code, _, err = call(*arguments)
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert code == 1 and len(lines) == 1 and "Traceback" not in err, err
    assert (tmp_path / "runs").exists() == predicted
    return lines[0]


def test_a_vocabulary_without_embeddings_is_told_before_anything_is_predicted(
    root: Path, tmp_path: Path, call: Any
) -> None:
    said = refused(call, tmp_path, "task=synthetic_vss", f"data.root={root}", "system.text=none", *UNIVS)
    assert "7 of 7 classes ('disc', " in said and "system.text=clip system.text_weights=FOLDER" in said


def test_embeddings_of_other_classes_name_those_that_are_missing(root: Path, tmp_path: Path, call: Any) -> None:
    write_concepts(tmp_path / "words.safetensors", ["disc", "ground"], torch.randn(2, 64), "test")
    given = ("system.concepts=words.safetensors", f"data.root={root}", *UNIVS)
    said = refused(call, tmp_path, "task=synthetic_vps", *given)
    assert "5 of 7 classes" in said and "'disc'" not in said


def test_a_checkpoint_of_another_data_set_is_told_before_anything_is_predicted(
    root: Path, tmp_path: Path, call: Any
) -> None:
    small = [f"system.{name}={value}" for name, value in SMALL.items()]
    said = refused(call, tmp_path, "task=synthetic_vps", f"data.root={root}", "system=videomt", *UNIVS[1:], *small)
    assert "tell 3 classes apart and 7 are asked for: take weights of this data set (synthetic_vps)" in said


def test_panoptic_maps_with_ids_that_are_not_listed_are_named(tmp_path: Path, call: Any) -> None:
    data = write_vipseg(tmp_path / "data")
    path = data / "panoptic_gt_VIPSeg_val.json"
    lists = json.loads(path.read_text())
    lists["annotations"][0]["annotations"][1]["segments_info"].pop()
    path.write_text(json.dumps(lists))
    given = ("task=vipseg", f"data.root={data}", "task.short=32", *UNIVS)
    said = refused(call, tmp_path, *given, predicted=True)
    assert "panomasksRGB/b/00002.png does not fit" in said and "of the map is not in its list" in said


def test_a_first_frame_without_any_mask_is_told(tmp_path: Path, call: Any) -> None:
    data = write_davis(tmp_path / "DAVIS")
    for path in (data / "Annotations/480p/b").iterdir():
        write_labels(path, 0 * read_labels(path))
    said = refused(call, tmp_path, "task=davis17", f"data.root={data}", *UNIVS)
    assert "no mask in" in said and "shows an object: a video needs one to start from" in said


def test_objects_that_never_appear_are_told_and_left_out(tmp_path: Path, call: Any) -> None:
    write_videos(tmp_path / "data/valid", {"v": PAIR})
    meta = {"videos": {"v": {"objects": {"1": {}, "2": {}, "7": {}}}}}
    (tmp_path / "data/valid/meta.json").write_text(json.dumps(meta))
    code, out, err = call("task=youtube_vos", f"data.root={tmp_path / 'data'}", "task.short=32", *UNIVS)
    assert code == 0 and results(tmp_path)["rows"] == 2, err
    assert "object 7 of meta.json is in no mask" in out + err


def test_a_video_shorter_than_a_clip_is_one_clip(tmp_path: Path, call: Any) -> None:
    data = write_tracks(tmp_path / "data")  # of two and three frames
    given = (f"data.root={data}", "task.split=train", "task.short=32", "task.clip_frames=5", "task.score=protocol")
    code, _, err = call("task=youtube_vis19", *given, *UNIVS)
    assert code == 0 and results(tmp_path)["samples"] == 2, err
