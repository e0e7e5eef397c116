"""The synthetic world in all tasks: the truth scores 100, and what is written for servers scores the same again."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.davis import Folders, evaluate
from benchmarks.masks.panoptic import read_panoptic, write_panoptic, write_panoptic_lists
from benchmarks.masks.png import LabelFiles, write_labels
from benchmarks.masks.tracks import read_tracks, track_row, write_tracks
from benchmarks.metrics.pvos import PvosGroups
from benchmarks.protocols.tasks import PVOS_PROTOCOLS, VIS, VPS_PROTOCOLS, VSS_PROTOCOLS
from episodes.panoptic import PanopticFrame, Segment
from episodes.sources import synthetic_rvos as world
from episodes.sources import synthetic_vocabulary as everything
from episodes.sources.synthetic import FRAMES, SIZE, draw_ground
from episodes.sources.synthetic_vocabulary import (
    GROUND,
    PVOS_CLASSES,
    SyntheticPVOSSource,
    SyntheticVocabularySource,
    write_unseen,
)
from episodes.sources.tasks import open_task_source
from episodes.sources.vos_layouts import VOSSource

COUNT = 6
SHAPES = world.SHAPES


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few videos of the generated world."""
    folder = tmp_path_factory.mktemp("world")
    world.write_split(folder, "test", COUNT)
    write_unseen(folder, COUNT)
    return folder


def opened(name: str, root: Path | None) -> Any:
    return open_task_source(f"synthetic_{name}", root)


def blurred(labels: np.ndarray) -> np.ndarray:
    """A prediction that is a little wrong: everything moves by two columns."""
    return np.roll(labels, 2, axis=-1)


@pytest.mark.parametrize("name", ["vis", "vss", "vps"])
def test_a_clip_has_everything_that_is_asked_for(root: Path, name: str) -> None:
    source = opened(name, root)
    assert isinstance(source, SyntheticVocabularySource) and source.task == name and source.problems() == []
    assert len(source.names()) == COUNT and [c.name for c in source.categories if c.thing] == list(SHAPES)
    assert [c.name for c in source.categories if not c.thing] == ([] if name == "vis" else ["ground"])
    for video in source.names():
        clip = source.read(source.clip_spec(video, 0, FRAMES))
        objects = clip.objects
        assert clip.exhaustive and clip.size == (SIZE, SIZE) and len(set(objects.ids.tolist())) == len(objects)
        covered = objects.masks.sum(0)
        assert (covered <= 1).all() and ((covered == 1).all() or name == "vis")
        known = {source.files.class_of(video, said.object_id) for said in source.files.expressions(video)}
        named = {source.categories[k].name for k in objects.labels.tolist()} - {"ground"}
        assert named <= known if name == "vis" else named == known
    assert source.fingerprint() == opened(name, root).fingerprint()


@pytest.mark.parametrize("moved", [False, True])
def test_tracks(root: Path, tmp_path: Path, moved: bool) -> None:
    source = opened("vis", root)
    rows, accumulator = [], VIS.accumulator(source.truth)
    for video in source.names():
        objects = source.read(source.clip_spec(video, 0, FRAMES)).objects
        masks = blurred(objects.masks.numpy()) if moved else objects.masks.numpy()
        own = [
            track_row(source.video_id(video), source.categories[label].id, 0.9 - 0.1 * k, mask)
            for k, (label, mask) in enumerate(zip(objects.labels.tolist(), masks, strict=True))
        ]
        accumulator.update(source.video_id(video), own)
        rows += own
    score = accumulator.compute()
    assert (score.stats["AP"] == pytest.approx(1)) != moved
    if not moved:
        columns = ("AP", "AP50", "AP75", "AR1", "AR10")
        assert VIS.numbers(score) == pytest.approx({**dict.fromkeys(columns, 1.0), "AR1": score.stats["AR1"]})
    again = VIS.accumulator(source.truth)
    for number, own in read_tracks(write_tracks(tmp_path / "new", rows)).items():
        again.update(number, own)
    assert again.compute().stats == score.stats


