"""The generated referring videos: what is said of a thing is true of it, and of no other thing of its shape."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import numpy as np
import pytest

from episodes.sources import synthetic_rvos as world
from episodes.sources.ref_video import RefVideoSource
from episodes.sources.synthetic import FRAMES, SIZE, draw_ground
from episodes.sources.synthetic_rvos import SHAPES, Thing, cast, expressions, facts_of
from episodes.sources.tasks import open_task_source

WORDS = re.compile(
    rf"the (?:(?P<height>upper|lower) )?(?:(?P<colour>{'|'.join(world.HUES)}) )?(?P<shape>{'|'.join(SHAPES)})"
    r"(?: on the (?P<place>left|right))?(?: that (?P<motion>stands still|moves (?:to the )?(?:left|right|up|down)))?"
)
COUNT = 150


def drawn(number: int) -> list[tuple[list[Thing], Thing, dict[str, str]]]:
    """The things of a video, and each of them with what an expression says of it."""
    rng = np.random.default_rng([7, number])
    things = cast(rng)
    said = expressions(rng, things)
    found = []
    for row in said.values():
        match = WORDS.fullmatch(row["exp"])
        assert match, row["exp"]
        found.append((things, things[int(row["obj_id"]) - 1], {k: v for k, v in match.groupdict().items() if v}))
    return found


def holds(kind: str, word: str, thing: Thing, rivals: list[Thing]) -> bool:
    """Whether a word of an expression is true of a thing, in every frame."""
    if kind == "shape":
        return thing.shape == word
    if kind in ("colour", "motion"):
        return facts_of(thing)[kind] in word.split()
    axis, before = (0, "left") if kind == "place" else (1, "upper")
    others = [x.path[:, axis] for x in rivals] or [np.full(FRAMES, SIZE / 2)]
    sign = -1 if word == before else 1
    return all((sign * (thing.path[:, axis] - other) > 0).all() for other in others)


def test_every_word_is_true_and_together_they_mean_one_thing() -> None:
    alone, twins = 0, 0
    for things, thing, said in (row for number in range(COUNT) for row in drawn(number)):
        rivals = [x for x in things if x is not thing and x.shape == thing.shape]
        assert all(holds(kind, word, thing, rivals) for kind, word in said.items()), said
        for rival in rivals:
            assert not all(holds(kind, word, rival, [thing]) for kind, word in said.items()), said
        twins, alone = twins + bool(rivals), alone + (not rivals)
    assert twins > 200 and alone > 100


def test_each_kind_of_fact_decides_now_and_then_and_no_colour_gives_the_shape_away() -> None:
    rows = [row for number in range(COUNT) for row in drawn(number)]
    only = {next(iter(said.keys() - {"shape"})) for _, _, said in rows if len(said) == 2}
    assert only == {"colour", "place", "height", "motion"}
    pairs = {(thing.shape, thing.colour) for _, thing, _ in rows}
    assert len(pairs) == len(SHAPES) * len(world.HUES)


def test_things_stay_in_the_frame_and_their_masks_are_where_they_are() -> None:
    rng = np.random.default_rng(3)
    for _ in range(10):
        things, ground = cast(rng), draw_ground(rng)
        for t in (0, FRAMES - 1):
            _, mask = world.render(ground, things, t)
            number = len(things)  # nothing hides the last one
            y, x = (mask == number).nonzero()
            centre, radius = things[-1].path[t], things[-1].radius
            assert np.hypot(x - centre[0], y - centre[1]).max() < 1.2 * radius and len(x) > 40
            assert (centre > radius - 1).all() and (centre < SIZE - radius).all()


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(world, "VIDEOS", {"test": 4, "train": 3})
    monkeypatch.setenv("FEWSHOT_CACHE", str(tmp_path / "cache"))
    return tmp_path


def digest(folder: Path) -> str:
    hashed = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        hashed.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    return hashed.hexdigest()


def test_it_is_written_once_the_same_everywhere_and_read_like_ref_youtube_vos(small: Path) -> None:
    source = open_task_source("synthetic_rvos", None)
    assert isinstance(source, RefVideoSource) and source.split == "test" and len(source.names()) == 4
    assert digest(world.ensure_videos(small / "again")) == digest(world.ensure_videos())
    train = open_task_source("synthetic_rvos", None, "train")
    assert len(train.names()) == 3 and not set(train.names()) & set(source.names())
    assert source.problems() == [] == train.problems()
    for item in source.items():
        assert source.class_of(item.video, item.object_id) in item.text
        twins = source.twins(item.video, item.object_id or 0)
        assert all(source.class_of(item.video, k) == source.class_of(item.video, item.object_id) for k in twins)
        assert source.read_masks(item.video, item.frames, item.object_id or 0).shape == (FRAMES, SIZE, SIZE)
    elsewhere = open_task_source("synthetic_rvos", world.ensure_videos(small / "again"))
    assert elsewhere.fingerprint() == source.fingerprint()
