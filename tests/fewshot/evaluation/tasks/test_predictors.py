"""Files and rows of a video or an image whose true masks are known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.masks.png import read_labels
from benchmarks.masks.submission import check_submission
from episodes.sources.tasks import open_task_source
from episodes.transforms.clips import FitTransform
from fewshot.evaluation.tasks.frames import FrameReader
from fewshot.evaluation.tasks.measures import ScoredFolder, davis_measures, ris_measures
from fewshot.evaluation.tasks.pictures import draw_sample
from fewshot.evaluation.tasks.predictors import RISPredictor, RVOSPredictor, VOSPredictor
from fewshot.evaluation.tasks.samples import samples_of
from fewshot.media.pictures import colour_of
from tests.episodes.tree import TinyVideo
from tests.episodes.videos import FRAMES, write_davis
from tests.fewshot.evaluation.tasks.trees import PAIR, Knowing, LeftHalf, write_ref_davis, write_refcoco


def test_true_masks_of_a_video_score_one(tmp_path: Path) -> None:
    source = open_task_source("davis17", write_davis(tmp_path / "DAVIS"))
    sample = next(sample for sample in samples_of(source.items()) if sample.video == "b")
    tracker = Knowing(source)
    tracker.video = "b"
    predictor = VOSPredictor(
        source, FrameReader(source, FitTransform(24, 99), 32, "cpu"), tracker, "davis17", tmp_path / "out"
    )
    rows = predictor.predict(sample)
    assert tracker.size == (12, 16)
    assert [set(given) for given in tracker.given] == [{1, 2}, set(), set(), set()]
    assert torch.equal(tracker.given[0][2], source.read_masks("b", FRAMES[:1], 2)[0])
    assert rows == [{"video": "b", "object": k, "frames": 4, "found": 4, "score": 0.5} for k in (1, 2)]
    assert check_submission("davis17", tmp_path / "out", sample.items, read=True) == []
    parts = {"all": ScoredFolder(tmp_path / "out", ("b",))}
    measures = davis_measures(parts, tmp_path / "DAVIS" / "Annotations" / "480p", unsupervised=False)
    assert measures.values["J&F-Mean"] == 1 and measures.objects == {"b_1": (1, 1), "b_2": (1, 1)}
    assert draw_sample(sample, source, predictor, tmp_path / "pictures").is_file()


def test_frames_before_the_first_object_get_no_file(tmp_path: Path) -> None:
    source = open_task_source("davis17", write_davis(tmp_path / "DAVIS"))
    sample = samples_of(source.items())[0]
    tracker = Knowing(source)
    tracker.video, tracker.ids = "a", (1,)
    tracker.first = 1
    VOSPredictor(
        source, FrameReader(source, FitTransform(24, 99), 32, "cpu"), tracker, "davis17", tmp_path / "out"
    ).predict(sample)
    assert sorted(path.stem for path in (tmp_path / "out" / "a").iterdir()) == FRAMES[1:]


def test_given_masks_may_enter_at_network_size(tmp_path: Path) -> None:
    source = open_task_source("davis17", write_davis(tmp_path / "DAVIS"))
    sample = next(sample for sample in samples_of(source.items()) if sample.video == "b")
    for short, size in ((24, (24, 32)), (2, (12, 16))):  # of so few pixels none is the object: then as it is
        tracker = Knowing(source)
        tracker.video = "b"
        reader = FrameReader(source, FitTransform(short, 99), 32, "cpu")
        VOSPredictor(source, reader, tracker, "davis17", tmp_path / "out", resize_given=True).predict(sample)
        assert {tuple(mask.shape) for mask in tracker.given[0].values()} == {size}


def test_expressions_of_an_annotator_share_an_image_and_true_masks_score_one(tmp_path: Path) -> None:
    source = open_task_source("ref_davis17", write_ref_davis(tmp_path / "data", {"v": PAIR}))
    samples = samples_of(source.items())
    assert [sample.name for sample in samples] == [f"anno_{a}/v" for a in range(4)]
    tracker, out = Knowing(source), tmp_path / "out"
    tracker.video = "v"
    predictor = RVOSPredictor(FrameReader(source, FitTransform(24, 99), 32, "cpu"), tracker, "ref_davis17", out)
    rows = [row for sample in samples for row in predictor.predict(sample)]
    assert tracker.expressions == ["the dog by 3", "the cat by 3"]
    assert [(row["annotator"], row["expression_id"]) for row in rows[:3]] == [(0, "0"), (0, "4"), (1, "1")]
    labels = read_labels(out / "anno_2" / "v" / f"{FRAMES[1]}.png")
    assert np.array_equal(labels, PAIR.mask(1))
    assert check_submission("ref_davis17", out, [item for sample in samples for item in sample.items], read=True) == []
    parts = {f"anno_{a}": ScoredFolder(out / f"anno_{a}", ("v",)) for a in range(4)}
    measures = davis_measures(parts, tmp_path / "data" / "valid" / "Annotations", unsupervised=True)
    assert measures.values["J&F-Mean"] == 1 and set(measures.parts) == set(parts)
    (shown,) = predictor.files(samples[0])
    assert shown[0] == "1: the dog by 0; 2: the cat by 0" and list(shown[1]) == FRAMES
    picture = np.asarray(Image.open(draw_sample(samples[0], source, predictor, tmp_path / "pictures")).convert("RGB"))
    for number, name in ((1, "orange"), (2, "light blue")):
        said, colour = colour_of(number)
        assert said == name and (picture == colour).all(-1).any(), name


def test_masks_hold_the_ids_of_objects_where_an_annotator_leaves_one_out(tmp_path: Path) -> None:
    three = TinyVideo({1: "dog", 2: "cat", 3: "cow"}, [], size=(16, 16))
    root = write_ref_davis(tmp_path / "data", {"v": three})
    path = root / "meta_expressions" / "valid" / "meta_expressions.json"
    content = json.loads(path.read_text())
    del content["videos"]["v"]["expressions"]["4"]  # annotator 0 says nothing of object 2
    path.write_text(json.dumps(content))
    source = open_task_source("ref_davis17", root)
    tracker, out = Knowing(source), tmp_path / "out"
    tracker.video, tracker.ids = "v", (1, 3)
    reader = FrameReader(source, FitTransform(24, 99), 32, "cpu")
    predictor = RVOSPredictor(reader, tracker, "ref_davis17", out)
    sample = samples_of(source.items())[0]
    predictor.predict(sample)
    assert set(np.unique(read_labels(out / "anno_0" / "v" / f"{FRAMES[0]}.png"))) == {0, 1, 3}
    assert predictor.files(sample)[0][0] == "1: the dog by 0; 3: the cow by 0"
    folders, truth = {"anno_0": ScoredFolder(out / "anno_0", ("v",))}, root / "valid" / "Annotations"
    found = davis_measures(folders, truth, unsupervised=True, identity=truth).values
    assert found["J-identity"] == pytest.approx(2 / 3) == found["J-Mean"]


def test_each_expression_has_a_folder_where_a_server_wants_it(tmp_path: Path) -> None:
    root = write_ref_davis(tmp_path / "data", {"v": PAIR})
    source = open_task_source("ref_youtube_vos", root)
    (sample,) = samples_of(source.items())
    tracker, out = Knowing(source, exclusive=False), tmp_path / "out"
    tracker.video, tracker.ids = "v", (1, 1, 1, 1, 2, 2, 2, 2)
    predictor = RVOSPredictor(FrameReader(source, FitTransform(24, 99), 32, "cpu"), tracker, "ref_youtube_vos", out)
    predictor.predict(sample)
    mask = read_labels(out / "Annotations" / "v" / "5" / f"{FRAMES[2]}.png")
    assert np.array_equal(mask, 255 * (PAIR.mask(2) == 2))
    assert check_submission("ref_youtube_vos", out, sample.items, read=True) == []
    assert [text for text, _ in predictor.files(sample)][4:6] == ["the cat by 0", "the cat by 1"]


def test_areas_are_counted_at_the_original_size_and_no_prediction_is_an_empty_mask(tmp_path: Path) -> None:
    source = open_task_source("refcoco", write_refcoco(tmp_path / "data"))
    samples = samples_of(source.items())
    reader = FrameReader(source, FitTransform(96, 200), 32, "cpu")
    predictor = RISPredictor(source, reader, LeftHalf(), tmp_path / "out", by_nearest=True)
    rows = [row for sample in samples for row in predictor.predict(sample)]
    assert [(row["intersection"], row["union"], row["found"]) for row in rows] == [
        (32 * 48, 32 * 48, True),
        (0, 32 * 48, False),
        (0, 64 * 48, True),
    ]
    values = ris_measures(rows).values
    assert values["oIoU"] == pytest.approx(1 / 4) and values["mIoU"] == pytest.approx(1 / 3)
    assert values["P@0.5"] == pytest.approx(1 / 3) and list(values)[0] == "oIoU"
    assert not read_labels(tmp_path / "out" / "1" / "1.png").any()
    assert draw_sample(samples[0], source, predictor, tmp_path / "pictures").is_file()