@pytest.mark.parametrize("moved", [False, True])
@pytest.mark.parametrize("protocol", VSS_PROTOCOLS)
def test_classes(root: Path, tmp_path: Path, protocol: str, moved: bool) -> None:
    source = opened("vss", root)
    accumulator, again = (VSS_PROTOCOLS[protocol].accumulator(len(source.categories)) for _ in range(2))
    for video in source.names():
        truth = source.read_semantic(video)
        found = blurred(truth - 1) if moved else truth - 1
        accumulator.update(video, truth, found)
        for frame, labels in zip(source.frames(video), found, strict=True):
            write_labels(tmp_path / video / f"{frame}.png", labels)
        again.update(video, truth, LabelFiles(tmp_path / video, source.frames(video)))
    score = accumulator.compute()
    assert (score.miou == 1) != moved and again.compute() == pytest.approx(score, nan_ok=True)
    if not moved and protocol == "vspw_corrected":
        columns = {"mIoU": 1, "WIoU": 1, "VC8": 1, "VC16": math.nan}
        assert VSS_PROTOCOLS[protocol].numbers(score) == pytest.approx(columns, nan_ok=True)


@pytest.mark.parametrize("moved", [False, True])
@pytest.mark.parametrize("protocol", VPS_PROTOCOLS)
def test_segments(root: Path, tmp_path: Path, protocol: str, moved: bool) -> None:
    source = opened("vps", root)
    accumulator, again = (VPS_PROTOCOLS[protocol].accumulator(source.classes) for _ in range(2))
    rows = []
    for video in source.names():
        found = list(source.read_panoptic(video))
        if moved:
            found = [PanopticFrame(f.name, blurred(f.ids), f.segments) for f in found]
        accumulator.update(video, source.read_panoptic(video), found)
        rows.append(write_panoptic(tmp_path, video, found))
    write_panoptic_lists(tmp_path, rows)
    for video, frames in read_panoptic(tmp_path).items():
        again.update(video, source.read_panoptic(video), frames)
    score = accumulator.compute()
    assert (score.vpq == 1) != moved and (score.tracking.stq == pytest.approx(1)) != moved
    assert again.compute() == score
    if not moved:
        columns = ["VPQ", "VPQ-Th", "VPQ-St", *(f"VPQ{k}" for k in (1, 2, 4, 6, 8)), "STQ", "SQ", "AQ"]
        assert VPS_PROTOCOLS[protocol].numbers(score) == pytest.approx(dict.fromkeys(columns, 1.0))


@pytest.mark.parametrize("moved", [False, True])
@pytest.mark.parametrize("protocol", PVOS_PROTOCOLS)
def test_objects_and_stuff_from_first_masks(root: Path, tmp_path: Path, protocol: str, moved: bool) -> None:
    source = opened("pvos", root)
    assert isinstance(source, SyntheticPVOSSource)
    accumulator, again = (PVOS_PROTOCOLS[protocol].accumulator(PvosGroups(source.groups)) for _ in range(2))
    for item in source.items():
        assert GROUND in item.objects and source.read_given(item, item.frames[0])[GROUND].any()
        given = {item.frames.index(frame): ids for frame, ids in item.given.items()}
        truth = [source.read_label_map(source.mask_path(item.video, frame)) for frame in item.frames]
        found = [blurred(labels) if moved else labels for labels in truth]
        for frame, labels in zip(item.frames, found, strict=True):
            write_labels(tmp_path / item.video / f"{frame}.png", labels)
        classes = source.classes_of(item.video)
        accumulator.update(item.video, truth, found, given, classes)
        again.update(item.video, truth, LabelFiles(tmp_path / item.video, item.frames), given, classes)
    score = accumulator.compute()
    numbers = PVOS_PROTOCOLS[protocol].numbers(score)
    assert list(numbers) == ["G", "thing seen", "thing unseen", "stuff seen", "stuff unseen", "decay"]
    assert {name for name, value in numbers.items() if value != 1} == (set(numbers) if moved else {"decay"})
    assert score.left_out == {} and (score.decay == 0) != moved
    assert again.compute().groups["stuff_seen"] == score.groups["stuff_seen"]


