"""The official test list of CMA: what differs from the clean one, and numbers that must not move."""

from __future__ import annotations

import hashlib
import json
import random

import pytest

from episodes.catalogue import folds_of
from episodes.sampling.cma_official import cma_test_episodes
from episodes.sampling.videos import test_episodes
from episodes.sources import MiniRefSource
from tests.episodes.tree import TinyVideo, write_tree

YTVOS = folds_of("mini_ref_ytvos")


def video(*said: tuple[str, int], objects: dict[int, str], **more) -> TinyVideo:
    return TinyVideo(objects, list(said), frames=7, **more)


@pytest.fixture
def source(tmp_path) -> MiniRefSource:
    """Two classes of group 1 with videos in common, and one with a single video."""
    both = {1: "hat", 2: "bear"}
    videos = {f"hat{n}": video(("a hat", 1), ("the hat", 1), objects={1: "hat"}) for n in range(3)}
    videos |= {f"bear{n}": video(("a bear", 1), objects={1: "bear"}) for n in range(3)}
    videos |= {f"both{n}": video(("a hat", 1), ("a bear", 2), objects=both) for n in range(2)}
    videos["fox0"] = video(("a fox", 1), objects={1: "fox"})
    videos["parrot0"] = video(("a parrot", 1), objects={1: "parrot"})
    videos["parrot1"] = video(("a parrot", 1), objects={1: "parrot"})
    return MiniRefSource(write_tree(tmp_path, videos), YTVOS)


def asked(specs) -> set[tuple[str, str, str]]:
    return {(spec.class_name, q.video, q.expression) for spec in specs for q in spec.queries}


def test_a_video_of_two_classes_is_asked_for_the_last_one_with_every_expression(source) -> None:
    official = cma_test_episodes(source, YTVOS, 1, seed=0, support_frames=3)
    clean = test_episodes(source, YTVOS, 1, shots=1, seed=0, support_frames=3)
    supports = {c.video for spec in (*official, *clean) for c in spec.supports}
    two = {v for v in ("both0", "both1") if v not in supports}
    assert two, "the seed leaves one of them as a query"
    for v in two:
        assert {row for row in asked(official) if row[1] == v} == {("bear", v, "a hat"), ("bear", v, "a bear")}
        assert {row for row in asked(clean) if row[1] == v} == {("hat", v, "a hat"), ("bear", v, "a bear")}


def test_a_class_with_one_video_draws_too_so_that_the_others_draw_as_in_the_released_code(source) -> None:
    """The released code, from its description: a support video of each class, then the clips as classes come up."""
    pools = {
        "hat": [f"hat{n}" for n in range(3)],
        "bear": [*(f"bear{n}" for n in range(3)), "both0", "both1"],
        "fox": ["fox0"],
        "parrot": ["parrot0", "parrot1"],
    }
    for seed in range(8):
        draws = random.Random(seed)
        wanted = {name: draws.sample(sorted(pool), 1)[0] for name, pool in pools.items()}
        specs = cma_test_episodes(source, YTVOS, 1, seed=seed, support_frames=3)
        assert {s.class_name: s.supports[0].video for s in specs} == {k: v for k, v in wanted.items() if k != "fox"}


def test_support_windows_are_not_drawn_again(tmp_path) -> None:
    """The object is in one of seven frames, which a window of three mostly misses in its middle."""
    hidden = {(f, 1) for f in range(7) if f != 3}
    videos = {f"hat{n}": video(("it", 1), objects={1: "hat"}, hidden=hidden, size=(12, 24)) for n in range(2)}
    source = MiniRefSource(write_tree(tmp_path, videos), YTVOS)
    shown = {"official": 0, "clean": 0}
    for seed in range(20):
        official = cma_test_episodes(source, YTVOS, 1, seed=seed, support_frames=3)
        clean = test_episodes(source, YTVOS, 1, shots=1, seed=seed, support_frames=3)
        for name, (spec,) in (("official", official), ("clean", clean)):
            shown[name] += source.visible(spec.supports[0].video, spec.supports[0].frames[1], 1)
    assert shown["official"] < 8 and shown["clean"] > 15


def test_shots_and_limit(source) -> None:
    one, two = (cma_test_episodes(source, YTVOS, 1, shots=k, seed=3, support_frames=3) for k in (1, 2))
    assert {s.shots for s in two} == {2} and "parrot" not in {s.class_name for s in two}
    few = cma_test_episodes(source, YTVOS, 1, seed=3, support_frames=3, limit=3)
    assert len(few) == 3 and [s for s in one if s in few] == few and len({s.class_name for s in few}) == 3
    for wrong in ({"shots": 0}, {"support_frames": 0}, {"limit": 0}):
        with pytest.raises(ValueError, match="must be a whole number of at least 1"):
            cma_test_episodes(source, YTVOS, 1, seed=0, **wrong)


def test_the_list_does_not_move(tiny) -> None:
    """Frozen: a change of any draw would make other numbers than those that were reported."""
    specs = cma_test_episodes(tiny, YTVOS, 3, seed=7)
    words = json.dumps([spec.to_json() for spec in specs], sort_keys=True)
    digest = hashlib.sha256(words.encode()).hexdigest()
    assert (len(specs), sum(len(s.queries) for s in specs), digest[:16]) == (60, 138, "dc8d3232d008a231")
