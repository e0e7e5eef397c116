"""The official option draws the episodes and builds the targets of the official CMA data set."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from episodes.catalogue import folds_of
from episodes.clip import Clip
from episodes.collation import box_fractions
from episodes.episode import ClipSpec
from episodes.sampling.cma_official import (
    CMATrainEpisodes,
    cma_test_episodes,
    draw_cma_clip,
    draw_cma_supports,
)
from episodes.sources import MiniRefSource
from episodes.sources.base import clean_boxes
from episodes.transforms.clips import TestTransform
from fewshot.cli.runs import MetaTestConfig
from fewshot.config.sections import BenchmarkConfig
from fewshot.evaluation.benchmark import open_benchmark
from tests.shared import SHARED, shared_cases

YTVOS = folds_of("mini_ref_ytvos")
MODULE = "episode sampling and targets of Mini-Ref-YouTube-VOS"


def is_dataset_case(folder: Path) -> bool:
    path = folder / "case.json"
    return path.is_file() and json.loads(path.read_text()).get("module", "").startswith(MODULE)


def dataset_cases() -> list:
    """Cases of this module in every folder of `parity/cma`."""
    folders = sorted(path.name for path in SHARED.joinpath("parity", "cma").glob("*") if path.is_dir()) or ["open"]
    found = [shared_cases("parity", "cma", folder, marker="parity", want=is_dataset_case) for folder in folders]
    return [case for cases in found for case in cases]


def paint(v: int, f: int, height: int, width: int, objects: int) -> np.ndarray:
    """The mask of frame `f` of video `v` by the rule that the case states in words."""
    mask = np.zeros((height, width), np.uint8)
    for o in range(1, objects + 1):
        if (v + o + f) % 7:
            y0, x0 = (7 * v + 11 * o + 3 * f) % (height // 2), (13 * v + 17 * o + 5 * f) % (width // 2)
            mask[y0 : min(height, y0 + height // 3), x0 : min(width, x0 + width // 3)] = o
    return mask


def write_tree(tree: dict[str, Any], root: Path) -> None:
    """The synthetic tree of a case; its frames are black, their content does not matter."""
    base = root / "data" / "mini-ref-youtube-vos"
    train, sayings = base / "train", base / "meta_expressions" / "train"
    train.mkdir(parents=True)
    sayings.mkdir(parents=True)
    (train / "meta.json").write_text(json.dumps(tree["meta.json"]))
    (sayings / "meta_expressions.json").write_text(json.dumps(tree["meta_expressions.json"]))
    for name, video in tree["videos"].items():
        images, masks = train / "JPEGImages" / name, train / "Annotations" / name
        images.mkdir(parents=True)
        masks.mkdir(parents=True)
        for f, frame in enumerate(tree["meta_expressions.json"]["videos"][name]["frames"]):
            mask = paint(video["index"], f, *video["size"], video["objects"])
            Image.new("RGB", video["size"][::-1]).save(images / f"{frame}.jpg")
            Image.fromarray(mask).save(masks / f"{frame}.png")


@pytest.fixture(scope="module", params=dataset_cases())
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Any]:
    path = request.param / "case.json"
    if not path.is_file():
        pytest.skip(f"{path} is missing: set FEWSHOT_SHARED to the folder with the shared reference data")
    data = json.loads(path.read_text())
    root = tmp_path_factory.mktemp("tree")
    write_tree(data["tree"], root)
    return data["expected"], MiniRefSource(root, YTVOS, class_of_last_expression=True, exchange_box_limits=True)


def check_clip(source: MiniRefSource, spec: ClipSpec, clip: Clip, expected: dict[str, Any]) -> None:
    """What a clip is, apart from its boxes, which training and testing state in different units."""
    height, width = clip.original_size
    assert spec.video == expected["video"]
    assert list(spec.frames) == expected["frames"]
    assert spec.expression == clip.expression == expected["caption"]
    assert [source.expressions(spec.video)[0].class_id] * len(spec.frames) == expected["labels"]
    assert [width, height] == expected["orig_size"]  # sic: width first
    assert clip.masks.flatten(1).sum(1).tolist() == expected["mask_area"]
    assert list(clip.frames.shape) == expected["image_shape"]


def groups(expected: dict[str, Any], split: str) -> list[tuple[int, dict[str, Any]]]:
    return [(int(name.removeprefix("group")), values) for name, values in expected.get(split, {}).items()]


def test_training_classes_and_videos(case: tuple[dict[str, Any], MiniRefSource]) -> None:
    expected, source = case
    for group, values in groups(expected, "train"):
        episodes = CMATrainEpisodes(source, YTVOS, group, seed=0)
        assert len(episodes) == values["length"]
        assert list(episodes.classes) == values["class_list"]
        first = [sorted(source.videos(c)) for c in episodes.classes[: len(values["video_ids_first3"])]]
        assert first == values["video_ids_first3"]


def test_training_episodes(case: tuple[dict[str, Any], MiniRefSource]) -> None:
    expected, source = case
    for group, values in groups(expected, "train"):
        for episode in values["episodes"]:
            counts = {f"{side}_frames": len(episode[side]["frames"]) for side in ("query", "support")}
            episodes = CMATrainEpisodes(source, YTVOS, group, seed=0, **counts)
            spec = episodes.draw(episode["index"], random.Random(episode["seed"]))
            assert spec.class_id == episode["class_id"]
            check_training_clip(source, spec.queries[0], episode["query"])
            check_training_clip(source, spec.supports[0], episode["support"])


def check_training_clip(source: MiniRefSource, spec: ClipSpec, expected: dict[str, Any]) -> None:
    clip = source.read(spec)
    boxes, valid = clean_boxes(clip.boxes)
    check_clip(source, spec, clip, expected)
    np.testing.assert_allclose(box_fractions(boxes, clip.size), expected["boxes"], atol=1e-6)
    assert valid.long().tolist() == expected["valid"]


def test_test_queries(case: tuple[dict[str, Any], MiniRefSource]) -> None:
    """The list of queries and the support videos; the official list has one item per expression."""
    expected, source = case
    for group, values in groups(expected, "test"):
        seed = values["construction_seed"]
        episodes = cma_test_episodes(source, YTVOS, group, seed=seed)
        items = [(spec, query) for spec in episodes for query in spec.queries]
        classes = sorted({spec.class_id for spec in episodes})
        pools = {c: source.videos(c) for c in classes}
        assert [video for (video,) in draw_cma_supports(pools, random.Random(seed)).values()] == values[
            "support_videos"
        ]
        assert [next(s for s in episodes if s.class_id == c).supports[0].video for c in classes] == values[
            "support_videos"
        ]
        assert len(items) == values["length"]
        assert [classes.index(spec.class_id) for spec, _ in items] == values["classes_per_item"]


def test_protocol_cma_tests_the_official_items(case: tuple[dict[str, Any], MiniRefSource]) -> None:
    """Whatever way the data set was opened: a test reads it as it is."""
    expected, source = case
    plain = MiniRefSource(source.root, YTVOS)
    for group, values in groups(expected, "test"):
        seed = values["construction_seed"]
        config = MetaTestConfig(benchmark=BenchmarkConfig(name="mini_ref_ytvos", protocol="cma"))
        drawn = open_benchmark(config, plain).drawn(group, seed, None)
        assert drawn == cma_test_episodes(source, YTVOS, group, seed=seed)
        items = [(spec.class_id, query) for spec in drawn for query in spec.queries]
        assert len(items) == values["length"]
        for item in values["items"]:
            class_id, query = items[item["index"]]
            asked = class_id, query.video, query.object_id, query.expression_id
            assert asked == (item["class_id"], item["video"], item["obj_id"], str(item["exp_id"]))


def test_test_items(case: tuple[dict[str, Any], MiniRefSource]) -> None:
    """The clips of each listed item: the support where a class begins, and the query."""
    expected, source = case
    for group, values in groups(expected, "test"):
        episodes = cma_test_episodes(source, YTVOS, group, seed=values["construction_seed"])
        items = [(spec, query) for spec in episodes for query in spec.queries]
        transform = TestTransform(values["short_side"])
        for item in values["items"]:
            spec, query = items[item["index"]]
            assert (spec.class_id, query.video, query.object_id) == (item["class_id"], item["video"], item["obj_id"])
            assert query.expression_id == str(item["exp_id"])
            clips = [query]
            if item["begin_new"]:
                call = item["calls"][0]
                draws = random.Random(item["seed"])
                clips = [draw_cma_clip(source, spec.supports[0].video, draws, len(call["frames"])), query]
            assert len(clips) == len(item["calls"])
            for clip, call in zip(clips, item["calls"], strict=True):
                check_test_clip(source, clip, transform, call)


def check_test_clip(source: MiniRefSource, spec: ClipSpec, transform: TestTransform, expected: dict[str, Any]) -> None:
    raw = source.read(spec)  # the official test boxes stay in pixels of the original frame
    clip = transform(raw)
    check_clip(source, spec, clip, expected)
    assert raw.boxes.tolist() == expected["boxes"]
    assert raw.valid.long().tolist() == expected["valid"]
    assert list(clip.size) == expected["size"]
    assert clip.frames.dtype == torch.float32
