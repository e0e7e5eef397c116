"""Episodes of tasks without classes: what is drawn, that draws repeat, and mixtures of them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from episodes.collation import collate
from episodes.dataset import EpisodeDataset
from episodes.sampling.mixture import Mixture, MixturePart
from episodes.sampling.tasks import (
    AGAIN,
    DetectionEpisodes,
    PseudoVideoEpisodes,
    RISEpisodes,
    RVOSEpisodes,
    TaskEpisodes,
    VOSEpisodes,
)
from episodes.sources.base import Expression
from episodes.sources.instances import InstanceSource
from episodes.sources.task_source import OBJECT, TaskSource
from episodes.transforms.clips import TrainTransform


class Videos(TaskSource):
    """`count` videos of `length` frames of 32 x 40 pixels; object 2 is seen in the first three frames only."""

    name, split, task = "videos", "train", "rvos"

    def __init__(self, count: int = 3, length: int = 30, hidden: bool = False) -> None:
        self.root, self.count, self.length, self.hidden = Path("nowhere"), count, length, hidden

    def names(self) -> tuple[str, ...]:
        return tuple(f"v{k}" for k in range(self.count))

    def items(self):
        raise NotImplementedError

    def content(self) -> list[int]:
        return [self.count, self.length]

    def frames(self, video: str) -> tuple[str, ...]:
        return tuple(f"{k:03d}" for k in range(self.length))

    def expressions(self, video: str) -> tuple[Expression, ...]:
        texts = ("The red  one", 1), ("a thing", 1), ("the second", 2)
        return tuple(Expression(str(k), text, thing, OBJECT) for k, (text, thing) in enumerate(texts))

    def visible(self, video: str, frame: str, object_id: int) -> bool:
        return not self.hidden and (object_id == 1 or int(frame) < 3)

    def read_frames(self, video: str, frames: Sequence[str]) -> Tensor:
        return torch.full((len(frames), 3, 32, 40), int(video[1:]), dtype=torch.uint8)

    def read_masks(self, video: str, frames: Sequence[str], object_id: int) -> Tensor:
        masks = torch.zeros(len(frames), 32, 40, dtype=torch.bool)
        masks[:, 4:20, 4:20] = torch.tensor([self.visible(video, f, object_id) for f in frames])[:, None, None]
        return masks

    def where(self, video: str, frame: str) -> str:
        return video

    def problems(self) -> list[str]:
        return []


KINDS = {
    "images": lambda source, seed: RISEpisodes(source, seed=seed),
    "followed": lambda source, seed: VOSEpisodes(source, seed=seed),
    "videos": lambda source, seed: RVOSEpisodes(source, seed=seed, batch=2),
    "still": lambda source, seed: PseudoVideoEpisodes(source, seed=seed),
    "detected": lambda source, seed: DetectionEpisodes(source, seed=seed),
}


@pytest.mark.parametrize("kind", KINDS)
def test_an_episode_is_a_function_of_seed_and_index(kind: str) -> None:
    a, b, other = (KINDS[kind](Videos(20), seed) for seed in (0, 0, 1))
    assert [a[i] for i in (5, 0, 11)] == [b[i] for i in (5, 0, 11)]
    assert [a[i].queries for i in range(10)] != [other[i].queries for i in range(10)]
    assert len({a[i].queries for i in range(20)}) > 5
    with pytest.raises(IndexError):
        a[-1]


def test_referred_images_have_words_and_no_support() -> None:
    specs = [RISEpisodes(Videos(), seed=0)[i] for i in range(30)]
    assert {s.queries[0].expression for s in specs} == {"the red one", "a thing", "the second"}
    assert all(s.shots == 0 and len(s.queries[0].frames) == 1 for s in specs)


def test_followed_objects_come_later_within_reach_and_are_seen_twice() -> None:
    episodes, source = VOSEpisodes(Videos(), seed=0), Videos()
    distances, objects = Counter(), Counter()
    for i in range(300):
        (support,), (query,) = episodes[i].supports, episodes[i].queries
        assert support.video == query.video and support.object_id == query.object_id and query.expression is None
        distances[int(query.frames[0]) - int(support.frames[0])] += 1
        objects[query.object_id] += 1
        assert all(source.visible("", x.frames[0], x.object_id) for x in (support, query))
    assert set(distances) == set(range(1, 11)) and set(objects) == {1, 2}


def test_referred_videos_have_a_support_in_a_fraction_of_the_batches() -> None:
    episodes = RVOSEpisodes(Videos(), seed=0, batch=4, mask_fraction=0.6)
    shots = [episodes[i].shots for i in range(1200)]
    blocks = [set(shots[k : k + 4]) for k in range(0, 1200, 4)]
    assert all(len(block) == 1 for block in blocks)  # a batch is of one kind
    assert 0.5 < np.mean(shots) < 0.7
    assert [episodes[i + AGAIN].shots for i in range(40)] == shots[:40]  # drawn again, of the same kind
    assert all(episodes[i].queries[0].expression for i in range(20))
    never, always = (RVOSEpisodes(Videos(), seed=0, mask_fraction=fraction) for fraction in (0.0, 1.0))
    assert {never[i].shots for i in range(50)} == {0} and {always[i].shots for i in range(50)} == {1}


@pytest.mark.parametrize(
    ("source", "message"),
    [(Videos(0), "nothing to train on"), (Videos(hidden=True), "no two frames"), (Videos(length=1), "no two frames")],
)
def test_data_without_episodes_are_refused(source: TaskSource, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VOSEpisodes(source, seed=0)[0]


def test_mask_fraction_is_a_fraction() -> None:
    with pytest.raises(ValueError, match=r"mask_fraction must lie in 0\.\.1, got 1\.5"):
        RVOSEpisodes(Videos(), seed=0, mask_fraction=1.5)


# -------------------------------------------------------------------------------------------------------- all objects


@pytest.fixture
def coco_file(tmp_path: Path) -> Path:
    """Three images: two objects and a crowd, one object, only a crowd."""
    images = tmp_path / "images"
    images.mkdir()
    for k in (1, 2, 3):
        Image.fromarray(np.full((30, 40, 3), 40 * k, np.uint8)).save(images / f"{k}.png")
    square = [[2, 3, 12, 3, 12, 13, 2, 13]]

    def thing(number: int, image: int, category: int, box: list[float], crowd: int = 0) -> dict:
        return dict(
            id=number, image_id=image, category_id=category, bbox=box, iscrowd=crowd, area=1, segmentation=square
        )

    content = {
        "images": [dict(id=k, file_name=f"far/{k}.png", height=30, width=40) for k in (1, 2, 3)],
        "categories": [dict(id=k, name=f"c{k}") for k in (7, 3)],
        "annotations": [
            thing(1, 1, 7, [2, 3, 10, 10]),
            thing(2, 1, 3, [20, 5, 30, 5]),
            thing(3, 1, 3, [0, 0, 40, 30], crowd=1),
            thing(4, 2, 3, [2, 3, 10, 10]),
            thing(5, 2, 3, [2, 3, 0, 10]),
            thing(6, 3, 3, [2, 3, 10, 10], crowd=1),
        ],
    }
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(content))
    return path


def open_instances(path: Path, **options: bool) -> InstanceSource:
    return InstanceSource("things", path, path.parent / "images", **options)


def test_all_objects_of_an_image(coco_file: Path) -> None:
    source = open_instances(coco_file, one_class=False)
    assert source.names() == ("1", "2") and source.num_classes == 2 and source.problems() == []
    found = source.read_objects("1")
    assert found.boxes[:, 0].tolist() == [[2, 3, 12, 13], [20, 5, 40, 10]]  # cut at the border of the image
    assert found.labels.tolist() == [1, 0] and found.ids.tolist() == [1, 2] and found.exhaustive
    assert found.masks is not None and found.masks[0, 0].nonzero().amin(0).tolist() == [3, 2]
    plain = open_instances(coco_file, boxes_only=True)
    assert plain.read_objects("1").masks is None and plain.read_objects("1").labels.tolist() == [0, 0]
    assert source.read_masks("1", ("0",), 1).shape == (1, 30, 40) and len(source.expressions("1")) == 2


def test_broken_files_are_refused(tmp_path: Path, coco_file: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no\.json is missing"):
        InstanceSource("things", tmp_path / "no.json", tmp_path)
    (tmp_path / "half.json").write_text("[1, 2")
    with pytest.raises(ValueError, match="not in COCO's form"):
        InstanceSource("things", tmp_path / "half.json", tmp_path)
    (tmp_path / "empty.json").write_text('{"images": [], "annotations": [], "categories": []}')
    with pytest.raises(ValueError, match="lists 0 images and 0 objects"):
        InstanceSource("things", tmp_path / "empty.json", tmp_path)
    content = json.loads(coco_file.read_text())
    content["annotations"][0]["segmentation"] = [[1, 2]]
    coco_file.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="object 1 of .* has no mask that can be read"):
        open_instances(coco_file).read_objects("1")


def transform(**options: object) -> TrainTransform:
    return TrainTransform((32,), 64, colour=False, crop_sizes=(), crop_range=(8, 12), **options)


def test_transforms_carry_all_objects_along(coco_file: Path) -> None:
    source = open_instances(coco_file)
    specs = DetectionEpisodes(source, seed=0)
    kept = Counter()
    for i in range(40):
        clip = EpisodeDataset(source, specs, transform(), seed=0)[i].queries[0]
        found = clip.objects
        assert found is not None and found.masks is not None and found.masks.shape[1:] == (1, *clip.size)
        assert clip.exhaustive and clip.masks is None and clip.boxes is None
        assert clip.valid is not None and bool(clip.valid[0]) == (len(found) > 0)
        assert found.valid.all() and found.masks.flatten(1).any(1).all()
        assert ((found.boxes[..., 2:] - found.boxes[..., :2]) > 0).all() and (found.boxes >= 0).all()
        assert (found.boxes[..., 2] <= clip.size[1]).all() and (found.boxes[..., 3] <= clip.size[0]).all()
        kept[len(found)] += 1
    assert len(kept) > 1  # crops lose objects
    flipped = EpisodeDataset(source, specs, transform(crop=False), seed=0)
    boxes = {tuple(flipped[i].queries[0].objects.boxes[0, 0].round().int().tolist()) for i in range(20)}
    assert len(boxes) >= 2  # mirrored or not


def test_batches_of_all_objects_have_no_reference(coco_file: Path) -> None:
    source = open_instances(coco_file)
    dataset = EpisodeDataset(source, DetectionEpisodes(source, seed=0), transform(crop=False), seed=0)
    batch = collate([dataset[0], dataset[1]], 32)
    assert batch.supports is None and batch.shots == 0 and len(batch.queries.objects) == 2
    assert batch.queries.expressions == (None, None) and dataset[0].references == ()
    other = EpisodeDataset(source, PseudoVideoEpisodes(source, seed=0), transform(crop=False), seed=0)
    with pytest.raises(ValueError, match="different numbers of supports"):
        collate([dataset[0], other[0]])


# ----------------------------------------------------------------------------------------------------------- mixtures


class Constant:
    """Episodes that remember their index; those before `hidden` draws do not show the object."""

    def __init__(self, specs: TaskEpisodes, hidden: int = 0) -> None:
        source = Videos()
        self.dataset = EpisodeDataset(source, specs, transform(crop=False), seed=0)
        self.hidden, self.asked = hidden, []

    def __getitem__(self, index: int):
        self.asked.append(index)
        episode = self.dataset[index]
        if index // AGAIN < self.hidden:
            episode.queries[0].valid.zero_()
        return episode


def mixture(hidden: int = 0, batch: int = 3, seed: int = 0) -> Mixture:
    parts = [
        MixturePart("words", Constant(RISEpisodes(Videos(), seed=0), hidden), 1.0),
        MixturePart("masks", Constant(VOSEpisodes(Videos(), seed=0), hidden), 0.5),
    ]
    return Mixture(parts, batch=batch, seed=seed)


def test_a_batch_holds_one_part_and_parts_come_by_their_ratios() -> None:
    mixed = mixture()
    names = [mixed.part(i).name for i in range(3000)]
    assert all(len(set(names[k : k + 3])) == 1 for k in range(0, 3000, 3))
    assert names.count("words") / len(names) == pytest.approx(2 / 3, abs=0.05)
    assert names == [mixture().part(i).name for i in range(3000)]
    assert names != [mixture(seed=1).part(i).name for i in range(3000)]
    batch = collate([mixed[i] for i in range(6, 9)], 32)
    assert len(batch) == 3
    assert torch.equal(mixed[7].queries[0].frames, mixed[7].queries[0].frames)


def test_episodes_without_the_object_are_drawn_again() -> None:
    mixed = mixture(hidden=2)
    episode = mixed[4]
    asked = mixed.part(4).episodes.asked
    assert asked == [4, 4 + AGAIN, 4 + 2 * AGAIN] and episode.queries[0].valid.all()
    hopeless = mixture(hidden=1000)
    assert not hopeless[4].queries[0].valid.any()
    assert len(hopeless.part(4).episodes.asked) == 8


@pytest.mark.parametrize(("ratios", "message"), [([], "no part"), ([1.0, 0.0], "words: 0"), ([-1.0], "words: -1")])
def test_ratios_must_be_positive(ratios: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Mixture([MixturePart("words", Constant(RISEpisodes(Videos(), seed=0)), r) for r in ratios], batch=1, seed=0)


def test_frames_of_a_video_are_mirrored_together() -> None:
    source = Videos()
    specs = VOSEpisodes(source, seed=0)
    pairs = {}
    for one_draw in (True, False):
        dataset = EpisodeDataset(source, specs, transform(crop=False), seed=0, one_draw=one_draw)
        clips = [(e.supports[0], e.queries[0]) for e in (dataset[i] for i in range(30))]
        pairs[one_draw] = {tuple(bool(c.masks[0, 8, 8]) for c in pair) for pair in clips}
    assert pairs[True] == {(True, True), (False, False)} and len(pairs[False]) == 4


def test_ordinals_are_not_cropped() -> None:
    source = Videos()
    specs = RISEpisodes(source, seed=0)
    sizes = {}
    for keep in (True, False):
        dataset = EpisodeDataset(source, specs, transform(keep_order=keep), seed=0)
        clips = [dataset[i].queries[0] for i in range(60)]
        sizes[keep] = {c.size for c in clips if c.expression == "the second"}
    assert sizes[True] == {(32, 40)} and len(sizes[False]) > 1
