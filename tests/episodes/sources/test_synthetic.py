"""The synthetic world: what makes few-shot learning necessary in it holds for every file that is written."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from episodes.catalogue import folds_of
from episodes.episode import EpisodeSpec
from episodes.sampling.images import ImageEpisodes, image_test_episodes
from episodes.sampling.videos import TrainEpisodes, test_episodes
from episodes.sources import open_source, synthetic
from episodes.sources.synthetic import CLASS_NAMES, FRAMES, SIZE, class_looks, ensure_world

TWINS_TELL = ("left", "right", "upper", "lower", "big", "small")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ensure_world(tmp_path_factory.mktemp("world"), seed=3, videos=3)


@pytest.fixture(scope="module")
def lists(world: Path) -> tuple[dict, dict]:
    base = world / "data" / "mini-ref-youtube-vos"
    meta = json.loads((base / "train" / "meta.json").read_text())["videos"]
    return meta, json.loads((base / "meta_expressions" / "train" / "meta_expressions.json").read_text())["videos"]


def digest(folder: Path) -> str:
    hashed = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        hashed.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    return hashed.hexdigest()


def test_classes_are_nouns_with_looks_of_their_own() -> None:
    assert len(set(CLASS_NAMES)) == len(CLASS_NAMES) == 48
    assert len(set(class_looks())) == 48


def test_same_seed_same_files_and_another_seed_others(world: Path, tmp_path: Path) -> None:
    assert digest(ensure_world(tmp_path / "again", seed=3, videos=3)) == digest(world)
    assert digest(ensure_world(tmp_path / "other", seed=4, videos=3)) != digest(world)


def test_a_finished_world_is_not_written_again(world: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in world.rglob("*.json")}
    assert ensure_world(world.parent, seed=3, videos=3) == world
    assert {p: p.stat().st_mtime_ns for p in world.rglob("*.json")} == before


def test_an_interrupted_world_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(OSError, match="no space"):
        ensure_world(tmp_path, videos=2)
    assert list(tmp_path.iterdir()) == []


def test_a_class_needs_a_support_and_a_query(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 2 videos"):
        ensure_world(tmp_path, videos=1)


def test_a_held_out_class_is_never_seen_in_training(lists: tuple[dict, dict]) -> None:
    folds = folds_of("synthetic")
    for group in folds.groups:
        held_out = {folds.classes[k - 1] for k in folds.test_classes(group)}
        for video, entry in lists[0].items():
            seen = {thing["category"] for thing in entry["objects"].values()}
            assert not seen & held_out or seen <= held_out, f"{video} mixes training and test classes of group {group}"


def test_every_clip_holds_things_of_two_classes(lists: tuple[dict, dict]) -> None:
    for entry in lists[0].values():
        assert len({thing["category"] for thing in entry["objects"].values()}) == 2


def test_words_tell_twins_apart_and_nouns_alone_never_do(lists: tuple[dict, dict]) -> None:
    meta, sayings = lists
    twins = 0
    for video, entry in sayings.items():
        kinds = {number: thing["category"] for number, thing in meta[video]["objects"].items()}
        texts: dict[str, set[str]] = {number: set() for number in kinds}
        for saying in entry["expressions"].values():
            noun = kinds[saying["obj_id"]]
            assert noun in saying["exp"].split()
            texts[saying["obj_id"]].add(saying["exp"])
            if list(kinds.values()).count(noun) > 1:
                twins += 1
                assert set(saying["exp"].split()) & set(TWINS_TELL), f"{video}: {saying['exp']!r} fits two things"
        for a in kinds:
            for b in kinds:
                assert a == b or not texts[a] & texts[b], f"{video}: the same words for {a} and {b}"
    assert twins > 40


def test_files_are_read_by_the_source_of_the_real_data(world: Path) -> None:
    source = open_source("synthetic", world)
    assert source.problems() == []
    video = source.videos(1)[0]
    assert len(source.frames(video)) == FRAMES
    assert source.read_frames(video, source.frames(video)).shape == (FRAMES, 3, SIZE, SIZE)


def test_masks_cover_what_was_painted(world: Path, lists: tuple[dict, dict]) -> None:
    folder = world / "data" / "mini-ref-youtube-vos" / "train" / "Annotations"
    for video, entry in list(lists[0].items())[:24]:
        ids = set(np.unique(np.asarray(Image.open(folder / video / "00000.png")))) - {0}
        assert ids <= {int(k) for k in entry["objects"]}
        assert len(ids) >= 2, f"{video}: a thing is hidden in the first frame"


def hash_of(specs: list[EpisodeSpec]) -> str:
    """Hash of everything of the episodes but the name of the benchmark."""
    rows = [{key: value for key, value in spec.to_json().items() if key != "benchmark"} for spec in specs]
    return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()[:16]


def test_the_episodes_are_those_of_the_first_release(tmp_path: Path) -> None:
    videos = open_source("synthetic", cache=tmp_path, world_seed=3, world_videos=2)
    stills = open_source("synthetic_images", videos.root)
    assert (videos.fingerprint()[:16], stills.fingerprint()[:16]) == ("fe55c1f128d4da61", "3b0cb7c052e7826d")
    of_videos, of_stills = folds_of("synthetic"), folds_of("synthetic_images")
    train = TrainEpisodes(videos, of_videos, 1, "train", shots=1, seed=0, query_frames=2, support_frames=2)
    assert hash_of([train[i] for i in range(50)]) == "d82b1fb14e26cec5"
    tests = test_episodes(videos, of_videos, 1, shots=1, seed=0, support_frames=2, limit=9)
    assert hash_of(tests) == "0566f647d403b795"
    train_stills = ImageEpisodes(stills, of_stills, 1, "train", shots=1, seed=0)
    assert hash_of([train_stills[i] for i in range(50)]) == "0047a24932ff560c"
    tests = image_test_episodes(stills, of_stills, 1, shots=1, seed=0, count=40, queries="uniform", limit=9)
    assert hash_of(tests) == "47af3013e514bd3e"


@pytest.mark.parametrize("number", range(6))
def test_things_are_painted_inside_their_box_alone_and_lose_nothing(number, monkeypatch) -> None:
    rng = np.random.default_rng([7, number])
    things = synthetic._cast(rng, 5 * number, class_looks())
    ground = synthetic.draw_ground(rng)
    inside = [synthetic.render(ground, things, t) for t in range(FRAMES)]
    everywhere = slice(0, SIZE)
    monkeypatch.setattr(synthetic, "_box", lambda *thing: (everywhere, everywhere))
    for t, (frame, mask) in enumerate(inside):
        whole, objects = synthetic.render(ground, things, t)
        assert np.array_equal(frame, whole) and np.array_equal(mask, objects)