def test_classes_that_no_trained_split_has(root: Path) -> None:
    novel, source = {"star", "moon", "striped ground"}, opened("pvos", root)
    assert source.split == "unseen" and {PVOS_CLASSES[k] for k in source.groups["stuff_unseen"]} == {"striped ground"}
    shown = [{PVOS_CLASSES[k] for k in source.classes_of(video).values()} for video in source.names()]
    assert all(len(names & novel) in (1, 2) and len(names) == 3 for names in shown)
    assert {"striped ground" in names for names in shown} == {True, False}
    trained = open_task_source("synthetic_pvos", root, "test")
    seen = {PVOS_CLASSES[k] for video in trained.names() for k in trained.classes_of(video).values()}
    assert not seen & novel and "ground" in seen
    rng = np.random.default_rng(0)
    plain = draw_ground(rng)
    assert np.abs(world.striped(rng, plain) - plain).mean() > 0.1


def test_nothing_is_generated_where_a_root_is_given(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world, "ensure_videos", lambda cache: pytest.fail("videos are generated"))
    monkeypatch.setattr(everything, "write_unseen", lambda folder: pytest.fail("videos are generated"))
    for name in ("rvos", "vos", "pvos", "vis", "vss", "vps"):
        assert len(opened(name, root).names()) == COUNT


def test_unseen_classes_are_generated_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEWSHOT_CACHE", str(tmp_path))
    monkeypatch.setattr(everything, "write_unseen", lambda folder: write_unseen(folder, 2))
    first = opened("pvos", None)
    monkeypatch.setattr(everything, "write_unseen", lambda folder: pytest.fail("they are there"))
    assert first.root.parent == tmp_path and opened("pvos", None).fingerprint() == first.fingerprint()


def test_first_masks_alone(root: Path, tmp_path: Path) -> None:
    source = opened("vos", root)
    assert isinstance(source, VOSSource) and source.names() == opened("vis", root).names()
    for item in source.items():
        assert GROUND not in item.objects and len(item.frames) == FRAMES
    score = evaluate(Folders(root / "test/Annotations", root / "test/Annotations"), source.names()[:2])
    assert score.compute()["J&F-Mean"] == 1


def test_what_cannot_be_written_or_read_is_refused(tmp_path: Path) -> None:
    ids = np.ones((2, 2), np.uint32)
    with pytest.raises(ValueError, match="segment 3 has no pixel in its map"):
        write_panoptic(tmp_path, "v", [PanopticFrame("0", ids, [Segment(3, 0)])])
    row = write_panoptic(tmp_path, "v", [PanopticFrame("0", ids, [Segment(1, 0)])])
    assert row["annotations"][0]["segments_info"][0] == dict(id=1, category_id=0, iscrowd=0, area=4, bbox=[0, 0, 2, 2])
    write_panoptic_lists(tmp_path, [row])
    (tmp_path / "pan_pred/v/0.png").unlink()
    with pytest.raises(FileNotFoundError, match="0.png is missing"):
        list(read_panoptic(tmp_path)["v"])
    (tmp_path / "pred.json").write_text("[]")
    with pytest.raises(ValueError, match="pred.json is no list of panoptic results"):
        read_panoptic(tmp_path)
    (tmp_path / "results.json").write_text(json.dumps([{"video_id": 1}]))
    with pytest.raises(ValueError, match="results.json is no result file: it must be a list of rows with category_id"):
        read_tracks(tmp_path / "results.json")
